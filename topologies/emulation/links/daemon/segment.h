/* TSO frames and partial checksums. Loss, rate and the like act on packets as the wire would carry them, so a
 * direction with such an impairment cuts a TSO frame into its segments first; a direction with delay alone does not. */
#ifndef DELAYLINE_SEGMENT_H
#define DELAYLINE_SEGMENT_H

#include "packet.h"

/* Fills in `segments` and `line_bytes`: one packet unless it is a TCP or UDP segmentation-offload frame. */
void segment_measure(struct frame *frame);

/* Calls `emit` for each segment in order, or once with the frame itself where it is not segmentable. The segment's
 * data lies in a static buffer and is valid during the call only. */
void segment_each(const struct frame *frame, void (*emit)(void *context, const struct frame *segment), void *context);

/* Computes the checksum that the sender left to offload and clears the mark, so that damage done afterwards is seen. */
void segment_complete_checksum(uint8_t *wire, uint32_t wire_bytes);

/* Length from the network header on (Ethernet header and VLAN tags taken off). */
uint32_t segment_network_bytes(const struct frame *frame);

#endif

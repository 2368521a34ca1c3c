/* Frames as they arrive, packets as they are stored, and the two stores: a FIFO and a heap by due time. */
#ifndef DELAYLINE_PACKET_H
#define DELAYLINE_PACKET_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PACKET_VNET_HDR exchanges this header: 10 bytes in native byte order, without the field for merged buffers. */
enum { VNET_BYTES = sizeof(struct virtio_net_hdr) };

/* A frame in a receive buffer: borrowed, valid until the next read. */
struct frame {
    struct virtio_net_hdr vnet;
    const uint8_t *data;
    uint32_t length;
    uint32_t segments;   /* wire packets that it stands for: more than 1 for a TSO frame */
    uint32_t line_bytes; /* their bytes, the headers of each included */
    int interface;       /* index of the one it arrived on */
    uint64_t arrival_ns; /* CLOCK_MONOTONIC, by the kernel's receive timestamp */
};

/* A stored copy; `wire` is the vnet header followed by the frame, ready to be sent. */
struct packet {
    struct packet *next;
    uint64_t due_ns;     /* when the emulated link delivers it */
    uint64_t release_ns; /* when it is sent: due less the calibrated lateness, never before its arrival */
    uint64_t order;      /* arrival number: equal release times leave in this order */
    uint32_t wire_bytes;
    uint32_t segments, line_bytes;
    uint8_t wire[];
};

/* All packets of the process draw on one budget, so a flood cannot take the machine's memory. */
struct budget {
    uint64_t limit_bytes;
    uint64_t used_bytes;
    uint64_t peak_bytes;
};

uint64_t packet_cost(uint32_t frame_bytes);
struct packet *packet_copy(const struct frame *frame, struct budget *budget);
void packet_free(struct packet *packet, struct budget *budget);

struct fifo {
    struct packet *head, *tail;
};

void fifo_push(struct fifo *fifo, struct packet *packet);
struct packet *fifo_pop(struct fifo *fifo);

/* Binary heap by (release_ns, order); holds packets that may overtake others. */
struct heap {
    struct packet **items;
    size_t count, room;
};

bool heap_push(struct heap *heap, struct packet *packet);
struct packet *heap_pop(struct heap *heap);
static inline struct packet *heap_top(const struct heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}
void heap_release_storage(struct heap *heap);

#endif

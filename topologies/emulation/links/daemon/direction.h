/* One direction of a link: decides the fate of each packet, keeps it until it is due, counts what happened. */
#ifndef DELAYLINE_DIRECTION_H
#define DELAYLINE_DIRECTION_H

#include "histogram.h"
#include "impairment.h"
#include "packet.h"
#include "random.h"

#define NEVER UINT64_MAX

enum drop_cause {
    DROP_LOSS,      /* by the configured loss */
    DROP_BLACKHOLE, /* by the configured silent loss */
    DROP_QUEUE,     /* queue limit */
    DROP_MEMORY,    /* the process's memory budget */
    DROP_DOWN,      /* link taken down while in flight */
    DROP_SEND,      /* the far interface did not take it */
    DROP_CAUSES
};
extern const char *const drop_cause_names[DROP_CAUSES];

struct counters {
    uint64_t packets, bytes; /* delivered, as wire packets: a TSO frame counts as its segments */
    uint64_t dropped[DROP_CAUSES];
    uint64_t duplicated, corrupted, reordered;
    uint64_t depth_max; /* packets held at once */
};

/* What all directions of the process share. */
struct common {
    struct budget budget;
    uint64_t advance_ns; /* calibrated lateness, taken off every due time */
};

/* Departure times of the packets that the serialiser has not finished: their number is the queue length. */
struct backlog {
    uint64_t *ends;
    uint32_t head, count, room;
};

enum stream { STREAM_LOSS, STREAM_DUPLICATE, STREAM_CORRUPT, STREAM_REORDER, STREAM_JITTER, STREAMS };

struct direction {
    struct impairment impairment;
    struct common *common;
    struct random_stream random[STREAMS];
    bool per_packet; /* an impairment is in force that acts on wire packets, so TSO frames are cut */
    bool in_bad_state;
    uint64_t busy_until_ns, busy_remainder;
    struct trace_cursor cursor;
    struct backlog backlog;
    struct fifo fifo;
    struct heap heap;
    uint64_t arrivals, held_packets, held_bytes;
    struct counters counters;
    struct histogram lateness;
};

void direction_init(struct direction *direction, struct common *common, uint64_t seed, uint32_t link, unsigned which);
void direction_close(struct direction *direction);

/* Packets already held keep the fate they were given; later ones may overtake them, and meet an empty queue where the
   rate has changed. Takes over the reference to the trace. */
void direction_configure(struct direction *direction, const struct impairment *impairment, uint64_t now_ns);

void direction_accept(struct direction *direction, const struct frame *frame);

/* When the next packet leaves; NEVER if none is held. */
uint64_t direction_next(const struct direction *direction);

/* The next packet if its time has come, else NULL. The caller hands it back by direction_sent or direction_dropped. */
struct packet *direction_take(struct direction *direction, uint64_t now_ns);
void direction_sent(struct direction *direction, struct packet *packet, uint64_t at_ns);
void direction_dropped(struct direction *direction, struct packet *packet, enum drop_cause cause);

void direction_flush(struct direction *direction, enum drop_cause cause);
void direction_reset_counters(struct direction *direction);

#endif

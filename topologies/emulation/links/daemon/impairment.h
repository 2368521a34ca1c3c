/* What one direction of a link does to packets, and the packet-delivery traces that may set its rate. */
#ifndef DELAYLINE_IMPAIRMENT_H
#define DELAYLINE_IMPAIRMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds that keep every sum of times far from overflow: the slowest rate times the longest queue is under 2^59 ns. */
#define DELAY_MAX_NS 3600000000000u
#define RATE_MIN_BIT_S 1000u
#define RATE_MAX_BIT_S 10000000000000u
#define LIMIT_MAX_PACKETS (1u << 20)
#define LIMIT_DEFAULT_PACKETS 1000u
#define TRACE_MAX_ENTRIES (1u << 22)
#define TRACE_MAX_MS 3600000000u

/* Each opportunity of a mahimahi trace delivers up to this many bytes of network-layer packets. */
enum { TRACE_OPPORTUNITY_BYTES = 1500 };

enum jitter_shape { JITTER_UNIFORM, JITTER_NORMAL };

/* A mahimahi packet-delivery trace, shared by the directions that use it. */
struct trace {
    unsigned references;
    uint32_t count;
    uint32_t crc; /* CRC-32 over the timestamps, little-endian: tells a reader which trace is in force */
    uint32_t ms[]; /* not decreasing; the last is the period and is not 0 */
};

struct trace *trace_new(const uint32_t *ms, uint32_t count);
struct trace *trace_share(struct trace *trace);
void trace_drop(struct trace *trace);

/* The place in a trace up to which opportunities are taken. */
struct trace_cursor {
    uint64_t epoch_ns, cycle;
    uint32_t index, left;
};

void trace_start(struct trace_cursor *cursor, uint64_t epoch_ns);

/* Takes opportunities for a packet that arrives now; the time at which its last byte is delivered. */
uint64_t trace_depart(struct trace_cursor *cursor, const struct trace *trace, uint64_t arrival_ns, uint64_t bytes);

struct impairment {
    uint64_t delay_ns;
    uint64_t jitter_ns; /* half-width if uniform, standard deviation if normal */
    enum jitter_shape jitter_shape;
    bool jitter_reorders; /* packets may overtake each other, as with netem */
    bool blackhole;       /* the link stays up and eats everything */
    double loss;
    bool bursts;                      /* Gilbert-Elliott loss in place of `loss` */
    double to_bad, to_good;           /* p and r: chance per packet of changing state */
    double loss_in_bad, loss_in_good; /* 1-h and 1-k */
    double duplicate, corrupt, reorder;
    uint64_t rate_bit_s;    /* 0: not limited */
    uint32_t limit_packets; /* 0: LIMIT_DEFAULT_PACKETS where rate or trace make a queue, else memory alone */
    struct trace *trace;
};

/* NULL if the parts agree with one another, else what is wrong. */
const char *impairment_conflict(const struct impairment *impairment);

#endif

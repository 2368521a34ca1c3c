#include "impairment.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u

/* The CRC-32 of zlib, bit by bit: traces are set seldom. */
static uint32_t crc_of(const uint32_t *ms, uint32_t count)
{
    uint32_t crc = 0xffffffffu;
    for (uint32_t i = 0; i < count; i++) {
        crc ^= ms[i];
        for (unsigned bit = 0; bit < 32; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

struct trace *trace_new(const uint32_t *ms, uint32_t count)
{
    struct trace *trace = malloc(sizeof *trace + count * sizeof ms[0]);
    if (!trace)
        return NULL;
    trace->references = 1;
    trace->count = count;
    trace->crc = crc_of(ms, count);
    memcpy(trace->ms, ms, count * sizeof ms[0]);
    return trace;
}

struct trace *trace_share(struct trace *trace)
{
    if (trace)
        trace->references++;
    return trace;
}

void trace_drop(struct trace *trace)
{
    if (trace && --trace->references == 0)
        free(trace);
}

void trace_start(struct trace_cursor *cursor, uint64_t epoch_ns)
{
    *cursor = (struct trace_cursor){.epoch_ns = epoch_ns, .left = TRACE_OPPORTUNITY_BYTES};
}

static uint64_t period_ns(const struct trace *trace)
{
    return (uint64_t)trace->ms[trace->count - 1] * NS_PER_MS;
}

static uint64_t opportunity_ns(const struct trace_cursor *cursor, const struct trace *trace)
{
    return cursor->epoch_ns + cursor->cycle * period_ns(trace) + (uint64_t)trace->ms[cursor->index] * NS_PER_MS;
}

static void step(struct trace_cursor *cursor, const struct trace *trace)
{
    cursor->left = TRACE_OPPORTUNITY_BYTES;
    if (++cursor->index == trace->count) {
        cursor->index = 0;
        cursor->cycle++;
    }
}

/* First entry at or after `within_ns` of the cycle; there is one, as the last entry ends the cycle. */
static uint32_t first_at(const struct trace *trace, uint64_t within_ns)
{
    uint32_t low = 0, high = trace->count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint64_t)trace->ms[middle] * NS_PER_MS < within_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Opportunities that passed with nothing to send are lost, as in mahimahi. */
static void skip_to(struct trace_cursor *cursor, const struct trace *trace, uint64_t arrival_ns)
{
    if (arrival_ns < cursor->epoch_ns || opportunity_ns(cursor, trace) >= arrival_ns)
        return;
    uint64_t since = arrival_ns - cursor->epoch_ns;
    cursor->cycle = since / period_ns(trace);
    cursor->index = first_at(trace, since % period_ns(trace));
    cursor->left = TRACE_OPPORTUNITY_BYTES;
}

uint64_t trace_depart(struct trace_cursor *cursor, const struct trace *trace, uint64_t arrival_ns, uint64_t bytes)
{
    skip_to(cursor, trace, arrival_ns);
    while (bytes > cursor->left) {
        bytes -= cursor->left;
        step(cursor, trace);
    }
    cursor->left -= (uint32_t)bytes;
    return opportunity_ns(cursor, trace);
}

const char *impairment_conflict(const struct impairment *impairment)
{
    if (impairment->bursts && impairment->loss > 0.0)
        return "loss and gemodel exclude each other";
    if (impairment->rate_bit_s && impairment->trace)
        return "rate and trace exclude each other";
    if (impairment->jitter_reorders && !impairment->jitter_ns)
        return "jitter that reorders needs jitter";
    return NULL;
}

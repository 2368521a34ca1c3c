#include "direction.h"

#include "segment.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000u

const char *const drop_cause_names[DROP_CAUSES] = {
    [DROP_LOSS] = "loss",
    [DROP_BLACKHOLE] = "blackhole",
    [DROP_QUEUE] = "queue",
    [DROP_MEMORY] = "memory",
    [DROP_DOWN] = "down",
    [DROP_SEND] = "send",
};

void direction_init(struct direction *direction, struct common *common, uint64_t seed, uint32_t link, unsigned which)
{
    memset(direction, 0, sizeof *direction);
    direction->common = common;
    uint64_t base = random_mix(seed) ^ random_mix(((uint64_t)link << 1 | which) + 1);
    for (unsigned i = 0; i < STREAMS; i++)
        direction->random[i].state = random_mix(base + i);
}

static bool acts_on_wire_packets(const struct impairment *impairment)
{
    return impairment->jitter_ns || impairment->loss > 0 || impairment->bursts || impairment->duplicate > 0 ||
           impairment->corrupt > 0 || impairment->reorder > 0 || impairment->rate_bit_s ||
           impairment->limit_packets || impairment->trace;
}

static bool serialises(const struct impairment *impairment)
{
    return impairment->rate_bit_s || impairment->trace;
}

static void forget_queue(struct direction *direction)
{
    direction->busy_until_ns = 0;
    direction->backlog.head = direction->backlog.count = 0;
}

/* What comes from now on need not wait for what was held before. */
static void let_overtake(struct direction *direction)
{
    struct packet *packet;
    while ((packet = direction->fifo.head) && heap_push(&direction->heap, packet))
        fifo_pop(&direction->fifo);
}

void direction_configure(struct direction *direction, const struct impairment *impairment, uint64_t now_ns)
{
    struct trace *former = direction->impairment.trace;
    bool same_trace = former && impairment->trace && former->count == impairment->trace->count &&
                      former->crc == impairment->trace->crc;
    if (!same_trace)
        trace_start(&direction->cursor, now_ns);
    if (direction->impairment.rate_bit_s != impairment->rate_bit_s || (former && !same_trace))
        forget_queue(direction);
    direction->impairment = *impairment;
    direction->per_packet = acts_on_wire_packets(impairment);
    let_overtake(direction);
    trace_drop(former);
}

/* --- the queue in front of the serialiser --- */

static void backlog_drain(struct backlog *backlog, uint64_t now_ns)
{
    while (backlog->count && backlog->ends[backlog->head] <= now_ns) {
        backlog->head = (backlog->head + 1) % backlog->room;
        backlog->count--;
    }
}

static bool backlog_grow(struct backlog *backlog)
{
    uint32_t room = backlog->room ? backlog->room * 2 : 64;
    uint64_t *ends = malloc(room * sizeof *ends);
    if (!ends)
        return false;
    for (uint32_t i = 0; i < backlog->count; i++)
        ends[i] = backlog->ends[(backlog->head + i) % backlog->room];
    free(backlog->ends);
    *backlog = (struct backlog){.ends = ends, .count = backlog->count, .room = room};
    return true;
}

static void backlog_push(struct backlog *backlog, uint64_t end_ns)
{
    if (backlog->count == backlog->room && !backlog_grow(backlog))
        return; /* the queue then looks one packet shorter than it is */
    backlog->ends[(backlog->head + backlog->count++) % backlog->room] = end_ns;
}

/* --- fate --- */

static bool lost_in_burst(struct direction *direction)
{
    const struct impairment *model = &direction->impairment;
    struct random_stream *stream = &direction->random[STREAM_LOSS];
    bool bad = direction->in_bad_state;
    /* The state before the step decides on the loss, as in netem. */
    double chance = random_unit(stream), turn = random_unit(stream);
    if (turn < (bad ? model->to_good : model->to_bad))
        direction->in_bad_state = !bad;
    return chance < (bad ? model->loss_in_bad : model->loss_in_good);
}

static bool is_lost(struct direction *direction)
{
    if (direction->impairment.bursts)
        return lost_in_burst(direction);
    return random_hit(&direction->random[STREAM_LOSS], direction->impairment.loss);
}

static bool queue_is_full(struct direction *direction, const struct frame *frame)
{
    const struct impairment *impairment = &direction->impairment;
    if (!serialises(impairment))
        return impairment->limit_packets && direction->held_packets + frame->segments > impairment->limit_packets;
    backlog_drain(&direction->backlog, frame->arrival_ns);
    uint32_t limit = impairment->limit_packets ? impairment->limit_packets : LIMIT_DEFAULT_PACKETS;
    return direction->backlog.count >= limit;
}

/* One direction may hold half of the memory, so that a flood on one link leaves room for the others. */
static bool memory_is_full(const struct direction *direction, const struct frame *frame)
{
    return direction->held_bytes + packet_cost(frame->length) > direction->common->budget.limit_bytes / 2;
}

/* When the last bit has left the near end. Integer arithmetic with the remainder carried: no drift at any rate. */
static uint64_t serialise(struct direction *direction, const struct frame *frame)
{
    const struct impairment *impairment = &direction->impairment;
    if (impairment->trace)
        return trace_depart(&direction->cursor, impairment->trace, frame->arrival_ns, segment_network_bytes(frame));
    uint64_t start = frame->arrival_ns;
    if (direction->busy_until_ns > start)
        start = direction->busy_until_ns;
    else
        direction->busy_remainder = 0;
    uint64_t work = (uint64_t)frame->line_bytes * 8 * NS_PER_S + direction->busy_remainder;
    direction->busy_until_ns = start + work / impairment->rate_bit_s;
    direction->busy_remainder = work % impairment->rate_bit_s;
    return direction->busy_until_ns;
}

static uint64_t propagation(struct direction *direction)
{
    const struct impairment *impairment = &direction->impairment;
    if (!impairment->jitter_ns)
        return impairment->delay_ns;
    struct random_stream *stream = &direction->random[STREAM_JITTER];
    double deviation = impairment->jitter_shape == JITTER_NORMAL ? random_normal(stream)
                                                                 : 2.0 * random_unit(stream) - 1.0;
    double delay = (double)impairment->delay_ns + deviation * (double)impairment->jitter_ns;
    return delay > 0.0 ? (uint64_t)delay : 0;
}

static uint64_t release_time(const struct direction *direction, uint64_t arrival_ns, uint64_t due_ns)
{
    uint64_t advance = direction->common->advance_ns;
    return due_ns > arrival_ns + advance ? due_ns - advance : arrival_ns;
}

static void store(struct direction *direction, struct packet *packet, bool may_overtake)
{
    direction->held_packets += packet->segments;
    direction->held_bytes += packet_cost(packet->wire_bytes - VNET_BYTES);
    if (direction->held_packets > direction->counters.depth_max)
        direction->counters.depth_max = direction->held_packets;
    if (may_overtake && heap_push(&direction->heap, packet))
        return;
    fifo_push(&direction->fifo, packet);
}

static void schedule_at_once(struct direction *direction, struct packet *packet, uint64_t arrival_ns)
{
    direction->counters.reordered += packet->segments;
    packet->due_ns = packet->release_ns = arrival_ns;
    store(direction, packet, true);
}

static void schedule(struct direction *direction, struct packet *packet, const struct frame *frame)
{
    const struct impairment *impairment = &direction->impairment;
    uint64_t departure = frame->arrival_ns;
    if (serialises(impairment)) {
        departure = serialise(direction, frame);
        backlog_push(&direction->backlog, departure);
    }
    uint64_t due = departure + propagation(direction);
    const struct packet *last = direction->fifo.tail;
    if (!impairment->jitter_reorders && last && due < last->due_ns)
        due = last->due_ns;
    packet->due_ns = due;
    packet->release_ns = release_time(direction, frame->arrival_ns, due);
    store(direction, packet, impairment->jitter_reorders);
}

/* netem's corruption: one bit anywhere in the frame. */
static void corrupt(struct direction *direction, struct packet *packet)
{
    struct random_stream *stream = &direction->random[STREAM_CORRUPT];
    segment_complete_checksum(packet->wire, packet->wire_bytes);
    uint64_t bit = random_below(stream, (uint64_t)(packet->wire_bytes - VNET_BYTES) * 8);
    packet->wire[VNET_BYTES + bit / 8] ^= (uint8_t)(1u << (bit % 8));
    direction->counters.corrupted++;
}

static void enqueue(struct direction *direction, const struct frame *frame)
{
    const struct impairment *impairment = &direction->impairment;
    if (queue_is_full(direction, frame)) {
        direction->counters.dropped[DROP_QUEUE] += frame->segments;
        return;
    }
    struct packet *packet = memory_is_full(direction, frame) ? NULL : packet_copy(frame, &direction->common->budget);
    if (!packet) {
        direction->counters.dropped[DROP_MEMORY] += frame->segments;
        return;
    }
    packet->order = direction->arrivals++;
    if (random_hit(&direction->random[STREAM_CORRUPT], impairment->corrupt))
        corrupt(direction, packet);
    if (random_hit(&direction->random[STREAM_REORDER], impairment->reorder))
        schedule_at_once(direction, packet, frame->arrival_ns);
    else
        schedule(direction, packet, frame);
}

/* netem's order: a packet both duplicated and lost arrives once. */
static void admit(void *context, const struct frame *frame)
{
    struct direction *direction = context;
    int copies = 1;
    if (random_hit(&direction->random[STREAM_DUPLICATE], direction->impairment.duplicate)) {
        copies++;
        direction->counters.duplicated += frame->segments;
    }
    if (is_lost(direction)) {
        copies--;
        direction->counters.dropped[DROP_LOSS] += frame->segments;
    }
    while (copies-- > 0)
        enqueue(direction, frame);
}

void direction_accept(struct direction *direction, const struct frame *frame)
{
    if (direction->impairment.blackhole)
        direction->counters.dropped[DROP_BLACKHOLE] += frame->segments;
    else if (direction->per_packet)
        segment_each(frame, admit, direction);
    else
        enqueue(direction, frame);
}

/* --- release --- */

static bool heap_goes_first(const struct direction *direction)
{
    const struct packet *overtaking = heap_top(&direction->heap), *waiting = direction->fifo.head;
    if (!overtaking || !waiting)
        return overtaking != NULL;
    if (overtaking->release_ns != waiting->release_ns)
        return overtaking->release_ns < waiting->release_ns;
    return overtaking->order < waiting->order;
}

uint64_t direction_next(const struct direction *direction)
{
    if (heap_goes_first(direction))
        return heap_top(&direction->heap)->release_ns;
    return direction->fifo.head ? direction->fifo.head->release_ns : NEVER;
}

static struct packet *pop(struct direction *direction)
{
    return heap_goes_first(direction) ? heap_pop(&direction->heap) : fifo_pop(&direction->fifo);
}

struct packet *direction_take(struct direction *direction, uint64_t now_ns)
{
    return direction_next(direction) <= now_ns ? pop(direction) : NULL;
}

static void let_go(struct direction *direction, struct packet *packet)
{
    direction->held_packets -= packet->segments;
    direction->held_bytes -= packet_cost(packet->wire_bytes - VNET_BYTES);
    packet_free(packet, &direction->common->budget);
}

void direction_sent(struct direction *direction, struct packet *packet, uint64_t at_ns)
{
    direction->counters.packets += packet->segments;
    direction->counters.bytes += packet->line_bytes;
    histogram_add(&direction->lateness, (int64_t)(at_ns - packet->due_ns), packet->segments);
    let_go(direction, packet);
}

void direction_dropped(struct direction *direction, struct packet *packet, enum drop_cause cause)
{
    direction->counters.dropped[cause] += packet->segments;
    let_go(direction, packet);
}

void direction_flush(struct direction *direction, enum drop_cause cause)
{
    for (struct packet *packet = pop(direction); packet; packet = pop(direction))
        direction_dropped(direction, packet, cause);
    forget_queue(direction);
}

void direction_reset_counters(struct direction *direction)
{
    direction->counters = (struct counters){.depth_max = direction->held_packets};
    memset(&direction->lateness, 0, sizeof direction->lateness);
}

void direction_close(struct direction *direction)
{
    direction_flush(direction, DROP_DOWN);
    heap_release_storage(&direction->heap);
    free(direction->backlog.ends);
    trace_drop(direction->impairment.trace);
}

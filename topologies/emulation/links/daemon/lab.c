#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOWHERE SIZE_MAX

/* Batches sent before the socket is read again, and read before what is due goes out. Reading is cheap and comes
 * first, so that a flood fills its own direction's queue and not the socket that all share. */
enum { RELEASE_ROUNDS = 8, RECEIVE_ROUNDS = 16 };

/* Arrivals may lie unread for a part of the shortest delay, and not longer than this. */
enum { PATIENCE_SHARE = 8, PATIENCE_MAX_NS = 100000 };

/* Packets due within this of one another leave together: less than a wake-up would cost. */
enum { TOGETHER_NS = 15000 };

/* --- the schedule: a binary heap of the ways that hold something --- */

static void place(struct lab *lab, struct way *way, size_t at)
{
    lab->schedule[at] = way;
    way->place = at;
}

static void sift_up(struct lab *lab, struct way *way, size_t at)
{
    for (; at > 0 && way->next_ns < lab->schedule[(at - 1) / 2]->next_ns; at = (at - 1) / 2)
        place(lab, lab->schedule[(at - 1) / 2], at);
    place(lab, way, at);
}

static void sift_down(struct lab *lab, struct way *way, size_t at)
{
    for (size_t child = 2 * at + 1; child < lab->scheduled; child = 2 * at + 1) {
        if (child + 1 < lab->scheduled && lab->schedule[child + 1]->next_ns < lab->schedule[child]->next_ns)
            child++;
        if (lab->schedule[child]->next_ns >= way->next_ns)
            break;
        place(lab, lab->schedule[child], at);
        at = child;
    }
    place(lab, way, at);
}

static void settle(struct lab *lab, struct way *way, size_t at)
{
    if (at > 0 && way->next_ns < lab->schedule[(at - 1) / 2]->next_ns)
        sift_up(lab, way, at);
    else
        sift_down(lab, way, at);
}

static void unschedule(struct lab *lab, struct way *way)
{
    if (way->place == NOWHERE)
        return;
    struct way *last = lab->schedule[--lab->scheduled];
    if (last != way)
        settle(lab, last, way->place);
    way->place = NOWHERE;
}

/* Brings the schedule in line with what the direction holds. */
static void reschedule(struct lab *lab, struct way *way)
{
    uint64_t next = way->refused.head ? 0 : direction_next(&way->direction);
    if (next == NEVER) {
        unschedule(lab, way);
        return;
    }
    if (next < way->deferred_ns)
        next = way->deferred_ns;
    if (way->place == NOWHERE) {
        way->next_ns = next;
        sift_up(lab, way, lab->scheduled++);
    } else if (next != way->next_ns) {
        way->next_ns = next;
        settle(lab, way, way->place);
    }
}

static bool reserve_schedule(struct lab *lab, size_t ways)
{
    if (ways <= lab->schedule_room)
        return true;
    size_t room = ways * 2;
    struct way **schedule = realloc(lab->schedule, room * sizeof(struct way *));
    if (!schedule)
        return false;
    lab->schedule = schedule;
    lab->schedule_room = room;
    return true;
}

/* --- ways by the interface they start from --- */

static struct way **chain_of(struct lab *lab, int interface)
{
    return &lab->chains[(unsigned)interface % LAB_PORT_CHAINS];
}

static struct way *way_from(struct lab *lab, int interface)
{
    struct way *way = *chain_of(lab, interface);
    while (way && way->from->index != interface)
        way = way->chained;
    return way;
}

static void chain(struct lab *lab, struct way *way)
{
    struct way **head = chain_of(lab, way->from->index);
    way->chained = *head;
    *head = way;
}

static void unchain(struct lab *lab, struct way *way)
{
    struct way **at = chain_of(lab, way->from->index);
    while (*at != way)
        at = &(*at)->chained;
    *at = way->chained;
}

/* --- links --- */

bool lab_open(struct lab *lab, uint64_t memory_bytes)
{
    *lab = (struct lab){.common.budget.limit_bytes = memory_bytes};
    return wire_open(&lab->wire);
}

struct link *lab_find(const struct lab *lab, uint32_t id)
{
    return id < lab->links_room ? lab->links[id] : NULL;
}

static bool reserve_id(struct lab *lab, uint32_t id)
{
    if (id < lab->links_room)
        return true;
    uint32_t room = id * 2 + 64;
    struct link **links = realloc(lab->links, room * sizeof(struct link *));
    if (!links)
        return false;
    memset(links + lab->links_room, 0, (room - lab->links_room) * sizeof(struct link *));
    lab->links = links;
    lab->links_room = room;
    return true;
}

static bool open_ports(struct lab *lab, struct link *link, const char *const names[2], char *error, size_t room)
{
    for (unsigned i = 0; i < 2; i++) {
        if (!port_open(&lab->wire, &link->ports[i], names[i], error, room))
            return false;
        if (way_from(lab, link->ports[i].index)) {
            snprintf(error, room, "interface %s belongs to another link", names[i]);
            return false;
        }
    }
    return true;
}

static void init_ways(struct lab *lab, struct link *link, uint64_t seed)
{
    for (unsigned i = 0; i < 2; i++) {
        struct way *way = &link->ways[i];
        direction_init(&way->direction, &lab->common, seed, link->id, i);
        way->link = link;
        way->from = &link->ports[i];
        way->to = &link->ports[1 - i];
        way->place = NOWHERE;
        chain(lab, way);
    }
}

struct link *lab_add(struct lab *lab, uint32_t id, const char *a, const char *b, uint64_t seed, char *error, size_t room)
{
    struct link *link = calloc(1, sizeof *link);
    if (!link || !reserve_id(lab, id) || !reserve_schedule(lab, 2 * (size_t)(lab->links_count + 1))) {
        snprintf(error, room, "out of memory");
        free(link);
        return NULL;
    }
    if (!open_ports(lab, link, (const char *const[]){a, b}, error, room)) {
        free(link);
        return NULL;
    }
    link->id = id;
    link->up = true;
    init_ways(lab, link, seed);
    lab->links[id] = link;
    lab->links_count++;
    lab->changed = true;
    return link;
}

static void flush(struct lab *lab, struct way *way)
{
    struct packet *packet;
    while ((packet = fifo_pop(&way->refused)))
        direction_dropped(&way->direction, packet, DROP_DOWN);
    direction_flush(&way->direction, DROP_DOWN);
    unschedule(lab, way);
}

void lab_remove(struct lab *lab, struct link *link)
{
    for (unsigned i = 0; i < 2; i++) {
        flush(lab, &link->ways[i]);
        unchain(lab, &link->ways[i]);
        direction_close(&link->ways[i].direction);
    }
    lab->links[link->id] = NULL;
    lab->links_count--;
    lab->changed = true;
    free(link);
}

bool lab_carrier(struct lab *lab, struct link *link, bool up)
{
    bool done = port_raise(&lab->wire, &link->ports[0], up);
    done = port_raise(&lab->wire, &link->ports[1], up) && done;
    link->up = up;
    for (unsigned i = 0; i < 2 && !up; i++)
        flush(lab, &link->ways[i]);
    return done;
}

/* What arrived before the change is read before it, so that it gets its fate by what was in force. */
void lab_configure(struct lab *lab, struct way *way, const struct impairment *impairment)
{
    lab_receive(lab);
    direction_configure(&way->direction, impairment, monotonic_ns());
    lab->changed = true;
    reschedule(lab, way);
}

void lab_close(struct lab *lab)
{
    for (uint32_t id = 0; id < lab->links_room; id++)
        if (lab->links[id])
            lab_remove(lab, lab->links[id]);
    free(lab->links);
    free(lab->schedule);
    wire_close(&lab->wire);
    lab->links = NULL;
    lab->schedule = NULL;
    lab->links_room = 0;
}

/* --- arrivals --- */

static void accept(struct lab *lab, const struct frame *frame)
{
    struct way *way = way_from(lab, frame->interface);
    if (!way)
        return;
    if (way->link->up)
        direction_accept(&way->direction, frame);
    else
        way->direction.counters.dropped[DROP_DOWN] += frame->segments;
    reschedule(lab, way);
}

void lab_receive(struct lab *lab)
{
    uint64_t last_ns = lab->wire.read_ns;
    bool more = true;
    for (int round = 0; round < RECEIVE_ROUNDS && more; round++) {
        struct frame *const *frames;
        size_t count = wire_receive(&lab->wire, &frames, &more);
        for (size_t i = 0; i < count; i++)
            accept(lab, frames[i]);
    }
    lab->hurried = lab->wire.read_ns - last_ns < 2 * lab->patience_ns;
}

/* A delay that hardly any packet of the direction goes below. */
static uint64_t least_delay(const struct impairment *impairment)
{
    uint64_t deviation = 4 * impairment->jitter_ns;
    return impairment->reorder > 0.0 || impairment->delay_ns < deviation ? 0 : impairment->delay_ns - deviation;
}

static uint64_t reckon_patience(const struct lab *lab)
{
    uint64_t shortest = PATIENCE_MAX_NS * PATIENCE_SHARE;
    for (uint32_t id = 0; id < lab->links_room; id++)
        for (unsigned i = 0; lab->links[id] && i < 2; i++) {
            uint64_t least = least_delay(&lab->links[id]->ways[i].direction.impairment);
            if (least < shortest)
                shortest = least;
        }
    return shortest / PATIENCE_SHARE;
}

uint64_t lab_patient_until(struct lab *lab)
{
    if (lab->changed)
        lab->patience_ns = reckon_patience(lab);
    lab->changed = false;
    return lab->hurried ? lab->wire.read_ns + lab->patience_ns : 0;
}

/* --- departures --- */

/* A batch takes a while: packet i of n left about i/n of the way through it. */
static void account(struct way *way, struct packet **packets, size_t sent, size_t asked, uint64_t begin, uint64_t end)
{
    uint64_t step = sent ? (end - begin) / (sent < asked ? sent + 1 : sent) : 0;
    for (size_t i = 0; i < sent; i++)
        direction_sent(&way->direction, packets[i], begin + i * step);
}

/* Sends all of the batch, or sets the rest aside for when the socket is writable again. */
static void send_all(struct lab *lab, struct way *way, struct packet **packets, size_t count)
{
    while (count && !lab->busy) {
        enum wire_result result;
        uint64_t begin = monotonic_ns();
        size_t sent = wire_send(&lab->wire, way->to, packets, count, &result);
        account(way, packets, sent, count, begin, monotonic_ns());
        packets += sent;
        count -= sent;
        lab->busy = result == WIRE_BUSY;
        if (result == WIRE_REFUSED) {
            direction_dropped(&way->direction, *packets++, DROP_SEND);
            count--;
        }
    }
    while (count--)
        fifo_push(&way->refused, *packets++);
}

static size_t gather(struct way *way, struct packet **packets, uint64_t now)
{
    size_t count = 0;
    while (count < WIRE_BATCH && (packets[count] = fifo_pop(&way->refused)))
        count++;
    while (count < WIRE_BATCH && (packets[count] = direction_take(&way->direction, now)))
        count++;
    return count;
}

static void release(struct lab *lab, struct way *way, uint64_t now)
{
    struct packet *packets[WIRE_BATCH];
    size_t count = gather(way, packets, now);
    send_all(lab, way, packets, count);
    /* Behind the others that are overdue: they must not wait for one link's flood. */
    if (count == WIRE_BATCH)
        way->deferred_ns = monotonic_ns();
    reschedule(lab, way);
}

uint64_t lab_release(struct lab *lab, uint64_t until_ns)
{
    uint64_t now = monotonic_ns() + (lab->wake.off ? 0 : TOGETHER_NS);
    if (until_ns > now)
        now = until_ns;
    for (int round = 0; round < RELEASE_ROUNDS && !lab->busy; round++) {
        if (!lab->scheduled || lab->schedule[0]->next_ns > now)
            break;
        release(lab, lab->schedule[0], now);
    }
    return lab->scheduled && !lab->busy ? lab->schedule[0]->next_ns : NEVER;
}

#include "lab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define NOWHERE SIZE_MAX

/* Batches sent before the sockets are read again, and read from one socket before the others have their turn. */
enum { RELEASE_ROUNDS = 16, RECEIVE_ROUNDS = 2, CATCH_UP_ROUNDS = 256 };

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
    uint64_t next = way->link->busy[way->to == &way->link->ports[1]] ? NEVER : direction_next(&way->direction);
    if (next == NEVER) {
        unschedule(lab, way);
    } else if (way->place == NOWHERE) {
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

/* --- links --- */

void lab_init(struct lab *lab, uint64_t memory_bytes, int epoll)
{
    *lab = (struct lab){.common.budget.limit_bytes = memory_bytes, .epoll = epoll};
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

static bool watch(const struct lab *lab, struct link *link, unsigned number, int operation, uint32_t events)
{
    int fd = link->ports[number].fd;
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(uintptr_t)link | number};
    return fd < 0 || epoll_ctl(lab->epoll, operation, fd, &event) == 0;
}

static bool open_ports(struct lab *lab, struct link *link, const char *const names[2], char *error, size_t room)
{
    for (unsigned i = 0; i < 2; i++) {
        if (!port_open(&link->ports[i], names[i], error, room))
            return false;
        if (!watch(lab, link, i, EPOLL_CTL_ADD, EPOLLIN)) {
            snprintf(error, room, "interface %s: epoll: %s", names[i], strerror(errno));
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
    link->id = id;
    link->up = true;
    link->ports[0].fd = link->ports[1].fd = -1;
    init_ways(lab, link, seed);
    if (!open_ports(lab, link, (const char *const[]){a, b}, error, room)) {
        port_close(&link->ports[0]);
        port_close(&link->ports[1]);
        free(link);
        return NULL;
    }
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
        direction_close(&link->ways[i].direction);
        port_close(&link->ports[i]);
    }
    lab->links[link->id] = NULL;
    lab->links_count--;
    lab->changed = true;
    free(link);
}

bool lab_carrier(struct lab *lab, struct link *link, bool up)
{
    bool done = port_raise(&link->ports[0], up);
    done = port_raise(&link->ports[1], up) && done;
    link->up = up;
    for (unsigned i = 0; i < 2 && !up; i++)
        flush(lab, &link->ways[i]);
    return done;
}

void lab_close(struct lab *lab)
{
    for (uint32_t id = 0; id < lab->links_room; id++)
        if (lab->links[id])
            lab_remove(lab, lab->links[id]);
    free(lab->links);
    free(lab->schedule);
    lab->links = NULL;
    lab->schedule = NULL;
    lab->links_room = 0;
}

/* --- traffic --- */

static void accept(struct way *way, const struct frame *frame)
{
    if (way->link->up)
        direction_accept(&way->direction, frame);
    else
        way->direction.counters.dropped[DROP_DOWN] += frame->segments;
}

static void receive(struct way *way, int rounds)
{
    const struct frame *frames;
    uint64_t malformed;
    bool more = true;
    while (more && rounds-- > 0) {
        size_t count = port_receive(way->from, &frames, &malformed, &more);
        way->direction.counters.dropped[DROP_MALFORMED] += malformed;
        for (size_t i = 0; i < count; i++)
            accept(way, &frames[i]);
    }
}

void lab_readable(struct lab *lab, struct link *link, unsigned port)
{
    struct way *way = &link->ways[port];
    receive(way, RECEIVE_ROUNDS);
    lab->hurried = way->from->read_ns - lab->read_ns < 2 * lab->patience_ns;
    lab->read_ns = way->from->read_ns;
    reschedule(lab, way);
}

/* What arrived before the change is read before it, within reason, so that it gets its fate by what was in force. */
void lab_configure(struct lab *lab, struct way *way, const struct impairment *impairment)
{
    receive(way, CATCH_UP_ROUNDS);
    direction_configure(&way->direction, impairment, monotonic_ns());
    lab->changed = true;
    reschedule(lab, way);
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
    return lab->hurried ? lab->read_ns + lab->patience_ns : 0;
}

void lab_catch_up(struct lab *lab, struct way *way)
{
    receive(way, CATCH_UP_ROUNDS);
    reschedule(lab, way);
    way->direction.counters.dropped[DROP_OVERRUN] += port_overruns(way->from);
}

/* A batch takes a while: packet i of n left about i/n of the way through it. */
static void account(struct way *way, struct packet **packets, size_t sent, size_t asked, uint64_t begin, uint64_t end)
{
    uint64_t step = sent ? (end - begin) / (sent < asked ? sent + 1 : sent) : 0;
    for (size_t i = 0; i < sent; i++)
        direction_sent(&way->direction, packets[i], begin + i * step);
}

static void wait_writable(struct lab *lab, struct way *way)
{
    unsigned number = way->to == &way->link->ports[1];
    way->link->busy[number] = watch(lab, way->link, number, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

/* Sends all of the batch or sets the rest aside. False if the far port is busy. */
static bool send_all(struct lab *lab, struct way *way, struct packet **packets, size_t count)
{
    while (count) {
        enum port_result result;
        uint64_t begin = monotonic_ns();
        size_t sent = port_send(way->to, packets, count, &result);
        account(way, packets, sent, count, begin, monotonic_ns());
        packets += sent;
        count -= sent;
        if (result == PORT_BUSY)
            break;
        if (result == PORT_REFUSED) {
            direction_dropped(&way->direction, *packets++, DROP_SEND);
            count--;
        }
    }
    if (!count)
        return true;
    while (count--)
        fifo_push(&way->refused, *packets++);
    wait_writable(lab, way);
    return false;
}

static size_t gather(struct way *way, struct packet **packets, uint64_t now)
{
    size_t count = 0;
    while (count < PORT_BATCH && (packets[count] = fifo_pop(&way->refused)))
        count++;
    while (count < PORT_BATCH && (packets[count] = direction_take(&way->direction, now)))
        count++;
    return count;
}

static void release(struct lab *lab, struct way *way, uint64_t now)
{
    struct packet *packets[PORT_BATCH];
    size_t count = gather(way, packets, now);
    send_all(lab, way, packets, count);
    reschedule(lab, way);
}

void lab_writable(struct lab *lab, struct link *link, unsigned port)
{
    if (!link->busy[port])
        return;
    link->busy[port] = false;
    watch(lab, link, port, EPOLL_CTL_MOD, EPOLLIN);
    release(lab, &link->ways[1 - port], monotonic_ns());
}

uint64_t lab_release(struct lab *lab, uint64_t until_ns)
{
    uint64_t now = monotonic_ns() + (lab->wake.off ? 0 : TOGETHER_NS);
    if (until_ns > now)
        now = until_ns;
    for (int round = 0; round < RELEASE_ROUNDS && lab->scheduled && lab->schedule[0]->next_ns <= now; round++)
        release(lab, lab->schedule[0], now);
    return lab->scheduled ? lab->schedule[0]->next_ns : NEVER;
}

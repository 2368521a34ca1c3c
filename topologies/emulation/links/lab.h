/* All the links of one lab, and the schedule of what leaves next. */
#ifndef DELAYLINE_LAB_H
#define DELAYLINE_LAB_H

#include "direction.h"
#include "port.h"
#include "wake.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAB_MAX_LINK_ID = 65535, A_TO_B = 0, B_TO_A = 1 };

struct link;

/* A direction with the two ports that it joins. */
struct way {
    struct direction direction;
    struct link *link;
    struct port *from, *to;
    size_t place;        /* in the schedule; NOWHERE if nothing is due or the far port is busy */
    uint64_t next_ns;    /* when its next packet leaves */
    struct fifo refused; /* taken, but the far port was busy */
};

struct link {
    uint32_t id;
    bool up;
    bool busy[2]; /* waiting until that port is writable again */
    struct port ports[2];
    struct way ways[2];
};

struct lab {
    struct common common;
    struct wake wake;
    struct link **links; /* by id; NULL where there is none */
    uint32_t links_room, links_count;
    struct way **schedule; /* binary heap by next_ns */
    size_t scheduled, schedule_room;
    int epoll;
    uint64_t read_ns;     /* when a port was last read */
    uint64_t patience_ns; /* for how long arrivals may lie unread without harm, by the shortest delay in force */
    bool hurried;         /* packets come so fast that it pays to let some gather */
    bool changed;         /* links or impairments did, so that `patience_ns` is out of date */
};

void lab_init(struct lab *lab, uint64_t memory_bytes, int epoll);
void lab_close(struct lab *lab);

struct link *lab_find(const struct lab *lab, uint32_t id);

/* NULL with a sentence in `error` on failure. */
struct link *lab_add(struct lab *lab, uint32_t id, const char *a, const char *b, uint64_t seed, char *error, size_t room);
void lab_remove(struct lab *lab, struct link *link);
bool lab_carrier(struct lab *lab, struct link *link, bool up);
void lab_configure(struct lab *lab, struct way *way, const struct impairment *impairment);

/* Until when the ports need not be read: a read for each packet of a fast stream would cost more than the packet.
 * In the past if they should be. */
uint64_t lab_patient_until(struct lab *lab);

/* Reads what has arrived and counts what the kernel dropped before we saw it, so that the counters are up to date. */
void lab_catch_up(struct lab *lab, struct way *way);

/* What an event of epoll means: the pointer is `link` with the port's number in its lowest bit. */
void lab_readable(struct lab *lab, struct link *link, unsigned port);
void lab_writable(struct lab *lab, struct link *link, unsigned port);

/* Sends what is due now or by `until_ns`, within reason; when the next packet is due (NEVER if none is held; if that
 * is past, call again). */
uint64_t lab_release(struct lab *lab, uint64_t until_ns);

#endif

/* All the links of one lab, and the schedule of what leaves next. */
#ifndef DELAYLINE_LAB_H
#define DELAYLINE_LAB_H

#include "direction.h"
#include "wake.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAB_MAX_LINK_ID = 65535, A_TO_B = 0, B_TO_A = 1, LAB_PORT_CHAINS = 1024 };

struct link;

/* A direction with the two ports that it joins. */
struct way {
    struct direction direction;
    struct link *link;
    struct port *from, *to;
    struct way *chained; /* the next in the look-up table by the index of `from` */
    size_t place;        /* in the schedule */
    uint64_t next_ns;    /* when its next packet leaves */
    uint64_t deferred_ns; /* it does not leave before that */
    struct fifo refused; /* taken, but the socket was busy */
};

struct link {
    uint32_t id;
    bool up;
    struct port ports[2];
    struct way ways[2];
};

struct lab {
    struct common common;
    struct wake wake;
    struct wire wire;
    struct link **links; /* by id; NULL where there is none */
    uint32_t links_room, links_count;
    struct way *chains[LAB_PORT_CHAINS];
    struct way **schedule; /* binary heap by next_ns */
    size_t scheduled, schedule_room;
    uint64_t patience_ns; /* for how long arrivals may lie unread without harm, by the shortest delay in force */
    bool hurried;         /* packets come so fast that it pays to let some gather */
    bool changed;         /* links or impairments did, so that `patience_ns` is out of date */
    bool busy;            /* the socket takes no more until it is writable */
};

/* False with errno set on failure. */
bool lab_open(struct lab *lab, uint64_t memory_bytes);
void lab_close(struct lab *lab);

struct link *lab_find(const struct lab *lab, uint32_t id);

/* NULL with a sentence in `error` on failure. */
struct link *lab_add(struct lab *lab, uint32_t id, const char *a, const char *b, uint64_t seed, char *error, size_t room);
void lab_remove(struct lab *lab, struct link *link);
bool lab_carrier(struct lab *lab, struct link *link, bool up);
void lab_configure(struct lab *lab, struct way *way, const struct impairment *impairment);

/* Reads what has arrived, within reason; the socket's readiness asks for it, or counters that must be up to date. */
void lab_receive(struct lab *lab);

/* Until when the socket need not be read: a read for each packet of a fast stream would cost more than the packet.
 * In the past if it should be. */
uint64_t lab_patient_until(struct lab *lab);

/* Sends what is due now or by `until_ns`, within reason; when the next packet is due (NEVER if none is held or the
 * socket is busy; if that is past, call again). */
uint64_t lab_release(struct lab *lab, uint64_t until_ns);

#endif

/* The one packet socket of a lab, and the inner ends of veth pairs that it reads and writes.
 *
 * One socket for all interfaces: the kernel takes some 12 ms to close each packet socket, so with one per interface a
 * killed lab of a thousand links would linger for half a minute. */
#ifndef DELAYLINE_WIRE_H
#define DELAYLINE_WIRE_H

#include "packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_BATCH = 64, PORT_NAME_ROOM = 16 };

struct wire {
    int fd;
    uint64_t read_ns;    /* when it was last read */
    uint64_t drained_ns; /* when it was last seen empty: nothing read later arrived long before that */
    uint64_t overruns;   /* frames that the kernel dropped because the socket's buffer was full */
    uint64_t malformed;  /* frames that the kernel could not hand over whole */
};

/* An inner interface. */
struct port {
    int index;
    char name[PORT_NAME_ROOM];
};

/* Opens the socket in the present network namespace, for every interface there. False with errno set on failure. */
bool wire_open(struct wire *wire);
void wire_close(struct wire *wire);

/* A batch of frames, valid until the next call; `more` says that the socket may hold more. */
size_t wire_receive(struct wire *wire, struct frame *const **frames, bool *more);

enum wire_result { WIRE_SENT, WIRE_REFUSED, WIRE_BUSY };

/* Sends up to WIRE_BATCH packets to an interface; how many were taken. If fewer than asked, `result` says whether the
 * first of the rest was refused (drop it, go on) or the socket is busy (wait until it is writable). */
size_t wire_send(const struct wire *wire, const struct port *port, struct packet *const *packets, size_t count,
                 enum wire_result *result);

/* Brings `overruns` up to date. */
void wire_count_overruns(struct wire *wire);

/* Finds the interface of this name, prepares it and brings it up. False with a sentence in `error` if that fails. */
bool port_open(const struct wire *wire, struct port *port, const char *name, char *error, size_t room);
bool port_raise(const struct wire *wire, const struct port *port, bool up);

uint64_t monotonic_ns(void);

#endif

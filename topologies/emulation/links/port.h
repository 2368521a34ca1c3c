/* The inner end of a veth pair, read and written through one AF_PACKET socket. */
#ifndef DELAYLINE_PORT_H
#define DELAYLINE_PORT_H

#include "packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PORT_BATCH = 64, PORT_NAME_ROOM = 16 };

struct port {
    int fd;
    char name[PORT_NAME_ROOM];
    uint64_t read_ns;    /* when it was last read */
    uint64_t drained_ns; /* when the socket was last seen empty: nothing read later arrived before that */
};

/* Opens the interface of this name in the present network namespace and brings it up.
 * False with a sentence in `error` if that fails. */
bool port_open(struct port *port, const char *name, char *error, size_t room);
void port_close(struct port *port);
bool port_raise(const struct port *port, bool up);

/* A batch of frames, valid until the next call. `malformed` counts what the kernel could not hand over;
 * `more` says that the socket may hold more. */
size_t port_receive(struct port *port, const struct frame **frames, uint64_t *malformed, bool *more);

enum port_result { PORT_SENT, PORT_REFUSED, PORT_BUSY };

/* Sends up to PORT_BATCH packets; how many were taken. If fewer than asked, `result` says whether the first of the
 * rest was refused (drop it, go on) or the socket is busy (wait until it is writable). */
size_t port_send(const struct port *port, struct packet *const *packets, size_t count, enum port_result *result);

/* Frames that the kernel dropped since the last call because the socket's buffer was full. */
uint64_t port_overruns(const struct port *port);

uint64_t monotonic_ns(void);

#endif

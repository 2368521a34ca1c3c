/* libFuzzer target: any bytes as control messages, against links whose interfaces are made of air. */
#include "control.h"

#include <stdlib.h>
#include <string.h>

/* --- ports without a kernel --- */

static struct packet *never_sent;

uint64_t monotonic_ns(void)
{
    static uint64_t now = 1000000000;
    return now += 1000;
}

bool port_open(struct port *port, const char *name, char *error, size_t room)
{
    (void)error, (void)room;
    memset(port, 0, sizeof *port);
    strcpy(port->name, name); /* the caller vouches for the length: the sanitizer checks that */
    port->fd = -1;
    return true;
}

void port_close(struct port *port)
{
    port->name[0] = 0;
}

bool port_raise(const struct port *port, bool up)
{
    return port->name[0] || up;
}

size_t port_receive(struct port *port, const struct frame **frames, uint64_t *malformed, bool *more)
{
    static uint8_t data[60];
    static struct frame frame = {.data = data, .length = sizeof data, .segments = 1, .line_bytes = sizeof data};
    (void)port;
    frame.arrival_ns = monotonic_ns();
    *frames = &frame;
    *malformed = 0;
    *more = false;
    return 1;
}

size_t port_send(const struct port *port, struct packet *const *packets, size_t count, enum port_result *result)
{
    (void)port;
    never_sent = count ? packets[0] : NULL;
    *result = count % 2 ? PORT_REFUSED : PORT_SENT;
    return count % 2 ? 0 : count;
}

uint64_t port_overruns(const struct port *port)
{
    return port->name[0] == 'x';
}

/* --- the target --- */

static void pass_a_packet(struct lab *lab)
{
    for (uint32_t id = 0; id < lab->links_room; id++)
        for (unsigned port = 0; lab->links[id] && port < 2; port++)
            lab_readable(lab, lab->links[id], port);
    lab_release(lab, 0);
}

static void check_answer(const struct text *answer, size_t lines)
{
    size_t found = 0;
    for (size_t i = 0; i < answer->length; i++)
        found += answer->bytes[i] == '\n';
    if (found != lines)
        abort();
}

static size_t count_lines(const uint8_t *data, size_t size)
{
    size_t lines = size && data[size - 1] != '\n';
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[CONTROL_ANSWER_BYTES];
    struct text answer = {.bytes = bytes, .room = sizeof bytes};
    struct lab lab;
    struct control control = {.lab = &lab};
    if (size > CONTROL_MESSAGE_BYTES)
        return 0;
    lab_init(&lab, 1 << 20, -1);
    control_handle(&control, "add 1 a b 7\ntrace add 1 2 3", 27, &answer);
    control_handle(&control, (const char *)data, size, &answer);
    check_answer(&answer, count_lines(data, size));
    pass_a_packet(&lab);
    control_handle(&control, "stats 1 ab\nget 1 ba", 19, &answer);
    lab_close(&lab);
    control_close(&control);
    return 0;
}

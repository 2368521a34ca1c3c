/* libFuzzer target: any bytes as control messages, against links whose interfaces are made of air. */
#include "control.h"

#include <stdlib.h>
#include <string.h>

/* --- a wire without a kernel --- */

static struct packet *never_sent;

uint64_t monotonic_ns(void)
{
    static uint64_t now = 1000000000;
    return now += 1000;
}

bool wire_open(struct wire *wire)
{
    *wire = (struct wire){.fd = -1};
    return true;
}

void wire_close(struct wire *wire)
{
    wire->fd = -1;
}

/* The index of an interface is made of its name. */
bool port_open(const struct wire *wire, struct port *port, const char *name, char *error, size_t room)
{
    (void)wire, (void)error, (void)room;
    memset(port, 0, sizeof *port);
    strcpy(port->name, name); /* the caller vouches for the length: the sanitizer checks that */
    for (const char *at = name; *at; at++)
        port->index = port->index % 1000 * 31 + *at;
    return true;
}

bool port_raise(const struct wire *wire, const struct port *port, bool up)
{
    (void)wire;
    return port->name[0] || up;
}

size_t wire_receive(struct wire *wire, struct frame *const **frames, bool *more)
{
    static uint8_t data[60];
    static struct frame frame = {.data = data, .length = sizeof data, .segments = 1, .line_bytes = sizeof data};
    static struct frame *const list[] = {&frame};
    wire->read_ns = frame.arrival_ns = monotonic_ns();
    frame.interface = 'a' + (int)(wire->read_ns / 1000 % 2);
    *frames = list;
    *more = wire->read_ns / 1000 % 3;
    return 1;
}

size_t wire_send(const struct wire *wire, const struct port *port, struct packet *const *packets, size_t count,
                 enum wire_result *result)
{
    (void)wire, (void)port;
    never_sent = count ? packets[0] : NULL;
    *result = count % 3 == 1 ? WIRE_REFUSED : count % 3 == 2 ? WIRE_BUSY : WIRE_SENT;
    return count % 3 ? 0 : count;
}

void wire_count_overruns(struct wire *wire)
{
    wire->overruns++;
}

/* --- the target --- */

static void pass_packets(struct lab *lab)
{
    lab_receive(lab);
    lab_release(lab, 0);
    lab->busy = false;
    lab_release(lab, NEVER - 1);
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
    if (!lab_open(&lab, 1 << 20))
        return 0;
    control_handle(&control, "add 1 a b 7\ntrace add 1 2 3", 27, &answer);
    control_handle(&control, (const char *)data, size, &answer);
    check_answer(&answer, count_lines(data, size));
    pass_packets(&lab);
    control_handle(&control, "stats 1 ab\nget 1 ba", 19, &answer);
    lab_close(&lab);
    control_close(&control);
    return 0;
}

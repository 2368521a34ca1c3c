/* The control messages. A message is one or more lines; its answer has one line for each: `ok ...` or `err SENTENCE`.
 *
 *   ping                                  ok
 *   info                                  links, held bytes and their limit, advance, anticipate; frames lost
 *                                         before it was seen whose they were: overruns, malformed
 *   add ID IF_A IF_B SEED                 join two interfaces; both directions pass packets untouched
 *   del ID                                part them; packets in flight are dropped
 *   set ID ab|ba KEY=VALUE...             replace all impairments of a direction; what is not named is off.
 *                                         Packets in flight keep the delay they were given.
 *   get ID ab|ba                          the impairments in force, in the words of `set`
 *   carrier ID up|down                    inner interfaces up or down, so the outer ones lose carrier
 *   stats ID ab|ba                        counters and the histogram of lateness, LOW:HIGH:COUNT in ns
 *   reset                                 all counters to zero
 *   advance NS                            calibrated lateness, taken off every due time from now on
 *   anticipate on|off                     set timers earlier by the usual lateness of being woken; on at first
 *   trace clear | trace add MS...         put together the trace that `set ... trace=staged` takes
 *   quit                                  end the process
 *
 * Keys of `set`: delay= jitter= (ns), dist=uniform|normal, overtake=0|1 (jitter may reorder), loss= duplicate=
 * corrupt= reorder= (0 to 1), ge=P,R,1-H,1-K (0 to 1), rate= (bit/s), limit= (packets), blackhole=0|1, trace=staged. */
#ifndef DELAYLINE_CONTROL_H
#define DELAYLINE_CONTROL_H

#include "lab.h"

enum { CONTROL_MESSAGE_BYTES = 64 * 1024, CONTROL_ANSWER_BYTES = 1024 * 1024 };

struct text {
    char *bytes;
    size_t length, room;
};

struct control {
    struct lab *lab;
    struct {
        uint32_t *ms;
        uint32_t count, room;
    } staged;
    bool quit;
};

void control_close(struct control *control);

/* Carries out a message of any bytes whatever and writes the answer, cut at the text's room. */
void control_handle(struct control *control, const char *message, size_t length, struct text *answer);

#endif

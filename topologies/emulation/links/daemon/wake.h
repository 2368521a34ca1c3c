/* How late the kernel wakes us, learnt on the run, so that the timer can be set that much earlier. The longer a
 * processor has idled the later it comes, hence one running median for each doubling of the time slept. */
#ifndef DELAYLINE_WAKE_H
#define DELAYLINE_WAKE_H

#include <stdbool.h>
#include <stdint.h>

enum { WAKE_CLASSES = 24 };

struct wake {
    bool off;
    uint64_t usual_ns[WAKE_CLASSES];
    uint32_t seen[WAKE_CLASSES];
};

/* How much earlier to set a timer that ends a sleep of this length. */
uint64_t wake_lead(const struct wake *wake, uint64_t sleep_ns);

/* A sleep of this length ended so much later than the timer was set to. */
void wake_learn(struct wake *wake, uint64_t sleep_ns, uint64_t late_ns);

#endif

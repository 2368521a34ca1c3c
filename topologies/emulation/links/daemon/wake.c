#include "wake.h"

/* Sleeps are told apart from 1 us up; beyond LEAD_MAX_NS a wake-up is late by load, and no habit. */
enum { SHORTEST_SHIFT = 10, FIRST_STEP_NS = 32768, LAST_STEP_NS = 512, LEAD_MAX_NS = 250000 };

static unsigned class_of(uint64_t sleep_ns)
{
    uint64_t units = sleep_ns >> SHORTEST_SHIFT;
    unsigned class = units ? 64u - (unsigned)__builtin_clzll(units) : 0;
    return class < WAKE_CLASSES ? class : WAKE_CLASSES - 1;
}

/* Of sleeps not seen yet, what is known of the next shorter ones holds. */
uint64_t wake_lead(const struct wake *wake, uint64_t sleep_ns)
{
    unsigned class = class_of(sleep_ns);
    while (class > 0 && !wake->seen[class])
        class--;
    return wake->off ? 0 : wake->usual_ns[class];
}

/* A running median: a step towards each value, large at first. */
void wake_learn(struct wake *wake, uint64_t sleep_ns, uint64_t late_ns)
{
    unsigned class = class_of(sleep_ns);
    uint64_t known = wake_lead(wake, sleep_ns);
    uint64_t *usual = &wake->usual_ns[class];
    if (!wake->seen[class])
        *usual = known;
    uint64_t step = wake->seen[class] < 6 ? (uint64_t)FIRST_STEP_NS >> wake->seen[class] : LAST_STEP_NS;
    if (late_ns < *usual)
        *usual -= step < *usual ? step : *usual;
    else if (*usual + step <= LEAD_MAX_NS)
        *usual += step;
    if (wake->seen[class] < UINT32_MAX)
        wake->seen[class]++;
}

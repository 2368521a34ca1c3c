/* Log-linear histogram of signed nanoseconds: steps of 1.024 us up to 16 us, then 16 steps per doubling (6 %), to 17 s. */
#ifndef DELAYLINE_HISTOGRAM_H
#define DELAYLINE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 352 };

struct histogram {
    uint64_t late[HISTOGRAM_BUCKETS];
    uint64_t early[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, int64_t value_ns, uint64_t weight);

/* Edges of bucket `index` by magnitude: low <= |value| < high (the last bucket also takes everything above). */
uint64_t histogram_low(unsigned index);
uint64_t histogram_high(unsigned index);

#endif

#include "histogram.h"

enum { UNIT_SHIFT = 10, SUB_SHIFT = 4, SUB = 1 << SUB_SHIFT };

static unsigned bucket_of(uint64_t magnitude_ns)
{
    uint64_t units = magnitude_ns >> UNIT_SHIFT;
    if (units < SUB)
        return (unsigned)units;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(units);
    unsigned sub = (unsigned)(units >> (exponent - SUB_SHIFT)) & (SUB - 1);
    unsigned index = (exponent - SUB_SHIFT + 1) * SUB + sub;
    return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(struct histogram *histogram, int64_t value_ns, uint64_t weight)
{
    if (value_ns >= 0)
        histogram->late[bucket_of((uint64_t)value_ns)] += weight;
    else
        histogram->early[bucket_of(-(uint64_t)value_ns)] += weight;
}

uint64_t histogram_low(unsigned index)
{
    if (index < SUB)
        return (uint64_t)index << UNIT_SHIFT;
    unsigned shift = index / SUB - 1;
    return (uint64_t)(SUB + index % SUB) << shift << UNIT_SHIFT;
}

uint64_t histogram_high(unsigned index)
{
    return histogram_low(index + 1);
}

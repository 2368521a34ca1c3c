/* Seeded randomness: splitmix64, one independent stream per purpose, so that switching one impairment on does not
 * change which packets another one picks. */
#ifndef DELAYLINE_RANDOM_H
#define DELAYLINE_RANDOM_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct random_stream {
    uint64_t state;
};

static inline uint64_t random_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t random_next(struct random_stream *stream)
{
    stream->state += 0x9e3779b97f4a7c15u;
    return random_mix(stream->state);
}

/* Uniform in [0, 1). */
static inline double random_unit(struct random_stream *stream)
{
    return (double)(random_next(stream) >> 11) * 0x1p-53;
}

static inline uint64_t random_below(struct random_stream *stream, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)random_next(stream) * bound) >> 64);
}

/* True with the given probability; draws nothing at probability 0. */
static inline bool random_hit(struct random_stream *stream, double probability)
{
    return probability > 0.0 && random_unit(stream) < probability;
}

/* Standard normal by Box-Muller; always two draws, so the stream position is a function of the packet count alone. */
static inline double random_normal(struct random_stream *stream)
{
    double radius = sqrt(-2.0 * log(1.0 - random_unit(stream)));
    return radius * cos(2.0 * 3.14159265358979323846 * random_unit(stream));
}

#endif

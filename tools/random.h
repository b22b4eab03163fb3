/* Random numbers that depend on a seed and a place alone: the same whatever the layout, the type and the order. */
#ifndef TOOLS_RANDOM_H
#define TOOLS_RANDOM_H
#include <stdint.h>

#include "tensor.h"

/* x += 0x9E3779B97F4A7C15, then the finaliser: splitmix64(1) = 0x910a2dec89025cc1. */
uint64_t random_splitmix64(uint64_t x);
/* [0, 1) with 53 bits. */
double random_uniform(uint64_t seed, uint64_t place);
/* Mean 0, variance 1, near normal (a sum of four uniforms: never beyond 3.5). */
double random_normal(uint64_t seed, uint64_t place);
/* 0 .. bound - 1; bound > 0. */
int64_t random_below(uint64_t seed, uint64_t place, int64_t bound);

/* Element number n becomes spread * random_normal(seed, n). */
bool random_fill_normal(tensor *, uint64_t seed, double spread);
/* Element number n becomes uniform in [low, high). */
bool random_fill_uniform(tensor *, uint64_t seed, double low, double high);

/* The rule of the random block layouts: keeps block (head, i, j) off the diagonal with this density.
 * Seed 0 is the standard workloads' rule. */
bool random_block(uint64_t seed, int64_t head, int64_t i, int64_t j, double density);

#endif

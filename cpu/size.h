/* Sizes of a workspace, in bytes. SIZE_MAX stands for every size that does not fit into a size_t. */
#ifndef SLAT_CPU_SIZE_H
#define SLAT_CPU_SIZE_H
#include "backend.h"

static inline size_t size_product(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

static inline size_t size_sum(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

/* So many floats, in whole cache lines and a few beyond: buffers of equal sizes do not alias. */
static inline size_t size_buffer(size_t floats)
{
    const size_t bytes = size_sum(size_product(floats, sizeof(float)), 255 + 256);
    return bytes == SIZE_MAX ? bytes : bytes / 256 * 256;
}

/* Fills the plan of a kernel of this folder. */
static inline slat_status size_plan(size_t bytes, const char *kernel, slat_plan *plan)
{
    if (bytes == SIZE_MAX) return slat_fail(SLAT_NO_MEMORY, "workspace: its size does not fit into a size_t");
    plan->kernel = kernel;
    plan->workspace = bytes;
    plan->deterministic = 1;
    plan->launches = 0;
    return SLAT_OK;
}
#endif

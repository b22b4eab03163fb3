/* The one table of backends, and the way from a checked problem to a kernel. */
#ifndef SLAT_DISPATCH_H
#define SLAT_DISPATCH_H
#include "backend.h"

/* Finds the kernel of the best backend that takes the problem (or of the forced one), finds its workspace, runs it; or
 * fills exec->plan. exec may be NULL. */
slat_status slat_dispatch(slat_problem *p, const slat_exec *exec);

/* module.c: the table of libslat_cuda.so, loaded once. NULL: the sentence in `why` (size bytes) says what is wrong. */
const slat_module_table *slat_module(char *why, size_t size);

extern const slat_backend_table slat_scalar;
#ifdef SLAT_CPU
extern const slat_backend_table slat_avx2, slat_avx512, slat_amx;
#endif
#endif

/* What this machine has, and wants. */
#ifndef SLAT_CPU_CPU_H
#define SLAT_CPU_CPU_H
#include "backend.h"

/* The tables that dispatch.c lists. */
extern const slat_backend_table slat_avx2, slat_avx512, slat_amx;

int32_t slat_avx2_rank(DLDevice device);
int32_t slat_avx512_rank(DLDevice device);
int32_t slat_amx_rank(DLDevice device);

/* Dot products of pairs of bf16, beside all that avx512 needs. */
int slat_has_avx512_bf16(void);

/* Whether what comes next is best fetched into the first-level cache, and not the second: so on AMD's processors. */
int slat_fetches_near(void);
#endif

/* A vector of f32 lanes: 8 on AVX2, 16 on AVX-512. This file, the two that it includes and gemm_tiles.h are
 * the only ones that know intrinsics.
 *
 * Every C file of this folder that includes it is compiled once per instruction set. CPU_NAME gives each copy of an
 * external symbol its own name.
 */
#ifndef SLAT_CPU_VEC_H
#define SLAT_CPU_VEC_H
#include "backend.h"
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* What a kernel's name ends with. */
#if defined(SLAT_TILES)
#define CPU_FORM " in tiles of bf16"
#elif defined(SLAT_PAIRS)
#define CPU_FORM " in pairs of bf16"
#else
#define CPU_FORM ""
#endif

#ifdef __AVX512F__
#include "vec_avx512.h"
#else
#include "vec_avx2.h"
#endif

/* Four floats to p, each times `factor`. */
INLINE void vec_store_sums(float *p, __m128 x, float factor)
{
    _mm_storeu_ps(p, _mm_mul_ps(x, _mm_set1_ps(factor)));
}

/* Brings a line of memory into the second-level cache. Any address will do. */
INLINE void vec_fetch(const void *at)
{
    _mm_prefetch(at, _MM_HINT_T1);
}

/* Into the first-level cache too, where `near` is slat_fetches_near(). */
INLINE void vec_fetch_next(const void *at, int near)
{
    if (near) _mm_prefetch(at, _MM_HINT_T0);
    else vec_fetch(at);
}

/* Into the last-level cache. */
INLINE void vec_fetch_far(const void *at)
{
    _mm_prefetch(at, _MM_HINT_T2);
}

/* Element p[at ...] of a row of any type, the first n lanes, the others 0. Nothing past them is read. */
INLINE vec vec_load_row(const void *row, slat_type type, int64_t at, int n)
{
    if (type == SLAT_F32) {
        const float *p = (const float *)row + at;
        return n >= VL ? vec_load(p) : vec_load_part(p, n);
    }
    const uint16_t *p = (const uint16_t *)row + at;
    uint16_t part[VL] = {0};
    if (n < VL) p = memcpy(part, p, (size_t)n * sizeof *p);
    return type == SLAT_BF16 ? vec_load_bf16(p) : vec_load_f16(p);
}

/* The first n lanes of x to row[at ...], rounded to nearest even. */
INLINE void vec_store_row(void *row, slat_type type, int64_t at, vec x, int n)
{
    if (type == SLAT_F32) {
        float *p = (float *)row + at;
        if (n >= VL)
            vec_store(p, x);
        else
            vec_store_part(p, x, n);
        return;
    }
    uint16_t part[VL], *p = (uint16_t *)row + at, *to = n >= VL ? p : part;
    if (type == SLAT_BF16)
        vec_store_bf16(to, x);
    else
        vec_store_f16(to, x);
    if (n < VL) memcpy(p, part, (size_t)n * sizeof *p);
}
#endif

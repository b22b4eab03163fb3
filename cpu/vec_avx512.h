/* vec.h on AVX-512: 16 lanes; with SLAT_PAIRS also dot products of pairs of bf16. With SLAT_TILES, which implies
 * SLAT_PAIRS, gemm_tiles.h adds the matrix product of AMX. */
#ifndef SLAT_CPU_VEC_AVX512_H
#define SLAT_CPU_VEC_AVX512_H
#include <immintrin.h>

#if defined(SLAT_TILES)
#define CPU_NAME(name) slat_amx_##name
#elif defined(SLAT_PAIRS)
#define CPU_NAME(name) slat_avx512_bf16_##name
#else
#define CPU_NAME(name) slat_avx512_##name
#endif
#define VL 16
typedef __m512 vec;
typedef __mmask16 vec_mask; /* one bit a lane */

INLINE vec vec_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE vec vec_all(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void vec_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}
INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* a * b - c */
INLINE vec vec_fms(vec a, vec b, vec c)
{
    return _mm512_fmsub_ps(a, b, c);
}
/* c - a * b */
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
/* Where one of both is NaN, b. */
INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE vec_mask vec_mask_of(uint32_t bits)
{
    return (vec_mask)bits;
}
INLINE vec vec_select(vec_mask m, vec yes, vec no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}
INLINE vec vec_keep(vec_mask m, vec x)
{
    return _mm512_maskz_mov_ps(m, x);
}
INLINE vec_mask vec_greater(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
INLINE int vec_any(vec_mask m)
{
    return m != 0;
}

/* The first n lanes, the others 0. */
INLINE vec vec_load_part(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void vec_store_part(float *p, vec x, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}
INLINE vec vec_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vec vec_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
INLINE void vec_store_f16(uint16_t *p, vec x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Rounded to nearest even; a NaN stays one. */
INLINE __m256i vec_bf16(vec x)
{
#ifdef SLAT_PAIRS
    return (__m256i)_mm512_cvtneps_pbh(x);
#endif
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    up = _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}
INLINE void vec_store_bf16(uint16_t *p, vec x)
{
    _mm256_storeu_si256((__m256i *)p, vec_bf16(x));
}

/* 2^x, relative error under 2e-7; exactly 0 below -126; NaN stays. x is at most 127. */
INLINE vec vec_exp2(vec x)
{
    const vec_mask big = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126), _CMP_NLT_UQ);
    const vec whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec f = _mm512_sub_ps(x, whole);
    vec y = vec_all(0x1.5c08e5p-10f);
    y = vec_fma(y, f, vec_all(0x1.3d0c52p-7f));
    y = vec_fma(y, f, vec_all(0x1.c6b6e4p-5f));
    y = vec_fma(y, f, vec_all(0x1.ebf918p-3f));
    y = vec_fma(y, f, vec_all(0x1.62e428p-1f));
    y = vec_fma(y, f, vec_all(1));
    return _mm512_maskz_scalef_ps(big, y, whole);
}

INLINE float vec_sum(vec x)
{
    return _mm512_reduce_add_ps(x);
}

/* The sums of four vectors' lanes. */
INLINE __m128 vec_sums(vec a, vec b, vec c, vec d)
{
    const vec ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const vec cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const vec x = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
}

#ifdef SLAT_PAIRS
/* sum + both products of a lane's pairs of bf16. */
INLINE vec vec_dot_pairs(vec a, vec b, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

/* Pairs of bf16: even in the lower halves, odd in the upper ones. */
INLINE vec vec_pair(vec even, vec odd)
{
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both));
}

/* The same of halves in memory, the first n of each. */
INLINE vec vec_pair_halves(const uint16_t *even, int n_even, const uint16_t *odd, int n_odd)
{
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)((1u << n_even) - 1), even));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)((1u << n_odd) - 1), odd));
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

/* Words at ... of a row of bf16, the first n halves of them. */
INLINE vec vec_load_words(const void *row, int64_t at, int n)
{
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16((__mmask32)((1ull << n) - 1), (const uint16_t *)row + 2 * at));
}
#endif

/* Transposes the matrix whose rows are x[0] ... x[VL - 1]. */
INLINE void vec_transpose(vec x[VL])
{
    __m512d y[VL];
    for (int i = 0; i < VL; i += 4) {
        const vec a = _mm512_unpacklo_ps(x[i], x[i + 1]), b = _mm512_unpackhi_ps(x[i], x[i + 1]);
        const vec c = _mm512_unpacklo_ps(x[i + 2], x[i + 3]), d = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
        y[i + 1] = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
        y[i + 2] = _mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
        y[i + 3] = _mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
    }
    for (int i = 0; i < 4;
         i++) { /* quarters of 4 lanes: y[4r + i] holds columns i, 4 + i, 8 + i, 12 + i of rows 4r... */
        const vec a = _mm512_castpd_ps(y[i]), b = _mm512_castpd_ps(y[4 + i]);
        const vec c = _mm512_castpd_ps(y[8 + i]), d = _mm512_castpd_ps(y[12 + i]);
        const vec ab = _mm512_shuffle_f32x4(a, b, 0x88), cd = _mm512_shuffle_f32x4(c, d, 0x88);
        const vec ef = _mm512_shuffle_f32x4(a, b, 0xdd), gh = _mm512_shuffle_f32x4(c, d, 0xdd);
        x[i] = _mm512_shuffle_f32x4(ab, cd, 0x88);
        x[8 + i] = _mm512_shuffle_f32x4(ab, cd, 0xdd);
        x[4 + i] = _mm512_shuffle_f32x4(ef, gh, 0x88);
        x[12 + i] = _mm512_shuffle_f32x4(ef, gh, 0xdd);
    }
}
#endif

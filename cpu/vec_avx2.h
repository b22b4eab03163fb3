/* vec.h on AVX2, FMA and F16C: 8 lanes. */
#ifndef SLAT_CPU_VEC_AVX2_H
#define SLAT_CPU_VEC_AVX2_H
#include <immintrin.h>

#define CPU_NAME(name) slat_avx2_##name
#define VL             8
typedef __m256 vec;
typedef __m256 vec_mask; /* all bits of a lane */

INLINE vec vec_zero(void)
{
    return _mm256_setzero_ps();
}
INLINE vec vec_all(float x)
{
    return _mm256_set1_ps(x);
}
INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE void vec_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}
INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
INLINE vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
/* a * b - c */
INLINE vec vec_fms(vec a, vec b, vec c)
{
    return _mm256_fmsub_ps(a, b, c);
}
/* c - a * b */
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
/* Where one of both is NaN, b. */
INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE vec_mask vec_mask_of(uint32_t bits)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), bit), bit));
}
INLINE vec vec_select(vec_mask m, vec yes, vec no)
{
    return _mm256_blendv_ps(no, yes, m);
}
INLINE vec vec_keep(vec_mask m, vec x)
{
    return _mm256_and_ps(m, x);
}
INLINE vec_mask vec_greater(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
INLINE int vec_any(vec_mask m)
{
    return _mm256_movemask_ps(m) != 0;
}

INLINE __m256i vec_first(int n) /* all bits of the first n lanes */
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/* The first n lanes, the others 0. */
INLINE vec vec_load_part(const float *p, int n)
{
    return _mm256_maskload_ps(p, vec_first(n));
}
INLINE void vec_store_part(float *p, vec x, int n)
{
    _mm256_maskstore_ps(p, vec_first(n), x);
}
INLINE vec vec_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
INLINE vec vec_load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
INLINE void vec_store_f16(uint16_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
/* Rounded to nearest even; a NaN stays one. */
INLINE void vec_store_bf16(uint16_t *p, vec x)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i half = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
    const __m256i pair = _mm256_permute4x64_epi64(_mm256_packus_epi32(half, half), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(pair));
}

/* 2^x, relative error under 2e-7; exactly 0 below -126; NaN stays. x is at most 127. */
INLINE vec vec_exp2(vec x)
{
    const vec big = _mm256_cmp_ps(x, _mm256_set1_ps(-126), _CMP_NLT_UQ);
    const vec whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec f = _mm256_sub_ps(x, whole);
    vec y = vec_all(0x1.5c08e5p-10f);
    y = vec_fma(y, f, vec_all(0x1.3d0c52p-7f));
    y = vec_fma(y, f, vec_all(0x1.c6b6e4p-5f));
    y = vec_fma(y, f, vec_all(0x1.ebf918p-3f));
    y = vec_fma(y, f, vec_all(0x1.62e428p-1f));
    y = vec_fma(y, f, vec_all(1));
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
    return _mm256_and_ps(big, _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), exponent)));
}

INLINE float vec_sum(vec x)
{
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

/* The sums of four vectors' lanes. */
INLINE __m128 vec_sums(vec a, vec b, vec c, vec d)
{
    const vec ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const vec cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const vec x = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

/* Transposes the matrix whose rows are x[0] ... x[VL - 1]. */
INLINE void vec_transpose(vec x[VL])
{
    vec y[VL];
    for (int i = 0; i < VL; i += 4) {
        const vec a = _mm256_unpacklo_ps(x[i], x[i + 1]), b = _mm256_unpackhi_ps(x[i], x[i + 1]);
        const vec c = _mm256_unpacklo_ps(x[i + 2], x[i + 3]), d = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm256_shuffle_ps(a, c, 0x44);
        y[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        y[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        y[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(y[i], y[4 + i], 0x20);
        x[4 + i] = _mm256_permute2f128_ps(y[i], y[4 + i], 0x31);
    }
}
#endif

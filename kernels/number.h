/* Elements of every type, read as double and written rounded to nearest even, singly and in rows.
 *
 * `data` is a tensor's first element and `at` counts elements from it. Data need not be aligned.
 */
#ifndef SLAT_NUMBER_H
#define SLAT_NUMBER_H
#include <stdint.h>
#include <string.h>

#include "walk.h"

static inline size_t slat_type_size(slat_type type) { return type == SLAT_F64 ? 8 : type == SLAT_F32 ? 4 : 2; }

/* An f16 is a sign, 5 bits of exponent (bias 15) and 10 of fraction; every one fits an f32 (bias 127, 23 bits). No
 * branches: compilers convert a row several elements at a time. */
static inline double slat_from_f16(uint16_t half)
{
    const uint32_t exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    const uint32_t normal = exponent != 0, special = exponent == 31u; /* special: infinity or NaN */
    const uint32_t significand = fraction | normal << 10;             /* value: significand 2^(max(exponent, 1) - 25) */
    const uint32_t power_bits = (exponent + 1u - normal + 127u - 25u) << 23;
    float power;
    memcpy(&power, &power_bits, sizeof power);
    float x = (float)(int32_t)significand * power;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits |= (uint32_t)(half & 0x8000u) << 16 | special * 0x7f800000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A bf16 is the upper half of an f32. */
static inline double slat_from_bf16(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x in a 16-bit format of so many bits of exponent and fraction. One rounding, straight from the double: by way of a
 * float there would be two. */
static inline uint16_t slat_to_half(double x, int exponent_bits, int fraction_bits)
{
    const int top = (1 << exponent_bits) - 1, bias = top >> 1; /* `top`: the exponent of infinity */
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = (uint32_t)(bits >> 63) << 15, infinity = (uint32_t)top << fraction_bits;
    bits &= ~((uint64_t)1 << 63);
    if (bits > (uint64_t)0x7ff << 52) return (uint16_t)(sign | infinity | 1u << (fraction_bits - 1)); /* NaN */
    const int exponent = (int)(bits >> 52) - 1023 + bias; /* biased anew */
    if (exponent >= top) return (uint16_t)(sign | infinity);
    int drop = 52 - fraction_bits; /* bits to round away */
    if (exponent > 0) {
        bits -= (uint64_t)(1023 - bias) << 52; /* a carry out of the fraction raises the exponent, as it should */
    } else {                                   /* subnormal: the leading one becomes a bit of the fraction */
        bits = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
        drop += 1 - exponent;
        if (drop > 53) return (uint16_t)sign;
    }
    const uint64_t kept = bits >> drop, lost = bits & (((uint64_t)1 << drop) - 1), tie = (uint64_t)1 << (drop - 1);
    return (uint16_t)(sign | (uint32_t)(kept + (lost > tie || (lost == tie && (kept & 1)))));
}

static inline uint16_t slat_to_f16(double x) { return slat_to_half(x, 5, 10); }
static inline uint16_t slat_to_bf16(double x) { return slat_to_half(x, 8, 7); }

/* Reads n neighbouring elements. */
static inline void slat_load_row(double *to, const void *data, slat_type type, int64_t at, int64_t n)
{
    const char *from = (const char *)data + at * (int64_t)slat_type_size(type);
    switch (type) {
    case SLAT_F64: memcpy(to, from, (size_t)n * sizeof *to); break;
    case SLAT_F32:
        for (int64_t c = 0; c < n; ++c) {
            float x;
            memcpy(&x, from + c * 4, sizeof x);
            to[c] = x;
        }
        break;
    case SLAT_F16:
        for (int64_t c = 0; c < n; ++c) {
            uint16_t half;
            memcpy(&half, from + c * 2, sizeof half);
            to[c] = slat_from_f16(half);
        }
        break;
    case SLAT_BF16:
        for (int64_t c = 0; c < n; ++c) {
            uint16_t half;
            memcpy(&half, from + c * 2, sizeof half);
            to[c] = slat_from_bf16(half);
        }
        break;
    }
}

/* Writes n neighbouring elements. */
static inline void slat_store_row(void *data, slat_type type, int64_t at, int64_t n, const double *from)
{
    char *to = (char *)data + at * (int64_t)slat_type_size(type);
    switch (type) {
    case SLAT_F64: memcpy(to, from, (size_t)n * sizeof *from); break;
    case SLAT_F32:
        for (int64_t c = 0; c < n; ++c) {
            const float x = (float)from[c];
            memcpy(to + c * 4, &x, sizeof x);
        }
        break;
    case SLAT_F16:
    case SLAT_BF16:
        for (int64_t c = 0; c < n; ++c) {
            const uint16_t half = type == SLAT_F16 ? slat_to_f16(from[c]) : slat_to_bf16(from[c]);
            memcpy(to + c * 2, &half, sizeof half);
        }
        break;
    }
}

static inline double slat_load(const void *data, slat_type type, int64_t at)
{
    double x;
    slat_load_row(&x, data, type, at, 1);
    return x;
}

static inline void slat_store(void *data, slat_type type, int64_t at, double x)
{
    slat_store_row(data, type, at, 1, &x);
}

/* Row (b, at, h) of a tensor: n elements. */
static inline void slat_view_load(double *to, const slat_view *view, int64_t b, slat_point at, int64_t h, int64_t n)
{
    slat_load_row(to, view->data, view->type, slat_offset(view, b, at, h), n);
}

static inline void slat_view_store(const slat_view *view, int64_t b, slat_point at, int64_t h, int64_t n,
                                   const double *from)
{
    slat_store_row(view->data, view->type, slat_offset(view, b, at, h), n, from);
}

/* The type of lse, sinks, slopes and states beside inputs of this type. */
static inline slat_type slat_exact_type(slat_type type) { return type == SLAT_F64 ? SLAT_F64 : SLAT_F32; }

#endif

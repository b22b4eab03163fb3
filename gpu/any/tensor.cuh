/* Elements of tensors as f32, four at a time, for any type, stride and alignment.
 *
 * Types are looked up as the kernel runs: every thread of a block takes the same branch, and no kernel is compiled once
 * for each of them.
 */
#ifndef SLAT_ANY_TENSOR_CUH
#define SLAT_ANY_TENSOR_CUH
#include "walk.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace simt
{

/* The rows of one (batch, head) of a tensor. wide: they begin at multiples of 16 bytes. */
struct source {
    const char *data;
    slat_type type;
    bool wide;
};

struct target {
    char *data;
    slat_type type;
    bool wide;
};

__device__ inline int64_t bytes_of(slat_type type)
{
    return type == SLAT_F32 ? 4 : 2;
}

__device__ inline source source_of(const slat_view &v, int64_t b, int64_t h, bool wide)
{
    return {(const char *)v.data + (b * v.batch + h * v.head) * bytes_of(v.type), v.type, wide};
}

__device__ inline target target_of(const slat_view &v, int64_t b, int64_t h, bool wide)
{
    return {(char *)v.data + (b * v.batch + h * v.head) * bytes_of(v.type), v.type, wide};
}

/* Where a token's row begins, in elements from its source. */
__device__ inline int64_t token_at(const slat_view &v, slat_point at)
{
    return at.x * v.token[0] + at.y * v.token[1] + at.z * v.token[2];
}

__device__ inline bool is_wide(const slat_problem &p)
{
    return p.aligned && p.strides16;
}

/* Elements column ... column + 3 of a row, as they lie in memory: nothing waits for them until they are widened. Those
 * past `width` are 0. f32 fills the four words, the 16-bit types fill two. */
__device__ inline uint4 fetch(const source &s, int64_t at, int column, int width)
{
    uint4 bits = make_uint4(0, 0, 0, 0);
    const int n = width - column;
    if (n <= 0) return bits;
    if (s.type == SLAT_F32) {
        const unsigned *x = (const unsigned *)s.data + at + column;
        if (s.wide && n >= 4) return *(const uint4 *)x;
        bits.x = x[0];
        if (n > 1) bits.y = x[1];
        if (n > 2) bits.z = x[2];
        if (n > 3) bits.w = x[3];
        return bits;
    }
    const unsigned short *x = (const unsigned short *)s.data + at + column;
    if (s.wide && n >= 4) {
        const uint2 two = *(const uint2 *)x;
        return make_uint4(two.x, two.y, 0, 0);
    }
    bits.x = x[0];
    if (n > 1) bits.x |= (unsigned)x[1] << 16;
    if (n > 2) bits.y = x[2];
    if (n > 3) bits.y |= (unsigned)x[3] << 16;
    return bits;
}

__device__ inline float2 widen_pair(unsigned bits, slat_type type)
{
    if (type == SLAT_BF16) return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
    const __half_raw low = {(unsigned short)bits}, high = {(unsigned short)(bits >> 16)};
    return make_float2(__half2float(__half(low)), __half2float(__half(high)));
}

__device__ inline float4 widen(uint4 bits, slat_type type)
{
    if (type == SLAT_F32)
        return make_float4(__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z),
                           __uint_as_float(bits.w));
    const float2 low = widen_pair(bits.x, type), high = widen_pair(bits.y, type);
    return make_float4(low.x, low.y, high.x, high.y);
}

/* One element. */
__device__ inline float load(const source &s, int64_t at)
{
    if (s.type == SLAT_F32) return ((const float *)s.data)[at];
    return widen_pair(((const unsigned short *)s.data)[at], s.type).x;
}

/* Rounded to nearest even. */
__device__ inline unsigned short narrow(float x, slat_type type)
{
    if (type == SLAT_BF16) return __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return __half_as_ushort(__float2half_rn(x));
}

__device__ inline void store(const target &t, int64_t at, float x)
{
    if (t.type == SLAT_F32)
        ((float *)t.data)[at] = x;
    else
        ((unsigned short *)t.data)[at] = narrow(x, t.type);
}

/* Elements column ... column + 3 of a row; those past `width` are left alone. */
__device__ inline void store(const target &t, int64_t at, int column, int width, float4 x)
{
    if (t.wide && column + 4 <= width) {
        if (t.type == SLAT_F32) {
            *(float4 *)((float *)t.data + at + column) = x;
            return;
        }
        const unsigned low = narrow(x.x, t.type) | (unsigned)narrow(x.y, t.type) << 16;
        const unsigned high = narrow(x.z, t.type) | (unsigned)narrow(x.w, t.type) << 16;
        *(uint2 *)((unsigned short *)t.data + at + column) = make_uint2(low, high);
        return;
    }
    if (column < width) store(t, at + column, x.x);
    if (column + 1 < width) store(t, at + column + 1, x.y);
    if (column + 2 < width) store(t, at + column + 2, x.z);
    if (column + 3 < width) store(t, at + column + 3, x.w);
}

/* f32 vectors and per-row numbers: lse, slopes, sink. */
__device__ inline float row_number(const slat_view &v, int64_t b, slat_point at, int64_t h)
{
    return ((const float *)v.data)[slat_offset(&v, b, at, h)];
}

/* The n-th point of a grid in row-major order. */
__device__ inline slat_point point_of(slat_point grid, int64_t n)
{
    if (grid.x == 1 && grid.y == 1) return slat_at(0, 0, n);
    return slat_at(n / grid.z / grid.y, n / grid.z % grid.y, n % grid.z);
}

} // namespace simt
#endif

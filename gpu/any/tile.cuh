/* Products of 64 x 64 tiles in f32 (FFMA), through shared memory.
 *
 * 256 threads stand as 16 x 16: thread (ty, tx) holds a 4 x 4 part of a tile. Two forms serve every softmax kernel:
 *   nt: C[r][c] = sum_d A[r][d] B[c][d], rows ty + 16 i, columns tx + 16 j. Both operands stream from device memory in
 *       slices of 32 columns, the next one fetched into registers while this one is multiplied.
 *   nn: C[r][c] += sum_n P[r][n] B[n][c], rows ty + 16 i, columns 4 tx + j of each group of 64. P stands in shared
 *       memory (where nt's A was), B streams in slices of 32 rows.
 * and one more serves recurrences:
 *   tn: C[d][c] += sum_n A[n][d] B[n][c], rows 4 ty + i, columns 4 tx + j. Both stand in shared memory.
 * A row of a slice is followed by 4 unused floats, so that 8 lanes reading 16 bytes of 8 rows meet no bank twice.
 */
#ifndef SLAT_ANY_TILE_CUH
#define SLAT_ANY_TILE_CUH
#include "launch.h"
#include "tensor.cuh"

namespace simt
{

constexpr int tile = 64, slice = 32;
constexpr int narrow_row = slice + 4, wide_row = tile + 4; /* floats from one row to the next in shared memory */

struct buffers {
    float a[2][tile * narrow_row]; /* two stages of nt's A; or P, 64 rows of wide_row */
    float b[2][tile * narrow_row]; /* two stages of B */
};

typedef float part[4][4];

extern __shared__ float4 slat_shared[];
template <class T> __device__ inline T &shared()
{
    return *(T *)slat_shared;
}

__device__ inline int lane_x()
{
    return threadIdx.x & 15;
}
__device__ inline int lane_y()
{
    return threadIdx.x >> 4;
}

/* The rows of an operand: where each begins, and which exist (the others are 0). */
struct rows_of {
    const int64_t *at; /* [64], in shared memory */
    uint64_t present;
};

__device__ inline uint64_t first_rows(int64_t n)
{
    return n >= 64 ? ~0ull : (1ull << n) - 1;
}

__device__ inline uint4 fetch_row(const source &s, const rows_of &rows, int row, int column, int width)
{
    if (!(rows.present >> row & 1)) return make_uint4(0, 0, 0, 0);
    return fetch(s, rows.at[row], column, width);
}

/* 64 rows x 32 columns: two fetches a thread. */
__device__ inline void fetch_narrow(uint4 (&bits)[2], const source &s, const rows_of &rows, int column, int width)
{
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        const int at = threadIdx.x + n * slat_block;
        bits[n] = fetch_row(s, rows, at >> 3, column + (at & 7) * 4, width);
    }
}

__device__ inline void put_narrow(float *to, const uint4 (&bits)[2], slat_type type)
{
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        const int at = threadIdx.x + n * slat_block;
        *(float4 *)(to + (at >> 3) * narrow_row + (at & 7) * 4) = widen(bits[n], type);
    }
}

/* 16 N rows x 64 columns, from row `first`: N fetches a thread. */
template <int N>
__device__ inline void fetch_wide(uint4 (&bits)[N], const source &s, const rows_of &rows, int first, int column,
                                  int width)
{
#pragma unroll
    for (int n = 0; n < N; ++n) bits[n] = fetch_row(s, rows, first + lane_y() + n * 16, column + lane_x() * 4, width);
}

template <int N> __device__ inline void put_wide(float *to, const uint4 (&bits)[N], slat_type type)
{
#pragma unroll
    for (int n = 0; n < N; ++n) *(float4 *)(to + (lane_y() + n * 16) * wide_row + lane_x() * 4) = widen(bits[n], type);
}

__device__ inline float4 four(const float *x)
{
    return *(const float4 *)x;
}

__device__ inline void multiply_nt(part &c, const float *a, const float *b)
{
    a += lane_y() * narrow_row;
    b += lane_x() * narrow_row;
#pragma unroll
    for (int k = 0; k < slice; k += 4) {
        float4 x[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            x[i] = four(a + i * 16 * narrow_row + k);
            y[i] = four(b + i * 16 * narrow_row + k);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                c[i][j] = fmaf(x[i].x, y[j].x, c[i][j]);
                c[i][j] = fmaf(x[i].y, y[j].y, c[i][j]);
                c[i][j] = fmaf(x[i].z, y[j].z, c[i][j]);
                c[i][j] = fmaf(x[i].w, y[j].w, c[i][j]);
            }
    }
}

__device__ inline void add_row(float (&c)[4], float a, float4 b)
{
    c[0] = fmaf(a, b.x, c[0]);
    c[1] = fmaf(a, b.y, c[1]);
    c[2] = fmaf(a, b.z, c[2]);
    c[3] = fmaf(a, b.w, c[3]);
}

/* `depth` columns of P, a multiple of 4. */
__device__ inline void multiply_nn(part &c, const float *p, const float *b, int depth)
{
    p += lane_y() * wide_row;
    b += lane_x() * 4;
#pragma unroll 4
    for (int k = 0; k < depth; k += 4) {
        float4 x[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            x[i] = four(p + i * 16 * wide_row + k);
            y[i] = four(b + (k + i) * wide_row);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            add_row(c[i], x[i].x, y[0]);
            add_row(c[i], x[i].y, y[1]);
            add_row(c[i], x[i].z, y[2]);
            add_row(c[i], x[i].w, y[3]);
        }
    }
}

__device__ inline void multiply_tn(part &c, const float *a, const float *b)
{
#pragma unroll 8
    for (int k = 0; k < tile; ++k) {
        const float4 x = four(a + k * wide_row + lane_y() * 4), y = four(b + k * wide_row + lane_x() * 4);
        add_row(c[0], x.x, y);
        add_row(c[1], x.y, y);
        add_row(c[2], x.z, y);
        add_row(c[3], x.w, y);
    }
}

/* C = A B^T over `depth` columns. The buffers are free when this begins, and still being read when a thread leaves. */
__device__ inline void product_nt(part &c, buffers &s, const source &a, const rows_of &ra, const source &b,
                                  const rows_of &rb, int depth)
{
    uint4 x[2], y[2];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] = 0;
    fetch_narrow(x, a, ra, 0, depth);
    fetch_narrow(y, b, rb, 0, depth);
#pragma unroll 1
    for (int at = 0, stage = 0; at < depth; at += slice, stage ^= 1) {
        put_narrow(s.a[stage], x, a.type);
        put_narrow(s.b[stage], y, b.type);
        __syncthreads();
        if (at + slice < depth) {
            fetch_narrow(x, a, ra, at + slice, depth);
            fetch_narrow(y, b, rb, at + slice, depth);
        }
        multiply_nt(c, s.a[stage], s.b[stage]);
    }
}

/* C += P B over the first `depth` rows of B (and columns of P, which this thread has put into s.a), for the groups of
 * 64 columns from `column` that lie within `width`. s.b is free when this begins; both are still being read when a
 * thread leaves. */
template <int GROUPS>
__device__ inline void product_nn(part (&c)[GROUPS], buffers &s, const source &b, const rows_of &rb, int depth,
                                  int column, int width)
{
    uint4 y[2];
    int stage = 0;
    fetch_wide(y, b, rb, 0, column, width);
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        const int from = column + g * tile;
        if (from >= width) break;
#pragma unroll 1
        for (int row = 0; row < depth; row += slice, stage ^= 1) {
            put_wide(s.b[stage], y, b.type);
            __syncthreads();
            if (row + slice < depth)
                fetch_wide(y, b, rb, row + slice, from, width);
            else if (from + tile < width)
                fetch_wide(y, b, rb, 0, from + tile, width);
            multiply_nn(c[g], s.a[0] + row, s.b[stage], slice);
        }
    }
}

/* Puts a tile of nt's shape where nn reads P. */
__device__ inline void put_tile(float *to, const part &c)
{
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) to[(lane_y() + 16 * i) * wide_row + lane_x() + 16 * j] = c[i][j];
}

/* Writes factor[i] times the tile of nn's shape: rows that are present, columns of group g within width. */
template <int GROUPS>
__device__ inline void write_tile(const part (&c)[GROUPS], const float (&factor)[4], const target &to,
                                  const rows_of &rows, int column, int width)
{
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int row = lane_y() + 16 * i;
        if (!(rows.present >> row & 1)) continue;
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) {
            const float4 x = make_float4(c[g][i][0] * factor[i], c[g][i][1] * factor[i], c[g][i][2] * factor[i],
                                         c[g][i][3] * factor[i]);
            store(to, rows.at[row], column + g * tile + lane_x() * 4, width, x);
        }
    }
}

} // namespace simt
#endif

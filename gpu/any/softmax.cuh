/* What the softmax kernels share: one side of a tile, who sees whom, the online softmax of a row.
 *
 * A walk says what a tile is. For 64 queries (Walk::query_tile) it lists the keys that any of them may see, for 64 keys
 * (Walk::key_tile) the queries; the other side is taken 64 at a time from that list. Walk::visible tells whether a
 * query sees a key, from records made once a tile.
 */
#ifndef SLAT_ANY_SOFTMAX_CUH
#define SLAT_ANY_SOFTMAX_CUH
#include "tile.cuh"
#include <math_constants.h>

namespace simt
{

constexpr float log2e = 1.4426950408889634f, ln2 = 0.6931471805599453f;

/* One side of a tile in shared memory: its records and where the rows of two tensors begin. */
template <class Record> struct side {
    Record record[tile];
    int64_t first[tile], second[tile]; /* queries: q and o or do; keys: k and v */
};

/* Which rows of the far side are listed, and which of them some row of the near side sees. */
struct sight {
    unsigned listed[2], seen[2];

    __device__ uint64_t all_listed() const { return listed[0] | (uint64_t)listed[1] << 32; }
    __device__ uint64_t all_seen() const { return seen[0] | (uint64_t)seen[1] << 32; }
};

/* Called by threads 0 to 63, each for its row. */
__device__ inline void list_row(sight &s, bool listed)
{
    const unsigned word = __ballot_sync(~0u, listed);
    if ((threadIdx.x & 31) == 0) {
        s.listed[threadIdx.x >> 5] = word;
        s.seen[threadIdx.x >> 5] = 0;
    }
}

/* Adds to `words` the columns for which `bits` has a bit. Bit 4 i + j stands for row ty + 16 i, column tx + 16 j. */
__device__ inline void mark_columns(unsigned (&words)[2], unsigned bits)
{
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const unsigned lanes = __ballot_sync(~0u, (bits >> j & 0x1111u) != 0);
        if ((threadIdx.x & 31) == 0) atomicOr(&words[j >> 1], ((lanes | lanes >> 16) & 0xffffu) << (16 * (j & 1)));
    }
}

/* The bits of this thread's part, where sees(near row, far column) is true. */
template <class Sees> __device__ inline unsigned part_bits(uint64_t near, uint64_t far, const Sees &sees)
{
    unsigned bits = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int column = lane_x() + 16 * j;
        if (!(far >> column & 1)) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = lane_y() + 16 * i;
            if ((near >> row & 1) && sees(row, column)) bits |= 1u << (4 * i + j);
        }
    }
    return bits;
}

__device__ inline bool has(unsigned bits, int i, int j)
{
    return bits >> (4 * i + j) & 1;
}

/* Over the 16 threads that hold a row. */
__device__ inline float row_max(float x)
{
#pragma unroll
    for (int n = 1; n < 16; n *= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, n));
    return x;
}

__device__ inline float row_sum(float x)
{
#pragma unroll
    for (int n = 1; n < 16; n *= 2) x += __shfl_xor_sync(~0u, x, n);
    return x;
}

/* The online softmax of this thread's four rows. Logits count in base 2. sum is this thread's share of its row's. */
struct running {
    float top[4], sum[4];
};

__device__ inline float sink_of(const slat_problem &p, int h)
{
    return p.sink.data ? ((const float *)p.sink.data)[h * p.sink.head] : -CUDART_INF_F;
}

/* A row's initial maximum and sum: its sink. */
__device__ inline void begin_rows(running &r, const slat_problem &p, int h)
{
    const float sink = sink_of(p, h);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        r.top[i] = sink * log2e;
        r.sum[i] = lane_x() == 0 && sink != -CUDART_INF_F ? 1.0f : 0.0f;
    }
}

/* A tile of logits becomes weights relative to the new maximum; o follows it. Hidden ones are 0, whatever they hold. */
template <int GROUPS> __device__ inline void weigh(running &r, part &s, unsigned bits, part (&o)[GROUPS])
{
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float top = -CUDART_INF_F;
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (has(bits, i, j)) top = fmaxf(top, s[i][j]);
        top = fmaxf(r.top[i], row_max(top));
        const float base = top == -CUDART_INF_F ? 0.0f : top;
        const float shrink = exp2f(r.top[i] - base);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            s[i][j] = has(bits, i, j) ? exp2f(s[i][j] - base) : 0.0f;
            sum += s[i][j];
        }
        r.top[i] = top;
        r.sum[i] = r.sum[i] * shrink + sum;
#pragma unroll
        for (int g = 0; g < GROUPS; ++g)
#pragma unroll
            for (int c = 0; c < 4; ++c) o[g][i][c] *= shrink;
    }
}

__device__ inline void scale_part(part &s, float factor)
{
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) s[i][j] *= factor;
}

/* A row that nothing but its sink has entered gets the sink itself. */
__device__ inline float log_sum(float top, float sum, float sink)
{
    if (sum == 0) return -CUDART_INF_F;
    return sum == 1 && top == sink * log2e ? sink : top * ln2 + logf(sum);
}

/* Divides by the sums and writes o and lse of the rows that are present. point(row) is where a row stands. */
template <int GROUPS, class Point>
__device__ inline void finish_rows(running &r, const part (&o)[GROUPS], const slat_problem &p, int64_t b, int h,
                                   const rows_of &rows, const Point &point)
{
    const float sink = sink_of(p, h);
    float factor[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float sum = row_sum(r.sum[i]);
        factor[i] = sum == 0 ? 0.0f : 1 / sum;
        const int row = lane_y() + 16 * i;
        if (p.lse.data && lane_x() == 0 && rows.present >> row & 1)
            ((float *)p.lse.data)[slat_offset(&p.lse, b, point(row), h)] = log_sum(r.top[i], sum, sink);
    }
    write_tile(o, factor, target_of(p.o, b, h, is_wide(p)), rows, 0, p.dv);
}

/* What backward knows of a query row: lse in base 2 (+inf where nothing is visible, so that weights are 0), and delta -
 * dlse. */
struct row_state {
    float lse, shift;
};

__device__ inline row_state state_of(const slat_problem &p, const float *shift, int64_t b, int h, slat_point at)
{
    const float lse = row_number(p.lse, b, at, h);
    const int64_t row = slat_index(slat_query_box(&p), at);
    return {lse == -CUDART_INF_F ? CUDART_INF_F : lse * log2e, shift[(b * p.hq + h) * p.tq + row]};
}

} // namespace simt
#endif

/* The backward loops. Each gradient has one owner, so that nothing is added from two sides and every sum has one order:
 *   grad_query: a block owns 64 queries of one head; dq = scale dS K over the keys that they see.
 *   grad_key:   a block owns 64 keys of one key head; dk = scale dS^T Q and dv = P^T dO over the queries that see them,
 *               query head by query head.
 * with P = exp(s - lse) and dS = P (dO V^T - delta + dlse); delta - dlse of each row is computed before.
 */
#ifndef SLAT_ANY_SOFTMAX_BACKWARD_CUH
#define SLAT_ANY_SOFTMAX_BACKWARD_CUH
#include "softmax_forward.cuh"

namespace simt
{

template <class Walk> struct backward_room {
    buffers tiles;
    side<typename Walk::query> queries;
    side<typename Walk::key> keys;
    row_state state[tile]; /* of the queries */
    sight who;
};

/* P and dS of one element. */
__device__ inline void unweigh(float &s, float &u, bool visible, float scale, row_state state)
{
    const float weight = visible ? exp2f(s * scale - state.lse) : 0.0f;
    u = visible ? weight * (u - state.shift) : 0.0f;
    s = weight;
}

template <class Walk, int GROUPS>
__device__ void grad_query_tile(const slat_problem &p, const float *shift, const typename Walk::query_tile &t,
                                int64_t b, int h)
{
    backward_room<Walk> &s = shared<backward_room<Walk>>();
    const uint64_t present = first_rows(t.rows);
    const int head = slat_key_head(&p, h);
    const bool wide = is_wide(p);
    const source q = source_of(p.q, b, h, wide), k = source_of(p.k, b, head, wide), v = source_of(p.v, b, head, wide);
    const source grad_o = source_of(p.grad_o, b, h, wide);
    const float scale = (float)(p.scale * (double)log2e);
    if (threadIdx.x < t.rows) {
        const slat_point at = t.query(threadIdx.x, s.queries.record[threadIdx.x]);
        s.queries.first[threadIdx.x] = token_at(p.q, at);
        s.queries.second[threadIdx.x] = token_at(p.grad_o, at);
        s.state[threadIdx.x] = state_of(p, shift, b, h, at);
    }
    part sum[GROUPS] = {};
#pragma unroll 1
    for (int64_t n = 0; n < t.keys; n += tile) {
        __syncthreads();
        list_keys<Walk>(p, t, n, s.keys, s.who);
        __syncthreads();
        const unsigned bits = part_bits(present, s.who.all_listed(), [&](int row, int column) {
            return Walk::visible(p, s.queries.record[row], s.keys.record[column]);
        });
        mark_columns(s.who.seen, bits);
        __syncthreads();
        const uint64_t seen = s.who.all_seen();
        if (!seen) continue;

        part c, u;
        product_nt(c, s.tiles, q, {s.queries.first, present}, k, {s.keys.first, seen}, p.d);
        __syncthreads();
        product_nt(u, s.tiles, grad_o, {s.queries.second, present}, v, {s.keys.second, seen}, p.dv);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const row_state state = s.state[lane_y() + 16 * i];
#pragma unroll
            for (int j = 0; j < 4; ++j) unweigh(c[i][j], u[i][j], has(bits, i, j), scale, state);
        }
        __syncthreads();
        put_tile(s.tiles.a[0], u);
        product_nn(sum, s.tiles, k, {s.keys.first, seen}, 64 - __clzll(seen), 0, p.d);
    }
    __syncthreads();
    typename Walk::query ignored;
    if (threadIdx.x < t.rows) s.queries.second[threadIdx.x] = token_at(p.grad_q, t.query(threadIdx.x, ignored));
    __syncthreads();
    const float factor[4] = {(float)p.scale, (float)p.scale, (float)p.scale, (float)p.scale};
    write_tile(sum, factor, target_of(p.grad_q, b, h, wide), {s.queries.second, present}, 0, p.d);
    __syncthreads();
}

template <class Walk, int GROUPS>
__global__ void __launch_bounds__(slat_block, GROUPS > 2 ? 1 : 2)
    softmax_grad_query(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk, const float *shift,
                       int64_t tiles)
{
    const int64_t work = tiles * p.hq * p.b;
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int h = n / tiles % p.hq;
        const int64_t b = n / tiles / p.hq;
        const typename Walk::query_tile t = walk.queries(p, b, h, tiles - 1 - n % tiles);
        if (t.rows > 0) grad_query_tile<Walk, GROUPS>(p, shift, t, b, h);
    }
}

/* Queries n ... n + 63 of the tile's list. */
template <class Walk>
__device__ inline void list_queries(const slat_problem &p, const typename Walk::key_tile &t, const float *shift,
                                    int64_t n, int64_t b, int h, backward_room<Walk> &s)
{
    if (threadIdx.x >= tile) return;
    slat_point at = slat_at(0, 0, 0);
    const bool listed = n + threadIdx.x < t.queries && t.query(n + threadIdx.x, at, s.queries.record[threadIdx.x]);
    if (listed) {
        s.queries.first[threadIdx.x] = token_at(p.q, at);
        s.queries.second[threadIdx.x] = token_at(p.grad_o, at);
        s.state[threadIdx.x] = state_of(p, shift, b, h, at);
    }
    list_row(s.who, listed);
}

/* Adds what the queries of head h give to this tile's dk and dv. */
template <class Walk, int GROUPS>
__device__ void add_queries(const slat_problem &p, const typename Walk::key_tile &t, const float *shift, int64_t b,
                            int h, part (&grad_k)[GROUPS], part (&grad_v)[GROUPS])
{
    backward_room<Walk> &s = shared<backward_room<Walk>>();
    const uint64_t present = first_rows(t.rows);
    const int head = slat_key_head(&p, h);
    const bool wide = is_wide(p);
    const source q = source_of(p.q, b, h, wide), k = source_of(p.k, b, head, wide), v = source_of(p.v, b, head, wide);
    const source grad_o = source_of(p.grad_o, b, h, wide);
    const float scale = (float)(p.scale * (double)log2e);
#pragma unroll 1
    for (int64_t n = 0; n < t.queries; n += tile) {
        __syncthreads();
        list_queries<Walk>(p, t, shift, n, b, h, s);
        __syncthreads();
        const unsigned bits = part_bits(present, s.who.all_listed(), [&](int row, int column) {
            return Walk::visible(p, s.queries.record[column], s.keys.record[row]);
        });
        mark_columns(s.who.seen, bits);
        __syncthreads();
        const uint64_t seen = s.who.all_seen();
        if (!seen) continue;

        const int depth = 64 - __clzll(seen);
        part c, u = {};
        product_nt(c, s.tiles, k, {s.keys.first, present}, q, {s.queries.first, seen}, p.d);
        if (p.grad_k.data) {
            __syncthreads();
            product_nt(u, s.tiles, v, {s.keys.second, present}, grad_o, {s.queries.second, seen}, p.dv);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const row_state state = s.state[lane_x() + 16 * j];
#pragma unroll
            for (int i = 0; i < 4; ++i) unweigh(c[i][j], u[i][j], has(bits, i, j), scale, state);
        }
        if (p.grad_v.data) {
            __syncthreads();
            put_tile(s.tiles.a[0], c);
            product_nn(grad_v, s.tiles, grad_o, {s.queries.second, seen}, depth, 0, p.dv);
        }
        if (p.grad_k.data) {
            __syncthreads();
            put_tile(s.tiles.a[0], u);
            product_nn(grad_k, s.tiles, q, {s.queries.first, seen}, depth, 0, p.d);
        }
    }
}

template <class Walk, int GROUPS>
__device__ void grad_key_tile(const slat_problem &p, typename Walk::key_tile &t, const float *shift, int64_t b,
                              int head)
{
    backward_room<Walk> &s = shared<backward_room<Walk>>();
    const uint64_t present = first_rows(t.rows);
    const int group = p.hq / p.hk;
    typename Walk::key ignored;
    if (threadIdx.x < t.rows) {
        const slat_point at = t.key(threadIdx.x, s.keys.record[threadIdx.x]);
        s.keys.first[threadIdx.x] = token_at(p.k, at);
        s.keys.second[threadIdx.x] = token_at(p.v, at);
    }
    part grad_k[GROUPS] = {}, grad_v[GROUPS] = {};
    for (int h = head * group; h < (head + 1) * group; ++h) {
        t.begin(p, b, h);
        add_queries<Walk, GROUPS>(p, t, shift, b, h, grad_k, grad_v);
    }
    __syncthreads();
    if (threadIdx.x < t.rows) {
        const slat_point at = t.key(threadIdx.x, ignored);
        if (p.grad_k.data) s.keys.first[threadIdx.x] = token_at(p.grad_k, at);
        if (p.grad_v.data) s.keys.second[threadIdx.x] = token_at(p.grad_v, at);
    }
    __syncthreads();
    const float scale = (float)p.scale;
    const float scales[4] = {scale, scale, scale, scale}, ones[4] = {1, 1, 1, 1};
    const bool wide = is_wide(p);
    if (p.grad_k.data) write_tile(grad_k, scales, target_of(p.grad_k, b, head, wide), {s.keys.first, present}, 0, p.d);
    if (p.grad_v.data) write_tile(grad_v, ones, target_of(p.grad_v, b, head, wide), {s.keys.second, present}, 0, p.dv);
    __syncthreads();
}

template <class Walk, int GROUPS>
__global__ void __launch_bounds__(slat_block, 1)
    softmax_grad_key(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk, const float *shift,
                     int64_t tiles)
{
    const int64_t work = tiles * p.hk * p.b;
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int head = n / tiles % p.hk;
        const int64_t b = n / tiles / p.hk;
        typename Walk::key_tile t = walk.keys(p, b, head, n % tiles);
        if (t.rows > 0) grad_key_tile<Walk, GROUPS>(p, t, shift, b, head);
    }
}

} // namespace simt
#endif

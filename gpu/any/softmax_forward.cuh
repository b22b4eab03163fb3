/* The forward loop: a block owns 64 queries of one head and walks the keys that they may see, 64 at a time.
 *
 * S = Q K^T lies in registers, the online softmax turns it into weights, they pass through shared memory, O += P V. Key
 * tiles that none of these queries sees are not loaded, keys that none of them sees are 0.
 */
#ifndef SLAT_ANY_SOFTMAX_FORWARD_CUH
#define SLAT_ANY_SOFTMAX_FORWARD_CUH
#include "softmax.cuh"

namespace simt
{

template <class Walk> struct forward_room {
    buffers tiles;
    side<typename Walk::query> rows;
    side<typename Walk::key> columns;
    sight who;
};

/* Keys n ... n + 63 of the tile's list. */
template <class Walk>
__device__ inline void list_keys(const slat_problem &p, const typename Walk::query_tile &t, int64_t n,
                                 side<typename Walk::key> &columns, sight &who)
{
    if (threadIdx.x >= tile) return;
    slat_point at = slat_at(0, 0, 0);
    const bool listed = n + threadIdx.x < t.keys && t.key(n + threadIdx.x, at, columns.record[threadIdx.x]);
    if (listed) {
        columns.first[threadIdx.x] = token_at(p.k, at);
        columns.second[threadIdx.x] = token_at(p.v, at);
    }
    list_row(who, listed);
}

template <class Walk, int GROUPS>
__device__ void forward_tile(const slat_problem &p, const typename Walk::query_tile &t, int64_t b, int h)
{
    forward_room<Walk> &s = shared<forward_room<Walk>>();
    const uint64_t present = first_rows(t.rows);
    const int head = slat_key_head(&p, h);
    const bool wide = is_wide(p);
    const source q = source_of(p.q, b, h, wide), k = source_of(p.k, b, head, wide), v = source_of(p.v, b, head, wide);
    if (threadIdx.x < t.rows) {
        const slat_point at = t.query(threadIdx.x, s.rows.record[threadIdx.x]);
        s.rows.first[threadIdx.x] = token_at(p.q, at);
        s.rows.second[threadIdx.x] = token_at(p.o, at);
    }
    running r;
    part o[GROUPS] = {};
    begin_rows(r, p, h);
#pragma unroll 1
    for (int64_t n = 0; n < t.keys; n += tile) {
        __syncthreads(); /* nobody reads the last tile any more */
        list_keys<Walk>(p, t, n, s.columns, s.who);
        __syncthreads();
        const unsigned bits = part_bits(present, s.who.all_listed(), [&](int row, int column) {
            return Walk::visible(p, s.rows.record[row], s.columns.record[column]);
        });
        mark_columns(s.who.seen, bits);
        __syncthreads();
        const uint64_t seen = s.who.all_seen();
        if (!seen) continue;

        part c;
        product_nt(c, s.tiles, q, {s.rows.first, present}, k, {s.columns.first, seen}, p.d);
        scale_part(c, (float)(p.scale * (double)log2e));
        weigh(r, c, bits, o);
        __syncthreads();
        put_tile(s.tiles.a[0], c);
        product_nn(o, s.tiles, v, {s.columns.second, seen}, 64 - __clzll(seen), 0, p.dv);
    }
    __syncthreads(); /* where there was no key, the rows */
    typename Walk::query ignored;
    finish_rows(r, o, p, b, h, {s.rows.second, present}, [&](int row) { return t.query(row, ignored); });
    __syncthreads(); /* before the next tile's rows */
}

template <class Walk, int GROUPS>
__global__ void __launch_bounds__(slat_block, GROUPS > 2 ? 1 : 2)
    softmax_forward(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk, int64_t tiles)
{
    const int64_t work = tiles * p.hq * p.b;
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        /* Late queries first: under a causal mask they have the most to do. */
        const int h = n / tiles % p.hq;
        const int64_t b = n / tiles / p.hq;
        const typename Walk::query_tile t = walk.queries(p, b, h, tiles - 1 - n % tiles);
        if (t.rows > 0) forward_tile<Walk, GROUPS>(p, t, b, h);
    }
}

} // namespace simt
#endif

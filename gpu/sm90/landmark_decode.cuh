/* Landmark attention's decode step: a block of keys stands in the softmax with its landmark's logit.
 *
 * The logits of an earlier block get an offset, its landmark's logit less the log-sum of its own (any/landmark.cuh says
 * why); then the loop goes on as for any softmax. The offsets need whole blocks, which the consumers share out by
 * keys: they meet at a tile of logits in shared memory. Blocks of up to 64 keys stand whole in a tile; larger ones are
 * walked twice, 64 keys at a time, and their values come the second time.
 */
#ifndef SLAT_SM90_LANDMARK_DECODE_CUH
#define SLAT_SM90_LANDMARK_DECODE_CUH
#include "decode.cuh"

namespace sm90
{

/* A tile's blocks: `groups` of `count` keys, or one piece of a block. */
struct landmark_tile {
    int32_t first, count; /* first key of the tile, keys of a block */
    bool begins, ends;    /* the tile holds its block's first, its last keys */
    bool sums, weighs;    /* offsets come from it; its values are added */
    bool once;            /* it is of the last query's block, which is not walked twice and has no offset */
};

/* A tile of logits, [row][key], that the consumers share. */
constexpr int landmark_width = decode_tile + 8; /* floats of a row */

inline int landmark_bytes(int rows)
{
    return rows * landmark_width * (int)sizeof(float);
}

/* The first key of a query's block. */
__device__ __forceinline__ int32_t first_of_block(const slat_problem &p, const decode_item &item, int query)
{
    const int32_t position = max((int32_t)slat_position(&p, item.z + query), 0);
    return position - position % p.landmark_block;
}

/* What weights are relative to; any number where there are none. */
__device__ __forceinline__ float finite_base(float greatest)
{
    return greatest == -CUDART_INF_F ? 0.0f : greatest;
}

/* A thread's part of the log-sums: one row, `many` threads each. */
struct landmark_sums {
    static constexpr int batch = 8; /* keys of a thread at once */
    int many, self;
    int32_t own; /* the first key of the query's block */
    float *logits;
    float top, sum; /* of this thread's keys of a block so far */
    float offset;

    __device__ __forceinline__ landmark_sums(float *tile, const slat_problem &p, const decode_item &item, int rows,
                                             int thread)
    {
        many = decode_consumers * lanes / rows;
        const int row = thread / many;
        self = thread - row * many;
        logits = tile + row * landmark_width;
        int query, h;
        decode_row_at(item, row, query, h);
        own = first_of_block(p, item, query);
        offset = 0;
    }

    /* Over the threads of a row. */
    __device__ __forceinline__ float greatest_of(float x) const
    {
        for (int n = 1; n < many; n *= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, n));
        return x;
    }

    __device__ __forceinline__ float sum_of(float x) const
    {
        for (int n = 1; n < many; n *= 2) x += __shfl_xor_sync(~0u, x, n);
        return x;
    }

    /* Adds keys self + many i of a block, from `from` on. */
    __device__ __forceinline__ void add(const float (&x)[batch])
    {
        float greatest = top;
#pragma unroll
        for (int i = 0; i < batch; ++i) greatest = fmaxf(greatest, x[i]);
        const float base = finite_base(greatest);
        sum *= exp2_fast(top - base);
#pragma unroll
        for (int i = 0; i < batch; ++i) sum += exp2_fast(x[i] - base);
        top = greatest;
    }

    /* What the logits of the block that begins at key `first` get, its landmark's being `logit`. */
    __device__ __forceinline__ void settle(int32_t first, float logit)
    {
        const float greatest = greatest_of(top);
        const float all = sum_of(sum * exp2_fast(top - finite_base(greatest)));
        offset = first < own ? logit - (greatest + log2f(all)) : 0.0f;
    }

    /* Sums the row's logits of a tile and adds the offsets to them. */
    __device__ __forceinline__ void take(const landmark_tile &tile, int groups)
    {
#pragma unroll 1
        for (int g = 0; g < groups; ++g) {
            const int from = g * tile.count, end = from + tile.count - tile.ends;
            const float landmark = tile.ends ? logits[end] : 0.0f;
            if (tile.begins) top = -CUDART_INF_F, sum = 0;
            float x[batch];
#pragma unroll 1
            for (int c = from + self; c - self < end; c += batch * many) {
#pragma unroll
                for (int i = 0; i < batch; ++i) x[i] = c + i * many < end ? logits[c + i * many] : -CUDART_INF_F;
                if (tile.sums) add(x);
            }
            if (tile.once) offset = 0;
            if (tile.sums && tile.ends) settle(tile.first + from, landmark);
            if (!tile.weighs) continue;
#pragma unroll 1
            for (int c = from + self; c - self < end; c += batch * many)
#pragma unroll
                for (int i = 0; i < batch; ++i)
                    if (c + i * many < end) logits[c + i * many] += offset;
            __syncwarp(); /* the landmark has been read */
            if (tile.ends && self == 0) logits[end] = -CUDART_INF_F;
        }
    }
};

/* Blocks of any length, any number of rows. */
template <class T, int D, class List>
__device__ __forceinline__ bool run_landmarks(decode_consumer<T, D> &rows, decode_room<D> &s, decode_place<D> &at,
                                              const List &list, decode_part part)
{
    typedef decode_shape<D> shape;
    const int thread = threadIdx.x - decode_producers * lanes, lane = thread % lanes;
    landmark_sums sums((float *)at.scratch, list.p, list.item, 16 * decode_consumers / at.key_groups, thread);
    float *const own = (float *)at.scratch + (at.row_group * 16 + lane / 4) * landmark_width + lane % 4 * 2;
    for (int64_t t = part.first; t < part.end; ++t, at.k.advance()) {
        const landmark_tile tile = list.tile(t);
        barrier_wait(&s.k_full[at.k.slot], at.k.parity);
#pragma unroll 1
        for (int slice = at.key_group; slice < rows.slices; slice += at.key_groups) {
            float logits[2][4];
            rows.score(logits, shared_address(s.k[at.k.slot]) + slice * 16 * shape::row_bytes);
            rows.template hide<true>(logits, s.note[at.k.slot], slice, at.scale);
#pragma unroll
            for (int i = 0; i < 4; ++i)
                *(float2 *)(own + i % 2 * 8 * landmark_width + slice * 16 + i / 2 * 8) =
                    make_float2(logits[i / 2][i % 2 * 2], logits[i / 2][i % 2 * 2 + 1]);
        }
        const bool ends = t + 1 == part.end; /* then the slots are held, and the values are added */
        if (!ends) barrier_arrive(&s.k_empty[at.k.slot]);
        named_sync(1, merge_threads);
        sums.take(tile, list.groups);
        named_sync(1, merge_threads);
        if (!tile.weighs) continue;
#pragma unroll 1
        for (int slice = at.key_group; slice < rows.slices; slice += at.key_groups) {
            float weights[2][4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float2 two = *(const float2 *)(own + i % 2 * 8 * landmark_width + slice * 16 + i / 2 * 8);
                weights[i / 2][i % 2 * 2] = two.x;
                weights[i / 2][i % 2 * 2 + 1] = two.y;
            }
            rows.weigh(weights);
            if (slice == at.key_group) barrier_wait(&s.v_full[at.v.slot], at.v.parity);
            rows.add(weights, shared_address(s.v[at.v.slot]) + slice * 16 * shape::row_bytes);
        }
        at.held[0] = at.k.slot, at.held[1] = at.v.slot;
        if (!ends) barrier_arrive(&s.v_empty[at.v.slot]);
        at.v.advance();
    }
    return part.first < part.end;
}

/* Of 16 keys of a row that are not landmarks: the greatest logit and the sum of weights relative to it; and the logit
 * of the landmark that ends them. */
struct landmark_slice {
    float top, sum, landmark, unused;
};

/* Where blocks are whole slices and there is one row group, a consumer has one slice of every tile: the offsets come
 * from the slices' sums. */
template <class T, int D, class List>
__device__ __forceinline__ bool run_landmark_slices(decode_consumer<T, D> &rows, decode_room<D> &s, decode_place<D> &at,
                                                    const List &list, decode_part part)
{
    typedef decode_shape<D> shape;
    typedef landmark_slice slices_of_tile[decode_consumers][16];
    constexpr int slices = decode_consumers;
    const int lane = threadIdx.x % lanes, slice = at.key_group;
    slices_of_tile *const shared = (slices_of_tile *)at.scratch; /* two, by turns */
    int32_t own[2];
    float top[2], sum[2], offset[2] = {0, 0}; /* of the block in hand */
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        int query, h;
        decode_row_at(list.item, lane / 4 + 8 * r, query, h);
        own[r] = first_of_block(list.p, list.item, query);
    }
    int turn = 0;
    for (int64_t t = part.first; t < part.end; ++t, at.k.advance(), turn ^= 1) {
        const landmark_tile tile = list.tile(t);
        const bool ends = t + 1 == part.end; /* then the slots are held, and the values are added */
        float weights[2][4];
        barrier_wait(&s.k_full[at.k.slot], at.k.parity);
        rows.score(weights, shared_address(s.k[at.k.slot]) + slice * 16 * shape::row_bytes);
        rows.template hide<true>(weights, s.note[at.k.slot], slice, at.scale);
        const bool marked = s.note[at.k.slot].until[slice * 16 + 15] < 0;
        if (!ends) barrier_arrive(&s.k_empty[at.k.slot]);
        float greatest[2], own_sum[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            landmark_slice mine;
            mine.landmark = weights[1][2 * r + 1];
            if (marked && lane % 4 == 3) weights[1][2 * r + 1] = -CUDART_INF_F;
            greatest[r] =
                fmaxf(fmaxf(weights[0][2 * r], weights[0][2 * r + 1]), fmaxf(weights[1][2 * r], weights[1][2 * r + 1]));
            greatest[r] = fmaxf(greatest[r], __shfl_xor_sync(~0u, greatest[r], 1));
            greatest[r] = fmaxf(greatest[r], __shfl_xor_sync(~0u, greatest[r], 2));
            const float base = finite_base(greatest[r]);
            own_sum[r] = 0;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                float &weight = weights[i / 2][2 * r + i % 2];
                weight = exp2_fast(weight - base);
                own_sum[r] += weight;
            }
            mine.top = greatest[r];
            mine.sum = own_sum[r] + __shfl_xor_sync(~0u, own_sum[r], 1);
            mine.sum += __shfl_xor_sync(~0u, mine.sum, 2);
            mine.unused = 0;
            if (lane % 4 == 3) shared[turn][slice][lane / 4 + 8 * r] = mine;
        }
        named_sync(1, merge_threads);
        if (tile.sums) {
            /* Slices past the last block are empty; they may take any block's offset. */
            const int many = tile.count / 16, from = list.pieces > 1 ? 0 : min(slice / many * many, slices - many);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                if (tile.begins) top[r] = -CUDART_INF_F, sum[r] = 0;
                const landmark_slice *const other = &shared[turn][from][lane / 4 + 8 * r];
                float most = top[r];
#pragma unroll 4
                for (int i = 0; i < many; ++i) most = fmaxf(most, other[16 * i].top);
                const float base = finite_base(most);
                sum[r] *= exp2_fast(top[r] - base);
                top[r] = most;
#pragma unroll 4
                for (int i = 0; i < many; ++i) sum[r] += other[16 * i].sum * exp2_fast(other[16 * i].top - base);
                const float landmark = other[16 * (many - 1)].landmark;
                const bool earlier = tile.first + 16 * from < own[r];
                if (tile.ends) offset[r] = earlier ? landmark - (top[r] + log2f(sum[r])) : 0.0f;
            }
        } else if (tile.once)
            offset[0] = offset[1] = 0;
        if (!tile.weighs) continue;
        rows.weigh_relative(weights, greatest, own_sum, offset);
        barrier_wait(&s.v_full[at.v.slot], at.v.parity);
        rows.add(weights, shared_address(s.v[at.v.slot]) + slice * 16 * shape::row_bytes);
        at.held[0] = at.k.slot, at.held[1] = at.v.slot;
        if (!ends) barrier_arrive(&s.v_empty[at.v.slot]);
        at.v.advance();
    }
    return part.first < part.end;
}

} // namespace sm90
#endif

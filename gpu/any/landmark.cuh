/* Landmark attention's update: a block of keys stands in the softmax with its landmark's logit.
 *
 * For a query and an earlier block g with landmark logit t_g, let m be the log-sum of g's ordinary logits. An ordinary
 * token's weight is P_g exp(s - m) with P_g = exp(t_g - lse), that is exp(s + (t_g - m) - lse): one online softmax
 * serves, once t_g - m has been added to the logits of g. Backward also needs E_g, the mean of u = do.v over exp(s -
 * m). Both come from a pass over the whole block before its keys are used: blocks of up to 64 keys stand in one tile,
 * larger ones are walked twice, 64 keys at a time. The query's own block is ordinary; its landmark is not seen.
 */
#ifndef SLAT_ANY_LANDMARK_CUH
#define SLAT_ANY_LANDMARK_CUH
#include "softmax.cuh"

namespace simt
{

constexpr int most_groups = tile / 2; /* of a tile */

struct landmark_query {
    int64_t position, own; /* own: the first key of its block; no key before it is of that block */
};

struct landmark_key {
    int64_t position;
    int32_t group;    /* inside the tile */
    int32_t landmark; /* whether it is one */
};

/* What a tile's queries know of its groups, [query][group]. offset is 0 for the queries' own block. */
struct landmark_groups {
    float offset[tile][most_groups + 1], mean[tile][most_groups + 1];
    float top[tile], sum[tile], weighted[tile], logit[tile]; /* of a block that is walked in pieces */
};

struct landmark_room {
    buffers tiles;
    landmark_groups groups;
    side<landmark_query> queries;
    side<landmark_key> keys;
    row_state state[tile];
    sight who;
    unsigned marks[2]; /* landmarks that some query uses */
};

/* How the keys from `first` on are cut: whole groups in one tile, or one group in pieces. */
struct landmark_cut {
    int32_t block, groups; /* groups of a tile */
    int64_t length;        /* keys of a step, from one first key to the next */
    int32_t pieces;        /* of a step, 64 keys each at most */

    __host__ __device__ explicit landmark_cut(int32_t of)
        : block(of), groups(of < tile ? tile / of : 1), length((int64_t)groups * of),
          pieces((int32_t)((length + tile - 1) / tile))
    {
    }

    __host__ __device__ int rows(int64_t piece) const { return (int)slat_min(length - piece * tile, tile); }
};

__device__ inline bool sees(const landmark_query &q, const landmark_key &k)
{
    return !k.landmark && k.position <= q.position;
}
__device__ inline bool uses(const landmark_query &q, const landmark_key &k)
{
    return k.landmark && k.position < q.own;
}

__device__ inline landmark_query query_of(const slat_problem &p, int64_t i)
{
    const int64_t position = slat_position(&p, i);
    return {position, slat_max(position, 0) / p.landmark_block * p.landmark_block};
}

/* Puts the keys of a piece into the room; true: this thread's is one of them and before `end`. Threads 0 to 63. */
__device__ inline bool put_key(const slat_problem &p, landmark_room &s, int64_t first, int rows, int64_t end,
                               const landmark_cut &cut)
{
    const int row = threadIdx.x;
    const int64_t j = first + row;
    s.keys.record[row] = {j, cut.pieces > 1 ? 0 : row / cut.block, slat_is_landmark(p.landmark_block, j)};
    if (row >= rows || j >= end) return false;
    s.keys.first[row] = token_at(p.k, slat_at(0, 0, j));
    s.keys.second[row] = token_at(p.v, slat_at(0, 0, j));
    return true;
}

/* Of one group, for one query: the largest logit, the sum of exp, the same weighted with the scores, the landmark's. */
struct group_sums {
    float top, sum, weighted, logit;
};

/* The maximum or the sum over the four threads of a row. */
__device__ inline float over_four(float x, bool largest)
{
    for (int n = 1; n < 4; n *= 2) {
        const float other = __shfl_xor_sync(~0u, x, n);
        x = largest ? fmaxf(x, other) : x + other;
    }
    return x;
}

/* Adds columns from ... from + count - 1 of a row, four threads a row; the landmark's column (-1: none here) is not one
 * of the sum. scores: NULL in forward. */
__device__ inline group_sums sum_group(group_sums g, const float *logits, const float *scores, int from, int count,
                                       int landmark)
{
    const int quarter = threadIdx.x & 3;
    float top = g.top;
    for (int c = from + quarter; c < from + count; c += 4)
        if (c != landmark) top = fmaxf(top, logits[c]);
    top = over_four(top, true);
    const float base = top == -CUDART_INF_F ? 0.0f : top;
    float sum = 0, weighted = 0;
    for (int c = from + quarter; c < from + count; c += 4) {
        if (c == landmark) continue;
        const float weight = exp2f(logits[c] - base);
        sum += weight;
        if (scores) weighted = fmaf(weight, scores[c], weighted);
    }
    const float shrink = exp2f(g.top - base);
    g.sum = g.sum * shrink + over_four(sum, false);
    if (scores) g.weighted = g.weighted * shrink + over_four(weighted, false);
    g.top = top;
    if (landmark >= 0) g.logit = logits[landmark];
    return g;
}

/* Takes logits [query][key] (base 2) and scores of a piece, and sets offset and mean of its groups when the last piece
 * of a group is here. Columns stand for keys first ... first + rows - 1. */
__device__ inline void sum_groups(landmark_room &s, const float *logits, const float *scores, const landmark_cut &cut,
                                  int64_t first, int rows, int piece, uint64_t queries)
{
    landmark_groups &to = s.groups;
    const int row = threadIdx.x >> 2;
    const bool present = queries >> row & 1;
    const int64_t own = present ? s.queries.record[row].own : 0;
    logits += row * wide_row;
    if (scores) scores += row * wide_row;
    for (int g = 0; g < cut.groups; ++g) {
        const int from = cut.pieces > 1 ? 0 : g * cut.block, count = cut.pieces > 1 ? rows : cut.block;
        const bool complete = piece == cut.pieces - 1;
        const int landmark = complete ? from + count - 1 : -1;
        group_sums sums = {-CUDART_INF_F, 0, 0, 0};
        if (piece > 0) sums = {to.top[row], to.sum[row], to.weighted[row], to.logit[row]};
        __syncwarp();
        sums = sum_group(sums, logits, scores, from, count, landmark);
        if (threadIdx.x & 3) continue;
        if (cut.pieces > 1) {
            to.top[row] = sums.top;
            to.sum[row] = sums.sum;
            to.weighted[row] = sums.weighted;
            to.logit[row] = sums.logit;
        }
        const bool earlier = first + from < own;
        to.offset[row][g] = earlier ? sums.logit - (sums.top + log2f(sums.sum)) : 0.0f;
        to.mean[row][g] = earlier ? sums.weighted / sums.sum : 0.0f;
    }
}

} // namespace simt
#endif

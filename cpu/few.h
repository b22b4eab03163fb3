/* Scores of few queries (decode): lanes are channels, so that a key's row is read once, in whole vectors, and no lane
 * is idle. The sums are stored as everywhere else: a row a key, a lane a query. */
#ifndef SLAT_CPU_FEW_H
#define SLAT_CPU_FEW_H
#include "gemm.h"
#include "walk.h"

#define FEW 8 /* queries of a tile, at most */

/* scores[row * wide + lane ... + 3] = sign * (keys[row] . queries[lane ... + 3]) for `rows` rows, a constant. */
INLINE void few_scores(const int rows, float *scores, int64_t wide, gemm_rows keys, const float *queries, int64_t ld,
                       float sign)
{
    vec sum[4][4];
    const float *row[4];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        row[i] = keys.at + i * keys.row;
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) sum[i][j] = vec_zero();
    }
    for (int64_t c = 0; c < ld; c += VL) {
        vec q[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) q[j] = vec_load(queries + j * ld + c);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const vec k = vec_load(row[i] + c);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) sum[i][j] = vec_fma(k, q[j], sum[i][j]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        vec_store_sums(scores + i * wide, vec_sums(sum[i][0], sum[i][1], sum[i][2], sum[i][3]), sign);
}

/* All scores of `rows` keys [row, ld] and `lanes` queries [lane, ld]; rows of queries up to a multiple of 4 are 0. */
static inline void few_products(float *scores, int64_t wide, gemm_rows keys, int64_t rows, const float *queries,
                                int64_t ld, int64_t lanes, float sign, gemm_fetch *fetch)
{
    const int64_t used = (lanes + 3) / 4 * 4,
                  most = VL == 16 ? 4 : 2; /* so many rows' accumulators fit the registers */
    for (int64_t r = 0, step; r < rows; r += step) {
        const gemm_rows some = {keys.at + r * keys.row, keys.row};
        float *to = scores + r * wide;
        step = slat_min(rows - r, most);
        for (int64_t l = 0; l < used; l += 4)
            if (step == 4)
                few_scores(4, to + l, wide, some, queries + l * ld, ld, sign);
            else if (step == 3)
                few_scores(3, to + l, wide, some, queries + l * ld, ld, sign);
            else if (step == 2)
                few_scores(2, to + l, wide, some, queries + l * ld, ld, sign);
            else
                few_scores(1, to + l, wide, some, queries + l * ld, ld, sign);
        for (int64_t i = 0; i < step; i++) memset(to + i * wide + used, 0, (size_t)(wide - used) * sizeof *to);
        gemm_fetch_some(fetch);
    }
}
#endif

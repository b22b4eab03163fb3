/* The products of few queries (decode): lanes are channels, so that a row of keys or values is read once, in whole
 * vectors, and no lane is idle. Scores are stored as everywhere else: a row a key, a lane a query.
 *
 * Decode is as fast as memory. While a row is used another one, some way ahead, is fetched, line by line: a burst of
 * fetches stops the processor, and a pause leaves memory idle.
 */
#ifndef SLAT_CPU_FEW_H
#define SLAT_CPU_FEW_H
#include "gemm.h"
#include "walk.h"

#define FEW 8 /* queries of a tile, at most */

/* Rows to fetch, one for each row that is used, so many bytes of each. */
typedef struct {
    const char *const *row;
    int64_t bytes;
} few_fetch;

/* Of rows ahead[0] ... ahead[rows - 1] the line at byte `at`, where one begins there. */
INLINE void few_fetch_line(const int rows, const char *const *ahead, int64_t at, int64_t bytes)
{
    if (at % 64 || at >= bytes) return;
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) vec_fetch(ahead[i] + at);
}

/* scores[row * wide + lane ... + 3] = sign * (keys[row] . queries[lane ... + 3]) for `rows` rows, a constant. */
INLINE void few_scores(const int rows, float *scores, int64_t wide, gemm_rows keys, const float *queries, int64_t ld,
                       float sign, const char *const *ahead, int64_t bytes)
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
        few_fetch_line(rows, ahead, c * (int64_t)sizeof(float), bytes);
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
                                int64_t ld, int64_t lanes, float sign, few_fetch fetch)
{
    const int64_t used = (lanes + 3) / 4 * 4,
                  most = VL == 16 ? 4 : 2; /* so many rows' accumulators fit the registers */
    for (int64_t r = 0, step; r < rows; r += step) {
        const gemm_rows some = {keys.at + r * keys.row, keys.row};
        float *to = scores + r * wide;
        step = slat_min(rows - r, most);
        for (int64_t l = 0; l < used; l += 4) {
            const float *four = queries + l * ld;
            const int64_t bytes = l ? 0 : fetch.bytes;
            if (step == 4) few_scores(4, to + l, wide, some, four, ld, sign, fetch.row + r, bytes);
            else if (step == 3) few_scores(3, to + l, wide, some, four, ld, sign, fetch.row + r, bytes);
            else if (step == 2) few_scores(2, to + l, wide, some, four, ld, sign, fetch.row + r, bytes);
            else few_scores(1, to + l, wide, some, four, ld, sign, fetch.row + r, bytes);
        }
        for (int64_t i = 0; i < step; i++) memset(to + i * wide + used, 0, (size_t)(wide - used) * sizeof *to);
    }
}

/* sums[0 ... 3][vectors * VL] += weights[row][0 ... 3] times values[row]; `vectors` is a constant. Fetches the same
 * columns of the rows ahead. */
INLINE void few_columns(const int vectors, float *sums, int64_t ld, const float *weights, int64_t wide,
                        gemm_rows values, int64_t rows, const char *const *ahead, int64_t at, int64_t bytes)
{
    vec sum[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sum[i][j] = vec_load(sums + i * ld + j * VL);
    for (int64_t r = 0; r < rows; r++, weights += wide, values.at += values.row) {
        vec v[4];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            few_fetch_line(1, ahead + r, at + j * VL * (int64_t)sizeof(float), bytes);
            v[j] = vec_load(values.at + j * VL);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const vec w = vec_all(weights[i]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] = vec_fma(w, v[j], sum[i][j]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) vec_store(sums + i * ld + j * VL, sum[i][j]);
}

/* sums [lane, ld] += weights [row, wide] transposed times values [row, ld], for lanes up to a multiple of 4: one chain
 * of additions in the order of rows. */
static inline void few_values(float *sums, int64_t ld, const float *weights, int64_t wide, gemm_rows values,
                              int64_t rows, int64_t lanes, few_fetch fetch)
{
    for (int64_t l = 0; l < lanes; l += 4, sums += 4 * ld, weights += 4)
        for (int64_t c = 0, step; c < ld; c += step * VL) {
            const gemm_rows some = {values.at + c, values.row};
            const int64_t at = c * (int64_t)sizeof(float), bytes = l ? 0 : fetch.bytes;
            step = slat_min((ld - c) / VL, GEMM_VECTORS);
            if (step == 4) few_columns(4, sums + c, ld, weights, wide, some, rows, fetch.row, at, bytes);
            else if (step == 3) few_columns(3, sums + c, ld, weights, wide, some, rows, fetch.row, at, bytes);
            else if (step == 2) few_columns(2, sums + c, ld, weights, wide, some, rows, fetch.row, at, bytes);
            else few_columns(1, sums + c, ld, weights, wide, some, rows, fetch.row, at, bytes);
        }
}
#endif

/* The products of few queries (decode): lanes are channels, so that a row of keys or values is read once, in whole
 * vectors, and no lane is idle. Scores are stored as everywhere else: a row a key, a lane a query.
 *
 * Decode is as fast as memory. While a row is used the one FEW_LEAD rows ahead is fetched, line by line: a burst of
 * fetches stops the processor, and a pause leaves memory idle. The lead is short, for rows whole pages apart soon push
 * each other out of the second-level cache.
 */
#ifndef SLAT_CPU_FEW_H
#define SLAT_CPU_FEW_H
#include "gemm.h"
#include "walk.h"

#define FEW       8  /* queries of a tile, at most */
#define FEW_LEAD  32 /* rows */
#define FEW_ROWS  16 /* of values, that are used together */

/* Rows to fetch, in the order of their use up to `end`, so many bytes of each; `at` is the next line's place in the
 * first. */
typedef struct {
    const char *const *row, *const *end;
    int64_t bytes, at;
} few_fetch;

/* The next lines, row after row. */
INLINE void few_fetch_lines(few_fetch *fetch, const int lines)
{
#pragma GCC unroll 4
    for (int i = 0; i < lines; i++) {
        if (fetch->row == fetch->end) return;
        vec_fetch(*fetch->row + fetch->at);
        fetch->at += 64;
        if (fetch->at < fetch->bytes) continue;
        fetch->at = 0;
        fetch->row++;
    }
}

/* scores[row * wide + lane ... + 3] = sign * (keys[row] . queries[lane ... + 3]) for `rows` rows, a constant. */
INLINE void few_scores(const int rows, float *scores, int64_t wide, gemm_rows keys, const float *queries, int64_t ld,
                       float sign, few_fetch *fetch)
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
        few_fetch_lines(fetch, rows * VL / 16);
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
                                int64_t ld, int64_t lanes, float sign, few_fetch *fetch)
{
    const int64_t used = (lanes + 3) / 4 * 4,
                  most = VL == 16 ? 4 : 2; /* so many rows' accumulators fit the registers */
    for (int64_t r = 0, step; r < rows; r += step) {
        const gemm_rows some = {keys.at + r * keys.row, keys.row};
        float *to = scores + r * wide;
        step = slat_min(rows - r, most);
        for (int64_t l = 0; l < used; l += 4) {
            const float *four = queries + l * ld;
            if (step == 4) few_scores(4, to + l, wide, some, four, ld, sign, fetch);
            else if (step == 3) few_scores(3, to + l, wide, some, four, ld, sign, fetch);
            else if (step == 2) few_scores(2, to + l, wide, some, four, ld, sign, fetch);
            else few_scores(1, to + l, wide, some, four, ld, sign, fetch);
        }
        for (int64_t i = 0; i < step; i++) memset(to + i * wide + used, 0, (size_t)(wide - used) * sizeof *to);
    }
}

/* sums[0 ... 3][vectors * VL] += weights[row][0 ... 3] times values[row]; `vectors` is a constant. */
INLINE void few_columns(const int vectors, float *sums, int64_t ld, const float *weights, int64_t wide,
                        gemm_rows values, int64_t rows, few_fetch *fetch)
{
    vec sum[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sum[i][j] = vec_load(sums + i * ld + j * VL);
    for (int64_t r = 0; r < rows; r++, weights += wide, values.at += values.row) {
        vec v[4];
        few_fetch_lines(fetch, (vectors * VL + 15) / 16);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) v[j] = vec_load(values.at + j * VL);
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

static inline void few_part(float *sums, int64_t ld, const float *weights, int64_t wide, gemm_rows values, int64_t rows,
                            few_fetch *fetch)
{
    for (int64_t c = 0, step; c < ld; c += step * VL) {
        const gemm_rows some = {values.at + c, values.row};
        step = slat_min((ld - c) / VL, GEMM_VECTORS);
        if (step == 4) few_columns(4, sums + c, ld, weights, wide, some, rows, fetch);
        else if (step == 3) few_columns(3, sums + c, ld, weights, wide, some, rows, fetch);
        else if (step == 2) few_columns(2, sums + c, ld, weights, wide, some, rows, fetch);
        else few_columns(1, sums + c, ld, weights, wide, some, rows, fetch);
    }
}

/* sums [lane, ld] += weights [row, wide] transposed times values [row, ld], for lanes up to a multiple of 4: one chain
 * of additions in the order of rows. */
static inline void few_values(float *sums, int64_t ld, const float *weights, int64_t wide, gemm_rows values,
                              int64_t rows, int64_t lanes, few_fetch *fetch)
{
    for (int64_t r = 0; r < rows; r += FEW_ROWS, values.at += FEW_ROWS * values.row, weights += FEW_ROWS * wide)
        for (int64_t l = 0; l < lanes; l += 4)
            few_part(sums + l * ld, ld, weights + l, wide, values, slat_min(rows - r, FEW_ROWS), fetch);
}
#endif

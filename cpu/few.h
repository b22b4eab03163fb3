/* The products and the softmax of few queries (decode): lanes are channels, so that a row of keys or values is read
 * once, in whole vectors, and no lane is idle. Scores stand in rows of 4 or 8, one a key: several keys fill a vector.
 *
 * While a row is used two others are fetched, line by line, one a step ahead and one nearer. That is what was measured
 * to help where rows stand side by side; where each stands in a page of its own it helps little, and memory is still
 * not reached. Why one fetch does not suffice is not known.
 */
#ifndef SLAT_CPU_FEW_H
#define SLAT_CPU_FEW_H
#include "gemm.h"
#include "softmax_state.h"
#include "walk.h"

#define FEW      8  /* queries of a tile, at most */
#define FEW_NEAR 32 /* rows from one that is used to the nearer one that is fetched */

/* Rows to fetch, two for each row that is used, so many bytes of each. */
typedef struct {
    const char *const *far, *const *near;
    int64_t bytes;
} few_fetch;

/* The same from row `row` on, or of no bytes. */
INLINE few_fetch few_fetch_from(few_fetch fetch, int64_t row, int nothing)
{
    return (few_fetch){fetch.far + row, fetch.near + row, nothing ? 0 : fetch.bytes};
}

/* Of the first `rows` rows the line at byte `at`, where one begins there. */
INLINE void few_fetch_line(const int rows, few_fetch fetch, int64_t at)
{
    if (at % 64 || at >= fetch.bytes) return;
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        vec_fetch_far(fetch.far[i] + at);
        vec_fetch(fetch.near[i] + at);
    }
}

/* The lines of a row come in the order 1, 0, 3, 2, ...: reading rows alone that way was faster, presumably because no
 * prefetcher sees a stream that it would follow behind the row's end. at, end, line: in any one unit. */
INLINE int64_t few_place(int64_t at, int64_t end, int64_t line)
{
    return (at ^ line) < end ? at ^ line : at;
}

#define FEW_LINE 16 /* floats */

/* scores[row * wide + lane ... + 3] = sign * (keys[row] . queries[lane ... + 3]) for `rows` rows, a constant. */
INLINE void few_scores(const int rows, float *scores, int64_t wide, gemm_rows keys, const float *queries, int64_t ld,
                       float sign, few_fetch fetch)
{
    vec sum[4][4];
    const float *row[4];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        row[i] = keys.at + i * keys.row;
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) sum[i][j] = vec_zero();
    }
    for (int64_t n = 0; n < ld; n += VL) {
        const int64_t c = few_place(n, ld, FEW_LINE);
        vec q[4];
        few_fetch_line(rows, fetch, c * (int64_t)sizeof(float));
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

/* Scores [row, wide] of `rows` keys [row, ld] and `lanes` queries [lane, ld], a multiple of 4; of further lanes 0. */
static inline void few_products(float *scores, int64_t wide, gemm_rows keys, int64_t rows, const float *queries,
                                int64_t ld, int64_t lanes, float sign, few_fetch fetch)
{
    const int64_t most = VL == 16 ? 4 : 2; /* so many rows' accumulators fit the registers */
    for (int64_t r = 0, step; r < rows; r += step) {
        const gemm_rows some = {keys.at + r * keys.row, keys.row};
        step = slat_min(rows - r, most);
        for (int64_t l = 0; l < lanes; l += 4) {
            float *to = scores + r * wide + l;
            const float *four = queries + l * ld;
            const few_fetch ahead = few_fetch_from(fetch, r, l > 0);
            if (step == 4) few_scores(4, to, wide, some, four, ld, sign, ahead);
            else if (step == 3) few_scores(3, to, wide, some, four, ld, sign, ahead);
            else if (step == 2) few_scores(2, to, wide, some, four, ld, sign, ahead);
            else few_scores(1, to, wide, some, four, ld, sign, ahead);
        }
        for (int64_t i = r; lanes < wide && i < r + step; i++)
            memset(scores + i * wide + lanes, 0, (size_t)(wide - lanes) * sizeof *scores);
    }
}

/* Of rows row ... row + VL / wide - 1, as they stand in one vector, what the lanes see; none behind the last row. */
INLINE vec_mask few_mask(const slat_sight *sight, int64_t row, int64_t rows, int64_t wide)
{
    uint32_t seen = 0;
    for (int64_t i = 0; i < VL / wide && row + i < rows; i++)
        seen |= ((uint32_t)(sight->whole ? ~0ull : sight->bits[row + i]) & ((1u << wide) - 1)) << i * wide;
    return vec_mask_of(seen);
}

/* attend() for scores [row, wide] of all the sight's rows, with room for a whole vector behind the last one; `wide` is
 * 4 or 8. */
static inline void few_attend(slat_state *state, float *p, int64_t wide, const slat_sight *sight, float c, float *o,
                              int64_t vectors)
{
    const int64_t rows = (int64_t)sight->lines * sight->length, per = VL / wide, whole = sight->whole ? rows / per : 0;
    float most[LANES], fold[VL];
    vec max = vec_all(-INFINITY), sum = vec_zero();
    for (int64_t r = 0; r < rows; r += per) {
        float *at = p + r * wide;
        if (r >= whole * per)
            vec_store(at, vec_select(few_mask(sight, r, rows, wide), vec_load(at), vec_all(-INFINITY)));
        max = vec_max(max, vec_load(at));
    }
    vec_store(fold, vec_mul(max, vec_all(c)));
    for (int64_t l = 0; l < LANE_GROUP; l++) most[l] = l < wide ? fold[l] : -INFINITY;
    for (int64_t l = wide; l < VL; l++) most[l % wide] = fmaxf(most[l % wide], fold[l]);
    raise_max(state, most, wide, o, vectors);
    for (int64_t l = 0; l < VL; l++) fold[l] = state->max[l % wide];
    max = finite_max(vec_load(fold));
    for (int64_t r = 0; r < rows; r += per) {
        const vec x = vec_exp2(vec_fms(vec_load(p + r * wide), vec_all(c), max));
        vec_store(p + r * wide, x);
        sum = vec_add(sum, x);
    }
    vec_store(fold, sum);
    for (int64_t l = 0; l < VL; l++) state->sum[l % wide] += fold[l];
}

/* sums[0 ... 3][vectors * VL] += weights[row][0 ... 3] times values[row]; `vectors` is a constant. Fetches the same
 * columns, which begin at byte `at`. */
INLINE void few_columns(const int vectors, float *sums, int64_t ld, const float *weights, int64_t wide,
                        gemm_rows values, int64_t rows, few_fetch fetch, int64_t at)
{
    vec sum[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sum[i][j] = vec_load(sums + i * ld + j * VL);
    for (int64_t r = 0; r < rows; r++, weights += wide, values.at += values.row) {
        const few_fetch ahead = few_fetch_from(fetch, r, 0);
        vec v[4];
#pragma GCC unroll 4
        for (int n = 0; n < vectors; n++) {
            const int j = VL == FEW_LINE ? (int)few_place(n, vectors, 1) : n;
            few_fetch_line(1, ahead, at + j * VL * (int64_t)sizeof(float));
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

/* sums [lane, ld] += weights [row, wide] transposed times values [row, ld]: one chain of additions in the order of
 * rows. */
static inline void few_values(float *sums, int64_t ld, const float *weights, int64_t wide, gemm_rows values,
                              int64_t rows, few_fetch fetch)
{
    for (int64_t l = 0; l < wide; l += 4, sums += 4 * ld, weights += 4)
        for (int64_t n = 0; n < ld; n += GEMM_VECTORS * VL) {
            const int64_t c = VL == FEW_LINE ? n : few_place(n, ld, FEW_LINE), at = c * (int64_t)sizeof(float);
            const int64_t vectors = slat_min((ld - c) / VL, GEMM_VECTORS);
            const gemm_rows some = {values.at + c, values.row};
            const few_fetch ahead = few_fetch_from(fetch, 0, l > 0);
            if (vectors == 4) few_columns(4, sums + c, ld, weights, wide, some, rows, ahead, at);
            else if (vectors == 3) few_columns(3, sums + c, ld, weights, wide, some, rows, ahead, at);
            else if (vectors == 2) few_columns(2, sums + c, ld, weights, wide, some, rows, ahead, at);
            else few_columns(1, sums + c, ld, weights, wide, some, rows, ahead, at);
        }
}
#endif

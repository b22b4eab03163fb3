/* One step of the backward pass: with P = exp2(c S - lse) and dP = V dO^T,
 *     dS = scale P (dP - delta),   dv += P dO,   dk += dS Q,   dq += dS^T K.
 * Scores stand transposed, a row a key. Sums over queries go into the rows of a head's keys, those over keys into the
 * tile's dq; each is one chain of additions in the order of tiles, strips, steps, whatever runs it. */
#ifndef SLAT_CPU_SOFTMAX_GRADIENTS_H
#define SLAT_CPU_SOFTMAX_GRADIENTS_H
#include "softmax_scores.h"
#include "softmax_state.h"

/* f32 sums for the keys of one head: row (x, y, z) begins at at[x * token[0] + y * token[1] + z * token[2]]. Only keys
 * first ... end - 1 of k's grid, in row-major order, are kept; those before `cleared` have been cleared, which a step
 * does for its keys, so that they are not written to memory and read again. at NULL: not wanted. */
typedef struct {
    float *at;
    int64_t token[3];
} slat_sums;

typedef struct {
    slat_sums k, v;
    slat_point grid;
    int64_t first, end, cleared;
} slat_key_sums;

static inline float *sum_row(const slat_sums *sums, slat_point at)
{
    return sums->at + at.x * sums->token[0] + at.y * sums->token[1] + at.z * sums->token[2];
}

static inline slat_point key_at(slat_point grid, int64_t i)
{
    return slat_at(i / (grid.y * grid.z), i / grid.z % grid.y, i % grid.z);
}

/* The rows that a step adds to. */
static inline void fetch_sums(gemm_fetch *fetch, const slat_sums *sums, const slat_step *step, int64_t columns)
{
    for (int32_t j = 0; sums->at && j < step->pieces; j++) {
        const float *row = sum_row(sums, step->piece[j].first);
        for (int32_t r = 0; r < step->piece[j].count; r++, row += step->dz * sums->token[2])
            fetch_row(fetch, (const char *)row, columns * (int64_t)sizeof(float));
    }
}

/* Clears rows up to key `end`, so many floats of each. */
static inline void clear_sums_to(slat_key_sums *keep, int64_t end, int64_t columns_k, int64_t columns_v)
{
    for (; keep->cleared < slat_min(end, keep->end); keep->cleared++) {
        const slat_point at = key_at(keep->grid, keep->cleared);
        if (keep->k.at) memset(sum_row(&keep->k, at), 0, (size_t)columns_k * sizeof(float));
        if (keep->v.at) memset(sum_row(&keep->v, at), 0, (size_t)columns_v * sizeof(float));
    }
}

/* Keys of a piece that are kept: j = *from ... *to - 1 of them. */
static inline void kept_keys(const slat_key_sums *sums, const slat_step *step, const slat_piece *piece, int64_t *from,
                             int64_t *to)
{
    const int64_t index = slat_index(sums->grid, piece->first);
    const int64_t before = slat_max(sums->first - index, 0), inside = slat_max(sums->end - index, 0);
    *from = (before + step->dz - 1) / step->dz;
    *to = slat_min((inside + step->dz - 1) / step->dz, piece->count);
}

/* Whether a step has any key that is kept. Of a long block of landmark's the first steps serve all that follow. */
static inline int keeps_any(const slat_key_sums *sums, const slat_step *step, int64_t block)
{
    if (step->kind == SLAT_INNER || step->kind == SLAT_OUTER) {
        const int64_t first = step->piece[0].first.z / block * block;
        return first < sums->end && sums->first < first + block;
    }
    for (int32_t i = 0; i < step->pieces; i++) {
        int64_t from, to;
        kept_keys(sums, step, step->piece + i, &from, &to);
        if (from < to) return 1;
    }
    return 0;
}

/* Rows first ... first + rows - 1 of a step: sums += weights [row, lane] times queries [lane, ld]. */
static inline void add_rows(const slat_key_sums *keep, const slat_sums *sums, const slat_step *step, int64_t first,
                            int64_t rows, gemm_scalars weights, gemm_rows queries, int64_t ld, int64_t lanes,
                            gemm_fetch *fetch)
{
    int64_t begin = 0; /* the piece's first row in the step */
    for (int32_t i = 0; i < step->pieces && begin < first + rows; begin += step->piece[i++].count) {
        const slat_piece *piece = step->piece + i;
        int64_t from, to;
        kept_keys(keep, step, piece, &from, &to);
        from = slat_max(from, first - begin);
        to = slat_min(to, first + rows - begin);
        if (from >= to) continue;
        float *c = sum_row(sums, piece->first) + from * step->dz * sums->token[2];
        const gemm_scalars some = {weights.at + (begin + from - first) * weights.row, weights.row, weights.step};
        gemm_any(c, sums->token[2] * step->dz, some, queries, to - from, ld / VL,
                 (gemm_terms){1, operand_terms(lanes), 0, 0}, GEMM_ADD, NULL, fetch);
    }
}

/* The same for a narrow sight: each line's queries are the lanes that see it. */
static inline void add_lines(const slat_key_sums *keep, const slat_sums *sums, const slat_step *step,
                             const slat_span *span, const slat_sight *sight, gemm_scalars weights, gemm_rows queries,
                             int64_t ld, gemm_fetch *fetch)
{
    for (int64_t i = 0; i < sight->lines; i++) {
        const int64_t lane = sight->first_lane[i], lanes = sight->end_lane[i] - lane;
        const gemm_scalars some = {weights.at + i * sight->length * weights.row + lane * weights.step, weights.row,
                                   weights.step};
        if (lanes > 0)
            add_rows(keep, sums, step, span->first + i * (sight->length + span->skip), sight->length, some,
                     (gemm_rows){queries.at + lane * queries.row, queries.row}, ld, lanes, fetch);
    }
}

/* The same for a group's span; `weights` is the group's first row, `queries` its first lane. */
static inline void add_span(const slat_key_sums *keep, const slat_sums *sums, const slat_step *step,
                            const slat_span *span, const slat_sight *sight, gemm_scalars weights, gemm_rows queries,
                            int64_t ld, int64_t lanes, gemm_fetch *fetch)
{
    if (sight->narrow) {
        add_lines(keep, sums, step, span, sight, weights, queries, ld, fetch);
        return;
    }
    for (int64_t i = 0; i < span->runs; i++) {
        const gemm_scalars some = {weights.at + i * (span->run + span->gap) * weights.row, weights.row, weights.step};
        add_rows(keep, sums, step, span->first + i * (span->run + span->skip + span->gap), span->run, some, queries, ld,
                 lanes, fetch);
    }
}

/* A strip's rows, ready for its steps. Lanes that see nothing have lse inf, and 0 for all else. */
typedef struct {
    float lse[LANES], delta[LANES]; /* lse in units of log2; delta less grad_lse */
    float *q_lanes, *o_lanes;       /* q and grad_o transposed: [d, wide], [dv, wide] */
    float *q, *grad_o;              /* [wide, ld], [wide, ldv] */
    float *grad_q[2];               /* [wide, ld]: over the keys before the stop, and those behind it */
    float max[LANES], factor[LANES], mean[LANES]; /* landmark, a block in several steps: see inner_group() */
} slat_rows;

/* S and dP of a group become P and dS. */
static inline void weigh_group(float *p, float *u, int64_t wide, const slat_rows *rows, const slat_sight *sight,
                               const slat_group *group, float c, float scale)
{
    const vec all_c = vec_all(c), all_scale = vec_all(scale);
    for (int32_t l = group->lane; l < group->lane + group->lanes; l += VL) {
        const vec lse = vec_load(rows->lse + l), delta = vec_load(rows->delta + l);
        for (int64_t r = group->row; r < group->row + group->rows; r++) {
            float *x = p + r * wide + l, *y = u + r * wide + l;
            vec w = vec_exp2(vec_fms(vec_load(x), all_c, lse));
            vec ds = vec_mul(vec_mul(w, all_scale), vec_sub(vec_load(y), delta));
            if (!sight->whole) {
                const vec_mask seen = lane_mask(sight->bits + r, l);
                w = vec_keep(seen, w);
                ds = vec_keep(seen, ds);
            }
            vec_store(x, w);
            vec_store(y, ds);
        }
    }
}

/* landmark, whole earlier blocks p, u [line, length, wide], the landmark last in each: with w the weights and E their
 * mean of dP, an ordinary key gets w (dP - E) and the landmark P (E - delta). */
static inline void weigh_buckets(float *p, float *u, int64_t wide, const slat_rows *rows, const slat_sight *sight,
                                 float c, float scale)
{
    const int64_t ordinary = sight->length - 1, block = sight->length * wide;
    const slat_group all = {0, sight->lines * sight->length, 0, (int32_t)wide};
    const vec all_c = vec_all(c), all_scale = vec_all(scale);
    if (!sight->whole) mask_scores(p, wide, sight->bits, &all);
    for (int32_t i = 0; i < sight->lines; i++, p += block, u += block)
        for (int64_t l = 0; l < wide; l += VL) {
            const vec inner = finite_max(vec_mul(lane_max(p + l, wide, ordinary, vec_all(-INFINITY)), all_c));
            const vec sum = lane_exp2(p + l, wide, ordinary, all_c, inner, vec_zero());
            const vec weight = vec_exp2(vec_fms(vec_load(p + ordinary * wide + l), all_c, vec_load(rows->lse + l)));
            const vec factor = vec_select(vec_greater(weight, vec_zero()), vec_div(weight, sum), weight);
            const vec_mask none = vec_greater(vec_all(FLT_MIN), weight);
            vec mean = vec_zero();
            for (int64_t r = 0; r < ordinary; r++)
                mean = vec_fma(vec_load(p + r * wide + l), vec_load(u + r * wide + l), mean);
            mean = vec_select(none, vec_zero(), vec_div(mean, sum));
            for (int64_t r = 0; r < ordinary; r++) {
                const vec w = vec_mul(vec_load(p + r * wide + l), factor);
                vec_store(p + r * wide + l, w);
                vec_store(u + r * wide + l, vec_mul(vec_mul(w, all_scale), vec_sub(vec_load(u + r * wide + l), mean)));
            }
            const vec ds = vec_mul(vec_mul(weight, all_scale), vec_sub(mean, vec_load(rows->delta + l)));
            vec_store(p + ordinary * wide + l, vec_zero());
            vec_store(u + ordinary * wide + l, ds);
        }
}

/* The same for a block in several steps. Its ordinary keys first: their maximum in units of log2, in `factor` the sum
 * of exp2(score - max), in `mean` the same sum times dP. */
static inline void inner_clear(slat_rows *rows)
{
    for (int32_t l = 0; l < LANES; l++) rows->max[l] = -INFINITY, rows->factor[l] = rows->mean[l] = 0;
}

static inline void inner_group(float *p, const float *u, int64_t wide, slat_rows *rows, const slat_sight *sight,
                               const slat_group *group, float c)
{
    const vec all_c = vec_all(c);
    if (!sight->whole) mask_scores(p, wide, sight->bits, group);
    for (int32_t l = group->lane; l < group->lane + group->lanes; l += VL) {
        const float *x = p + group->row * wide + l, *y = u + group->row * wide + l;
        const vec old = vec_load(rows->max + l);
        const vec most = vec_mul(lane_max(x, wide, group->rows, vec_all(-INFINITY)), all_c), max = vec_max(old, most);
        const vec fade = vec_exp2(vec_sub(old, finite_max(max)));
        vec sum = vec_mul(vec_load(rows->factor + l), fade), mean = vec_mul(vec_load(rows->mean + l), fade);
        for (int32_t r = 0; r < group->rows; r++, x += wide, y += wide) {
            const vec w = vec_exp2(vec_fms(vec_load(x), all_c, finite_max(max)));
            sum = vec_add(sum, w);
            mean = vec_fma(w, vec_load(y), mean);
        }
        vec_store(rows->max + l, max);
        vec_store(rows->factor + l, sum);
        vec_store(rows->mean + l, mean);
    }
}

/* Then its landmark's score p [wide], whose dS goes to u. `factor` becomes the landmark's weight over the sum, `mean`
 * E. */
static inline void outer_row(float *p, float *u, int64_t wide, slat_rows *rows, const slat_sight *sight, float c,
                             float scale)
{
    const slat_group all = {0, 1, 0, (int32_t)wide};
    if (!sight->whole) mask_scores(p, wide, sight->bits, &all);
    for (int64_t l = 0; l < wide; l += VL) {
        const vec sum = vec_load(rows->factor + l);
        const vec weight = vec_exp2(vec_fms(vec_load(p + l), vec_all(c), vec_load(rows->lse + l)));
        const vec mean =
            vec_select(vec_greater(vec_all(FLT_MIN), weight), vec_zero(), vec_div(vec_load(rows->mean + l), sum));
        vec_store(rows->factor + l, vec_select(vec_greater(weight, vec_zero()), vec_div(weight, sum), weight));
        vec_store(rows->mean + l, mean);
        vec_store(p + l, vec_zero());
        vec_store(u + l, vec_mul(vec_mul(weight, vec_all(scale)), vec_sub(mean, vec_load(rows->delta + l))));
    }
}

/* And its ordinary keys again: S and dP become P and dS. */
static inline void again_group(float *p, float *u, int64_t wide, const slat_rows *rows, const slat_sight *sight,
                               const slat_group *group, float c, float scale)
{
    if (!sight->whole) mask_scores(p, wide, sight->bits, group);
    for (int32_t l = group->lane; l < group->lane + group->lanes; l += VL) {
        const vec max = finite_max(vec_load(rows->max + l)), factor = vec_load(rows->factor + l);
        const vec mean = vec_load(rows->mean + l);
        for (int64_t r = group->row; r < group->row + group->rows; r++) {
            float *x = p + r * wide + l, *y = u + r * wide + l;
            const vec w = vec_mul(vec_exp2(vec_fms(vec_load(x), vec_all(c), max)), factor);
            vec_store(x, w);
            vec_store(y, vec_mul(vec_mul(w, vec_all(scale)), vec_sub(vec_load(y), mean)));
        }
    }
}
#endif

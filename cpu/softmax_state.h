/* The online softmax, lane by lane: scores become probabilities under a running maximum. */
#ifndef SLAT_CPU_SOFTMAX_STATE_H
#define SLAT_CPU_SOFTMAX_STATE_H
#include "sight.h"
#include <float.h>
#include <math.h>

#define LOG2E 1.4426950408889634
#define LN2   0.6931471805599453

/* Of every lane: a maximum of its scores in units of log2, and the sum of exp2(score - max). The maximum may lag behind
 * by up to SLACK: sums and probabilities stay far from overflow, and o is rescaled only when it grows by more. */
typedef struct {
    float max[LANES], sum[LANES];
} slat_state;

#define SLACK 8.0f

static inline void state_clear(slat_state *state)
{
    for (int32_t l = 0; l < LANES; l++) state->max[l] = -INFINITY, state->sum[l] = 0;
}

INLINE vec_mask lane_mask(const uint64_t *bits, int64_t lane)
{
    return vec_mask_of((uint32_t)(*bits >> lane) & ((1u << VL) - 1));
}

/* Scores that a lane does not see become -inf. */
static inline void mask_scores(float *p, int64_t wide, const uint64_t *bits, const slat_group *group)
{
    for (int32_t r = group->row; r < group->row + group->rows; r++)
        for (int32_t l = group->lane; l < group->lane + group->lanes; l += VL)
            vec_store(p + r * wide + l,
                      vec_select(lane_mask(bits + r, l), vec_load(p + r * wide + l), vec_all(-INFINITY)));
}

/* The largest of one vector of lanes over a group's rows and `most`. */
INLINE vec lane_max(const float *p, int64_t wide, int64_t rows, vec most)
{
    vec a = most, b = most;
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2, p += 2 * wide) {
        a = vec_max(a, vec_load(p));
        b = vec_max(b, vec_load(p + wide));
    }
    if (r < rows) a = vec_max(a, vec_load(p));
    return vec_max(a, b);
}

/* The same of scores of which those that a lane does not see become -inf first. */
INLINE vec lane_mask_max(float *p, int64_t wide, int64_t rows, const uint64_t *bits, int64_t lane, vec most)
{
    vec a = most, b = most;
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2, p += 2 * wide) {
        const vec x = vec_select(lane_mask(bits + r, lane), vec_load(p), vec_all(-INFINITY));
        const vec y = vec_select(lane_mask(bits + r + 1, lane), vec_load(p + wide), vec_all(-INFINITY));
        vec_store(p, x);
        vec_store(p + wide, y);
        a = vec_max(a, x);
        b = vec_max(b, y);
    }
    if (r < rows) {
        const vec x = vec_select(lane_mask(bits + r, lane), vec_load(p), vec_all(-INFINITY));
        vec_store(p, x);
        a = vec_max(a, x);
    }
    return vec_max(a, b);
}

/* p = exp2(c p - max) over a group's rows of one vector of lanes; returns `sum` and theirs. */
INLINE vec lane_exp2(float *p, int64_t wide, int64_t rows, vec c, vec max, vec sum)
{
    vec more = vec_zero();
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2, p += 2 * wide) {
        const vec x = vec_exp2(vec_fms(vec_load(p), c, max)), y = vec_exp2(vec_fms(vec_load(p + wide), c, max));
        vec_store(p, x);
        vec_store(p + wide, y);
        sum = vec_add(sum, x);
        more = vec_add(more, y);
    }
    if (r < rows) {
        const vec x = vec_exp2(vec_fms(vec_load(p), c, max));
        vec_store(p, x);
        sum = vec_add(sum, x);
    }
    return vec_add(sum, more);
}

/* -inf, a lane that has seen nothing, becomes 0, so that -inf - max is -inf. */
INLINE vec finite_max(vec max)
{
    return vec_select(vec_greater(max, vec_all(-INFINITY)), max, vec_zero());
}

/* Raises the maximum of all lanes to at least most - SLACK, and rescales sums and o (rows of `vectors` vectors). */
static inline void raise_max(slat_state *state, const float most[LANES], int64_t wide, float *o, int64_t vectors)
{
    int grows = 0;
    for (int64_t l = 0; l < wide; l += VL)
        grows |= vec_any(vec_greater(vec_load(most + l), vec_add(vec_load(state->max + l), vec_all(SLACK))));
    if (!grows) return;
    float factor[LANES];
    for (int64_t l = 0; l < wide; l += VL) {
        const vec old = vec_load(state->max + l), now = vec_max(vec_load(most + l), old);
        const vec x = vec_exp2(vec_sub(old, finite_max(now)));
        vec_store(factor + l, x);
        vec_store(state->max + l, now);
        vec_store(state->sum + l, vec_mul(vec_load(state->sum + l), x));
    }
    for (int64_t l = 0; l < wide; l++, o += vectors * VL)
        if (factor[l] != 1)
            for (int64_t i = 0; i < vectors; i++)
                vec_store(o + i * VL, vec_mul(vec_load(o + i * VL), vec_all(factor[l])));
}

/* Turns a step's raw scores p [row, wide] into probabilities under the state's maximum. c scales scores to log2. */
static inline void attend(slat_state *state, float *p, int64_t wide, const slat_sight *sight, const slat_group *group,
                          int32_t groups, float c, float *o, int64_t vectors)
{
    float most[LANES];
    for (int64_t l = 0; l < wide; l++) most[l] = -INFINITY;
    for (int32_t g = 0; g < groups; g++) {
        float *from = p + group[g].row * wide;
        for (int32_t l = group[g].lane; l < group[g].lane + group[g].lanes; l += VL) {
            const vec before = vec_load(most + l);
            vec_store(most + l, sight->whole ? lane_max(from + l, wide, group[g].rows, before)
                                             : lane_mask_max(from + l, wide, group[g].rows, sight->bits + group[g].row,
                                                             l, before));
        }
    }
    for (int64_t l = 0; l < wide; l += VL) vec_store(most + l, vec_mul(vec_load(most + l), vec_all(c)));
    raise_max(state, most, wide, o, vectors);
    for (int32_t g = 0; g < groups; g++) {
        float *from = p + group[g].row * wide;
        for (int32_t l = group[g].lane; l < group[g].lane + group[g].lanes; l += VL) {
            const vec max = finite_max(vec_load(state->max + l));
            vec_store(state->sum + l,
                      lane_exp2(from + l, wide, group[g].rows, vec_all(c), max, vec_load(state->sum + l)));
        }
    }
}
#endif

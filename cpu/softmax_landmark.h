/* landmark's step over earlier blocks: an inner softmax over each block's ordinary keys, weighted by the landmark's own
 * probability. */
#ifndef SLAT_CPU_SOFTMAX_LANDMARK_H
#define SLAT_CPU_SOFTMAX_LANDMARK_H
#include "softmax_state.h"

/* Scores p [line, length, wide] of whole blocks, the landmark last in each, become each block's probabilities, but for
 * a factor [line, LANES] that a block's sums are multiplied by under the state's maximum. A landmark's are 0: it has no
 * value. */
static inline void bucket(slat_state *state, float *p, int64_t wide, const slat_sight *sight, float c, float *factor,
                          float *o, int64_t vectors)
{
    const int64_t ordinary = sight->length - 1, block = sight->length * wide;
    const slat_group all = {0, sight->lines * sight->length, 0, (int32_t)wide};
    float most[LANES];
    if (!sight->whole) mask_scores(p, wide, sight->bits, &all);
    for (int64_t l = 0; l < wide; l += VL) {
        vec x = vec_all(-INFINITY);
        for (int32_t i = 0; i < sight->lines; i++) x = vec_max(x, vec_load(p + i * block + ordinary * wide + l));
        vec_store(most + l, vec_mul(x, vec_all(c)));
    }
    raise_max(state, most, wide, o, vectors);
    for (int32_t i = 0; i < sight->lines; i++, p += block, factor += LANES)
        for (int64_t l = 0; l < wide; l += VL) {
            const vec max = finite_max(vec_load(state->max + l));
            const vec inner = finite_max(vec_mul(lane_max(p + l, wide, ordinary, vec_all(-INFINITY)), vec_all(c)));
            const vec sum = lane_exp2(p + l, wide, ordinary, vec_all(c), inner, vec_zero());
            const vec weight = vec_exp2(vec_fms(vec_load(p + ordinary * wide + l), vec_all(c), max));
            vec_store(factor + l, vec_select(vec_greater(weight, vec_zero()), vec_div(weight, sum), weight));
            vec_store(state->sum + l, vec_add(vec_load(state->sum + l), weight));
            vec_store(p + ordinary * wide + l, vec_zero());
        }
}

/* A long block is over: its landmark's scores p [wide] give it its weight. The block's sums, `inner` and inner_o, join
 * the lanes' own, and are empty again. */
static inline void close_block(slat_state *state, slat_state *inner, float *p, int64_t wide, const slat_sight *sight,
                               float c, float *o, float *inner_o, int64_t vectors)
{
    const slat_group all = {0, 1, 0, (int32_t)wide};
    float most[LANES], factor[LANES];
    if (!sight->whole) mask_scores(p, wide, sight->bits, &all);
    for (int64_t l = 0; l < wide; l += VL) vec_store(most + l, vec_mul(vec_load(p + l), vec_all(c)));
    raise_max(state, most, wide, o, vectors);
    for (int64_t l = 0; l < wide; l += VL) {
        const vec weight = vec_exp2(vec_fms(vec_load(p + l), vec_all(c), finite_max(vec_load(state->max + l))));
        const vec share = vec_div(weight, vec_load(inner->sum + l));
        vec_store(factor + l, vec_select(vec_greater(weight, vec_zero()), share, weight));
        vec_store(state->sum + l, vec_add(vec_load(state->sum + l), weight));
    }
    for (int64_t l = 0; l < wide; l++)
        for (int64_t i = 0; i < vectors; i++, o += VL, inner_o += VL) {
            vec_store(o, vec_fma(vec_all(factor[l]), vec_load(inner_o), vec_load(o)));
            vec_store(inner_o, vec_zero());
        }
    state_clear(inner);
}
#endif

/* The gradient of one head's slope, chunk by chunk. With R = -dS/dslope beside the state S, and g = scale do:
 *
 *     dslope = -sum_i g_i.(sum_{j <= i} (i-j) lambda^(i-j) (q_i.k_j) v_j + lambda^(i+1) (q_i R + (i+1) q_i S))
 *              - R_T.dS_T
 *     R <- lambda^r (R + r S) + sum_j (r-1-j) lambda^(r-1-j) k_j (x) v_j
 * All terms are weights times products: nothing cancels but what the data themselves cancel.
 */
#ifndef SLAT_CPU_CHUNK_SLOPES_H
#define SLAT_CPU_CHUNK_SLOPES_H
#include "chunk_loop.h"

/* What the sweep has beside a chunk_room. */
typedef struct {
    float *state;   /* R, as the room's state */
    float *o;       /* q S, as the room's o; then do */
    float *faded_k; /* the room's faded_k, each token times r-1-j */
} slope_room;

static inline size_t slope_room_of(slope_room *room, char *at, int64_t d, int64_t columns)
{
    const int64_t wide = round_up(columns, VL), floats[] = {d * wide, CHUNK * wide, round_up(d, VL) * CHUNK};
    float **const buffers[] = {&room->state, &room->o, &room->faded_k};
    return cut_buffers(buffers, floats, 3, at);
}

/* Numbers from -> from times (first - place), place counting from 0. */
INLINE void times_distance(float *to, const float *from, int64_t first)
{
    for (int64_t j = 0; j < CHUNK; j++) to[j] = from[j] * (float)(first - j);
}

/* One panel of a chunk: o = what dslope multiplies do with, and R and S with this chunk added. */
static inline void slope_panel(chunk_room *room, slope_room *slopes, const slat_sweep *sweep, int64_t r,
                               const chunk_panel *panel)
{
    const int64_t d = sweep->d, ld = round_up(d, VL), width = panel->width;
    float *state = room->state + panel->first * d, *slope_state = slopes->state + panel->first * d;
    float *o = room->o + panel->first * CHUNK, *o_state = slopes->o + panel->first * CHUNK;
    const gemm_rows v = {room->v + panel->first * CHUNK, width};
    const gemm_scalars q = {room->q, ld, 1};
    const gemm_terms terms = {1, d, 0, 0}, tokens = {1, r, 0, 0};
    gemm(o, width, q, (gemm_rows){slope_state, width}, r, panel->vectors, terms, 0);
    gemm(o_state, width, q, (gemm_rows){state, width}, r, panel->vectors, terms, 0);
    for (int64_t i = 0; i < r; i++)
        for (int64_t c = i * width; c < (i + 1) * width; c += VL)
            vec_store(o + c, vec_fma(vec_all((float)(i + 1)), vec_load(o_state + c), vec_load(o + c)));
    gemm_scaled(o, width, (gemm_scalars){room->scores, CHUNK, 1}, v, r, panel->vectors, tokens, room->query_fade);
    for (int64_t c = 0; c < d * width; c += VL)
        vec_store(slope_state + c, vec_fma(vec_all((float)r), vec_load(state + c), vec_load(slope_state + c)));
    for (int64_t i = 0; i < d; i += BLOCK) { /* a block of rows at a time: state_fade has no more entries than needed */
        const int64_t rows = slat_min(BLOCK, d - i);
        gemm_scaled(slope_state + i * width, width, (gemm_scalars){slopes->faded_k + i * CHUNK, CHUNK, 1}, v, rows,
                    panel->vectors, tokens, room->state_fade);
        gemm_scaled(state + i * width, width, (gemm_scalars){room->faded_k + i * CHUNK, CHUNK, 1}, v, rows,
                    panel->vectors, tokens, room->state_fade);
    }
}

/* x.y over whole panels of rows, whose tails are 0. */
static inline double panel_dot(const float *x, const float *y, int64_t rows, int64_t panel_rows, int64_t columns)
{
    double sum = 0;
    for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, columns);)
        for (int64_t i = 0; i < rows; i++) {
            const int64_t at = panel.first * panel_rows + i * panel.width;
            vec row = vec_zero();
            for (int64_t c = at; c < at + panel.width; c += VL) row = vec_fma(vec_load(x + c), vec_load(y + c), row);
            sum += vec_sum(row);
        }
    return sum;
}

/* The sweep is forward's; grad_o and grad_last (dS_T, may be absent) are its gradients. Returns dslope. */
static inline double sweep_slope(chunk_room *room, slope_room *slopes, const slat_sweep *sweep,
                                 const token_rows *grad_o, const state_rows *grad_last)
{
    const int64_t d = sweep->d, columns = sweep->columns;
    const state_rows none = {0};
    double sum = 0;
    begin_fade(room, sweep);
    load_state(room->state, &sweep->first, 0, d, columns);
    load_state(slopes->state, &none, 0, d, columns);
    for (int64_t t = 0, r; t < sweep->tokens; t += r) {
        r = slat_min(CHUNK, sweep->tokens - t);
        fade_chunk(room, sweep, r);
        pack_lanes_of(room->k, room->faded_k, room->key_fade, &sweep->k, t, r, d);
        pack_values(room->v, &sweep->v, t, r, columns);
        pack_tokens(room->q, &sweep->q, t, r, d);
        chunk_scores(room, r, d);
        for (int64_t i = 0; i < d; i++) times_distance(slopes->faded_k + i * CHUNK, room->faded_k + i * CHUNK, r - 1);
        for (int64_t i = 0; i < r; i++) times_distance(room->scores + i * CHUNK, room->scores + i * CHUNK, i);
        for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, columns);) slope_panel(room, slopes, sweep, r, &panel);
        pack_values(slopes->o, grad_o, t, r, columns);
        sum -= panel_dot(room->o, slopes->o, r, CHUNK, columns);
    }
    load_state(room->state, grad_last, 0, d, columns);
    return sum - panel_dot(room->state, slopes->state, d, d, columns);
}
#endif

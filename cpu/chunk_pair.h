/* A second result of a sweep, from the same state. Beside o, which reads S by rows, u reads it by columns:
 *     u_j = sum_{i <= j} lambda^(j-i) (v_i.w_j) k_i + lambda^(j+lag) S w_j
 * The sweep backwards in time that computes dv (q, k, v being k, g, do) so has dk too (w is v), without a second state.
 *
 * u stands transposed, [D, CHUNK], while it is summed: the state's elements are then the scalars of the product.
 */
#ifndef SLAT_CPU_CHUNK_PAIR_H
#define SLAT_CPU_CHUNK_PAIR_H
#include "chunk.h"

typedef struct {
    token_rows w, u;  /* [Dv], [D] */
    float *w_lanes;   /* [columns, CHUNK] */
    float *faded_w;   /* the same times query_fade */
    float *weights;   /* [CHUNK, CHUNK]: (v_i.w_j) lambda^(j-i), 0 for i > j */
    float *sum;       /* [d, CHUNK]: u */
} chunk_pair;

static inline size_t chunk_pair_of(chunk_pair *pair, char *at, int64_t d, int64_t columns)
{
    const int64_t wide = round_up(columns, VL) * CHUNK, floats[] = {wide, wide, CHUNK * CHUNK, round_up(d, VL) * CHUNK};
    float **const buffers[] = {&pair->w_lanes, &pair->faded_w, &pair->weights, &pair->sum};
    return cut_buffers(buffers, floats, 4, at);
}

/* Lanes before a tile's edge are not computed, and not read. */
static inline void pair_weights(const chunk_room *room, const slat_sweep *sweep, const chunk_pair *pair, int64_t r)
{
    for (int64_t i = 0; i < r; i += 16) {
        const int64_t rows = slat_min(16, r - i);
        float *to = pair->weights + i * CHUNK;
        for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, sweep->columns);)
            gemm(to + i, CHUNK, (gemm_scalars){room->v + panel.first * CHUNK + i * panel.width, panel.width, 1},
                 (gemm_rows){pair->w_lanes + panel.first * CHUNK + i, CHUNK}, rows, (CHUNK - i) / VL,
                 (gemm_terms){1, panel.width, 0, 0}, panel.first > 0);
        for (int64_t n = 0; n < rows; n++)
            for (int64_t j = i; j < CHUNK; j += VL) {
                const int64_t hidden = i + n - j; /* lanes */
                const uint32_t all = (1u << VL) - 1;
                const vec_mask mask = vec_mask_of(hidden <= 0 ? all : hidden < VL ? all & ~((1u << hidden) - 1) : 0);
                const vec fade = vec_load(room->fade_lanes + (i + n) * CHUNK + j);
                vec_store(to + n * CHUNK + j, vec_keep(mask, vec_mul(vec_load(to + n * CHUNK + j), fade)));
            }
    }
}

/* The chunk's u from its keys and values, which the room holds, and the state that it finds. */
static inline void pair_products(const chunk_room *room, const slat_sweep *sweep, const chunk_pair *pair, int64_t t,
                                 int64_t r)
{
    const int64_t d = sweep->d;
    pack_lanes_of(pair->w_lanes, pair->faded_w, room->query_fade, &pair->w, t, r, sweep->columns);
    pair_weights(room, sweep, pair, r);
    chunk_panel panel = {0, 0, 0};
    for (int more = next_panel(&panel, sweep->columns); more;) {
        const chunk_panel first = panel;
        int64_t same = 0; /* panels of this width, one after the other */
        do same++, more = next_panel(&panel, sweep->columns);
        while (more && panel.width == first.width);
        gemm(pair->sum, CHUNK, (gemm_scalars){room->state + first.first * d, first.width, 1},
             (gemm_rows){pair->faded_w + first.first * CHUNK, CHUNK}, d, CHUNK / VL,
             (gemm_terms){same, first.width, (d - 1) * first.width, 0}, first.first > 0);
    }
    for (int64_t j = 0; j < r; j += 16)
        gemm(pair->sum + j, CHUNK, (gemm_scalars){room->k, CHUNK, 1}, (gemm_rows){pair->weights + j, CHUNK}, d, 16 / VL,
             (gemm_terms){1, slat_min(j + 16, r), 0, 0}, 1);
    unpack_lanes(&pair->u, t, r, d, pair->sum);
}
#endif

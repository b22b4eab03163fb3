/* One sweep of linear attention over the tokens of a head, chunk by chunk:
 *
 *     o_i = sum_{j <= i} lambda^(i-j) (q_i.k_j) v_j + lambda^(i+lag) q_i S
 *     S  <- lambda^r S + sum_j lambda^(r-lag-j) k_j (x) v_j
 * where i and j count the tokens of a chunk of r, and S [D, Dv] is the state that the chunk finds. Forward is one sweep
 * with lag 1. Each gradient is a sweep too, with other tensors in the places of q, k and v: lightning.c says which.
 *
 * The products are those of gemm.h. S stands in panels of as many columns as one microtile has, so that a block of it
 * is read, used for o and updated while it is in the first-level cache. Scores above the diagonal are not computed
 * beyond a tile's edge. Sweeps over heads that lie side by side take turns, chunk by chunk: the pages that hold a
 * chunk's rows of one hold those of its neighbours. The next chunk's rows are prefetched between the products, a few at
 * a time.
 *
 * Every column of S, v and o is computed by itself in the same order, whatever range of columns a sweep is given: a
 * result does not depend on how columns are shared out.
 */
#ifndef SLAT_CPU_CHUNK_LOOP_H
#define SLAT_CPU_CHUNK_LOOP_H
#include "chunk_pair.h"
#include "cpu.h"

#define LINES 8 /* sweeps that take turns, at most */

/* One of the sweeps that take turns. */
typedef struct {
    slat_sweep sweep;
    chunk_room room;
    chunk_pair pair; /* u absent: there is no second result */
} chunk_line;

/* Gives lines of these extents their buffers from `at`; NULL: only returns the number of bytes. */
static inline size_t chunk_lines_of(chunk_line *lines, int64_t count, char *at, int64_t d, int64_t columns, int paired)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++) bytes += chunk_room_own(&lines[i].room, at ? at + bytes : NULL, d, columns);
    size_t shared = 0;
    for (int64_t i = 0; i < count; i++) {
        shared = chunk_room_shared(&lines[i].room, at ? at + bytes : NULL, d, columns);
        if (paired) shared += chunk_pair_of(&lines[i].pair, at ? at + bytes + shared : NULL, d, columns);
    }
    return bytes + shared;
}

/* ---- a chunk ---- */

/* scores = (q k) lambda^(i-j) on and below the diagonal; what a tile has above it is 0 by selection. */
static inline void chunk_scores(chunk_room *room, int64_t r, int64_t d)
{
    const int64_t ld = round_up(d, VL);
    const gemm_terms terms = {1, d, 0, 0};
    for (int64_t i = 0; i < r; i += 16) {
        const int64_t rows = slat_min(16, r - i);
        float *to = room->scores + i * CHUNK;
        gemm(to, CHUNK, (gemm_scalars){room->q + i * ld, ld, 1}, (gemm_rows){room->k, CHUNK}, rows, (i + 16) / VL,
             terms, 0);
        for (int64_t n = 0; n < rows; n++)
            for (int64_t j = 0; j < i + 16; j += VL) {
                const int64_t visible = i + n + 1 - j;
                const uint32_t all = (1u << VL) - 1;
                const vec_mask mask = vec_mask_of(visible >= VL ? all : visible > 0 ? (1u << visible) - 1 : 0);
                const vec fade = vec_load(room->fade + (i + n) * CHUNK + j);
                vec_store(to + n * CHUNK + j, vec_keep(mask, vec_mul(vec_load(to + n * CHUNK + j), fade)));
            }
    }
}

/* Rows of the next microtile where so many are left: on AVX2 8 are better cut in halves than into 6 and 2. */
INLINE int64_t strip_of(int64_t left) { return VL == 8 && left == 8 ? 4 : slat_min(STRIP, left); }

/* One panel of columns: o = lambda^(i+lag) q S + scores v, and S with this chunk added. */
static inline void chunk_panel_products(chunk_room *room, const slat_sweep *sweep, prefetcher *next, int64_t r,
                                        const chunk_panel *panel, int update)
{
    const int64_t d = sweep->d, ld = round_up(d, VL), width = panel->width;
    float *state = room->state + panel->first * d, *o = room->o + panel->first * CHUNK;
    const gemm_rows v = {room->v + panel->first * CHUNK, width};
    for (int64_t i = 0; i < d; i += BLOCK) {
        const int64_t rows = slat_min(BLOCK, d - i);
        float *block = state + i * width;
        for (int64_t n = 0; sweep->o.at && n < r; n += strip_of(r - n)) {
            gemm(o + n * width, width, (gemm_scalars){room->q + n * ld + i, ld, 1}, (gemm_rows){block, width},
                 strip_of(r - n), panel->vectors, (gemm_terms){1, rows, 0, 0}, i > 0);
            prefetch_some(next);
        }
        for (int64_t n = 0; update && n < rows; n += strip_of(rows - n)) {
            gemm_scaled(block + n * width, width, (gemm_scalars){room->faded_k + (i + n) * CHUNK, CHUNK, 1}, v,
                        strip_of(rows - n), panel->vectors, (gemm_terms){1, r, 0, 0}, room->state_fade);
            prefetch_some(next);
        }
    }
    for (int64_t i = 0, rows; sweep->o.at && i < r; i += rows) {
        rows = strip_of(r - i);
        gemm_scaled(o + i * width, width, (gemm_scalars){room->scores + i * CHUNK, CHUNK, 1}, v, rows, panel->vectors,
                    (gemm_terms){1, i + rows, 0, 0}, room->query_fade + i);
        prefetch_some(next);
    }
}

/* The rows that the next chunk reads and writes, r tokens from token t on. */
static inline void prefetch_line(prefetcher *next, const chunk_line *line)
{
    const slat_sweep *sweep = &line->sweep;
    prefetch_add(next, &sweep->k, sweep->d);
    prefetch_add(next, &sweep->v, sweep->columns);
    prefetch_add(next, &sweep->q, sweep->d);
    prefetch_add(next, &sweep->o, sweep->columns);
    prefetch_add(next, &line->pair.w, sweep->columns);
    prefetch_add(next, &line->pair.u, sweep->d);
}

static inline void run_chunk(chunk_line *line, prefetcher *next, int64_t t, int64_t r, int update)
{
    chunk_room *room = &line->room;
    const slat_sweep *sweep = &line->sweep;
    const int64_t panels = (sweep->columns + PANEL - 1) / PANEL;
    prefetch_spread(next, panels * ((update ? sweep->d : 0) + (sweep->o.at ? 2 * r : 0)) / STRIP + 1);
    fade_chunk(room, sweep, r);
    pack_lanes_of(room->k, room->faded_k, room->key_fade, &sweep->k, t, r, sweep->d);
    pack_values(room->v, &sweep->v, t, r, sweep->columns);
    if (line->pair.u.at) pair_products(room, sweep, &line->pair, t, r);
    if (sweep->o.at) {
        pack_tokens(room->q, &sweep->q, t, r, sweep->d);
        chunk_scores(room, r, sweep->d);
    }
    for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, sweep->columns);)
        chunk_panel_products(room, sweep, next, r, &panel, update);
    if (sweep->o.at) unpack_values(&sweep->o, t, r, sweep->columns, room->o);
}

/* The snapshot before token t, where there is one. */
static inline void take_snapshot(chunk_room *room, const slat_sweep *sweep, int64_t t)
{
    if (!sweep->snapshots.at || t % sweep->every) return;
    const int64_t offset = t / sweep->every * sweep->snapshot;
    if (sweep->read_snapshots) {
        load_state(room->state, &sweep->snapshots, offset, sweep->d, sweep->columns);
        room->state_error = 0;
    } else
        store_state(&sweep->snapshots, offset, room->state, sweep->d, sweep->columns);
}

/* Chunks end where snapshots stand. */
static inline int64_t chunk_length(const slat_sweep *sweep, int64_t t)
{
    const int64_t r = slat_min(CHUNK, sweep->tokens - t);
    return sweep->every ? slat_min(r, sweep->every - t % sweep->every) : r;
}

/* Tokens t ... end - 1. */
static inline void run_tokens(chunk_line *lines, int64_t count, int64_t t, int64_t end)
{
    const slat_sweep *first = &lines[0].sweep;
    for (int64_t r; t < end; t += r) {
        r = chunk_length(first, t);
        const int64_t then = t + r, next_r = chunk_length(first, then);
        const int replaced = first->read_snapshots && then % first->every == 0;
        for (int64_t i = 0; i < count; i++) {
            const int last = i + 1 == count, update = then < first->tokens ? !replaced : lines[i].sweep.last.at != NULL;
            prefetcher next = {.t = last ? then : t, .r = last ? next_r : r, .near = slat_fetches_near()};
            prefetch_line(&next, last ? &lines[0] : &lines[i + 1]);
            take_snapshot(&lines[i].room, &lines[i].sweep, t);
            run_chunk(&lines[i], &next, t, r, update);
        }
    }
}

/* The state alone: of the silent tokens, which end where a chunk ends. Snapshots that are read stand for them. */
static inline void run_silent(chunk_line *lines, int64_t count)
{
    chunk_line silent[LINES];
    if (lines[0].sweep.read_snapshots || !lines[0].sweep.silent) return;
    for (int64_t i = 0; i < count; i++) {
        silent[i] = lines[i];
        silent[i].sweep.q = silent[i].sweep.o = silent[i].pair.w = silent[i].pair.u = (token_rows){0};
        silent[i].sweep.snapshots.at = NULL;
    }
    run_tokens(silent, count, 0, lines[0].sweep.silent);
    for (int64_t i = 0; i < count; i++) lines[i].room = silent[i].room;
}

/* Sweeps of equal extents, tokens and snapshots. */
static inline void run_lines(chunk_line *lines, int64_t count)
{
    const slat_sweep *first = &lines[0].sweep;
    for (int64_t i = 0; i < count; i++) {
        begin_fade(&lines[i].room, &lines[i].sweep);
        load_state(lines[i].room.state, &lines[i].sweep.first, 0, first->d, first->columns);
    }
    run_silent(lines, count);
    run_tokens(lines, count, first->silent, first->tokens);
    for (int64_t i = 0; i < count; i++)
        if (lines[i].sweep.last.at) store_state(&lines[i].sweep.last, 0, lines[i].room.state, first->d, first->columns);
}
#endif

/* What sweeps over chunks of tokens (chunk_loop.h) are made of: rows of tensors, a worker's buffers, panels of columns,
 * decay, packing and prefetching.
 */
#ifndef SLAT_CPU_CHUNK_H
#define SLAT_CPU_CHUNK_H
#include "pack.h"
#include <math.h>

#define CHUNK 32                          /* tokens */
#define PANEL (GEMM_VECTORS * VL)         /* columns of a panel, at most */
#define BLOCK 128                         /* rows of S that are used and updated together */
#define STRIP (VL == 16 ? 4 : 6)          /* rows of a microtile that has GEMM_VECTORS vectors */

/* One head's rows of a tensor: token t begins `stride` bytes after token t - 1; backwards in time that is negative. */
typedef struct {
    char *at; /* NULL: absent */
    int64_t stride;
    slat_type type;
    float scale; /* of what is read */
} token_rows;

/* One head's state in a tensor: (d, c) at at[d * row + c], or (c, d) where it is transposed. */
typedef struct {
    float *at; /* NULL: absent */
    int64_t row;
    int transposed;
} state_rows;

typedef struct {
    token_rows q, k, v, o;   /* o absent: only the state is computed */
    int64_t tokens, d, columns;
    int64_t silent;          /* tokens that only the state is computed of, before the others */
    int32_t lag;
    double slope;
    state_rows first, last;  /* S before the first token (absent: 0) and after the last (absent: not wanted) */
    state_rows snapshots;    /* S before tokens 0, every, 2 every ... */
    int64_t every, snapshot; /* `snapshot`: elements between two */
    int read_snapshots;      /* they are read into S, else written */
} slat_sweep;

/* The buffers of a sweep. Sweeps that take turns have a state and decays of their own and share the rest. */
typedef struct {
    float *state;           /* panels of [d, width] */
    float *fade;            /* [CHUNK, CHUNK]: lambda^(i-j), 0 for j > i */
    float *fade_lanes;      /* the same transposed */
    float *query_fade;      /* [CHUNK]: lambda^(i+lag) */
    float *key_fade;        /* [CHUNK]: lambda^(r-lag-j) */
    float *state_fade;      /* [256]: lambda^r, for each row of S */
    int64_t filled;         /* the r of key_fade */
    double state_error;     /* log of the product of all state_fade over what it should be */

    float *q;               /* [CHUNK, d] */
    float *k, *faded_k;     /* [d, CHUNK]; faded: times key_fade */
    float *v, *o;           /* panels of [CHUNK, width] */
    float *scores;          /* [CHUNK, CHUNK] */
} chunk_room;

/* Points buffers of so many floats to memory from `at` on; NULL: only returns the number of bytes. */
static inline size_t cut_buffers(float **const *buffers, const int64_t *floats, size_t count, char *at)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (at) *buffers[i] = (float *)(at + bytes);
        bytes += (size_t)round_up(floats[i] * 4, 64);
    }
    return (size_t)round_up((int64_t)bytes, 256);
}

static inline size_t chunk_room_own(chunk_room *room, char *at, int64_t d, int64_t columns)
{
    const int64_t floats[] = {d * round_up(columns, VL), CHUNK * CHUNK, CHUNK * CHUNK, CHUNK, CHUNK, 256};
    float **const buffers[] = {&room->state, &room->fade, &room->fade_lanes, &room->query_fade, &room->key_fade,
                               &room->state_fade};
    return cut_buffers(buffers, floats, 6, at);
}

static inline size_t chunk_room_shared(chunk_room *room, char *at, int64_t d, int64_t columns)
{
    const int64_t wide_d = round_up(d, VL), wide = round_up(columns, VL);
    const int64_t floats[] = {CHUNK * wide_d, CHUNK * wide_d, CHUNK * wide_d,
                              CHUNK * wide, CHUNK * wide, CHUNK * CHUNK};
    float **const buffers[] = {&room->q, &room->k, &room->faded_k, &room->v, &room->o, &room->scores};
    return cut_buffers(buffers, floats, 6, at);
}

/* ---- panels ---- */

/* A range of columns: panel `first` columns from the left, `vectors` vectors wide. */
typedef struct {
    int64_t first, vectors, width;
} chunk_panel;

/* The panel after *panel (after {0, 0, 0} the first); 0: there is none. */
INLINE int next_panel(chunk_panel *panel, int64_t columns)
{
    panel->first += panel->width;
    const int64_t left = (columns - panel->first + VL - 1) / VL, strips = (left + GEMM_VECTORS - 1) / GEMM_VECTORS;
    if (left <= 0) return 0;
    panel->vectors = (left + strips - 1) / strips;
    panel->width = panel->vectors * VL;
    return 1;
}

/* A block of at most VL x VL elements of `from` (r, c), transposed into `to`; zeros beyond. */
INLINE void load_transposed(float *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows,
                            int64_t columns)
{
    vec x[VL];
    for (int64_t i = 0; i < VL; i++)
        x[i] = i < rows ? vec_load_row(from + i * from_row, SLAT_F32, 0, (int)columns) : vec_zero();
    vec_transpose(x);
    for (int64_t i = 0; i < columns; i++) vec_store(to + i * to_row, x[i]);
}

static inline void load_state(float *state, const state_rows *from, int64_t offset, int64_t d, int64_t columns)
{
    for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, columns); state += d * panel.width) {
        for (int64_t c = 0; c < panel.width; c += VL) {
            const int64_t column = panel.first + c, n = slat_min(VL, columns - column);
            if (!from->at) {
                for (int64_t i = 0; i < d; i++) vec_store(state + i * panel.width + c, vec_zero());
            } else if (from->transposed) {
                const float *at = from->at + offset + column * from->row;
                for (int64_t i = 0; i < d; i += VL)
                    load_transposed(state + i * panel.width + c, panel.width, at + i, from->row, n,
                                    slat_min(VL, d - i));
            } else {
                const float *at = from->at + offset + column;
                for (int64_t i = 0; i < d; i++)
                    vec_store(state + i * panel.width + c, vec_load_row(at + i * from->row, SLAT_F32, 0, (int)n));
            }
        }
    }
}

static inline void store_state(const state_rows *to, int64_t offset, const float *state, int64_t d, int64_t columns)
{
    for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, columns); state += d * panel.width)
        for (int64_t i = 0; i < d; i++)
            for (int64_t c = 0; c < panel.width; c += VL)
                vec_store_row(to->at + offset + i * to->row, SLAT_F32, panel.first + c,
                              vec_load(state + i * panel.width + c), (int)slat_min(VL, columns - panel.first - c));
}

/* ---- decay ---- */

/* What does not depend on the length of a chunk. Powers come from differences of the cumulative decay of the tokens. */
static inline void begin_fade(chunk_room *room, const slat_sweep *sweep)
{
    float power[CHUNK + 1];
    for (int64_t i = 0; i <= CHUNK; i++) power[i] = (float)exp(-sweep->slope * (double)i);
    for (int64_t i = 0; i < CHUNK; i++) {
        for (int64_t j = 0; j < CHUNK; j++)
            room->fade[i * CHUNK + j] = room->fade_lanes[j * CHUNK + i] = j <= i ? power[i - j] : 0;
        room->query_fade[i] = power[i + sweep->lag];
    }
    memset(room->scores, 0, CHUNK * CHUNK * sizeof *room->scores); /* beyond a tile's edge nothing else writes */
    room->filled = 0;
    room->state_error = 0;
}

/* lambda^r of a state is rounded so that the product over all chunks stays right: its error does not grow with T. */
static inline void fade_chunk(chunk_room *room, const slat_sweep *sweep, int64_t r)
{
    const double exponent = -sweep->slope * (double)r;
    const float fade = (float)exp(exponent - room->state_error);
    if (fade > 1e-30f && sweep->slope > 0) room->state_error += log((double)fade) - exponent;
    else room->state_error = 0;
    for (int64_t i = 0; i < 256; i += VL) vec_store(room->state_fade + i, vec_all(fade));
    if (room->filled == r) return;
    room->filled = r;
    for (int64_t j = 0; j < CHUNK; j++)
        room->key_fade[j] = j < r ? (float)exp(-sweep->slope * (double)(r - sweep->lag - j)) : 0;
}

/* ---- packing ---- */

static inline void pack_tokens(float *to, const token_rows *rows, int64_t t, int64_t r, int64_t columns)
{
    const int64_t ld = round_up(columns, VL);
    const vec scale = vec_all(rows->scale);
    const char *row = rows->at + t * rows->stride;
    for (int64_t i = 0; i < r; i++, row += rows->stride, to += ld)
        for (int64_t c = 0; c < columns; c += VL)
            vec_store(to + c, vec_mul(scale, vec_load_row(row, rows->type, c, (int)slat_min(VL, columns - c))));
}

static inline void pack_values(float *to, const token_rows *rows, int64_t t, int64_t r, int64_t columns)
{
    for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, columns); to += CHUNK * panel.width) {
        const char *row = rows->at + t * rows->stride;
        for (int64_t i = 0; i < r; i++, row += rows->stride)
            for (int64_t c = 0; c < panel.width; c += VL) {
                const int64_t column = panel.first + c;
                vec_store(to + i * panel.width + c,
                          vec_load_row(row, rows->type, column, (int)slat_min(VL, columns - column)));
            }
    }
}

/* Rows transposed, as they are and times a fade of each token, to [columns, CHUNK]; tokens beyond r are 0. */
static inline void pack_lanes_of(float *plain, float *faded, const float *fade, const token_rows *rows, int64_t t,
                                 int64_t r, int64_t columns)
{
    const vec scale = vec_all(rows->scale);
    for (int64_t j = 0; j < CHUNK; j += VL) {
        const vec factor = vec_load(fade + j);
        const char *first = rows->at + (t + j) * rows->stride;
        for (int64_t c = 0; c < columns; c += VL) {
            const int n = (int)slat_min(VL, columns - c);
            vec x[VL];
            for (int i = 0; i < VL; i++)
                x[i] = j + i < r ? vec_load_row(first + i * rows->stride, rows->type, c, n) : vec_zero();
            vec_transpose(x);
            for (int i = 0; i < VL; i++) {
                const vec lanes = vec_mul(x[i], scale);
                vec_store(plain + (c + i) * CHUNK + j, lanes);
                vec_store(faded + (c + i) * CHUNK + j, vec_mul(lanes, factor));
            }
        }
    }
}

/* The other way: tokens 0 ... r - 1 of from [columns, CHUNK] into rows. */
static inline void unpack_lanes(const token_rows *rows, int64_t t, int64_t r, int64_t columns, const float *from)
{
    for (int64_t j = 0; j < r; j += VL)
        for (int64_t c = 0; c < columns; c += VL) {
            vec x[VL];
            for (int i = 0; i < VL; i++) x[i] = c + i < columns ? vec_load(from + (c + i) * CHUNK + j) : vec_zero();
            vec_transpose(x);
            for (int64_t i = 0; i < slat_min(VL, r - j); i++)
                vec_store_row(rows->at + (t + j + i) * rows->stride, rows->type, c, x[i],
                              (int)slat_min(VL, columns - c));
        }
}

static inline void unpack_values(const token_rows *rows, int64_t t, int64_t r, int64_t columns, const float *from)
{
    for (chunk_panel panel = {0, 0, 0}; next_panel(&panel, columns); from += CHUNK * panel.width) {
        char *row = rows->at + t * rows->stride;
        for (int64_t i = 0; i < r; i++, row += rows->stride)
            for (int64_t c = 0; c < panel.width; c += VL) {
                const int64_t column = panel.first + c;
                vec_store_row(row, rows->type, column, vec_load(from + i * panel.width + c),
                              (int)slat_min(VL, columns - column));
            }
    }
}

/* ---- prefetching ---- */

/* The lines of the next chunk's rows of some tensors. */
typedef struct {
    const token_rows *rows[6]; /* NULL: no more */
    int64_t bytes[6];         /* of a row */
    int64_t t, r, some;       /* first token, tokens, lines at a time */
    int64_t which, row, byte; /* the line that comes next */
    int near;                 /* slat_fetches_near() */
} prefetcher;

/* One more tensor. */
static inline void prefetch_add(prefetcher *p, const token_rows *rows, int64_t columns)
{
    int i = 0;
    if (!rows->at || !p->r) return;
    while (p->rows[i]) i++;
    p->rows[i] = rows;
    p->bytes[i] = columns * (int64_t)element_size(rows->type);
}

/* All is to be prefetched in so many times. */
static inline void prefetch_spread(prefetcher *p, int64_t times)
{
    int64_t lines = 0;
    for (int i = 0; i < 6 && p->rows[i]; i++) lines += p->r * ((p->bytes[i] + 63) / 64);
    p->some = lines / times + 1;
}

static inline void prefetch_some(prefetcher *p)
{
    for (int64_t n = 0; n < p->some && p->which < 6 && p->rows[p->which]; n++) {
        const token_rows *rows = p->rows[p->which];
        vec_fetch_next(rows->at + (p->t + p->row) * rows->stride + p->byte, p->near);
        p->byte += 64;
        if (p->byte < p->bytes[p->which]) continue;
        p->byte = 0;
        if (++p->row < p->r) continue;
        p->row = 0;
        p->which++;
    }
}
#endif

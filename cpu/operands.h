/* The operands of the softmax products, in one of two forms. Everywhere a product's terms run over channels, keys or
 * queries; sums are f32.
 *   f32: a term is one element. 16-bit inputs are converted when they are packed.
 *   pairs (SLAT_PAIRS, for bf16): a 32-bit word holds two neighbouring terms, the first in its lower half, and one
 *   instruction multiplies and adds both, or on AMX (SLAT_TILES) 16 x 16 x 16 of them. Rows of keys are words as they
 *   stand in memory; where terms run over rows or lanes, two of these are interleaved. Odd counts end with a 0. Strides
 *   are in words.
 */
#ifndef SLAT_CPU_OPERANDS_H
#define SLAT_CPU_OPERANDS_H
#include "pack.h"
#include "sight.h"

#ifdef SLAT_PAIRS
#define PAIRS_ONLY(...) __VA_ARGS__

static inline int64_t operand_terms(int64_t elements)
{
    return (elements + 1) / 2;
}

/* A row's words. The last one's upper half is 0 where the number of columns is odd. */
INLINE void pack_words(float *to, const void *row, int64_t columns)
{
    if (columns % 2) memset(to + columns / 2, 0, sizeof *to);
    memcpy(to, row, (size_t)columns * 2);
}

/* to[c]: elements c of two rows; NULL: a row of zeros. */
INLINE void pack_pair_of_rows(float *to, const void *even, const void *odd, int64_t columns)
{
    for (int64_t c = 0; c < columns; c += VL) {
        const int n = (int)slat_min(VL, columns - c);
        const uint16_t *first = even ? (const uint16_t *)even + c : NULL,
                       *second = odd ? (const uint16_t *)odd + c : NULL;
        vec_store(to + c, vec_pair_halves(first, first ? n : 0, second, second ? n : 0));
    }
}

/* Queries as lanes: term c of lane l is to[c * wide + l]. */
static inline void query_lanes(float *to, const slat_view *view, int64_t b, const slat_strip *strip, uint64_t live,
                               int64_t columns, float sign)
{
    const int64_t words = operand_terms(columns);
    (void)sign;
    for (int32_t l = 0; l < strip->wide; l += VL) {
        const void *row[VL];
        lane_rows(row, view, b, strip, live, l);
        for (int64_t c = 0; c < words; c += VL) {
            const int n = (int)slat_min(VL, words - c);
            vec x[VL];
            for (int i = 0; i < VL; i++)
                x[i] = row[i] ? vec_load_words(row[i], c, (int)slat_min(2 * VL, columns - 2 * c)) : vec_zero();
            vec_transpose(x);
            for (int i = 0; i < n; i++) vec_store(to + (c + i) * strip->wide + l, x[i]);
        }
    }
}

/* Queries as rows: terms run over lanes. */
static inline void query_rows(float *to, int64_t ld, const slat_view *view, int64_t b, const slat_strip *strip,
                              uint64_t live, int64_t columns)
{
    for (int32_t l = 0; l < strip->wide; l += VL) {
        const void *row[VL];
        lane_rows(row, view, b, strip, live, l);
        for (int i = 0; i < VL; i += 2, to += ld) pack_pair_of_rows(to, row[i], row[i + 1], columns);
    }
}

/* A step's keys as scalars, a row a key. */
static inline gemm_scalars key_scalars(float *buffer, const slat_view *view, int64_t b, int64_t head,
                                       const slat_step *step, int64_t columns)
{
    const int64_t stride = view->token[2] * step->dz, ld = round_up(operand_terms(columns), VL);
    const char *row = row_at(view, b, step->piece[0].first, head);
    if (step->pieces == 1 && columns % 2 == 0 && stride % 2 == 0 && (uintptr_t)row % 4 == 0)
        return (gemm_scalars){(const float *)(const void *)row, stride / 2, 1};
    float *to = buffer;
    for (int32_t i = 0; i < step->pieces; i++) {
        row = row_at(view, b, step->piece[i].first, head);
        for (int32_t r = 0; r < step->piece[i].count; r++, row += stride * 2, to += ld) pack_words(to, row, columns);
    }
    return (gemm_scalars){buffer, ld, 1};
}

/* A step's keys as vectors: terms run over keys. Landmarks, the last of each line, are 0: they have no value. */
static inline gemm_rows key_rows(float *buffer, const slat_view *view, int64_t b, int64_t head, const slat_step *step,
                                 int64_t columns, int once, int values)
{
    const int64_t stride = view->token[2] * step->dz, ld = round_up(columns, VL);
    const int silent = values && step->kind == SLAT_BUCKET;
    const void *even = NULL;
    float *to = buffer;
    int64_t r = 0;
    (void)once;
    for (int32_t i = 0; i < step->pieces; i++) {
        const uint16_t *row = row_at(view, b, step->piece[i].first, head);
        for (int32_t j = 0; j < step->piece[i].count; j++, r++, row += stride) {
            const void *now = silent && r % step->line == step->line - 1 ? NULL : row;
            if (r % 2 == 0)
                even = now;
            else
                pack_pair_of_rows(to, even, now, columns), to += ld;
        }
    }
    if (r % 2) pack_pair_of_rows(to, even, NULL, columns);
    return (gemm_rows){buffer, ld};
}

/* Weights [row, wide] of a group as scalars: `by_key` where terms run over keys, `by_lane` over lanes. Tiles need the
 * terms of a row side by side. */
typedef struct {
    float *by_key, *by_lane; /* [row / 2, wide] (tiles: [wide, row / 2]), [row, wide / 2]; by_lane NULL: not wanted */
    int64_t first, ld;       /* tiles: the first row of by_key, and words from one lane to the next */
} slat_weights;

/* Rows r and r + 1 of VL lanes; behind the last row is 0. */
INLINE vec weight_pair(const float *p, int64_t wide, int64_t r, int64_t end)
{
    return vec_pair(vec_load(p + r * wide), r + 1 < end ? vec_load(p + (r + 1) * wide) : vec_zero());
}

#ifdef SLAT_TILES
static inline void set_by_key(slat_weights *to, const float *p, int64_t wide, const slat_group *group)
{
    const int64_t end = group->row + group->rows;
    to->first = group->row;
    to->ld = operand_terms(group->rows);
    for (int64_t l = group->lane; l < group->lane + group->lanes; l += VL)
        for (int64_t word = 0; word < to->ld; word += VL) {
            const int n = (int)slat_min(VL, to->ld - word);
            vec x[VL];
            for (int i = 0; i < VL; i++)
                x[i] = i < n ? weight_pair(p + l, wide, group->row + 2 * (word + i), end) : vec_zero();
            vec_transpose(x);
            for (int i = 0; i < VL; i++) vec_store_part(to->by_key + (l + i) * to->ld + word, x[i], n);
        }
}

static inline gemm_scalars weights_by_key(const slat_weights *w, int64_t wide, const slat_group *group)
{
    (void)wide;
    return (gemm_scalars){w->by_key + group->lane * w->ld + (group->row - w->first) / 2, w->ld, 1};
}
#else
static inline void set_by_key(slat_weights *to, const float *p, int64_t wide, const slat_group *group)
{
    const int64_t end = group->row + group->rows;
    for (int64_t r = group->row; r < end; r += 2)
        for (int64_t l = group->lane; l < group->lane + group->lanes; l += VL)
            vec_store(to->by_key + r / 2 * wide + l, weight_pair(p + l, wide, r, end));
}

static inline gemm_scalars weights_by_key(const slat_weights *w, int64_t wide, const slat_group *group)
{
    return (gemm_scalars){w->by_key + group->row / 2 * wide + group->lane, 1, wide};
}
#endif

static inline void set_weights(slat_weights *to, const float *p, int64_t wide, const slat_group *group)
{
    set_by_key(to, p, wide, group);
    for (int64_t r = group->row; to->by_lane && r < group->row + group->rows; r++)
        for (int64_t l = group->lane; l < group->lane + group->lanes; l += VL)
            vec_store_bf16((uint16_t *)(to->by_lane + r * (wide / 2)) + l, vec_load(p + r * wide + l));
}

static inline gemm_scalars weights_by_lane(const slat_weights *w, int64_t wide, const slat_group *group)
{
    return (gemm_scalars){w->by_lane + group->row * (wide / 2) + group->lane / 2, wide / 2, 1};
}

/* Rows of a landmark block that are summed over: all of them, for a landmark's weight and value are 0. */
static inline int64_t value_rows(const slat_step *step)
{
    return step->line;
}

#else
#define PAIRS_ONLY(...)

static inline int64_t operand_terms(int64_t elements)
{
    return elements;
}

/* Queries as lanes: column c of lane l, times `sign`, is to[c * wide + l]. */
static inline void query_lanes(float *to, const slat_view *view, int64_t b, const slat_strip *strip, uint64_t live,
                               int64_t columns, float sign)
{
    const vec factor = vec_all(sign);
    for (int32_t l = 0; l < strip->wide; l += VL) {
        const void *row[VL];
        lane_rows(row, view, b, strip, live, l);
        for (int64_t c = 0; c < columns; c += VL) {
            const int n = (int)slat_min(VL, columns - c);
            vec x[VL];
            for (int i = 0; i < VL; i++) x[i] = row[i] ? vec_load_row(row[i], view->type, c, n) : vec_zero();
            vec_transpose(x);
            for (int i = 0; i < n; i++) vec_store(to + (c + i) * strip->wide + l, vec_mul(x[i], factor));
        }
    }
}

/* Queries as rows: terms run over lanes. */
static inline void query_rows(float *to, int64_t ld, const slat_view *view, int64_t b, const slat_strip *strip,
                              uint64_t live, int64_t columns)
{
    pack_queries(to, ld, view, b, strip, live, columns);
}

/* A step's keys as scalars, a row a key: in place where they are f32 rows at one distance, else packed. */
static inline gemm_scalars key_scalars(float *buffer, const slat_view *view, int64_t b, int64_t head,
                                       const slat_step *step, int64_t columns)
{
    if (view->type == SLAT_F32 && step->pieces == 1)
        return (gemm_scalars){row_at(view, b, step->piece[0].first, head), view->token[2] * step->dz, 1};
    const int64_t ld = round_up(columns, VL);
    pack_keys(buffer, ld, view, b, head, step, columns);
    return (gemm_scalars){buffer, ld, 1};
}

/* A step's keys as vectors: terms run over keys. In place where that is whole vectors, which rows that are read more
 * than once need to be free of collisions in the cache for; else packed. */
static inline gemm_rows key_rows(float *buffer, const slat_view *view, int64_t b, int64_t head, const slat_step *step,
                                 int64_t columns, int once, int values)
{
    const int64_t row = view->token[2] * step->dz;
    (void)values;
    if (view->type == SLAT_F32 && step->pieces == 1 && columns % VL == 0 && row >= columns &&
        (once || !aliases(row * 4)))
        return (gemm_rows){row_at(view, b, step->piece[0].first, head), row};
    const int64_t ld = round_up(columns, VL);
    pack_keys(buffer, ld, view, b, head, step, columns);
    return (gemm_rows){buffer, ld};
}

/* Weights [row, wide] of a group as scalars: `by_key` where terms run over keys, `by_lane` over lanes. */
typedef struct {
    const float *at;
} slat_weights;

static inline void set_weights(slat_weights *to, const float *p, int64_t wide, const slat_group *group)
{
    (void)wide, (void)group;
    to->at = p;
}

static inline gemm_scalars weights_by_key(const slat_weights *w, int64_t wide, const slat_group *group)
{
    return (gemm_scalars){w->at + group->row * wide + group->lane, 1, wide};
}

static inline gemm_scalars weights_by_lane(const slat_weights *w, int64_t wide, const slat_group *group)
{
    return (gemm_scalars){w->at + group->row * wide + group->lane, wide, 1};
}

/* Rows of a landmark block that are summed over: the landmark, the last of them, has no value. */
static inline int64_t value_rows(const slat_step *step)
{
    return step->line - 1;
}
#endif
#endif

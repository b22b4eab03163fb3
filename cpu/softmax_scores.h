/* The products of a tile's step: scores S = K Q^T by groups, and sums over the step's keys. */
#ifndef SLAT_CPU_SOFTMAX_SCORES_H
#define SLAT_CPU_SOFTMAX_SCORES_H
#include "operands.h"

static inline void fetch_row(gemm_fetch *fetch, const char *at, int64_t bytes)
{
    const int64_t before = (int64_t)((uintptr_t)at % 64);
    if (fetch->rows < GEMM_FETCHES) fetch->row[fetch->rows++] = (gemm_fetch_row){at - before, bytes + before};
}

/* A step's rows of keys or values. */
static inline void fetch_keys(gemm_fetch *fetch, const slat_view *view, int64_t b, int64_t head, const slat_step *step,
                              int64_t columns)
{
    const int64_t size = (int64_t)element_size(view->type), stride = view->token[2] * step->dz * size;
    for (int32_t j = 0; j < step->pieces; j++) {
        const char *at = row_at(view, b, step->piece[j].first, head);
        for (int32_t r = 0; r < step->piece[j].count; r++) fetch_row(fetch, at + r * stride, columns * size);
    }
}

/* Where a step's rows begin, `count` of them; the last again and again where the step has fewer. */
static inline void list_rows(const char **to, int64_t count, const slat_view *view, int64_t b, int64_t head,
                             const slat_step *step)
{
    const int64_t stride = view->token[2] * step->dz * (int64_t)element_size(view->type);
    int64_t n = 0;
    for (int32_t j = 0; j < step->pieces && n < count; j++) {
        const char *at = row_at(view, b, step->piece[j].first, head);
        for (int32_t r = 0; r < step->piece[j].count && n < count; r++, at += stride) to[n++] = at;
    }
    for (const char *last = n ? to[n - 1] : NULL; n < count; n++) to[n] = last;
}

static inline int64_t row_bytes(const slat_view *view, int64_t columns)
{
    return columns * (int64_t)element_size(view->type);
}

/* The same for a tile's rows of one tensor. */
static inline void fetch_queries(gemm_fetch *fetch, const slat_view *view, const slat_tile *tile, int64_t columns)
{
    for (int32_t s = 0; s < tile->strips; s++)
        for (int32_t l = 0; l < tile->strip[s].lanes; l++)
            fetch_row(fetch, row_at(view, tile->b, tile->strip[s].at[l], slat_lane_head(tile->strip + s, l)),
                      columns * (int64_t)element_size(view->type));
}

/* Spreads the rows over so many chunks of products. */
static inline void fetch_over(gemm_fetch *fetch, int64_t chunks)
{
    fetch->each = (int32_t)((fetch->rows + slat_max(chunks, 1) - 1) / slat_max(chunks, 1));
}

/* Terms of a score in one chain of additions. A long row's are in several, whose sums are then added: dP - delta needs
 * the digits. */
static inline int64_t chain_terms(int64_t terms)
{
    return terms > 128 ? 64 : terms;
}

/* p[row, wide] = keys [row, d] times queries [d, wide], for the rows and lanes of a group. */
static inline void scores(float *p, gemm_scalars keys, const float *queries, int64_t wide, int64_t d,
                          const slat_span *span, const slat_group *group, gemm_fetch *fetch)
{
    const int64_t terms = operand_terms(d), chain = chain_terms(terms);
    for (int64_t i = 0; i < span->runs; i++) {
        float *to = p + (group->row + i * span->run) * wide + group->lane;
        const float *row = keys.at + (span->first + i * (span->run + span->skip)) * keys.row;
        for (int64_t k = 0; k < terms; k += chain)
            gemm_any(to, wide, (gemm_scalars){row + k * keys.step, keys.row, keys.step},
                     (gemm_rows){queries + k * wide + group->lane, wide}, span->run, group->lanes / VL,
                     (gemm_terms){1, slat_min(terms - k, chain), 0, 0}, k ? GEMM_WEIGH : GEMM_STORE, NULL, fetch);
    }
}

/* sum[lane, ld] += weights [lane, row] times rows [row, ld] for a narrow sight, whose one group holds all lanes: each
 * lane's weights of the lines that it sees. Neighbours that see the same lines go together. Pairs never have lines. */
static inline void weigh_lines(float *sum, int64_t ld, gemm_scalars weights, gemm_rows rows, int64_t skip,
                               const slat_sight *sight, int32_t lanes, gemm_fetch *fetch)
{
    for (int32_t lane = 0, end; lane < lanes; lane = end) {
        const int32_t q = lane / QUAD, first = sight->first_line[q], lines = sight->end_line[q] - first;
        for (end = lane + QUAD; end < lanes && sight->first_line[end / QUAD] == first &&
                                sight->end_line[end / QUAD] == sight->end_line[q];)
            end += QUAD;
        if (!lines) continue;
        gemm_any(sum + lane * ld, ld,
                 (gemm_scalars){weights.at + first * sight->length * weights.step + lane * weights.row, weights.row,
                                weights.step},
                 (gemm_rows){rows.at + first * (sight->length + skip) * rows.row, rows.row},
                 slat_min(end, lanes) - lane, ld / VL, (gemm_terms){lines, sight->length, 0, skip * rows.row}, GEMM_ADD,
                 NULL, fetch);
    }
}

/* sum[lane, ld] += weights [lane, row] times rows [row, ld]: a group's keys, for its lanes. `lanes`: of the strip in
 * use. */
static inline void weigh_keys(float *sum, int64_t ld, const slat_weights *weights, int64_t wide, gemm_rows rows,
                              const slat_span *span, const slat_sight *sight, const slat_group *group, int32_t lanes,
                              gemm_fetch *fetch)
{
    const gemm_rows from = {rows.at + operand_terms(span->first) * rows.row, rows.row};
    const gemm_scalars some = weights_by_key(weights, wide, group);
    if (sight->narrow) {
        weigh_lines(sum, ld, some, from, span->skip, sight, lanes, fetch);
        return;
    }
    gemm_any(sum + group->lane * ld, ld, some, from, slat_min(group->lanes, lanes - group->lane), ld / VL,
             (gemm_terms){span->runs, operand_terms(span->run), 0, span->skip * rows.row}, GEMM_ADD, NULL, fetch);
}

/* The same for landmark's blocks, a line each: every block's sum times its factor [line, LANES]. Of a block's rows the
 * first `run` are summed. */
static inline void weigh_blocks(float *sum, int64_t ld, const slat_weights *weights, int64_t wide, gemm_rows rows,
                                const slat_step *step, int64_t run, const float *factor, int32_t lanes,
                                gemm_fetch *fetch)
{
    for (int32_t row = 0; row < step->rows; row += step->line, factor += LANES) {
        const slat_group block = {row, step->line, 0, (int32_t)wide};
        const gemm_rows from = {rows.at + operand_terms(row) * rows.row, rows.row};
        gemm_any(sum, ld, weights_by_key(weights, wide, &block), from, lanes, ld / VL,
                 (gemm_terms){1, operand_terms(run), 0, 0}, GEMM_WEIGH, factor, fetch);
    }
}
#endif

/* Counting by visible(), in pairs or in samples of them. */
#include "mask_cells.h"
#include "random.h"
#include "visible.h"
#include <math.h>
#include <stdlib.h>

enum { MOST_PAIRS = 1 << 24, KINDS = 1024 };

/* Positions only: the parts of a visible pair in landmark attention. */
static void add_pair(const problem *p, int64_t i, int64_t j, mask_cell *cell)
{
    const int64_t place = i + visible_keys(p) - visible_queries(p);
    if (p->op != OP_LANDMARK || place / p->landmark.block == j / p->landmark.block)
        cell->token++;
    else if (j % p->landmark.block == p->landmark.block - 1)
        cell->landmark++;
    else
        cell->grouped++;
}

bool mask_causal(const problem *p)
{
    if (p->op == OP_NEIGHBORHOOD) return p->neighborhood.ndim == 1 && p->neighborhood.causal[0];
    return p->op != OP_BLOCK_SPARSE || p->block_sparse.causal;
}

/* Position of query i among the keys. */
static int64_t position(const problem *p, int64_t i)
{
    if (p->op == OP_NEIGHBORHOOD) return i + p->neighborhood.q_start[0];
    return i + visible_keys(p) - visible_queries(p);
}

typedef struct {
    const problem *p, *also;
    int64_t head, queries, keys, q_step, k_step;
    bool causal;
} counter;

static mask_cell count_cell(const counter *c, int64_t i0, int64_t i1, int64_t j0, int64_t j1)
{
    mask_cell cell = {0};
    int64_t pairs = 0;
    for (int64_t i = i0; i < i1; i += c->q_step)
        for (int64_t j = j0; j < j1; j += c->k_step) {
            const uint64_t place = (uint64_t)(i * c->keys + j);
            const int64_t rest_i = c->q_step < i1 - i ? c->q_step : i1 - i,
                          rest_j = c->k_step < j1 - j ? c->k_step : j1 - j;
            const int64_t x = i + random_below(1, place, rest_i), y = j + random_below(2, place, rest_j);
            if (visible(c->p, 0, c->head, x, y) || (c->also && visible(c->also, 0, c->head, x, y)))
                add_pair(c->p, x, y, &cell);
            else if (c->causal && y > position(c->p, x))
                cell.future++;
            pairs++;
        }
    const float part = 1.0f / (float)pairs;
    return (mask_cell){cell.token * part, cell.landmark * part, cell.grouped * part, cell.future * part, 0};
}

/* Lightning: the nearest pair of queries i0 to i1 - 1 and keys j0 to j1 - 1 tells the cell's decay. */
static mask_cell decay_cell(const problem *p, int64_t head, int64_t i0, int64_t i1, int64_t j0, int64_t j1)
{
    if (j0 > i1 - 1) return (mask_cell){.future = 1};
    const int64_t distance = j1 - 1 < i0 ? i0 - (j1 - 1) : 0;
    return (mask_cell){.weight = (float)(-tensor_get(p->t[ROLE_SLOPES], head) * (double)distance / log(10))};
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

bool mask_cells_count(const problem *p, const problem *also, int64_t head, int64_t q_bin, int64_t k_bin, mask_cells *m)
{
    *m = (mask_cells){.queries = visible_queries(p), .keys = visible_keys(p), .q_bin = q_bin, .k_bin = k_bin};
    m->rows = (m->queries + q_bin - 1) / q_bin;
    m->columns = (m->keys + k_bin - 1) / k_bin;
    m->cells = calloc((size_t)(m->rows * m->columns), sizeof *m->cells);
    if (!m->cells) return false;
    counter c = {p, also, head, m->queries, m->keys, 1, 1, mask_causal(p)};
    while ((double)m->queries / (double)c.q_step * ((double)m->keys / (double)c.k_step) > MOST_PAIRS) {
        if (c.q_step * 2 <= q_bin && c.q_step <= c.k_step)
            c.q_step *= 2;
        else if (c.k_step * 2 <= k_bin)
            c.k_step *= 2;
        else
            break;
    }
    m->sampled = c.q_step > 1 || c.k_step > 1;
    for (int64_t r = 0; r < m->rows; r++)
        for (int64_t s = 0; s < m->columns; s++) {
            const int64_t i0 = r * q_bin, i1 = least(i0 + q_bin, m->queries);
            const int64_t j0 = s * k_bin, j1 = least(j0 + k_bin, m->keys);
            mask_cell *cell = &m->cells[r * m->columns + s];
            *cell = p->op == OP_LIGHTNING ? decay_cell(p, head, i0, i1, j0, j1) : count_cell(&c, i0, i1, j0, j1);
        }
    return true;
}

void mask_cells_free(mask_cells *m)
{
    free(m->cells);
    m->cells = NULL;
}

/* Key heads with the same number have the same mask. */
static double kind_of(const problem *p, int64_t head)
{
    const int64_t key_head = head / (p->extents.hq / p->extents.hk);
    if (p->op == OP_SHARDED) {
        const double offset = tensor_get(p->t[ROLE_OFFSETS], key_head);
        return offset < 0 ? -1 : fmod(offset, p->sharded.stride);
    }
    if (p->op == OP_LIGHTNING) return tensor_get(p->t[ROLE_SLOPES], head);
    if (p->op == OP_BLOCK_SPARSE && p->t[ROLE_INDPTR] && p->extents.layout_heads > 1)
        return (double)(p->extents.layout_heads == p->extents.hq ? head : key_head);
    return 0;
}

int mask_heads(const problem *p, int most, int64_t *heads, int *all)
{
    int64_t found[KINDS];
    int kinds = 0;
    for (int64_t h = 0; h < p->extents.hq && kinds < KINDS; h++) {
        bool known = false;
        for (int n = 0; n < kinds && !known; n++) known = kind_of(p, found[n]) == kind_of(p, h);
        if (!known) found[kinds++] = h;
    }
    const int shown = kinds < most ? kinds : most;
    for (int n = 0; n < shown; n++) {
        const bool spread = p->op == OP_LIGHTNING && shown > 1;
        heads[n] = found[spread ? (n * (kinds - 1) + (shown - 1) / 2) / (shown - 1) : n];
    }
    *all = kinds;
    return shown;
}

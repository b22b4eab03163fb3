/* The definition of block-sparse and dense attention: which keys a row sees; and of the layout by key block. */
#include "arena.h"
#include "scalar.h"
#include "softmax_scalar.h"

/* Lists keys first ... end - 1; those that the bitmap hides are left out. */
static int64_t list(const slat_layout *l, int64_t first, int64_t end, int64_t bitmap, int64_t query, slat_point *keys)
{
    int64_t count = 0;
    for (int64_t j = first; j < end; ++j)
        if (bitmap < 0 || slat_bitmap_bit(l, bitmap, query % l->block_q, j - first)) keys[count++] = slat_at(0, 0, j);
    return count;
}

static int64_t visible(const slat_problem *p, int64_t b, int32_t h, slat_point query, slat_point *keys)
{
    const slat_layout *l = &p->layout;
    const int64_t end = l->causal ? slat_position(p, query.z) + 1 : p->tk; /* of the keys; 0 or less: there are none */
    if (!l->indptr) return list(l, 0, end, -1, query.z, keys);

    const int32_t *row = l->indptr + slat_layout_row(l, l->rows, b, h, p->hq, query.z / l->block_q);
    int64_t count = 0;
    for (int64_t e = row[0]; e < row[1]; ++e) {
        const int64_t first = (int64_t)l->indices[e] * l->block_k, bitmap = l->bitmap_of ? l->bitmap_of[e] : -1;
        count += list(l, first, slat_min(first + l->block_k, end), bitmap, query.z, keys + count);
    }
    return count;
}

static const slat_softmax rule = {visible, slat_weigh, slat_unweigh};

slat_status slat_block_sparse_scalar_forward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_forward(p, run, &rule);
}

slat_status slat_block_sparse_scalar_backward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_backward(p, run, &rule);
}

slat_status slat_transpose_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    const slat_arena nothing = {0};
    (void)p, (void)run;
    return slat_plan_scalar(&nothing, "transpose_scalar", plan);
}

/* Transposes one head's layout. `row` is its row of indptr, `column` that of t_indptr. Entries of a key block stay in
 * the order of their query blocks. */
static void transpose(const slat_layout *l, const int32_t *row, int32_t *column, int32_t *t_indices, int32_t *t_entry)
{
    for (int64_t j = 0; j <= l->columns; ++j) column[j] = 0;
    for (int64_t e = row[0]; e < row[l->rows]; ++e) ++column[l->indices[e] + 1];
    column[0] = row[0]; /* a head's entries fill the same places in both layouts */
    for (int64_t j = 0; j < l->columns; ++j) column[j + 1] += column[j];
    /* column[j] is where key block j's entries begin; as they are written, it moves to where they end. */
    for (int64_t i = 0; i < l->rows; ++i)
        for (int32_t e = row[i]; e < row[i + 1]; ++e) {
            const int32_t to = column[l->indices[e]]++;
            t_indices[to] = (int32_t)i;
            t_entry[to] = e;
        }
    for (int64_t j = l->columns; j > 0; --j) column[j] = column[j - 1];
    column[0] = row[0];
}

slat_status slat_transpose_scalar(const slat_problem *p, const slat_run *run)
{
    const slat_layout *l = &p->layout;
    /* Outputs here; slat_layout's const is for those who read them. */
    int32_t *t_indptr = (int32_t *)l->t_indptr, *t_indices = (int32_t *)l->t_indices, *t_entry = (int32_t *)l->t_entry;
    (void)run;
    for (int64_t head = 0; head < (int64_t)l->batches * l->heads; ++head)
        transpose(l, l->indptr + head * (l->rows + 1), t_indptr + head * (l->columns + 1), t_indices, t_entry);
    return SLAT_OK;
}

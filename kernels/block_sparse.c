/* Block-sparse attention: public entries, and the checks of a CSR block layout. */
#include "check.h"
#include "dispatch.h"

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static slat_status check_block(const char *name, int32_t block)
{
    if (block >= 8 && block <= 256 && block % 8 == 0) return SLAT_OK;
    return slat_fail(SLAT_INVALID, "%s: %d, expected a multiple of 8 from 8 to 256", name, block);
}

/* A compact i32 (or u8) tensor of a layout. `rank` 1 takes shape[0] alone. */
static slat_status check_index(slat_checker *c, const char *name, const char *dims, const DLTensor *t, int32_t flags,
                               int32_t ndim, int64_t x, int64_t y, int64_t z)
{
    const slat_want want = {.name = name,
                            .dims = dims,
                            .types = SLAT_IS_I32,
                            .flags = SLAT_COMPACT | flags,
                            .ndim = ndim,
                            .shape = {x, y, z}};
    return slat_check_tensor(c, &want, t);
}

/* indptr: Bm and Hm are read off it, rows from tq. */
static slat_status check_indptr(slat_checker *c, const slat_block_sparse *m, slat_layout *out)
{
    SLAT_TRY(check_index(c, "indptr", "[1|B, 1|Hk|Hq, ceil(Tq/block_q)+1]", m->indptr, 0, 3, SLAT_ANY, SLAT_ANY,
                         out->rows + 1));
    const int64_t batches = m->indptr->shape[0], heads = m->indptr->shape[1];
    const slat_problem *p = c->problem;
    if (p->op != SLAT_OP_TRANSPOSE) {
        if (batches != 1 && batches != p->b)
            return slat_fail(SLAT_INVALID, "indptr: Bm %lld, expected 1 or B, %lld", (long long)batches,
                             (long long)p->b);
        if (heads != 1 && heads != p->hk && heads != p->hq)
            return slat_fail(SLAT_INVALID, "indptr: Hm %lld, expected 1, Hk (%d) or Hq (%d)", (long long)heads, p->hk,
                             p->hq);
    }
    if (batches < 0 || batches > INT32_MAX || heads < 1 || heads > INT32_MAX)
        return slat_fail(SLAT_INVALID, "indptr: shape [%lld, %lld, *], expected extents from 1 to 2^31",
                         (long long)batches, (long long)heads);
    out->batches = (int32_t)batches;
    out->heads = (int32_t)heads;
    out->indptr = slat_data(m->indptr);
    return SLAT_OK;
}

static slat_status check_bitmaps(slat_checker *c, const slat_block_sparse *m, slat_layout *out)
{
    if (!m->bitmap_of != !m->bitmaps)
        return slat_fail(SLAT_INVALID, "%s: NULL, but %s is given", m->bitmaps ? "bitmap_of" : "bitmaps",
                         m->bitmaps ? "bitmaps" : "bitmap_of");
    if (!m->bitmap_of) return SLAT_OK;
    SLAT_TRY(check_index(c, "bitmap_of", "[nnz]", m->bitmap_of, 0, 1, out->entries, 0, 0));
    const slat_want want = {.name = "bitmaps",
                            .dims = "[n, block_q, ceil(block_k/8)]",
                            .types = SLAT_IS_U8,
                            .flags = SLAT_COMPACT,
                            .ndim = 3,
                            .shape = {SLAT_ANY, out->block_q, out->block_k / 8}};
    SLAT_TRY(slat_check_tensor(c, &want, m->bitmaps));
    out->bitmap_of = slat_data(m->bitmap_of);
    out->bitmaps = slat_data(m->bitmaps);
    out->bitmap_count = m->bitmaps->shape[0];
    return SLAT_OK;
}

static slat_status check_transposed(slat_checker *c, const DLTensor *t_indptr, const DLTensor *t_indices,
                                    const DLTensor *t_entry, int32_t flags, slat_layout *out)
{
    SLAT_TRY(check_index(c, "t_indptr", "[Bm, Hm, ceil(Tk/block_k)+1]", t_indptr, flags, 3, out->batches, out->heads,
                         out->columns + 1));
    SLAT_TRY(check_index(c, "t_indices", "[nnz]", t_indices, flags, 1, out->entries, 0, 0));
    SLAT_TRY(check_index(c, "t_entry", "[nnz]", t_entry, flags, 1, out->entries, 0, 0));
    out->t_indptr = slat_data(t_indptr);
    out->t_indices = slat_data(t_indices);
    out->t_entry = slat_data(t_entry);
    return SLAT_OK;
}

/* Everything about a layout but what its indices say. */
static slat_status check_layout(slat_checker *c, const slat_block_sparse *m, slat_layout *out)
{
    const slat_problem *p = c->problem;
    if (m->causal != 0 && m->causal != 1) return slat_fail(SLAT_INVALID, "causal: %d, expected 0 or 1", m->causal);
    *out = (slat_layout){.causal = m->causal};
    if (!m->indptr) {
        const DLTensor *const others[] = {m->indices, m->bitmap_of, m->bitmaps, m->t_indptr, m->t_indices, m->t_entry};
        static const char *const names[] = {"indices", "bitmap_of", "bitmaps", "t_indptr", "t_indices", "t_entry"};
        for (int32_t i = 0; i < 6; i++)
            if (others[i]) return slat_fail(SLAT_INVALID, "%s: given, but indptr is NULL", names[i]);
        return SLAT_OK;
    }
    out->block_q = m->block_q;
    out->block_k = m->block_k ? m->block_k : m->block_q;
    SLAT_TRY(check_block("block_q", out->block_q));
    SLAT_TRY(check_block("block_k", out->block_k));
    out->rows = ceil_div(p->tq, out->block_q);
    out->columns = ceil_div(p->tk, out->block_k);
    if (out->rows > INT32_MAX)
        return slat_fail(SLAT_INVALID, "q: %lld query blocks, expected at most 2^31 - 1", (long long)out->rows);
    if (out->columns > INT32_MAX)
        return slat_fail(SLAT_INVALID, "k: %lld key blocks, expected at most 2^31 - 1", (long long)out->columns);
    SLAT_TRY(check_indptr(c, m, out));
    SLAT_TRY(check_index(c, "indices", "[nnz]", m->indices, 0, 1, SLAT_ANY, 0, 0));
    out->entries = m->indices->shape[0];
    if (out->entries > INT32_MAX)
        return slat_fail(SLAT_INVALID, "indices: %lld entries, expected at most 2^31 - 1", (long long)out->entries);
    out->indices = slat_data(m->indices);
    SLAT_TRY(check_bitmaps(c, m, out));
    const int32_t given = (m->t_indptr != NULL) + (m->t_indices != NULL) + (m->t_entry != NULL);
    if (p->op == SLAT_OP_TRANSPOSE || given == 0) return SLAT_OK;
    return check_transposed(c, m->t_indptr, m->t_indices, m->t_entry, 0, out);
}

/* What the indices of a layout in host memory say. */
static slat_status check_indices(const slat_layout *m)
{
    const int64_t rows = (int64_t)m->batches * m->heads * (m->rows + 1);
    if (rows && m->indptr[0] != 0) return slat_fail(SLAT_INVALID, "indptr[0]: %d, expected 0", m->indptr[0]);
    for (int64_t r = 1; r < rows; r++) {
        const int32_t begin = m->indptr[r - 1], end = m->indptr[r], first = r % (m->rows + 1) == 0;
        if (end < begin || (first && end != begin) || end > m->entries)
            return slat_fail(SLAT_INVALID, "indptr[%lld]: %d, expected %s%d%s%lld", (long long)r, end,
                             first ? "" : "from ", begin, first ? ", where the last row ended, of " : " to ",
                             (long long)m->entries);
        for (int32_t e = begin; e < end; e++)
            if (m->indices[e] < (e > begin ? m->indices[e - 1] + 1 : 0) || m->indices[e] >= m->columns)
                return slat_fail(SLAT_INVALID, "indices[%d]: %d, expected %lld to %lld, ascending in its row", e,
                                 m->indices[e], e > begin ? m->indices[e - 1] + 1LL : 0LL, (long long)m->columns - 1);
    }
    const int32_t last = rows ? m->indptr[rows - 1] : 0;
    if (last != m->entries)
        return slat_fail(SLAT_INVALID, "indptr: ends at %d, expected nnz, %lld", last, (long long)m->entries);
    for (int64_t e = 0; m->bitmap_of && e < m->entries; e++)
        if (m->bitmap_of[e] < -1 || m->bitmap_of[e] >= m->bitmap_count)
            return slat_fail(SLAT_INVALID, "bitmap_of[%lld]: %d, expected -1 to %lld", (long long)e, m->bitmap_of[e],
                             (long long)m->bitmap_count - 1);
    return SLAT_OK;
}

/* The transposed layout lists every entry once: its rows ascend, each entry lies in the row that it names, in this
 * column, and there are as many as in the layout. */
static slat_status check_transposed_indices(const slat_layout *m)
{
    const int64_t columns = (int64_t)m->batches * m->heads * (m->columns + 1);
    if (columns && m->t_indptr[0] != 0) return slat_fail(SLAT_INVALID, "t_indptr[0]: %d, expected 0", m->t_indptr[0]);
    for (int64_t r = 1; r < columns; r++) {
        const int32_t begin = m->t_indptr[r - 1], end = m->t_indptr[r], first = r % (m->columns + 1) == 0;
        if (end < begin || (first && end != begin) || end > m->entries)
            return slat_fail(SLAT_INVALID, "t_indptr[%lld]: %d, expected from %d to %lld", (long long)r, end, begin,
                             (long long)m->entries);
        const int64_t head = r / (m->columns + 1), column = r % (m->columns + 1) - 1;
        const int32_t *indptr = m->indptr + head * (m->rows + 1);
        for (int32_t e = begin; e < end; e++) {
            const int32_t row = m->t_indices[e], entry = m->t_entry[e];
            if (row < (e > begin ? m->t_indices[e - 1] + 1 : 0) || row >= m->rows)
                return slat_fail(SLAT_INVALID, "t_indices[%d]: %d, expected %lld to %lld, ascending in its column", e,
                                 row, e > begin ? m->t_indices[e - 1] + 1LL : 0LL, (long long)m->rows - 1);
            if (entry < indptr[row] || entry >= indptr[row + 1] || m->indices[entry] != column)
                return slat_fail(SLAT_INVALID, "t_entry[%d]: %d, expected the place in indices of row %d, column %lld",
                                 e, entry, row, (long long)column);
        }
    }
    const int32_t last = columns ? m->t_indptr[columns - 1] : 0;
    if (last != m->entries)
        return slat_fail(SLAT_INVALID, "t_indptr: ends at %d, expected nnz, %lld", last, (long long)m->entries);
    return SLAT_OK;
}

static slat_status block_sparse(const slat_exec *exec, const slat_block_sparse *m, const slat_attention *t,
                                slat_pass pass)
{
    slat_problem p = {.op = SLAT_OP_BLOCK_SPARSE, .pass = pass};
    slat_checker c;
    SLAT_TRY(slat_check_begin(&c, &p, exec));
    if (!m) return slat_fail(SLAT_INVALID, "block_sparse: NULL, expected a slat_block_sparse");
    SLAT_TRY(slat_check_reserved("block_sparse", m->reserved, 4));
    SLAT_TRY(slat_check_attention(&c, t, 1));
    SLAT_TRY(check_layout(&c, m, &p.layout));
    SLAT_TRY(slat_check_end(&c, NULL, NULL));
    if (m->indptr && slat_on_cpu(&p) && !c.planning) {
        SLAT_TRY(check_indices(&p.layout));
        if (pass == SLAT_BACKWARD && m->t_indptr) SLAT_TRY(check_transposed_indices(&p.layout));
    }
    return slat_dispatch(&p, exec);
}

slat_status slat_block_sparse_forward(const slat_exec *exec, const slat_block_sparse *m, const slat_attention *t)
{
    return block_sparse(exec, m, t, SLAT_FORWARD);
}

slat_status slat_block_sparse_backward(const slat_exec *exec, const slat_block_sparse *m, const slat_attention *t)
{
    return block_sparse(exec, m, t, SLAT_BACKWARD);
}

slat_status slat_block_sparse_transpose(const slat_exec *exec, const slat_block_sparse *m, int64_t tq, int64_t tk,
                                        DLTensor *t_indptr, DLTensor *t_indices, DLTensor *t_entry)
{
    slat_problem p = {.op = SLAT_OP_TRANSPOSE, .pass = SLAT_FORWARD, .tq = tq, .tk = tk};
    slat_checker c;
    SLAT_TRY(slat_check_begin(&c, &p, exec));
    if (!m) return slat_fail(SLAT_INVALID, "block_sparse: NULL, expected a slat_block_sparse");
    SLAT_TRY(slat_check_reserved("block_sparse", m->reserved, 4));
    if (tq < 0 || tk < 0)
        return slat_fail(SLAT_INVALID, "tq, tk: %lld, %lld, expected 0 or more", (long long)tq, (long long)tk);
    if (!m->indptr) return slat_fail(SLAT_INVALID, "indptr: NULL, expected [Bm, Hm, ceil(Tq/block_q)+1]");
    SLAT_TRY(check_layout(&c, m, &p.layout));
    SLAT_TRY(check_transposed(&c, t_indptr, t_indices, t_entry, SLAT_OUTPUT, &p.layout));
    SLAT_TRY(slat_check_end(&c, NULL, NULL));
    p.b = p.layout.batches;
    p.hq = p.hk = p.layout.heads;
    if (slat_on_cpu(&p) && !c.planning) SLAT_TRY(check_indices(&p.layout));
    return slat_dispatch(&p, exec);
}

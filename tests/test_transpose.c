/* slat_block_sparse_transpose() against brute force, for every layout of the table of problems, on every backend that
 * has it: key block after key block, the query blocks that list it, ascending, each with its entry's place in indices.
 */
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "harness.h"
#include "subject.h"
#include "watch.h"

typedef struct {
    const case_problem *problem;
    const char *backend;
} row;

/* Walks the layout by key blocks and holds the three tensors against it. */
static void compare(const problem *p, int64_t rows, int64_t columns, tensor *const t[3])
{
    const tensor *indptr = p->t[ROLE_INDPTR], *indices = p->t[ROLE_INDICES];
    const int64_t lists = indptr->shape[0] * indptr->shape[1];
    int64_t filled = 0;
    for (int64_t list = 0; list < lists; list++) {
        for (int64_t column = 0; column < columns; column++) {
            const int64_t at = list * (columns + 1) + column;
            CHECK(tensor_get(t[0], at) == (double)filled, "t_indptr[%lld]: %g, expected %lld", (long long)at,
                  tensor_get(t[0], at), (long long)filled);
            for (int64_t i = 0; i < rows; i++) {
                const int64_t begin = (int64_t)tensor_get(indptr, list * (rows + 1) + i);
                const int64_t end = (int64_t)tensor_get(indptr, list * (rows + 1) + i + 1);
                for (int64_t e = begin; e < end; e++) {
                    if (tensor_get(indices, e) != (double)column) continue;
                    CHECK(tensor_get(t[1], filled) == (double)i, "t_indices[%lld]: %g, expected %lld",
                          (long long)filled, tensor_get(t[1], filled), (long long)i);
                    CHECK(tensor_get(t[2], filled) == (double)e, "t_entry[%lld]: %g, expected %lld", (long long)filled,
                          tensor_get(t[2], filled), (long long)e);
                    filled++;
                }
            }
        }
        const int64_t last = list * (columns + 1) + columns;
        CHECK(tensor_get(t[0], last) == (double)filled, "t_indptr[%lld]: %g, expected %lld", (long long)last,
              tensor_get(t[0], last), (long long)filled);
    }
    CHECK(filled == tensor_count(indices), "%lld entries by columns, %lld by rows", (long long)filled,
          (long long)tensor_count(indices));
}

static void transpose(const void *argument)
{
    const row *r = argument;
    problem_parameters parameters = r->problem->p;
    parameters.type = TENSOR_F32;
    parameters.block_sparse.transposed = false;
    problem *p = subject_new(&parameters, LAYOUT_PLAIN);
    const slat_block_sparse blocks = problem_block_sparse(p);
    const tensor *indptr = p->t[ROLE_INDPTR];
    const int64_t tq = p->extents.tq[0], tk = p->extents.tk[0],
                  block_k = blocks.block_k ? blocks.block_k : blocks.block_q;
    const int64_t columns = (tk + block_k - 1) / block_k, entries = tensor_count(p->t[ROLE_INDICES]);
    const int64_t shape[3] = {indptr->shape[0], indptr->shape[1], columns + 1};
    tensor *t[3] = {tensor_new(memory_host(), TENSOR_I32, 3, shape), tensor_new(memory_host(), TENSOR_I32, 1, &entries),
                    tensor_new(memory_host(), TENSOR_I32, 1, &entries)};
    tensor *all[6] = {t[0], t[1], t[2], p->t[ROLE_INDPTR], p->t[ROLE_INDICES], NULL};
    watch *w = watch_begin(all, 6);
    if (!t[0] || !t[1] || !t[2] || !w) abort();
    const slat_exec exec = {.backend = r->backend};
    sentence why = {""};
    const slat_status s = slat_block_sparse_transpose(&exec, &blocks, tq, tk, &t[0]->dl, &t[1]->dl, &t[2]->dl);
    if (s != SLAT_UNSUPPORTED || !strcmp(r->backend, "scalar")) { /* other backends may leave it to the definition */
        CHECK(watch_unchanged(w, t, 3, &why), "%s", why.text);
        if (CHECK(s == SLAT_OK, "%s", slat_error())) compare(p, indptr->shape[2] - 1, columns, t);
    }
    watch_free(w);
    for (int32_t n = 0; n < 3; n++) tensor_free(t[n]);
    problem_free(p);
}

int main(int argc, char **argv)
{
    static row rows[CASE_PROBLEMS * SUBJECT_BACKENDS];
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_backends(names);
    row *r = rows;
    for (int32_t n = 0; n < CASE_PROBLEMS; n++) {
        const case_problem *c = &case_problems[n];
        if (c->p.op != OP_BLOCK_SPARSE || !c->p.block_sparse.block_q) continue;
        for (int32_t b = 0; b < backends; b++) {
            *r = (row){c, names[b]};
            harness_add(transpose, r++, "%s %s", c->id, names[b]);
        }
    }
    return harness_main("transpose", argc, argv);
}

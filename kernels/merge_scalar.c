/* The definition of merging: n partial results of one softmax, each over keys of its own, become the whole.
 *
 * Row by row, over the parts a whose lse is not -inf (the others are not read):
 *     lse = log sum_a exp(lse_a)     w_a = exp(lse_a - lse)     o = sum_a w_a o_a
 *     do_a = w_a do                  dlse_a = w_a (do.(o_a - o) + dlse)
 * Without such a part o = 0, lse = -inf and there is no gradient.
 */
#include <math.h>
#include <stdbool.h>

#include "arena.h"
#include "check.h"
#include "number.h"
#include "scalar.h"
#include "softmax_scalar.h"

/* A tensor over the folded row dimensions. */
typedef struct {
    void *data; /* NULL: absent */
    slat_type type;
    int64_t strides[SLAT_MERGE_DIMS];
} view;

typedef struct {
    view *o, *lse, *grad_o, *grad_lse; /* one a part */
    view out, out_lse, grad_out, grad_out_lse;
    double *part_lse, *part, *sum, *grad; /* [parts]; rows of [Dv] */
    int64_t at[SLAT_MERGE_DIMS];          /* the row at hand */
} room;

static room cut(const slat_problem *p, slat_arena *arena)
{
    const int32_t parts = p->parts.parts;
    room r = {.o = slat_take(arena, parts, sizeof(view))};
    r.lse = slat_take(arena, parts, sizeof(view));
    r.part_lse = slat_take(arena, parts, sizeof(double));
    r.part = slat_take(arena, p->dv, sizeof(double));
    r.sum = slat_take(arena, p->dv, sizeof(double));
    if (p->pass == SLAT_FORWARD) return r;
    r.grad_o = slat_take(arena, parts, sizeof(view));
    r.grad_lse = slat_take(arena, parts, sizeof(view));
    r.grad = slat_take(arena, p->dv, sizeof(double));
    return r;
}

slat_status slat_merge_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    slat_arena arena = {0};
    (void)run;
    cut(p, &arena);
    return slat_plan_scalar(&arena, "merge_scalar", plan);
}

static view view_of(const slat_parts *parts, const DLTensor *t)
{
    view v = {0};
    if (!t) return v;
    v.data = slat_data(t);
    v.type = (slat_type)slat_type_of(t->dtype);
    slat_merge_strides(parts, t, v.strides);
    return v;
}

/* Views of the caller's tensors, once a call. */
static void look(const slat_parts *parts, room *r)
{
    for (int32_t a = 0; a < parts->parts; ++a) {
        r->o[a] = view_of(parts, parts->o[a]);
        r->lse[a] = view_of(parts, parts->lse[a]);
        if (r->grad_o) r->grad_o[a] = view_of(parts, parts->grad_o ? parts->grad_o[a] : NULL);
        if (r->grad_lse) r->grad_lse[a] = view_of(parts, parts->grad_lse ? parts->grad_lse[a] : NULL);
    }
    r->out = view_of(parts, parts->out);
    r->out_lse = view_of(parts, parts->out_lse);
    r->grad_out = view_of(parts, parts->grad_out);
    r->grad_out_lse = view_of(parts, parts->grad_out_lse);
}

static int64_t offset(const room *r, const view *v)
{
    int64_t sum = 0;
    for (int32_t k = 0; k < SLAT_MERGE_DIMS; ++k) sum += r->at[k] * v->strides[k];
    return sum;
}

static void load(const room *r, double *to, const view *v, int64_t n)
{
    slat_load_row(to, v->data, v->type, offset(r, v), n);
}

static void store(const room *r, const view *v, int64_t n, const double *from)
{
    if (v->data) slat_store_row(v->data, v->type, offset(r, v), n, from);
}

static void forward_row(const slat_problem *p, room *r)
{
    const int32_t parts = p->parts.parts;
    for (int32_t a = 0; a < parts; ++a) load(r, &r->part_lse[a], &r->lse[a], 1);
    const double lse = slat_log_sum(r->part_lse, parts, -INFINITY);
    for (int32_t c = 0; c < p->dv; ++c) r->sum[c] = 0;
    for (int32_t a = 0; a < parts; ++a) {
        if (r->part_lse[a] == -INFINITY) continue;
        const double weight = exp(r->part_lse[a] - lse);
        load(r, r->part, &r->o[a], p->dv);
        for (int32_t c = 0; c < p->dv; ++c) r->sum[c] += weight * r->part[c];
    }
    store(r, &r->out, p->dv, r->sum);
    store(r, &r->out_lse, 1, &lse);
}

/* One part's gradients; `sum` is the merged row, `grad` and `grad_lse` its gradients. */
static void backward_part(const slat_problem *p, room *r, int32_t a, double lse, double grad_lse)
{
    double part_lse, shift = 0, weight = 0;
    load(r, &part_lse, &r->lse[a], 1);
    if (part_lse != -INFINITY) {
        weight = exp(part_lse - lse);
        load(r, r->part, &r->o[a], p->dv);
        for (int32_t c = 0; c < p->dv; ++c) shift += r->grad[c] * (r->part[c] - r->sum[c]);
    }
    const double part_grad = weight * (shift + grad_lse);
    for (int32_t c = 0; c < p->dv; ++c) r->part[c] = weight * r->grad[c];
    store(r, &r->grad_o[a], p->dv, r->part);
    store(r, &r->grad_lse[a], 1, &part_grad);
}

static void backward_row(const slat_problem *p, room *r)
{
    double lse, grad_lse = 0;
    load(r, &lse, &r->out_lse, 1);
    load(r, r->sum, &r->out, p->dv);
    load(r, r->grad, &r->grad_out, p->dv);
    if (r->grad_out_lse.data) load(r, &grad_lse, &r->grad_out_lse, 1);
    for (int32_t a = 0; a < p->parts.parts; ++a) backward_part(p, r, a, lse, grad_lse);
}

/* The next row in row-major order; false after the last one. */
static bool advance(const slat_parts *parts, room *r)
{
    for (int32_t k = parts->ndim - 1; k >= 0; --k) {
        if (++r->at[k] < parts->shape[k]) return true;
        r->at[k] = 0;
    }
    return false;
}

static slat_status each_row(const slat_problem *p, const slat_run *run, void row(const slat_problem *, room *))
{
    const slat_parts *parts = &p->parts;
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    for (int32_t k = 0; k < parts->ndim; ++k)
        if (parts->shape[k] == 0) return SLAT_OK;
    look(parts, &r);
    do {
        row(p, &r);
    } while (advance(parts, &r));
    return SLAT_OK;
}

slat_status slat_merge_scalar_forward(const slat_problem *p, const slat_run *run)
{
    return each_row(p, run, forward_row);
}

slat_status slat_merge_scalar_backward(const slat_problem *p, const slat_run *run)
{
    return each_row(p, run, backward_row);
}

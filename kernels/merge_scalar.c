/* The definition of merging: n partial results of one softmax, each over keys of its own, become the whole.
 *
 * Row by row, over the parts a whose lse is not -inf (the others are not read):
 *     lse = log sum_a exp(lse_a)     w_a = exp(lse_a - lse)     o = sum_a w_a o_a
 *     do_a = w_a do                  dlse_a = w_a (do.(o_a - o) + dlse)
 * Without such a part o = 0, lse = -inf and there is no gradient.
 */
#include <math.h>
#include <stdbool.h>

#include "merge_rows.h"
#include "number.h"
#include "scalar.h"
#include "softmax_scalar.h"

typedef struct {
    slat_merge_views views;
    double *part_lse, *part, *sum, *grad; /* [parts]; rows of [Dv] */
    int64_t at[SLAT_MERGE_DIMS];          /* the row at hand */
} room;

static room cut(const slat_problem *p, slat_arena *arena)
{
    room r = {0};
    slat_merge_take(&r.views, p, arena);
    r.part_lse = slat_take(arena, p->parts.parts, sizeof(double));
    r.part = slat_take(arena, p->dv, sizeof(double));
    r.sum = slat_take(arena, p->dv, sizeof(double));
    if (p->pass == SLAT_FORWARD) return r;
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

static void load(const room *r, double *to, const slat_row_view *v, int64_t n)
{
    slat_load_row(to, v->data, v->type, slat_row_offset(v, r->at), n);
}

static void store(const room *r, const slat_row_view *v, int64_t n, const double *from)
{
    if (v->data) slat_store_row(v->data, v->type, slat_row_offset(v, r->at), n, from);
}

static void forward_row(const slat_problem *p, room *r)
{
    const int32_t parts = p->parts.parts;
    for (int32_t a = 0; a < parts; ++a) load(r, &r->part_lse[a], &r->views.lse[a], 1);
    const double lse = slat_log_sum(r->part_lse, parts, -INFINITY);
    for (int32_t c = 0; c < p->dv; ++c) r->sum[c] = 0;
    for (int32_t a = 0; a < parts; ++a) {
        if (r->part_lse[a] == -INFINITY) continue;
        const double weight = exp(r->part_lse[a] - lse);
        load(r, r->part, &r->views.o[a], p->dv);
        for (int32_t c = 0; c < p->dv; ++c) r->sum[c] += weight * r->part[c];
    }
    store(r, &r->views.out, p->dv, r->sum);
    store(r, &r->views.out_lse, 1, &lse);
}

/* One part's gradients; `sum` is the merged row, `grad` and `grad_lse` its gradients. */
static void backward_part(const slat_problem *p, room *r, int32_t a, double lse, double grad_lse)
{
    double part_lse, shift = 0, weight = 0;
    load(r, &part_lse, &r->views.lse[a], 1);
    const bool seen = part_lse != -INFINITY; /* else no gradient, whatever do and dlse are */
    if (seen) {
        weight = exp(part_lse - lse);
        load(r, r->part, &r->views.o[a], p->dv);
        for (int32_t c = 0; c < p->dv; ++c) shift += r->grad[c] * (r->part[c] - r->sum[c]);
    }
    const double part_grad = seen ? weight * (shift + grad_lse) : 0;
    for (int32_t c = 0; c < p->dv; ++c) r->part[c] = seen ? weight * r->grad[c] : 0;
    store(r, &r->views.grad_o[a], p->dv, r->part);
    store(r, &r->views.grad_lse[a], 1, &part_grad);
}

static void backward_row(const slat_problem *p, room *r)
{
    double lse, grad_lse = 0;
    load(r, &lse, &r->views.out_lse, 1);
    load(r, r->sum, &r->views.out, p->dv);
    load(r, r->grad, &r->views.grad_out, p->dv);
    if (r->views.grad_out_lse.data) load(r, &grad_lse, &r->views.grad_out_lse, 1);
    for (int32_t a = 0; a < p->parts.parts; ++a) backward_part(p, r, a, lse, grad_lse);
}

static slat_status each_row(const slat_problem *p, const slat_run *run, void row(const slat_problem *, room *))
{
    const slat_parts *parts = &p->parts;
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    for (int32_t k = 0; k < parts->ndim; ++k)
        if (parts->shape[k] == 0) return SLAT_OK;
    slat_merge_look(&r.views, parts);
    do {
        row(p, &r);
    } while (slat_next_row(parts, r.at));
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

/* Merging n parts of one softmax, row by row: with w_a = exp(lse_a - lse) over the parts whose lse is not -inf,
 *     o = sum_a w_a o_a     lse = log sum_a exp(lse_a)     do_a = w_a do     dlse_a = w_a (do.(o_a - o) + dlse)
 * Other parts, and those whose weight is too small for an f32, are not read; their gradients are 0. Every tensor is
 * read or written once; parallel over rows.
 */
#include "kernels.h"
#include "merge_rows.h"
#include "parallel.h"
#include "walk.h"
#include <math.h>

#define LOG2E 1.44269504f
#define LINES 32 /* rows of an item */
#define WIDE 256 /* the largest Dv, in whole vectors */

typedef struct {
    const slat_problem *p;
    slat_merge_views views;
    int64_t rows, parts; /* parts: in whole vectors */
    float *logs;         /* [workers, parts]: a row's lse, then weights */
    slat_items items;
} job;

static job job_of(const slat_problem *p, int32_t workers, slat_arena *arena)
{
    job j = {.p = p, .rows = 1, .parts = ((int64_t)p->parts.parts + VL - 1) / VL * VL};
    slat_merge_take(&j.views, p, arena);
    j.logs = slat_take(arena, workers * j.parts, sizeof *j.logs);
    for (int32_t i = 0; i < p->parts.ndim; i++) j.rows *= p->parts.shape[i];
    j.items.count = (j.rows + LINES - 1) / LINES;
    return j;
}

static int32_t workers_of(const slat_problem *p, const slat_run *run)
{
    double rows = 1;
    for (int32_t i = 0; i < p->parts.ndim; i++) rows *= (double)p->parts.shape[i];
    const double items = ceil(rows / LINES);
    const size_t logs = (size_t)p->parts.parts * sizeof(float);
    return slat_workers(run, items < 65536 ? (int64_t)items : 65536, 20 * rows * p->dv * p->parts.parts, logs);
}

INLINE vec load(const slat_row_view *v, int64_t row, int64_t c, int64_t n)
{
    return vec_load_row(v->data, v->type, row + c, (int)slat_min(VL, n - c));
}

INLINE void store(const slat_row_view *v, int64_t row, int64_t c, int64_t n, vec x)
{
    vec_store_row(v->data, v->type, row + c, x, (int)slat_min(VL, n - c));
}

static float *number(const slat_row_view *v, const int64_t *at) { return (float *)v->data + slat_row_offset(v, at); }

/* The parts' lse of a row, and -inf up to a whole vector. Returns the largest. */
static float load_logs(const job *j, const int64_t *at, float *logs)
{
    float most = -INFINITY;
    for (int64_t a = 0; a < j->p->parts.parts; a++) {
        logs[a] = *number(&j->views.lse[a], at);
        if (logs[a] > most) most = logs[a];
    }
    for (int64_t a = j->p->parts.parts; a < j->parts; a++) logs[a] = -INFINITY;
    return most;
}

/* x = exp(x - top), in place; returns the sum. Where top is -inf, so is every x, or NaN. */
static float weigh(float *x, int64_t n, float top)
{
    vec sum = vec_zero();
    if (top == -INFINITY) top = 0;
    for (int64_t a = 0; a < n; a += VL) {
        const vec weight = vec_exp2(vec_mul(vec_all(LOG2E), vec_sub(vec_load(x + a), vec_all(top))));
        vec_store(x + a, weight);
        sum = vec_add(sum, weight);
    }
    return vec_sum(sum);
}

static void forward_row(const job *j, const int64_t *at, float *logs)
{
    const int64_t n = j->p->dv, out = slat_row_offset(&j->views.out, at);
    float o[WIDE];
    const float top = load_logs(j, at, logs), sum = weigh(logs, j->parts, top), norm = sum == 0 ? 0 : 1 / sum;
    memset(o, 0, sizeof o);
    for (int64_t a = 0; a < j->p->parts.parts; a++) {
        const slat_row_view *part = &j->views.o[a];
        if (logs[a] == 0) continue;
        const int64_t row = slat_row_offset(part, at);
        const vec weight = vec_all(logs[a] * norm);
        for (int64_t c = 0; c < n; c += VL) vec_store(o + c, vec_fma(weight, load(part, row, c, n), vec_load(o + c)));
    }
    for (int64_t c = 0; c < n; c += VL) store(&j->views.out, out, c, n, vec_load(o + c));
    if (j->views.out_lse.data) *number(&j->views.out_lse, at) = sum == 0 ? -INFINITY : top + logf(sum);
}

/* One part's gradients of a row; o and grad are the merged row and its gradient. */
static void backward_part(const job *j, const int64_t *at, int64_t a, float weight, const float *o, const float *grad,
                          float grad_lse)
{
    const slat_row_view *part = &j->views.o[a], *grad_o = &j->views.grad_o[a], *grad_log = &j->views.grad_lse[a];
    const int64_t n = j->p->dv;
    if (grad_log->data) {
        vec shift = vec_zero();
        const int64_t row = slat_row_offset(part, at);
        for (int64_t c = 0; weight != 0 && c < n; c += VL)
            shift = vec_fma(vec_load(grad + c), vec_sub(load(part, row, c, n), vec_load(o + c)), shift);
        *number(grad_log, at) = weight != 0 ? weight * (vec_sum(shift) + grad_lse) : 0;
    }
    if (!grad_o->data) return;
    const int64_t row = slat_row_offset(grad_o, at);
    for (int64_t c = 0; c < n; c += VL)
        store(grad_o, row, c, n, weight != 0 ? vec_mul(vec_all(weight), vec_load(grad + c)) : vec_zero());
}

static void backward_row(const job *j, const int64_t *at, float *logs)
{
    const slat_merge_views *v = &j->views;
    const int64_t n = j->p->dv, out = slat_row_offset(&v->out, at), grad_out = slat_row_offset(&v->grad_out, at);
    float o[WIDE], grad[WIDE];
    for (int64_t c = 0; c < n; c += VL) {
        vec_store(o + c, load(&v->out, out, c, n));
        vec_store(grad + c, load(&v->grad_out, grad_out, c, n));
    }
    load_logs(j, at, logs);
    weigh(logs, j->parts, *number(&v->out_lse, at));
    const float grad_lse = v->grad_out_lse.data ? *number(&v->grad_out_lse, at) : 0;
    for (int64_t a = 0; a < j->p->parts.parts; a++) backward_part(j, at, a, logs[a], o, grad, grad_lse);
}

static void work(void *ctx, int32_t worker)
{
    job *j = ctx;
    const slat_parts *parts = &j->p->parts;
    float *logs = j->logs + worker * j->parts;
    for (int64_t item; (item = slat_next_item(&j->items)) >= 0;) {
        int64_t at[SLAT_MERGE_DIMS] = {0}, rest = item * LINES;
        const int64_t rows = slat_min(LINES, j->rows - rest);
        for (int32_t i = parts->ndim - 1; i >= 0; rest /= parts->shape[i--]) at[i] = rest % parts->shape[i];
        for (int64_t row = 0; row < rows; row++, slat_next_row(parts, at)) {
            if (j->p->pass == SLAT_FORWARD) forward_row(j, at, logs);
            else backward_row(j, at, logs);
        }
    }
}

slat_status slat_merge_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    slat_arena arena = {0};
    if (p->type == SLAT_F64) return slat_fail(SLAT_UNSUPPORTED, "o: f64, expected f32, f16 or bf16");
    job_of(p, workers_of(p, run), &arena);
    if (arena.overflow) return slat_fail(SLAT_NO_MEMORY, "workspace: its size does not fit into a size_t");
    plan->kernel = "merge_rows";
    plan->workspace = arena.used;
    plan->deterministic = 1;
    plan->launches = 0;
    return SLAT_OK;
}

slat_status slat_merge_run(const slat_problem *p, const slat_run *run)
{
    slat_arena arena = {.base = run->workspace};
    const int32_t workers = workers_of(p, run);
    job j = job_of(p, workers, &arena);
    if (!j.rows) return SLAT_OK;
    slat_merge_look(&j.views, &p->parts);
    slat_parallel(run, workers, work, &j);
    return SLAT_OK;
}

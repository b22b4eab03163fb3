/* One token of lightning attention, in place: S <- lambda S + k (x) v, o = scale q S.
 *
 * The state is all that counts: it is read and written once, row by row, and prefetched some rows ahead, across the end
 * of a page and of a head. Work is shared out by heads and ranges of columns; every column is computed by itself, so
 * the result does not depend on how.
 */
#include "kernels.h"
#include "parallel.h"
#include "walk.h"
#include <math.h>

#define COLUMNS 128   /* of a range */
#define AHEAD 4096    /* bytes of state */

typedef struct {
    const slat_problem *p;
    int64_t ranges; /* of columns, for each head */
    slat_items items;
} job;

/* A row of n elements as f32 times `factor`; up to VL - 1 more become 0. */
static void load_row(float *to, const slat_view *view, int64_t b, int64_t h, int64_t first, int64_t n, float factor)
{
    const int64_t at = b * view->batch + h * view->head + first;
    for (int64_t c = 0; c < n; c += VL) {
        const vec x = vec_load_row(view->data, view->type, at + c, (int)slat_min(VL, n - c));
        vec_store(to + c, vec_mul(vec_all(factor), x));
    }
}

/* Rows of `state`, n columns wide: s = lambda s + k v; o += q s. */
static void update(float *state, int64_t row, int64_t rows, int64_t n, float lambda, const float *k, const float *q,
                   const float *v, float *o)
{
    const int64_t ahead = slat_max(AHEAD / (n * 4), 1) * row;
    const vec fade = vec_all(lambda);
    for (int64_t d = 0; d < rows; d++, state += row) {
        const vec key = vec_all(k[d]), query = vec_all(q[d]);
        int64_t c = 0;
        for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(state + ahead + i, 1, 3);
        for (; c + VL <= n; c += VL) {
            const vec s = vec_fma(key, vec_load(v + c), vec_mul(fade, vec_load(state + c)));
            vec_store(state + c, s);
            vec_store(o + c, vec_fma(query, s, vec_load(o + c)));
        }
        if (c < n) {
            const int left = (int)(n - c);
            const vec s = vec_fma(key, vec_load(v + c), vec_mul(fade, vec_load_part(state + c, left)));
            vec_store_part(state + c, s, left);
            vec_store(o + c, vec_fma(query, s, vec_load(o + c)));
        }
    }
}

static void step(const job *j, int64_t b, int64_t h, int64_t first)
{
    const slat_problem *p = j->p;
    const slat_state_view *st = &p->decay.st;
    const int64_t n = slat_min(COLUMNS, p->dv - first), slot = p->decay.slot ? p->decay.slot[b] : b;
    float q[256], k[256], v[COLUMNS], o[COLUMNS];
    memset(o, 0, sizeof o);
    if (slot >= 0) {
        const float slope = ((const float *)p->decay.slopes.data)[h * p->decay.slopes.head];
        load_row(q, &p->q, b, h, 0, p->d, (float)p->scale);
        load_row(k, &p->k, b, h, 0, p->d, 1);
        load_row(v, &p->v, b, h, first, n, 1);
        update((float *)st->data + slot * st->batch + h * st->head + first, st->row, p->d, n, expf(-slope), k, q, v, o);
    }
    const int64_t at = b * p->o.batch + h * p->o.head + first;
    for (int64_t c = 0; c < n; c += VL)
        vec_store_row(p->o.data, p->o.type, at + c, vec_load(o + c), (int)slat_min(VL, n - c));
}

static void work(void *ctx, int32_t worker)
{
    job *j = ctx;
    (void)worker;
    for (int64_t item; (item = slat_next_item(&j->items)) >= 0;) {
        const int64_t head = item / j->ranges;
        step(j, head / j->p->hq, head % j->p->hq, item % j->ranges * COLUMNS);
    }
}

slat_status slat_lightning_step_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    (void)run;
    if (p->type == SLAT_F64) return slat_fail(SLAT_UNSUPPORTED, "q: f64, expected f32, f16 or bf16");
    plan->kernel = "lightning_step";
    plan->workspace = 0;
    plan->deterministic = 1;
    plan->launches = 0;
    return SLAT_OK;
}

slat_status slat_lightning_step_run(const slat_problem *p, const slat_run *run)
{
    job j = {.p = p, .ranges = (p->dv + COLUMNS - 1) / COLUMNS};
    j.items.count = p->b * p->hq * j.ranges;
    if (!j.items.count) return SLAT_OK;
    slat_parallel(run, slat_workers(run, j.items.count, 20.0 * (double)(p->b * p->hq) * p->d * p->dv, 0), work, &j);
    return SLAT_OK;
}

/* The definition of lightning attention: a recurrence over tokens.
 *
 *     S <- lambda S + k_i (x) v_i     o_i = scale q_i S     lambda = exp(-slope)
 * S starts as S0 and ends as S_T. Backward runs the same recurrence for dq, and the mirrored one for dk, dv and dS0,
 * where G is the gradient of the state after token i:
 *     dq_i = scale S do_i     G <- lambda G + scale q_i (x) do_i     dk_i = G v_i     dv_i = G^T k_i
 * G starts as dS_T; dS0 = lambda G after token 0 (dS_T where there is no token).
 * For dslope, R = -dS/dslope follows S: each step of decay adds S once and decays both,
 *     R <- lambda (R + S)     dslope = -(sum_i scale q_i R do_i + sum of R_T * dS_T)
 * with R taken after token i and R_T at the end. All its terms are weights times products, as in the closed form:
 * nothing cancels but what the data themselves cancel.
 */
#include <math.h>

#include "arena.h"
#include "number.h"
#include "scalar.h"

/* The workspace: states are [D, Dv]; q, k, v, o and their gradients hold the row at hand. */
typedef struct {
    double *state, *slope_state;
    double *q, *k, *v, *o, *grad_q, *grad_k, *grad_v;
} room;

static room cut(const slat_problem *p, slat_arena *arena)
{
    const size_t one = sizeof(double);
    room r = {.state = slat_take(arena, (int64_t)p->d * p->dv, one)};
    r.q = slat_take(arena, p->d, one);
    r.k = slat_take(arena, p->d, one);
    r.v = slat_take(arena, p->dv, one);
    r.o = slat_take(arena, p->dv, one); /* backward: do */
    if (p->pass == SLAT_FORWARD) return r;
    r.slope_state = slat_take(arena, (int64_t)p->d * p->dv, one);
    r.grad_q = slat_take(arena, p->d, one);
    r.grad_k = slat_take(arena, p->d, one);
    r.grad_v = slat_take(arena, p->dv, one);
    return r;
}

slat_status slat_lightning_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    slat_arena arena = {0};
    (void)run;
    cut(p, &arena);
    return slat_plan_scalar(&arena, p->op == SLAT_OP_LIGHTNING ? "lightning_scalar" : "lightning_step_scalar", plan);
}

static double decay_of(const slat_problem *p, int32_t h)
{
    const slat_view *slopes = &p->decay.slopes;
    return exp(-slat_load(slopes->data, slopes->type, h * slopes->head));
}

/* Reads a state; zeros where there is none. */
static void load_state(const slat_problem *p, double *state, const slat_state_view *from, int64_t b, int32_t h)
{
    for (int32_t d = 0; d < p->d; ++d) {
        double *row = state + (int64_t)d * p->dv;
        for (int32_t c = 0; c < p->dv; ++c) row[c] = 0;
        if (from->data)
            slat_load_row(row, from->data, slat_exact_type(p->type), b * from->batch + h * from->head + d * from->row,
                          p->dv);
    }
}

/* Writes a state as snapshot n (0 for tensors without snapshots). */
static void store_state(const slat_problem *p, const slat_state_view *to, int64_t b, int32_t h, int64_t n,
                        const double *state)
{
    if (!to->data) return;
    for (int32_t d = 0; d < p->d; ++d)
        slat_store_row(to->data, slat_exact_type(p->type),
                       b * to->batch + h * to->head + n * to->snapshot + d * to->row, p->dv,
                       state + (int64_t)d * p->dv);
}

/* state <- decay state + x (x) y */
static void step(const slat_problem *p, double *state, double decay, const double *x, const double *y)
{
    for (int32_t d = 0; d < p->d; ++d) {
        const double a = x[d];
        for (int32_t c = 0; c < p->dv; ++c) state[d * p->dv + c] = decay * state[d * p->dv + c] + a * y[c];
    }
}

/* y = scale x state */
static void from_left(const slat_problem *p, double *y, double scale, const double *x, const double *state)
{
    for (int32_t c = 0; c < p->dv; ++c) y[c] = 0;
    for (int32_t d = 0; d < p->d; ++d) {
        const double a = scale * x[d];
        for (int32_t c = 0; c < p->dv; ++c) y[c] += a * state[d * p->dv + c];
    }
}

/* x = scale state y */
static void from_right(const slat_problem *p, double *x, double scale, const double *state, const double *y)
{
    for (int32_t d = 0; d < p->d; ++d) {
        double sum = 0;
        for (int32_t c = 0; c < p->dv; ++c) sum += state[d * p->dv + c] * y[c];
        x[d] = scale * sum;
    }
}

static void forward_head(const slat_problem *p, room *r, int64_t b, int32_t h)
{
    const slat_decay *a = &p->decay;
    const double decay = decay_of(p, h);
    load_state(p, r->state, &a->s0, b, h);
    for (int64_t i = 0; i < p->tq; ++i) {
        const slat_point at = slat_at(0, 0, i);
        if (a->states.data && i % a->states_every == 0) store_state(p, &a->states, b, h, i / a->states_every, r->state);
        slat_view_load(r->q, &p->q, b, at, h, p->d);
        slat_view_load(r->k, &p->k, b, at, h, p->d);
        slat_view_load(r->v, &p->v, b, at, h, p->dv);
        step(p, r->state, decay, r->k, r->v);
        from_left(p, r->o, p->scale, r->q, r->state);
        slat_view_store(&p->o, b, at, h, p->dv, r->o);
    }
    store_state(p, &a->st, b, h, 0, r->state);
}

slat_status slat_lightning_scalar_forward(const slat_problem *p, const slat_run *run)
{
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    for (int64_t b = 0; b < p->b; ++b)
        for (int32_t h = 0; h < p->hq; ++h) forward_head(p, &r, b, h);
    return SLAT_OK;
}

/* One token a row. The state stands in st, or in st's slot. */
slat_status slat_lightning_step_scalar(const slat_problem *p, const slat_run *run)
{
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    const slat_point at = slat_at(0, 0, 0);
    for (int64_t b = 0; b < p->b; ++b) {
        const int64_t slot = p->decay.slot ? p->decay.slot[b] : b;
        for (int32_t h = 0; h < p->hq; ++h) {
            for (int32_t c = 0; c < p->dv; ++c) r.o[c] = 0;
            if (slot >= 0) {
                slat_view_load(r.q, &p->q, b, at, h, p->d);
                slat_view_load(r.k, &p->k, b, at, h, p->d);
                slat_view_load(r.v, &p->v, b, at, h, p->dv);
                load_state(p, r.state, &p->decay.st, slot, h);
                step(p, r.state, decay_of(p, h), r.k, r.v);
                from_left(p, r.o, p->scale, r.q, r.state);
                store_state(p, &p->decay.st, slot, h, 0, r.state);
            }
            slat_view_store(&p->o, b, at, h, p->dv, r.o);
        }
    }
    return SLAT_OK;
}

/* dq, from the first token to the last. Returns dslope. */
static double backward_queries(const slat_problem *p, room *r, int64_t b, int32_t h)
{
    const slat_decay *a = &p->decay;
    const double decay = decay_of(p, h);
    const int64_t size = (int64_t)p->d * p->dv;
    double grad_slope = 0;
    load_state(p, r->state, &a->s0, b, h);
    for (int64_t c = 0; c < size; ++c) r->slope_state[c] = 0;
    for (int64_t i = 0; i < p->tq; ++i) {
        const slat_point at = slat_at(0, 0, i);
        slat_view_load(r->k, &p->k, b, at, h, p->d);
        slat_view_load(r->v, &p->v, b, at, h, p->dv);
        slat_view_load(r->o, &p->grad_o, b, at, h, p->dv);
        if (a->grad_slopes.data) {
            slat_view_load(r->q, &p->q, b, at, h, p->d);
            for (int64_t c = 0; c < size; ++c) r->slope_state[c] = decay * (r->slope_state[c] + r->state[c]);
            from_right(p, r->grad_q, p->scale, r->slope_state, r->o);
            for (int32_t d = 0; d < p->d; ++d) grad_slope -= r->q[d] * r->grad_q[d];
        }
        step(p, r->state, decay, r->k, r->v);
        from_right(p, r->grad_q, p->scale, r->state, r->o);
        if (p->grad_q.data) slat_view_store(&p->grad_q, b, at, h, p->d, r->grad_q);
    }
    load_state(p, r->state, &a->grad_st, b, h);
    for (int64_t c = 0; c < size; ++c) grad_slope -= r->slope_state[c] * r->state[c];
    return grad_slope;
}

/* dk, dv and dS0, from the last token to the first. */
static void backward_keys(const slat_problem *p, room *r, int64_t b, int32_t h)
{
    const slat_decay *a = &p->decay;
    const double decay = decay_of(p, h);
    const int64_t size = (int64_t)p->d * p->dv;
    load_state(p, r->state, &a->grad_st, b, h);
    for (int64_t i = p->tq - 1; i >= 0; --i) {
        const slat_point at = slat_at(0, 0, i);
        slat_view_load(r->q, &p->q, b, at, h, p->d);
        slat_view_load(r->k, &p->k, b, at, h, p->d);
        slat_view_load(r->v, &p->v, b, at, h, p->dv);
        slat_view_load(r->o, &p->grad_o, b, at, h, p->dv);
        for (int32_t d = 0; d < p->d; ++d) r->q[d] *= p->scale;
        step(p, r->state, 1, r->q, r->o); /* here `state` is G; its decay belongs to the way from token i to i - 1 */
        from_right(p, r->grad_k, 1, r->state, r->v);
        from_left(p, r->grad_v, 1, r->k, r->state);
        if (p->grad_k.data) slat_view_store(&p->grad_k, b, at, h, p->d, r->grad_k);
        if (p->grad_v.data) slat_view_store(&p->grad_v, b, at, h, p->dv, r->grad_v);
        for (int64_t c = 0; c < size; ++c) r->state[c] *= decay;
    }
    store_state(p, &a->grad_s0, b, h, 0, r->state);
}

slat_status slat_lightning_scalar_backward(const slat_problem *p, const slat_run *run)
{
    const slat_view *grad_slopes = &p->decay.grad_slopes;
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    for (int32_t h = 0; h < p->hq; ++h) {
        double grad_slope = 0;
        for (int64_t b = 0; b < p->b; ++b) {
            if (p->grad_q.data || grad_slopes->data) grad_slope += backward_queries(p, &r, b, h);
            if (p->grad_k.data || p->grad_v.data || p->decay.grad_s0.data) backward_keys(p, &r, b, h);
        }
        if (grad_slopes->data) slat_store(grad_slopes->data, grad_slopes->type, h * grad_slopes->head, grad_slope);
    }
    return SLAT_OK;
}

/* Lightning (linear) attention: public entries of the two passes and of the step. */
#include "check.h"
#include "dispatch.h"
#include <math.h>
#include <stdlib.h>

static int32_t is_same(const DLTensor *a, const DLTensor *b)
{
    if (a == b) return 1;
    if (a->ndim != b->ndim || a->data != b->data || a->byte_offset != b->byte_offset) return 0;
    for (int32_t i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i] || slat_stride(a, i) != slat_stride(b, i)) return 0;
    return 1;
}

static slat_state_view states_of(const DLTensor *t)
{
    if (!t) return (slat_state_view){0};
    const int32_t n = t->ndim == 5;
    return (slat_state_view){slat_data(t), slat_stride(t, 0), slat_stride(t, 1), n ? slat_stride(t, 2) : 0,
                             slat_stride(t, 2 + n)};
}

/* q, k, v and slopes: they name every extent. */
static slat_status check_inputs(slat_checker *c, const slat_lightning *t)
{
    slat_problem *p = c->problem;
    slat_want want = {.name = "q",
                      .dims = "[B, T, H, D]",
                      .types = SLAT_IS_REAL,
                      .flags = SLAT_UNIT | SLAT_FAST,
                      .ndim = 4,
                      .shape = {SLAT_ANY, p->op == SLAT_OP_LIGHTNING_STEP ? 1 : SLAT_ANY, SLAT_ANY, SLAT_ANY}};
    SLAT_TRY(slat_check_tensor(c, &want, t->q));
    p->type = (slat_type)slat_type_of(t->q->dtype);
    const int64_t *shape = t->q->shape;
    if (shape[3] < 1 || shape[3] > 256)
        return slat_fail(SLAT_INVALID, "q: D %lld, expected 1 to 256", (long long)shape[3]);
    if (shape[2] < 1 || shape[2] > 65536)
        return slat_fail(SLAT_INVALID, "q: %lld heads, expected 1 to 65536", (long long)shape[2]);
    want = (slat_want){.name = "k",
                       .dims = "[B, T, H, D]",
                       .types = 1 << p->type,
                       .flags = SLAT_UNIT | SLAT_FAST,
                       .ndim = 4,
                       .shape = {shape[0], shape[1], shape[2], shape[3]}};
    SLAT_TRY(slat_check_tensor(c, &want, t->k));
    want.name = "v", want.dims = "[B, T, H, Dv]", want.shape[3] = SLAT_ANY;
    SLAT_TRY(slat_check_tensor(c, &want, t->v));
    const int64_t dv = t->v->shape[3];
    if (dv < 1 || dv > 256) return slat_fail(SLAT_INVALID, "v: Dv %lld, expected 1 to 256", (long long)dv);
    want =
        (slat_want){.name = "slopes", .dims = "[H]", .types = slat_types_like(p->type), .ndim = 1, .shape = {shape[2]}};
    SLAT_TRY(slat_check_tensor(c, &want, t->slopes));
    p->b = shape[0], p->tq = p->tk = shape[1];
    p->hq = p->hk = (int32_t)shape[2], p->d = (int32_t)shape[3], p->dv = (int32_t)dv;
    slat_set_view(&p->q, t->q, 1);
    slat_set_view(&p->k, t->k, 1);
    slat_set_view(&p->v, t->v, 1);
    p->decay.slopes = slat_vector_view(t->slopes);
    return SLAT_OK;
}

/* Slopes are looked at where that costs no copy. */
static slat_status check_slopes(const slat_problem *p)
{
    const slat_view *s = &p->decay.slopes;
    for (int32_t h = 0; h < p->hq; h++) {
        const double slope =
            s->type == SLAT_F64 ? ((const double *)s->data)[h * s->head] : ((const float *)s->data)[h * s->head];
        if (!(slope >= 0) || isinf(slope))
            return slat_fail(SLAT_INVALID, "slopes[%d]: %g, expected 0 or more, finite", h, slope);
    }
    return SLAT_OK;
}

static slat_status check_later_fields(const slat_lightning *t)
{
    SLAT_TRY(slat_check_later("gate", t->gate != NULL));
    SLAT_TRY(slat_check_later("offsets", t->offsets != NULL));
    return slat_check_later("max_t", t->max_t != 0);
}

/* A state [batches, H, D, Dv]. */
static slat_status check_state(slat_checker *c, const char *name, const DLTensor *t, int32_t flags, int64_t batches,
                               slat_state_view *out)
{
    const slat_problem *p = c->problem;
    const slat_want want = {.name = name,
                            .dims = batches == SLAT_ANY ? "[slots, H, D, Dv]" : "[B, H, D, Dv]",
                            .types = slat_types_like(p->type),
                            .flags = SLAT_UNIT | flags,
                            .ndim = 4,
                            .shape = {batches, p->hq, p->d, p->dv}};
    SLAT_TRY(slat_check_tensor(c, &want, t));
    *out = states_of(t);
    return SLAT_OK;
}

static slat_status check_snapshots(slat_checker *c, const slat_lightning *t)
{
    slat_problem *p = c->problem;
    if (!t->states) return SLAT_OK;
    const int64_t every = t->states_every;
    if (every < 1)
        return slat_fail(SLAT_INVALID, "states_every: %lld, expected 1 or more with states", (long long)every);
    p->decay.states_every = t->states_every;
    p->decay.snapshots = p->tq / every + (p->tq % every != 0);
    const slat_want want = {.name = "states",
                            .dims = "[B, H, ceil(T/states_every), D, Dv]",
                            .types = slat_types_like(p->type),
                            .flags = SLAT_UNIT | (p->pass == SLAT_FORWARD ? SLAT_OUTPUT : 0),
                            .ndim = 5,
                            .shape = {p->b, p->hq, p->decay.snapshots, p->d, p->dv}};
    SLAT_TRY(slat_check_tensor(c, &want, t->states));
    p->decay.states = states_of(t->states);
    return SLAT_OK;
}

/* An activation [B, T, H, width]. */
static slat_status check_activation(slat_checker *c, const char *name, const DLTensor *t, int32_t types, int32_t flags,
                                    int32_t width, slat_view *out)
{
    const slat_problem *p = c->problem;
    const slat_want want = {.name = name,
                            .dims = width == p->dv ? "[B, T, H, Dv]" : "[B, T, H, D]",
                            .types = types,
                            .flags = SLAT_UNIT | SLAT_FAST | flags,
                            .ndim = 4,
                            .shape = {p->b, p->tq, p->hq, width}};
    SLAT_TRY(slat_check_tensor(c, &want, t));
    slat_set_view(out, t, 1);
    return SLAT_OK;
}

static slat_status check_gradients(slat_checker *c, const slat_lightning *t)
{
    slat_problem *p = c->problem;
    const int32_t type = 1 << p->type, gradient = SLAT_OUTPUT | SLAT_OPTIONAL;
    SLAT_TRY(check_activation(c, "grad_o", t->grad_o, type | SLAT_IS_F32, 0, p->dv, &p->grad_o));
    SLAT_TRY(check_state(c, "grad_st", t->grad_st, SLAT_OPTIONAL, p->b, &p->decay.grad_st));
    SLAT_TRY(check_activation(c, "grad_q", t->grad_q, type, gradient, p->d, &p->grad_q));
    SLAT_TRY(check_activation(c, "grad_k", t->grad_k, type, gradient, p->d, &p->grad_k));
    SLAT_TRY(check_activation(c, "grad_v", t->grad_v, type, gradient, p->dv, &p->grad_v));
    SLAT_TRY(check_state(c, "grad_s0", t->grad_s0, gradient, p->b, &p->decay.grad_s0));
    const slat_want want = {.name = "grad_slopes",
                            .dims = "[H]",
                            .types = slat_types_like(p->type),
                            .flags = gradient,
                            .ndim = 1,
                            .shape = {p->hq}};
    SLAT_TRY(slat_check_tensor(c, &want, t->grad_slopes));
    p->decay.grad_slopes = slat_vector_view(t->grad_slopes);
    return SLAT_OK;
}

static slat_status begin(slat_checker *c, slat_problem *p, const slat_exec *exec, const slat_lightning *t)
{
    SLAT_TRY(slat_check_begin(c, p, exec));
    if (!t) return slat_fail(SLAT_INVALID, "lightning: NULL, expected a slat_lightning");
    SLAT_TRY(slat_check_reserved("lightning", t->reserved, 8));
    SLAT_TRY(check_later_fields(t));
    SLAT_TRY(check_inputs(c, t));
    return slat_check_scale(t->scale, 1, &p->scale);
}

static slat_status finish(slat_checker *c, const slat_exec *exec, const DLTensor *same, const DLTensor *as)
{
    SLAT_TRY(slat_check_end(c, same, as));
    if (slat_on_cpu(c->problem) && !c->planning) SLAT_TRY(check_slopes(c->problem));
    return slat_dispatch(c->problem, exec);
}

slat_status slat_lightning_forward(const slat_exec *exec, const slat_lightning *t)
{
    slat_problem p = {.op = SLAT_OP_LIGHTNING, .pass = SLAT_FORWARD};
    slat_checker c;
    SLAT_TRY(begin(&c, &p, exec, t));
    if (t->slot) return slat_fail(SLAT_INVALID, "slot: given, expected NULL outside slat_lightning_step");
    SLAT_TRY(check_activation(&c, "o", t->o, 1 << p.type | SLAT_IS_F32, SLAT_OUTPUT, p.dv, &p.o));
    SLAT_TRY(check_state(&c, "s0", t->s0, SLAT_OPTIONAL, p.b, &p.decay.s0));
    SLAT_TRY(check_state(&c, "st", t->st, SLAT_OPTIONAL | SLAT_OUTPUT, p.b, &p.decay.st));
    SLAT_TRY(check_snapshots(&c, t));
    const int32_t in_place = t->s0 && t->st && is_same(t->s0, t->st);
    return finish(&c, exec, in_place ? t->st : NULL, t->s0);
}

slat_status slat_lightning_backward(const slat_exec *exec, const slat_lightning *t)
{
    slat_problem p = {.op = SLAT_OP_LIGHTNING, .pass = SLAT_BACKWARD};
    slat_checker c;
    SLAT_TRY(begin(&c, &p, exec, t));
    if (t->slot) return slat_fail(SLAT_INVALID, "slot: given, expected NULL outside slat_lightning_step");
    SLAT_TRY(check_state(&c, "s0", t->s0, SLAT_OPTIONAL, p.b, &p.decay.s0));
    SLAT_TRY(check_snapshots(&c, t));
    SLAT_TRY(check_gradients(&c, t));
    return finish(&c, exec, NULL, NULL);
}

/* Slots in host memory: -1 or in range, each at most once. */
static slat_status check_slots(const slat_problem *p)
{
    const slat_decay *decay = &p->decay;
    uint8_t *taken = calloc((size_t)decay->slots + 1, 1);
    slat_status status =
        taken ? SLAT_OK : slat_fail(SLAT_NO_MEMORY, "no memory to check %lld slots", (long long)decay->slots);
    for (int64_t b = 0; b < p->b && status == SLAT_OK; b++) {
        const int32_t slot = decay->slot[b];
        if (slot == -1) continue;
        if (slot < -1 || slot >= decay->slots)
            status = slat_fail(SLAT_INVALID, "slot[%lld]: %d, expected -1 to %lld", (long long)b, slot,
                               (long long)decay->slots - 1);
        else if (taken[slot]++)
            status = slat_fail(SLAT_INVALID, "slot[%lld]: %d, which an earlier row has, expected each once",
                               (long long)b, slot);
    }
    free(taken);
    return status;
}

slat_status slat_lightning_step(const slat_exec *exec, const slat_lightning *t)
{
    slat_problem p = {.op = SLAT_OP_LIGHTNING_STEP, .pass = SLAT_FORWARD};
    slat_checker c;
    SLAT_TRY(begin(&c, &p, exec, t));
    SLAT_TRY(check_activation(&c, "o", t->o, 1 << p.type | SLAT_IS_F32, SLAT_OUTPUT, p.dv, &p.o));
    SLAT_TRY(check_state(&c, "st", t->st, SLAT_OUTPUT, t->slot ? SLAT_ANY : p.b, &p.decay.st));
    if (t->s0 && !is_same(t->s0, t->st))
        return slat_fail(SLAT_INVALID, "s0: another tensor than st, expected NULL or the same in a step");
    if (t->states) return slat_fail(SLAT_INVALID, "states: given, expected NULL in a step");
    p.decay.s0 = p.decay.st;
    p.decay.slots = t->st->shape[0];
    if (t->slot) {
        const slat_want want = {
            .name = "slot", .dims = "[B]", .types = SLAT_IS_I32, .flags = SLAT_COMPACT, .ndim = 1, .shape = {p.b}};
        SLAT_TRY(slat_check_tensor(&c, &want, t->slot));
        p.decay.slot = slat_data(t->slot);
    }
    if (p.decay.slot && slat_on_cpu(&p) && !c.planning) {
        SLAT_TRY(slat_check_end(&c, NULL, NULL));
        SLAT_TRY(check_slots(&p));
    }
    return finish(&c, exec, NULL, NULL);
}

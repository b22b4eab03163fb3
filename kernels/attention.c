/* The tensors that block_sparse, neighborhood, sharded and landmark share. */
#include "check.h"
#include <math.h>

#define HEADS 65536 /* more than any model has; keeps products of extents in range */

/* Names of a tensor's dimensions by the number of its token dimensions. */
typedef struct {
    const char *q, *k, *v, *o, *lse;
} dims_text;

static const dims_text dims_of[4] = {
    {0},
    {"[B, Tq, Hq, D]", "[B, Tk, Hk, D]", "[B, Tk, Hk, Dv]", "[B, Tq, Hq, Dv]", "[B, Tq, Hq]"},
    {"[B, Xq, Yq, Hq, D]", "[B, X, Y, Hk, D]", "[B, X, Y, Hk, Dv]", "[B, Xq, Yq, Hq, Dv]", "[B, Xq, Yq, Hq]"},
    {"[B, Xq, Yq, Zq, Hq, D]", "[B, X, Y, Z, Hk, D]", "[B, X, Y, Z, Hk, Dv]", "[B, Xq, Yq, Zq, Hq, Dv]",
     "[B, Xq, Yq, Zq, Hq]"},
};

/* [B, tokens of `like`..., heads, width]. Filled in place, word by word: a copy of words just written stalls. */
static void set_want(slat_want *want, const char *name, const char *dims, int32_t types, int32_t flags,
                     const DLTensor *like, int32_t tokens, int64_t heads, int64_t width)
{
    want->name = name;
    want->dims = dims;
    want->types = types;
    want->flags = flags;
    want->ndim = tokens + 3;
    for (int32_t i = 0; i <= tokens; i++) want->shape[i] = like ? like->shape[i] : SLAT_ANY;
    want->shape[tokens + 1] = heads;
    want->shape[tokens + 2] = width;
}

/* Without the width. */
static void set_scalar_want(slat_want *want, const char *name, const char *dims, int32_t types, int32_t flags,
                            const DLTensor *like, int32_t tokens, int64_t heads)
{
    set_want(want, name, dims, types, flags, like, tokens, heads, 0);
    want->ndim--;
}

/* [Hq], where it is given. */
static slat_status check_by_head(slat_checker *c, const char *name, int32_t types, int32_t flags, const DLTensor *t)
{
    if (!t) return SLAT_OK;
    const slat_want want = {
        .name = name, .dims = "[Hq]", .types = types, .flags = flags, .ndim = 1, .shape = {c->problem->hq}};
    return slat_check_tensor(c, &want, t);
}

static slat_status check_later_fields(const slat_attention *t)
{
    SLAT_TRY(slat_check_later("softcap", t->softcap != 0));
    SLAT_TRY(slat_check_later("bias", t->bias != NULL));
    SLAT_TRY(slat_check_later("grad_bias", t->grad_bias != NULL));
    SLAT_TRY(slat_check_later("q_offsets", t->q_offsets != NULL));
    SLAT_TRY(slat_check_later("k_offsets", t->k_offsets != NULL));
    SLAT_TRY(slat_check_later("k_length", t->k_length != NULL));
    SLAT_TRY(slat_check_later("pages", t->pages != NULL));
    SLAT_TRY(slat_check_later("max_q", t->max_q != 0));
    SLAT_TRY(slat_check_later("max_k", t->max_k != 0));
    SLAT_TRY(slat_check_later("k_scale", t->k_scale != NULL));
    return slat_check_later("v_scale", t->v_scale != NULL);
}

/* q, k, v: they name every extent. */
static slat_status check_inputs(slat_checker *c, const slat_attention *t, int32_t tokens)
{
    const dims_text *dims = &dims_of[tokens];
    slat_problem *p = c->problem;
    slat_want want;
    set_want(&want, "q", dims->q, SLAT_IS_REAL, SLAT_UNIT | SLAT_FAST, NULL, tokens, SLAT_ANY, SLAT_ANY);
    SLAT_TRY(slat_check_tensor(c, &want, t->q));
    p->type = (slat_type)slat_type_of(t->q->dtype);
    const int64_t d = t->q->shape[tokens + 2], hq = t->q->shape[tokens + 1];
    if (d < 1 || d > 256) return slat_fail(SLAT_INVALID, "q: D %lld, expected 1 to 256", (long long)d);
    if (hq < 1 || hq > HEADS) return slat_fail(SLAT_INVALID, "q: %lld heads, expected 1 to %d", (long long)hq, HEADS);

    set_want(&want, "k", dims->k, 1 << p->type, SLAT_UNIT | SLAT_FAST, NULL, tokens, SLAT_ANY, d);
    want.shape[0] = t->q->shape[0];
    SLAT_TRY(slat_check_tensor(c, &want, t->k));
    const int64_t hk = t->k->shape[tokens + 1];
    if (hk < 1 || hq % hk)
        return slat_fail(SLAT_INVALID, "k: %lld heads, expected a divisor of q's %lld", (long long)hk, (long long)hq);

    set_want(&want, "v", dims->v, 1 << p->type, SLAT_UNIT | SLAT_FAST, t->k, tokens, hk, SLAT_ANY);
    SLAT_TRY(slat_check_tensor(c, &want, t->v));
    const int64_t dv = t->v->shape[tokens + 2];
    if (dv < 1 || dv > 256) return slat_fail(SLAT_INVALID, "v: Dv %lld, expected 1 to 256", (long long)dv);

    p->b = t->q->shape[0];
    p->tq = p->tk = 1;
    for (int32_t i = 1; i <= tokens; i++) {
        if (__builtin_mul_overflow(p->tq, t->q->shape[i], &p->tq) ||
            __builtin_mul_overflow(p->tk, t->k->shape[i], &p->tk))
            return slat_fail(SLAT_INVALID, "q, k: more grid points than 2^63, expected fewer");
    }
    p->hq = (int32_t)hq, p->hk = (int32_t)hk, p->d = (int32_t)d, p->dv = (int32_t)dv;
    return SLAT_OK;
}

static slat_status check_outputs(slat_checker *c, const slat_attention *t, int32_t tokens)
{
    const dims_text *dims = &dims_of[tokens];
    const slat_problem *p = c->problem;
    const int32_t backward = p->pass == SLAT_BACKWARD, floats = slat_types_like(p->type);
    const int32_t written = backward ? 0 : SLAT_OUTPUT;
    slat_want want;
    set_want(&want, "o", dims->o, 1 << p->type | SLAT_IS_F32, SLAT_UNIT | SLAT_FAST | written, t->q, tokens, p->hq,
             p->dv);
    SLAT_TRY(slat_check_tensor(c, &want, t->o));
    set_scalar_want(&want, "lse", dims->lse, floats, written | (backward ? 0 : SLAT_OPTIONAL), t->q, tokens, p->hq);
    SLAT_TRY(slat_check_tensor(c, &want, t->lse));
    return check_by_head(c, "sink", floats, 0, t->sink);
}

static slat_status check_gradients(slat_checker *c, const slat_attention *t, int32_t tokens)
{
    const dims_text *dims = &dims_of[tokens];
    const slat_problem *p = c->problem;
    const int32_t type = 1 << p->type, floats = slat_types_like(p->type);
    const int32_t gradient = SLAT_UNIT | SLAT_FAST | SLAT_OUTPUT | SLAT_OPTIONAL;
    slat_want want;
    set_want(&want, "grad_o", dims->o, 1 << slat_type_of(t->o->dtype), SLAT_UNIT | SLAT_FAST, t->q, tokens, p->hq,
             p->dv);
    SLAT_TRY(slat_check_tensor(c, &want, t->grad_o));
    set_scalar_want(&want, "grad_lse", dims->lse, floats, SLAT_OPTIONAL, t->q, tokens, p->hq);
    SLAT_TRY(slat_check_tensor(c, &want, t->grad_lse));
    set_want(&want, "grad_q", dims->q, type, gradient, t->q, tokens, p->hq, p->d);
    SLAT_TRY(slat_check_tensor(c, &want, t->grad_q));
    set_want(&want, "grad_k", dims->k, type, gradient, t->k, tokens, p->hk, p->d);
    SLAT_TRY(slat_check_tensor(c, &want, t->grad_k));
    set_want(&want, "grad_v", dims->v, type, gradient, t->k, tokens, p->hk, p->dv);
    SLAT_TRY(slat_check_tensor(c, &want, t->grad_v));
    if (t->grad_sink && !t->sink) return slat_fail(SLAT_INVALID, "grad_sink: given, but sink is NULL");
    return check_by_head(c, "grad_sink", floats, SLAT_OUTPUT, t->grad_sink);
}

slat_status slat_check_attention(slat_checker *c, const slat_attention *t, int32_t tokens)
{
    slat_problem *p = c->problem;
    if (!t) return slat_fail(SLAT_INVALID, "tensors: NULL, expected a slat_attention");
    SLAT_TRY(slat_check_reserved("tensors", t->reserved, 8));
    SLAT_TRY(check_later_fields(t));
    SLAT_TRY(check_inputs(c, t, tokens));
    SLAT_TRY(check_outputs(c, t, tokens));
    if (p->pass == SLAT_BACKWARD) SLAT_TRY(check_gradients(c, t, tokens));
    SLAT_TRY(slat_check_scale(t->scale, 1 / sqrt((double)p->d), &p->scale));

    slat_set_view(&p->q, t->q, tokens);
    slat_set_view(&p->k, t->k, tokens);
    slat_set_view(&p->v, t->v, tokens);
    slat_set_view(&p->o, t->o, tokens);
    slat_set_view(&p->lse, t->lse, tokens);
    p->sink = slat_vector_view(t->sink);
    if (p->pass == SLAT_FORWARD) return SLAT_OK;
    slat_set_view(&p->grad_o, t->grad_o, tokens);
    slat_set_view(&p->grad_lse, t->grad_lse, tokens);
    slat_set_view(&p->grad_q, t->grad_q, tokens);
    slat_set_view(&p->grad_k, t->grad_k, tokens);
    slat_set_view(&p->grad_v, t->grad_v, tokens);
    p->grad_sink = slat_vector_view(t->grad_sink);
    return SLAT_OK;
}

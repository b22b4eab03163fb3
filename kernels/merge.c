/* Merging of partial softmax results: public entries. Tensors have any rank; rows that lie evenly fold together. */
#include "check.h"
#include "dispatch.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const char *name; /* of the array or the tensor */
    int32_t index;    /* in the array; -1: a tensor of its own */
    const DLTensor *tensor;
    int32_t is_lse, flags;
} argument;

/* The k-th of a call's tensors: o[n], lse[n], out, out_lse; in backward then grad_out, grad_out_lse, grad_o[n],
 * grad_lse[n]. o[0] comes first: it names the device, the type and the extents. */
static argument nth(const slat_problem *p, int32_t k)
{
    const slat_parts *m = &p->parts;
    const int32_t n = m->parts, backward = p->pass == SLAT_BACKWARD;
    const int32_t written = backward ? 0 : SLAT_OUTPUT, gradient = SLAT_OUTPUT | SLAT_OPTIONAL;
    if (k < n) return (argument){"o", k, m->o[k], 0, 0};
    if (k < 2 * n) return (argument){"lse", k - n, m->lse[k - n], 1, 0};
    if (k >= 2 * n + 4) {
        const int32_t i = (k - 2 * n - 4) % n, is_lse = k >= 3 * n + 4;
        DLTensor *const *array = is_lse ? m->grad_lse : m->grad_o;
        return (argument){is_lse ? "grad_lse" : "grad_o", i, array ? array[i] : NULL, is_lse, gradient};
    }
    switch (k - 2 * n) {
    case 0:
        return (argument){"out", -1, m->out, 0, written};
    case 1:
        return (argument){"out_lse", -1, m->out_lse, 1, written | (backward ? 0 : SLAT_OPTIONAL)};
    case 2:
        return (argument){"grad_out", -1, m->grad_out, 0, 0};
    default:
        return (argument){"grad_out_lse", -1, m->grad_out_lse, 1, SLAT_OPTIONAL};
    }
}

static int32_t arguments(const slat_problem *p)
{
    return p->pass == SLAT_BACKWARD ? 4 * p->parts.parts + 4 : 2 * p->parts.parts + 2;
}

static const char *label(const argument *a, char buffer[32])
{
    if (a->index < 0) return a->name;
    snprintf(buffer, 32, "%s[%d]", a->name, a->index);
    return buffer;
}

static int32_t types_of(const slat_problem *p, const argument *a)
{
    if (a->is_lse) return slat_types_like(p->type);
    if (a->tensor == p->parts.out) return 1 << p->type | SLAT_IS_F32;
    if (a->tensor == p->parts.grad_out) return 1 << slat_type_of(p->parts.out->dtype);
    return 1 << p->type;
}

static slat_status check_first(slat_checker *c, const DLTensor *t)
{
    slat_problem *p = c->problem;
    const slat_want want = {.name = "o[0]", .dims = "[..., Dv]", .types = SLAT_IS_REAL, .flags = SLAT_UNIT | SLAT_FAST};
    if (!t) return slat_fail(SLAT_INVALID, "o[0]: NULL, expected [..., Dv]");
    if (t->ndim < 2) return slat_fail(SLAT_INVALID, "o[0]: rank %d, expected 2 or more", t->ndim);
    if (!t->shape) return slat_fail(SLAT_INVALID, "o[0]: shape is NULL, expected [..., Dv]");
    for (int32_t i = 0; i < t->ndim; i++)
        if (t->shape[i] < 0)
            return slat_fail(SLAT_INVALID, "o[0]: extent %lld in dimension %d, expected 0 or more",
                             (long long)t->shape[i], i);
    const int64_t dv = t->shape[t->ndim - 1];
    if (dv < 1 || dv > 256) return slat_fail(SLAT_INVALID, "o[0]: Dv %lld, expected 1 to 256", (long long)dv);
    SLAT_TRY(slat_check_contents(c, &want, t));
    p->type = (slat_type)slat_type_of(t->dtype);
    p->dv = (int32_t)dv;
    return SLAT_OK;
}

static slat_status check_argument(slat_checker *c, const argument *a)
{
    char buffer[32];
    const char *name = label(a, buffer), *dims = a->is_lse ? "[...]" : "[..., Dv]";
    const DLTensor *t = a->tensor, *first = c->seen[0].tensor;
    if (!t) return a->flags & SLAT_OPTIONAL ? SLAT_OK : slat_fail(SLAT_INVALID, "%s: NULL, expected %s", name, dims);
    const int32_t ndim = first->ndim - a->is_lse;
    if (t->ndim != ndim) return slat_fail(SLAT_INVALID, "%s: rank %d, expected %d as %s", name, t->ndim, ndim, dims);
    if (!t->shape) return slat_fail(SLAT_INVALID, "%s: shape is NULL, expected %s", name, dims);
    for (int32_t i = 0; i < ndim; i++)
        if (t->shape[i] != first->shape[i])
            return slat_fail(SLAT_INVALID, "%s: extent %lld in dimension %d, but o[0] has %lld", name,
                             (long long)t->shape[i], i, (long long)first->shape[i]);
    const slat_want want = {.name = name,
                            .dims = dims,
                            .types = types_of(c->problem, a),
                            .ndim = ndim,
                            .flags = a->flags | (a->is_lse ? 0 : SLAT_UNIT | SLAT_FAST)};
    SLAT_TRY(slat_check_contents(c, &want, t));
    c->count = 1; /* parts may be many: overlap is checked below, by nth() */
    return SLAT_OK;
}

static int32_t is_same(const DLTensor *a, const DLTensor *b)
{
    for (int32_t i = 0; i < a->ndim; i++)
        if (slat_stride(a, i) != slat_stride(b, i)) return 0;
    return slat_data(a) == slat_data(b) && a->dtype.bits == b->dtype.bits;
}

/* Arguments i and j, of which one is an output or both are. */
static slat_status check_pair(const slat_problem *p, int32_t i, int32_t j)
{
    const argument x = nth(p, i < j ? i : j), y = nth(p, i < j ? j : i);
    const argument out = x.flags & SLAT_OUTPUT ? x : y, other = x.flags & SLAT_OUTPUT ? y : x;
    const int32_t in_place = p->pass == SLAT_FORWARD && other.index == 0 && out.is_lse == other.is_lse;
    const int32_t shared = slat_overlap(out.tensor, other.tensor);
    if (!shared || (in_place && is_same(out.tensor, other.tensor))) return SLAT_OK;
    char a[32], b[32];
    return slat_fail(SLAT_INVALID, "%s: %s memory with %s, expected its own", label(&out, a),
                     shared == 1 ? "shares" : "its strides may share", label(&other, b));
}

/* The bytes that an argument spans. */
typedef struct {
    uintptr_t first, last;
    int32_t number, output; /* its number, for nth() */
} extent;

static int by_first(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Parts may be many: sorted by address, each is held only against those that begin inside it. */
static slat_status check_overlaps(const slat_problem *p)
{
    extent *spans = malloc((size_t)arguments(p) * sizeof *spans);
    if (!spans) return slat_fail(SLAT_NO_MEMORY, "no memory to check %d tensors", arguments(p));
    int32_t n = 0;
    for (int32_t k = 0; k < arguments(p); k++) {
        const argument a = nth(p, k);
        if (a.tensor && slat_span(a.tensor, &spans[n].first, &spans[n].last)) {
            spans[n].number = k;
            spans[n++].output = a.flags & SLAT_OUTPUT;
        }
    }
    qsort(spans, (size_t)n, sizeof *spans, by_first);
    slat_status status = SLAT_OK;
    for (int32_t i = 0; i < n && status == SLAT_OK; i++)
        for (int32_t j = i + 1; j < n && spans[j].first <= spans[i].last && status == SLAT_OK; j++)
            if (spans[i].output || spans[j].output) status = check_pair(p, spans[i].number, spans[j].number);
    free(spans);
    return status;
}

/* Whether rows step from dimension i to i + 1 evenly in every tensor, so that both are one. */
static int32_t folds(const slat_problem *p, int32_t i, int32_t inner, int64_t inner_extent)
{
    for (int32_t k = 0; k < arguments(p); k++) {
        const DLTensor *t = nth(p, k).tensor;
        if (t && slat_stride(t, i) != slat_stride(t, inner) * inner_extent) return 0;
    }
    return 1;
}

static slat_status fold(slat_problem *p)
{
    slat_parts *m = &p->parts;
    const DLTensor *first = m->o[0];
    int64_t shape[SLAT_MERGE_DIMS];
    int32_t inner[SLAT_MERGE_DIMS], n = 0; /* innermost first */
    for (int32_t i = first->ndim - 2; i >= 0; i--) {
        if (first->shape[i] == 1) continue;
        if (n && first->shape[inner[n - 1]] && folds(p, i, inner[n - 1], shape[n - 1])) {
            shape[n - 1] *= first->shape[i];
            continue;
        }
        if (n == SLAT_MERGE_DIMS)
            return slat_fail(SLAT_UNSUPPORTED, "o: more than %d row dimensions that do not fold into each other",
                             SLAT_MERGE_DIMS);
        shape[n] = first->shape[i];
        inner[n++] = i;
    }
    m->ndim = n;
    for (int32_t i = 0; i < n; i++) {
        m->shape[i] = shape[n - 1 - i];
        m->inner[i] = inner[n - 1 - i];
    }
    return SLAT_OK;
}

static slat_status merge(slat_problem *p, const slat_exec *exec)
{
    const slat_parts *m = &p->parts;
    slat_checker c;
    SLAT_TRY(slat_check_begin(&c, p, exec));
    if (m->parts < 1 || m->parts > INT32_MAX / 8)
        return slat_fail(SLAT_INVALID, "n: %d parts, expected 1 to %d", m->parts, INT32_MAX / 8);
    if (!m->o) return slat_fail(SLAT_INVALID, "o: NULL, expected %d tensors", m->parts);
    if (!m->lse) return slat_fail(SLAT_INVALID, "lse: NULL, expected %d tensors", m->parts);
    SLAT_TRY(check_first(&c, m->o[0]));
    for (int32_t k = 1; k < arguments(p); k++) {
        const argument a = nth(p, k);
        SLAT_TRY(check_argument(&c, &a));
    }
    if (!c.planning) SLAT_TRY(check_overlaps(p));
    SLAT_TRY(fold(p));
    return slat_dispatch(p, exec);
}

slat_status slat_merge_forward(const slat_exec *exec, int32_t n, const DLTensor *const *o, const DLTensor *const *lse,
                               DLTensor *out, DLTensor *out_lse)
{
    slat_problem p = {.op = SLAT_OP_MERGE, .pass = SLAT_FORWARD};
    p.parts = (slat_parts){.parts = n, .o = o, .lse = lse, .out = out, .out_lse = out_lse};
    return merge(&p, exec);
}

slat_status slat_merge_backward(const slat_exec *exec, int32_t n, const DLTensor *const *o, const DLTensor *const *lse,
                                const DLTensor *out, const DLTensor *out_lse, const DLTensor *grad_out,
                                const DLTensor *grad_out_lse, DLTensor *const *grad_o, DLTensor *const *grad_lse)
{
    slat_problem p = {.op = SLAT_OP_MERGE, .pass = SLAT_BACKWARD};
    p.parts = (slat_parts){n, 0, {0}, {0}, o, lse, out, out_lse, grad_out, grad_out_lse, grad_o, grad_lse};
    return merge(&p, exec);
}

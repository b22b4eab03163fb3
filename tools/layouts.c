/* Tensors of a problem in each layout. */
#include "layouts.h"

#include <stdlib.h>
#include <string.h>

#include "problem.h"

enum { PADDING = 8 };

const char *layout_name(layout kind)
{
    static const char *const names[LAYOUTS] = {"plain", "heads-first", "interleaved", "padded"};
    return names[kind];
}

/* Tensors that share a buffer when interleaved: rows of the leading dimensions, and in each row every member's `inner`
 * last dimensions, one member after the other. */
static const struct {
    int inner, count;
    problem_role role[3];
} groups[PROBLEM_GROUPS] = {
    {2, 3, {ROLE_Q, ROLE_K, ROLE_V}},
    {2, 3, {ROLE_DQ, ROLE_DK, ROLE_DV}},
    {2, 2, {ROLE_O, ROLE_DO}},
    {1, 2, {ROLE_LSE, ROLE_DLSE}},
    {1, 2, {ROLE_S0, ROLE_DST}},
    {1, 2, {ROLE_ST, ROLE_DS0}},
    {1, 1, {ROLE_PART_O}},
    {1, 1, {ROLE_PART_LSE}},
    {1, 1, {ROLE_PART_DO}},
    {1, 1, {ROLE_PART_DLSE}},
};

static int group_of(problem_role role)
{
    for (int g = 0; g < PROBLEM_GROUPS; g++)
        for (int i = 0; i < groups[g].count; i++)
            if (groups[g].role[i] == role) return g;
    return -1;
}

static int group_inner(const problem *p, int g)
{
    return p->op == OP_MERGE ? 1 : groups[g].inner;
}

/* A group's rows as the problem's extents make them. */
typedef struct {
    tensor_type type;
    int leading;                /* dimensions of the rows */
    int64_t shape[TENSOR_DIMS]; /* their extents, then the length of a row */
    int64_t offset;             /* in a row, of the slot that was asked for */
} rows;

static bool group_rows(const problem *p, int g, int slot, rows *r)
{
    *r = (rows){0};
    int64_t length = 0;
    for (int s = 0; s < PROBLEM_SLOTS; s++) {
        int64_t shape[TENSOR_DIMS], width = 1;
        tensor_type type;
        int ndim;
        if (group_of(problem_slot_role(s)) != g || !problem_slot_shape(p, s, &type, &ndim, shape)) continue;
        r->type = type;
        r->leading = ndim - group_inner(p, g);
        for (int i = r->leading; i < ndim; i++) width *= shape[i];
        for (int i = 0; i < r->leading; i++)
            if (shape[i] > r->shape[i]) r->shape[i] = shape[i];
        if (s == slot) r->offset = length;
        length += width;
    }
    r->shape[r->leading] = length;
    return length > 0;
}

/* Row-major strides over dimensions taken in `order`, the last of them `pad` elements longer. Returns all elements. */
static int64_t ordered_strides(int ndim, const int64_t *shape, const int *order, int64_t pad, int64_t *strides)
{
    int64_t elements = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        const int64_t extent = shape[order[i]] + (i == ndim - 1 ? pad : 0);
        strides[order[i]] = elements;
        if (__builtin_mul_overflow(elements, extent, &elements)) return -1;
    }
    return elements;
}

static tensor *interleaved(problem *p, int g, int slot, int ndim, const int64_t *shape)
{
    rows r;
    if (!group_rows(p, g, slot, &r)) return NULL;
    if (!p->group[g]) p->group[g] = tensor_new(p->memory, r.type, r.leading + 1, r.shape);
    if (!p->group[g]) return NULL;
    int64_t strides[TENSOR_DIMS], width = 1;
    memcpy(strides, p->group[g]->strides, sizeof strides);
    for (int i = ndim - 1; i >= r.leading; i--) {
        strides[i] = width;
        width *= shape[i];
    }
    return tensor_new_view(p->group[g], ndim, shape, strides, r.offset);
}

/* Memory order of dimensions with the heads brought forward. */
static void heads_first(const problem *p, problem_role role, int ndim, int *order)
{
    const bool state =
        role == ROLE_S0 || role == ROLE_ST || role == ROLE_DST || role == ROLE_DS0 || role == ROLE_STATES;
    int head, to = state ? 0 : 1;
    if (p->op == OP_MERGE) {
        head = p->extents.rank - 2;
        to = head - 1;
    } else
        head = state ? 1 : 1 + p->extents.ndim;
    if (head < 1 || to < 0 || head >= ndim) return;
    for (int i = head; i > to; i--) order[i] = order[i - 1];
    order[to] = head;
}

static tensor *in_layout(problem *p, int slot, layout kind, tensor_type type, int ndim, const int64_t *shape)
{
    const problem_role role = problem_slot_role(slot);
    const int g = group_of(role);
    int order[TENSOR_DIMS] = {0, 1, 2, 3, 4, 5, 6, 7};
    int64_t strides[TENSOR_DIMS];
    if (role == ROLE_SLOPES && kind == LAYOUT_INTERLEAVED)
        return tensor_new_strided(p->memory, type, 1, shape, (const int64_t[]){2}, 0, 2 * shape[0]);
    if (kind == LAYOUT_PLAIN || (g < 0 && role != ROLE_STATES)) return tensor_new(p->memory, type, ndim, shape);
    if (kind == LAYOUT_INTERLEAVED)
        return g < 0 ? tensor_new(p->memory, type, ndim, shape) : interleaved(p, g, slot, ndim, shape);
    if (kind == LAYOUT_HEADS_FIRST) heads_first(p, role, ndim, order);
    const int64_t pad = kind == LAYOUT_PADDED && ndim > 1 ? PADDING : 0;
    const int64_t elements = ordered_strides(ndim, shape, order, pad, strides);
    return elements < 0 ? NULL : tensor_new_strided(p->memory, type, ndim, shape, strides, 0, elements);
}

bool problem_allocate(problem *p, int slot, layout kind)
{
    tensor_type type;
    int ndim;
    int64_t shape[TENSOR_DIMS];
    if (!problem_slot_shape(p, slot, &type, &ndim, shape)) return false;
    tensor_free(p->t[slot]);
    p->t[slot] = in_layout(p, slot, kind, type, ndim, shape);
    return p->t[slot] != NULL;
}

static bool is_output(const problem *p, int slot)
{
    return problem_slot_is_output(p, slot, PASS_FORWARD) || problem_slot_is_output(p, slot, PASS_BACKWARD);
}

problem *problem_copy(const problem *p, layout kind, const memory *m, sentence *why)
{
    problem *copy = problem_create(p->op, m);
    bool ok = copy != NULL;
    if (ok) {
        *copy = *p;
        copy->memory = m;
        memset(copy->t, 0, sizeof copy->t);
        memset(copy->group, 0, sizeof copy->group);
    }
    for (int slot = 0; ok && slot < PROBLEM_SLOTS; slot++)
        if (p->t[slot] && !is_output(p, slot))
            ok = problem_allocate(copy, slot, kind) && tensor_copy(copy->t[slot], p->t[slot]);
    if (ok) return copy;
    sentence_fail(why, "no memory for a %s copy of the problem", layout_name(kind));
    problem_free(copy);
    return NULL;
}

bool problem_reset(problem *p, problem_pass pass)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!p->t[slot] || !problem_slot_is_output(p, slot, pass)) continue;
        if (!tensor_repoison(p->t[slot])) return false;
    }
    const bool step = p->op == OP_LIGHTNING_STEP && p->t[ROLE_ST] && p->t[ROLE_S0];
    return !step || tensor_copy(p->t[ROLE_ST], p->t[ROLE_S0]);
}

bool problem_allocate_outputs(problem *p, problem_pass pass, layout kind, sentence *why)
{
    char name[PROBLEM_NAME];
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (p->t[slot] || !problem_slot_is_output(p, slot, pass)) continue;
        if ((slot == ROLE_DSINK && !p->t[ROLE_SINK]) || (slot == ROLE_DS0 && !p->t[ROLE_S0])) continue;
        if (!problem_allocate(p, slot, kind))
            return sentence_fail(why, "no memory for %s", problem_slot_name(slot, name));
    }
    return problem_reset(p, pass) || sentence_fail(why, "the outputs cannot be poisoned");
}

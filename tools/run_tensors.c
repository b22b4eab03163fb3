/* Tensors of a file as a problem, and results as a file. */
#include "run_tensors.h"

#include <stdio.h>
#include <string.h>

typedef enum { LIKE_Q, LIKE_K, LIKE_NOTHING } likeness;

/* Whose leading dimensions a tensor has. */
static likeness like(problem_role role)
{
    switch (role) {
    case ROLE_Q:
    case ROLE_O:
    case ROLE_LSE:
    case ROLE_DO:
    case ROLE_DLSE:
    case ROLE_DQ:
        return LIKE_Q;
    case ROLE_K:
    case ROLE_V:
    case ROLE_DK:
    case ROLE_DV:
        return LIKE_K;
    default:
        return LIKE_NOTHING;
    }
}

static bool is_sum(problem_role role)
{
    return role == ROLE_LSE || role == ROLE_DLSE;
}

/* The same compact elements under another shape; takes `t`. */
static tensor *reshaped(tensor *t, int ndim, const int64_t *shape)
{
    int64_t strides[TENSOR_DIMS], elements = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = elements;
        elements *= shape[i];
    }
    tensor *view = ndim <= TENSOR_DIMS ? tensor_new_view(t, ndim, shape, strides, 0) : NULL;
    tensor_free(t);
    return view;
}

static bool spread_over_grid(const options *o, likeness side, const char *name, int *ndim, int64_t *shape,
                             sentence *why)
{
    const option_list *list = side == LIKE_Q && o->q_grid.count ? &o->q_grid : &o->grid;
    int64_t grid[3], points = 1;
    if (!o->grid.count || *ndim < 2) return true;
    for (int i = 0; i < o->grid.count; i++) {
        grid[i] = (int64_t)option_value(list, i, 1);
        if (grid[i] < 0 || __builtin_mul_overflow(points, grid[i], &points))
            return sentence_fail(why, "--grid: lengths should be at least 0");
    }
    if (points != shape[1])
        return sentence_fail(why, "--grid: %lld places, but %s has %lld tokens", (long long)points, name,
                             (long long)shape[1]);
    const int more = o->grid.count - 1;
    if (*ndim + more > TENSOR_DIMS) return sentence_fail(why, "%s: too many dimensions", name);
    memmove(shape + 2 + more, shape + 2, (size_t)(*ndim - 2) * sizeof *shape);
    memcpy(shape + 1, grid, (size_t)o->grid.count * sizeof *shape);
    *ndim += more;
    return true;
}

/* [T, H, D] becomes [1, T, H, D], and with --grid [1, X, Y, H, D]. */
static bool fit(const options *o, int slot, tensor **t, run_shapes *shapes, sentence *why)
{
    char name[PROBLEM_NAME];
    const problem_role role = problem_slot_role(slot);
    const likeness side = like(role);
    const int tail = is_sum(role) ? 1 : 2; /* dimensions after the tokens */
    int ndim = (*t)->dl.ndim;
    int64_t shape[TENSOR_DIMS + 1];
    if (side == LIKE_NOTHING) return true;
    memcpy(shape, (*t)->shape, sizeof(*t)->shape);
    if (role == ROLE_Q || role == ROLE_K) {
        *(role == ROLE_Q ? &shapes->q_rank : &shapes->k_rank) = ndim - tail;
        memcpy(role == ROLE_Q ? shapes->q : shapes->k, shape, sizeof shapes->q);
    }
    if (ndim == tail + 1) {
        memmove(shape + 1, shape, (size_t)ndim * sizeof *shape);
        shape[0] = 1;
        ndim++;
    }
    if (ndim == tail + 2 && !spread_over_grid(o, side, problem_slot_name(slot, name), &ndim, shape, why)) return false;
    *t = reshaped(*t, ndim, shape);
    return *t || sentence_fail(why, "not enough memory");
}

static bool load_tensors(problem *p, const options *o, const safetensors *file, run_shapes *shapes, sentence *why)
{
    for (int slot = 0; slot < ROLE_PART_O; slot++) {
        char name[PROBLEM_NAME];
        const bool backward = slot == ROLE_DO || slot == ROLE_DLSE || slot == ROLE_DST;
        if (problem_slot_is_output(p, slot, PASS_FORWARD) || problem_slot_is_output(p, slot, PASS_BACKWARD)) continue;
        if (backward && !o->backward) continue;
        const safetensors_entry *entry = safetensors_find(file, problem_slot_name(slot, name));
        if (!entry) continue;
        if (!(p->t[slot] = safetensors_read(file, entry, why)) || !fit(o, slot, &p->t[slot], shapes, why)) return false;
    }
    return true;
}

static bool has_needed(const problem *p, const options *o, const safetensors *file, sentence *why)
{
    static const problem_role needed[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_DO};
    for (int i = 0; i < 3 + o->backward; i++) {
        char name[PROBLEM_NAME], names[300];
        if (p->t[needed[i]]) continue;
        safetensors_names(file, names, sizeof names);
        return sentence_fail(why, "%s: no tensor %s%s; it has %s", file->path, problem_slot_name(needed[i], name),
                             needed[i] == ROLE_DO ? ", which --backward needs" : "", *names ? names : "none");
    }
    return true;
}

problem *run_load(const options *o, const safetensors *file, run_shapes *shapes, sentence *why)
{
    problem *p = problem_create(o->op, memory_host());
    sentence detail = {"not enough memory"};
    if (p) {
        p->pass = o->backward ? PASS_BACKWARD : PASS_FORWARD;
        if (!load_tensors(p, o, file, shapes, why) || !has_needed(p, o, file, why)) {
            problem_free(p);
            return NULL;
        }
        if (o->op == OP_NEIGHBORHOOD) p->neighborhood.ndim = p->t[ROLE_Q]->dl.ndim - 3;
        if (problem_measure(p, &detail) && options_apply(o, p, &detail) && problem_settle(p, &detail)) return p;
    }
    problem_free(p);
    sentence_fail(why, "%s", detail.text);
    return NULL;
}

/* The output in the shape in which its input came. */
static tensor *in_file_shape(const problem *p, int slot, const run_shapes *shapes)
{
    const tensor *t = p->t[slot];
    const problem_role role = problem_slot_role(slot);
    const likeness side = like(role);
    const int tail = is_sum(role) ? 1 : 2;
    const int rank = side == LIKE_Q ? shapes->q_rank : shapes->k_rank;
    int64_t shape[TENSOR_DIMS], strides[TENSOR_DIMS], elements = 1;
    int ndim = t->dl.ndim;
    memcpy(shape, t->shape, sizeof shape);
    if (side != LIKE_NOTHING) {
        memcpy(shape, side == LIKE_Q ? shapes->q : shapes->k, (size_t)rank * sizeof *shape);
        memcpy(shape + rank, t->shape + ndim - tail, (size_t)tail * sizeof *shape);
        ndim = rank + tail;
    }
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = elements;
        elements *= shape[i];
    }
    return tensor_new_view(t, ndim, shape, strides, 0);
}

bool run_save(const problem *p, const run_shapes *shapes, const char *path, const slat_plan *plan, sentence *why)
{
    char names[ROLE_PART_O][PROBLEM_NAME];
    const char *name[ROLE_PART_O];
    tensor *views[ROLE_PART_O];
    const tensor *written[ROLE_PART_O];
    int count = 0;
    bool ok = true;
    const safetensors_metadata metadata[] = {
        {"slat", (char *)slat_version()},
        {"op", (char *)problem_op_name(p->op)},
        {"pass", (char *)problem_pass_name(p->pass)},
        {"backend", (char *)plan->backend},
    };
    for (int slot = 0; slot < ROLE_PART_O && ok; slot++) {
        const bool output =
            problem_slot_is_output(p, slot, PASS_FORWARD) || problem_slot_is_output(p, slot, PASS_BACKWARD);
        if (!p->t[slot] || !output) continue;
        name[count] = problem_slot_name(slot, names[count]);
        ok = (views[count] = in_file_shape(p, slot, shapes)) != NULL;
        if (!ok) sentence_fail(why, "not enough memory");
        written[count] = views[count];
        count += ok;
    }
    ok = ok && safetensors_write(path, count, name, written, 4, metadata, why);
    for (int i = 0; i < count; i++) tensor_free(views[i]);
    return ok;
}

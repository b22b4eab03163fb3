/* Changes to a right problem, most of them for the worse. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static int32_t odd_i32(fuzz_source *s)
{
    static const int32_t odd[] = {0,   1,   -1,  2,   3,    7,  8,     12,        16,        64,
                                  255, 256, 257, 264, 4096, -8, 65536, INT32_MAX, INT32_MIN, INT32_MAX - 7};
    return FUZZ_PICK(s, odd);
}

static int64_t odd_i64(fuzz_source *s)
{
    static const int64_t odd[] = {INT64_MAX,           INT64_MIN,        INT64_MAX / 2, INT64_C(1) << 40,
                                  -(INT64_C(1) << 40), INT64_C(1) << 32, INT64_MAX / 8};
    return fuzz_chance(s, 60) ? odd_i32(s) : FUZZ_PICK(s, odd);
}

/* Whether the call leaves the tensor out: a step has its state in st, lightning's backward reads no answer. Writing to
 * such memory is no error. */
static bool is_left_out(const problem *p, int slot)
{
    if (p->op == OP_LIGHTNING_STEP) return slot == ROLE_S0;
    return p->op == OP_LIGHTNING && p->pass == PASS_BACKWARD && (slot == ROLE_O || slot == ROLE_ST);
}

/* A slot whose tensor is handed over. */
static int some_slot(fuzz_source *s, const problem *p)
{
    const int from = (int)fuzz_below(s, PROBLEM_SLOTS);
    for (int n = 0; n < PROBLEM_SLOTS; n++) {
        const int slot = (from + n) % PROBLEM_SLOTS;
        if (p->t[slot] && !is_left_out(p, slot)) return slot;
    }
    return ROLE_Q;
}

static bool is_integer(const tensor *t)
{
    return t->type == TENSOR_I32 || t->type == TENSOR_U8;
}

static void spoil_type(fuzz_source *s, tensor *t)
{
    static const DLDataType odd[] = {{kDLInt, 8, 1},   {kDLFloat, 32, 4}, {kDLComplex, 64, 1},
                                     {kDLFloat, 8, 1}, {kDLFloat, 0, 1},  {200, 255, 65535}};
    if (fuzz_chance(s, 40)) {
        t->dl.dtype = FUZZ_PICK(s, odd);
        return;
    }
    t->type = (tensor_type)fuzz_below(s, TENSOR_TYPES);
    t->dl.dtype = tensor_type_dl(t->type);
}

static void row_major(tensor *t)
{
    int64_t stride = 1;
    for (int d = t->dl.ndim - 1; d >= 0; d--) {
        t->strides[d] = stride;
        if (__builtin_mul_overflow(stride, t->shape[d], &stride)) stride = 1;
    }
    t->dl.strides = NULL;
}

void fuzz_spoil_tensor(fuzz_source *s, problem *p, char note[120])
{
    const int slot = some_slot(s, p);
    tensor *t = p->t[slot];
    const int d = t->dl.ndim ? (int)fuzz_below(s, t->dl.ndim) : 0, way = (int)fuzz_below(s, 14);
    snprintf(note, 120, "%s", problem_slot_name(slot, (char[PROBLEM_NAME]){0}));
    snprintf(note + strlen(note), 120 - strlen(note), ", way %d, dimension %d", way, d);
    switch (way) {
    case 0:
        t->shape[d] += fuzz_chance(s, 50) ? 1 : -1;
        break;
    case 1:
        t->shape[d] = odd_i64(s);
        break;
    case 2:
        t->strides[d] = odd_i64(s);
        break;
    case 3:
        t->strides[d] += (int64_t)fuzz_below(s, 5) - 2;
        break;
    case 4:
        t->strides[d] = 0;
        break;
    case 5:
        t->dl.ndim += fuzz_chance(s, 50) && t->dl.ndim < TENSOR_DIMS ? 1 : t->dl.ndim ? -1 : 0;
        break;
    case 6:
        spoil_type(s, t);
        break;
    case 7:
        t->dl.device =
            (DLDevice){(DLDeviceType)(fuzz_chance(s, 50) ? kDLCUDA : kDLCUDAHost), (int)fuzz_below(s, 3) - 1};
        break;
    case 8:
        t->dl.byte_offset += (uint64_t)fuzz_below(s, 9);
        break;
    case 9:
        t->dl.byte_offset = (uint64_t)odd_i64(s);
        break;
    case 10:
        t->dl.data = NULL;
        break;
    case 11: {
        const int other = some_slot(s, p);
        const bool in_place = slot == ROLE_O || slot == ROLE_LSE || slot == ROLE_ST; /* which may be right */
        if (!in_place) t->dl.data = p->t[other]->dl.data;
        break;
    }
    case 12:
        row_major(t);
        break;
    default:
        t->dl.shape = NULL;
        break;
    }
}

/* Gives one element an odd value; false where that leaves no answer to compare. */
static bool spoil_content(fuzz_source *s, problem *p, int slot, char note[120])
{
    tensor *t = p->t[slot];
    const int64_t count = tensor_count(t);
    if (count < 1) return true;
    const int64_t at = fuzz_below(s, count);
    snprintf(note, 120, "%s[%lld]", problem_slot_name(slot, (char[PROBLEM_NAME]){0}), (long long)at);
    static const double odd[] = {NAN, INFINITY, -INFINITY, -1, 0, 1e30, -1e30};
    double value = is_integer(t) ? (double)odd_i32(s) : FUZZ_PICK(s, odd);
    if (t->type == TENSOR_U8) value = fuzz_below(s, 256); /* each of them is a bitmap's */
    tensor_set(t, at, value);
    return is_integer(t) || fabs(value) <= 1;
}

/* Whether elements of q are spread wide, so that logits are as large as they may be under the scale that p has. */
static bool is_spread(const problem *p)
{
    const tensor *q = p->t[ROLE_Q];
    if (!q) return false;
    double *values = tensor_values(q), sum = 0;
    const int64_t count = tensor_count(q);
    for (int64_t n = 0; values && n < count; n++) sum += values[n] * values[n];
    free(values);
    return sum > 4 * (double)count;
}

/* False: a scale under which f32 has no digits left. */
static bool spoil_descriptor(fuzz_source *s, problem *p, char note[120])
{
    int32_t *words = NULL;
    int64_t count = 0;
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        words = &p->block_sparse.block_q, count = 3;
        break;
    case OP_SHARDED:
        words = &p->sharded.block, count = 3;
        break;
    case OP_LANDMARK:
        words = &p->landmark.block, count = 1;
        break;
    case OP_LIGHTNING:
        words = &p->states_every, count = 1;
        break;
    case OP_NEIGHBORHOOD:
        words = &p->neighborhood.ndim, count = 13;
        break;
    default:
        break;
    }
    static const double scales[] = {NAN, INFINITY, 0, 1e300, -1, 1e-300};
    if (!words || fuzz_chance(s, 15)) {
        p->scale = FUZZ_PICK(s, scales);
        snprintf(note, 120, "scale %g", p->scale);
        return p->scale == 0 || (p->scale == -1 && !is_spread(p));
    }
    if (p->op == OP_NEIGHBORHOOD && fuzz_chance(s, 20)) {
        const int64_t n = fuzz_below(s, 3);
        p->neighborhood.q_start[n] = odd_i64(s);
        snprintf(note, 120, "q_start[%lld] %lld", (long long)n, (long long)p->neighborhood.q_start[n]);
        return true;
    }
    const int64_t n = fuzz_below(s, count);
    words[n] = odd_i32(s);
    snprintf(note, 120, "word %lld of the descriptor %d", (long long)n, words[n]);
    return true;
}

static void spoil_exec(fuzz_source *s, slat_exec *exec, char note[120])
{
    static _Alignas(256) unsigned char room[1024];
    snprintf(note, 120, "exec");
    switch (fuzz_below(s, 5)) {
    case 0:
        exec->threads = odd_i32(s);
        break;
    case 1:
        exec->deterministic = odd_i32(s);
        break;
    case 2:
        exec->reserved[fuzz_below(s, 6)] = fuzz_bits(s);
        break;
    case 3:
        exec->backend = "none";
        break;
    default:
        exec->workspace = room + fuzz_below(s, 2) * 16;
        exec->workspace_bytes = (size_t)fuzz_below(s, 1008);
        break;
    }
    if (exec->threads > 64) exec->threads = 64;
}

bool fuzz_spoil_values(fuzz_source *s, problem *p, slat_exec *exec, char note[120])
{
    const int slot = some_slot(s, p);
    switch (fuzz_below(s, 6)) {
    case 0:
    case 1:
        return spoil_descriptor(s, p, note);
    case 2:
        spoil_exec(s, exec, note);
        return true;
    case 3:
        return spoil_content(s, p, slot, note);
    default:
        break;
    }
    for (int n = 0; n < PROBLEM_SLOTS; n++) { /* indices more often than others */
        const int other = (slot + n) % PROBLEM_SLOTS;
        if (p->t[other] && is_integer(p->t[other])) return spoil_content(s, p, other, note);
    }
    return true;
}

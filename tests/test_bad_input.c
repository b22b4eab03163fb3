/* Arguments that are refused beside the tensors' own words (test_bad_tensors): NULL in turn, descriptors, reserved words,
 * fields that are not served, indices, slopes, slots, exec. Each time the status, the sentence, and no byte written.
 */
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "harness.h"
#include "subject.h"

typedef struct {
    problem_op op;
    problem_pass pass;
} which;

/* A pointer of the call that is set to NULL. */
typedef struct {
    const char *name;
    size_t at;
    int32_t ops;      /* bits 1 << problem_op */
    int32_t needed;   /* bits 1 << problem_pass where NULL is refused; else it is fine */
} pointer;

enum {
    SOFTMAX = 1 << OP_BLOCK_SPARSE | 1 << OP_NEIGHBORHOOD | 1 << OP_SHARDED | 1 << OP_LANDMARK,
    LINEAR = 1 << OP_LIGHTNING,
    STEP = 1 << OP_LIGHTNING_STEP,
    BLOCKS = 1 << OP_BLOCK_SPARSE,
    PARTS = 1 << OP_MERGE,
    FORWARD = 1 << PASS_FORWARD,
    BACKWARD = 1 << PASS_BACKWARD,
    BOTH = FORWARD | BACKWARD
};

static const pointer pointers[] = {
    {"q", offsetof(call, attention.q), SOFTMAX, BOTH},
    {"k", offsetof(call, attention.k), SOFTMAX, BOTH},
    {"v", offsetof(call, attention.v), SOFTMAX, BOTH},
    {"o", offsetof(call, attention.o), SOFTMAX, BOTH},
    {"lse", offsetof(call, attention.lse), SOFTMAX, BACKWARD},
    {"grad_o", offsetof(call, attention.grad_o), SOFTMAX, BACKWARD},
    {"grad_lse", offsetof(call, attention.grad_lse), SOFTMAX, 0},
    {"grad_q", offsetof(call, attention.grad_q), SOFTMAX, 0},
    {"grad_k", offsetof(call, attention.grad_k), SOFTMAX, 0},
    {"grad_v", offsetof(call, attention.grad_v), SOFTMAX, 0},
    {"grad_sink", offsetof(call, attention.grad_sink), SOFTMAX, 0},
    {"indices", offsetof(call, block_sparse.indices), BLOCKS, BOTH},
    {"bitmap_of", offsetof(call, block_sparse.bitmap_of), BLOCKS, BOTH},
    {"bitmaps", offsetof(call, block_sparse.bitmaps), BLOCKS, BOTH},
    {"t_indptr", offsetof(call, block_sparse.t_indptr), BLOCKS, BOTH},
    {"t_indices", offsetof(call, block_sparse.t_indices), BLOCKS, BOTH},
    {"t_entry", offsetof(call, block_sparse.t_entry), BLOCKS, BOTH},
    {"indptr", offsetof(call, block_sparse.indptr), BLOCKS, BOTH}, /* dense, but the other index tensors are there */
    {"offsets", offsetof(call, sharded.offsets), 1 << OP_SHARDED, BOTH},
    {"q", offsetof(call, lightning.q), LINEAR | STEP, BOTH},
    {"k", offsetof(call, lightning.k), LINEAR | STEP, BOTH},
    {"v", offsetof(call, lightning.v), LINEAR | STEP, BOTH},
    {"slopes", offsetof(call, lightning.slopes), LINEAR | STEP, BOTH},
    {"o", offsetof(call, lightning.o), LINEAR | STEP, FORWARD},
    {"st", offsetof(call, lightning.st), STEP, FORWARD},
    {"st", offsetof(call, lightning.st), LINEAR, 0},
    {"s0", offsetof(call, lightning.s0), LINEAR | STEP, 0},
    {"grad_o", offsetof(call, lightning.grad_o), LINEAR, BACKWARD},
    {"grad_st", offsetof(call, lightning.grad_st), LINEAR, 0},
    {"grad_q", offsetof(call, lightning.grad_q), LINEAR, 0},
    {"grad_s0", offsetof(call, lightning.grad_s0), LINEAR, 0},
    {"grad_slopes", offsetof(call, lightning.grad_slopes), LINEAR, 0},
    {"o", offsetof(call, merge_arrays[0]), PARTS, BOTH},
    {"lse", offsetof(call, merge_arrays[1]), PARTS, BOTH},
    {"o[0]", offsetof(call, merge_o[0]), PARTS, BOTH},
    {"o[2]", offsetof(call, merge_o[2]), PARTS, BOTH},
    {"lse[0]", offsetof(call, merge_lse[0]), PARTS, BOTH},
    {"lse[2]", offsetof(call, merge_lse[2]), PARTS, BOTH},
    {"out", offsetof(call, merge_out), PARTS, BOTH},
    {"out_lse", offsetof(call, merge_out_lse), PARTS, BACKWARD},
    {"grad_out", offsetof(call, merge_grad_out), PARTS, BACKWARD},
    {"grad_o[1]", offsetof(call, merge_grad_o[1]), PARTS, 0},
    {"grad_lse[1]", offsetof(call, merge_grad_lse[1]), PARTS, 0},
};

static void null_pointers(const void *argument)
{
    const which *w = argument;
    for (size_t n = 0; n < sizeof pointers / sizeof *pointers; n++) {
        const pointer *at = &pointers[n];
        if (!(at->ops & 1 << w->op)) continue;
        call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
        char what[40];
        snprintf(what, sizeof what, "%s NULL", at->name);
        memset((char *)c + at->at, 0, sizeof(void *));
        const char *const words[] = {at->name, "NULL", NULL};
        if (at->needed & 1 << w->pass) call_refused(c, SLAT_INVALID, words, what);
        else call_accepted(c, what);
        call_free(c);
    }
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    static const char *const null[] = {"NULL", NULL};
    if (problem_is_softmax(w->op)) {
        c->no_descriptor = true;
        call_refused(c, SLAT_INVALID, null, "descriptor NULL");
        c->no_descriptor = false;
    }
    c->no_tensors = true;
    if (w->op != OP_MERGE) call_refused(c, SLAT_INVALID, null, "tensors NULL");
    call_free(c);
}

typedef enum { AN_I32, AN_I64, A_DOUBLE, A_TENSOR } kind;

/* A field that gets a value. */
typedef struct {
    const char *name;
    size_t at;
    int32_t ops;
    kind k;
    double value; /* A_TENSOR: any */
    slat_status status;
    const char *words[3];
} field;

#define NAMED(f) #f, offsetof(call, f)

static const field fields[] = {
    {NAMED(exec.threads), SOFTMAX | LINEAR | STEP | PARTS, AN_I32, -1, SLAT_INVALID, {"threads", "-1"}},
    {NAMED(exec.deterministic), SOFTMAX | LINEAR | STEP | PARTS, AN_I32, 2, SLAT_INVALID, {"deterministic", "2"}},
    {NAMED(exec.deterministic), SOFTMAX | LINEAR | STEP | PARTS, AN_I32, -2, SLAT_INVALID, {"deterministic", "-2"}},
    {NAMED(attention.scale), SOFTMAX, A_DOUBLE, NAN, SLAT_INVALID, {"scale", "nan"}},
    {NAMED(attention.scale), SOFTMAX, A_DOUBLE, INFINITY, SLAT_INVALID, {"scale", "inf"}},
    {NAMED(lightning.scale), LINEAR | STEP, A_DOUBLE, -INFINITY, SLAT_INVALID, {"scale", "-inf"}},
    {NAMED(attention.sink), 1 << OP_LANDMARK, A_TENSOR, 0, SLAT_INVALID, {"sink"}},
    /* fields that are not served yet */
    {NAMED(attention.softcap), SOFTMAX, A_DOUBLE, 30, SLAT_UNSUPPORTED, {"softcap"}},
    {NAMED(attention.bias), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"bias"}},
    {NAMED(attention.grad_bias), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"grad_bias"}},
    {NAMED(attention.q_offsets), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"q_offsets"}},
    {NAMED(attention.k_offsets), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"k_offsets"}},
    {NAMED(attention.k_length), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"k_length"}},
    {NAMED(attention.pages), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"pages"}},
    {NAMED(attention.max_q), SOFTMAX, AN_I64, 7, SLAT_UNSUPPORTED, {"max_q"}},
    {NAMED(attention.max_k), SOFTMAX, AN_I64, -7, SLAT_UNSUPPORTED, {"max_k"}},
    {NAMED(attention.k_scale), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"k_scale"}},
    {NAMED(attention.v_scale), SOFTMAX, A_TENSOR, 0, SLAT_UNSUPPORTED, {"v_scale"}},
    {NAMED(lightning.gate), LINEAR | STEP, A_TENSOR, 0, SLAT_UNSUPPORTED, {"gate"}},
    {NAMED(lightning.offsets), LINEAR | STEP, A_TENSOR, 0, SLAT_UNSUPPORTED, {"offsets"}},
    {NAMED(lightning.max_t), LINEAR | STEP, AN_I64, 1, SLAT_UNSUPPORTED, {"max_t"}},
    /* block_sparse */
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, 0, SLAT_INVALID, {"block_q", "0"}},
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, 7, SLAT_INVALID, {"block_q", "7"}},
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, 12, SLAT_INVALID, {"block_q", "12"}},
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, 264, SLAT_INVALID, {"block_q", "264"}},
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, -8, SLAT_INVALID, {"block_q", "-8"}},
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, INT32_MIN, SLAT_INVALID, {"block_q"}},
    {NAMED(block_sparse.block_q), BLOCKS, AN_I32, 16, SLAT_INVALID, {"indptr", "3", "4"}},
    {NAMED(block_sparse.block_k), BLOCKS, AN_I32, 7, SLAT_INVALID, {"block_k", "7"}},
    {NAMED(block_sparse.block_k), BLOCKS, AN_I32, 12, SLAT_INVALID, {"block_k", "12"}},
    {NAMED(block_sparse.block_k), BLOCKS, AN_I32, 264, SLAT_INVALID, {"block_k", "264"}},
    {NAMED(block_sparse.block_k), BLOCKS, AN_I32, -8, SLAT_INVALID, {"block_k", "-8"}},
    {NAMED(block_sparse.causal), BLOCKS, AN_I32, 2, SLAT_INVALID, {"causal", "2"}},
    {NAMED(block_sparse.causal), BLOCKS, AN_I32, -1, SLAT_INVALID, {"causal", "-1"}},
    /* neighborhood: k's grid is 6 x 7, q's box 3 x 4 from (3, 2), window 3 x 2, dilation 2 x 3 */
    {NAMED(neighborhood.ndim), 1 << OP_NEIGHBORHOOD, AN_I32, 0, SLAT_INVALID, {"ndim", "0"}},
    {NAMED(neighborhood.ndim), 1 << OP_NEIGHBORHOOD, AN_I32, 4, SLAT_INVALID, {"ndim", "4"}},
    {NAMED(neighborhood.ndim), 1 << OP_NEIGHBORHOOD, AN_I32, -1, SLAT_INVALID, {"ndim", "-1"}},
    {NAMED(neighborhood.ndim), 1 << OP_NEIGHBORHOOD, AN_I32, 1, SLAT_INVALID, {"q", "rank"}},
    {NAMED(neighborhood.ndim), 1 << OP_NEIGHBORHOOD, AN_I32, 3, SLAT_INVALID, {"q", "rank"}},
    {NAMED(neighborhood.window[0]), 1 << OP_NEIGHBORHOOD, AN_I32, 1, SLAT_INVALID, {"window", "1"}},
    {NAMED(neighborhood.window[1]), 1 << OP_NEIGHBORHOOD, AN_I32, 0, SLAT_INVALID, {"window[1]", "0"}},
    {NAMED(neighborhood.window[1]), 1 << OP_NEIGHBORHOOD, AN_I32, -2, SLAT_INVALID, {"window[1]", "-2"}},
    {NAMED(neighborhood.window[1]), 1 << OP_NEIGHBORHOOD, AN_I32, 8, SLAT_INVALID, {"window[1]", "8", "7"}},
    {NAMED(neighborhood.window[0]), 1 << OP_NEIGHBORHOOD, AN_I32, 4, SLAT_INVALID, {"window[0]", "4", "6"}},
    {NAMED(neighborhood.window[0]), 1 << OP_NEIGHBORHOOD, AN_I32, INT32_MAX, SLAT_INVALID, {"window[0]", "2147483647"}},
    {NAMED(neighborhood.stride[0]), 1 << OP_NEIGHBORHOOD, AN_I32, 4, SLAT_INVALID, {"stride[0]", "4", "3"}},
    {NAMED(neighborhood.stride[1]), 1 << OP_NEIGHBORHOOD, AN_I32, -1, SLAT_INVALID, {"stride[1]", "-1"}},
    {NAMED(neighborhood.dilation[0]), 1 << OP_NEIGHBORHOOD, AN_I32, 3, SLAT_INVALID, {"dilation[0]", "3", "6"}},
    {NAMED(neighborhood.dilation[0]), 1 << OP_NEIGHBORHOOD, AN_I32, -1, SLAT_INVALID, {"dilation[0]", "-1"}},
    {NAMED(neighborhood.dilation[1]), 1 << OP_NEIGHBORHOOD, AN_I32, INT32_MAX, SLAT_INVALID, {"dilation[1]"}},
    {NAMED(neighborhood.causal[0]), 1 << OP_NEIGHBORHOOD, AN_I32, 2, SLAT_INVALID, {"causal[0]", "2"}},
    {NAMED(neighborhood.q_start[0]), 1 << OP_NEIGHBORHOOD, AN_I64, 4, SLAT_INVALID, {"q_start[0]", "4", "6"}},
    {NAMED(neighborhood.q_start[1]), 1 << OP_NEIGHBORHOOD, AN_I64, -1, SLAT_INVALID, {"q_start[1]", "-1"}},
    {NAMED(neighborhood.q_start[1]), 1 << OP_NEIGHBORHOOD, AN_I64, 9e18, SLAT_INVALID, {"q_start[1]"}},
    /* sharded, landmark */
    {NAMED(sharded.block), 1 << OP_SHARDED, AN_I32, 0, SLAT_INVALID, {"block", "0"}},
    {NAMED(sharded.block), 1 << OP_SHARDED, AN_I32, -4, SLAT_INVALID, {"block", "-4"}},
    {NAMED(sharded.local_blocks), 1 << OP_SHARDED, AN_I32, 0, SLAT_INVALID, {"local_blocks", "0"}},
    {NAMED(sharded.local_blocks), 1 << OP_SHARDED, AN_I32, INT32_MIN, SLAT_INVALID, {"local_blocks"}},
    {NAMED(sharded.stride), 1 << OP_SHARDED, AN_I32, 0, SLAT_INVALID, {"stride", "0"}},
    {NAMED(landmark.block), 1 << OP_LANDMARK, AN_I32, 0, SLAT_INVALID, {"block", "0"}},
    {NAMED(landmark.block), 1 << OP_LANDMARK, AN_I32, 1, SLAT_INVALID, {"block", "1"}},
    {NAMED(landmark.block), 1 << OP_LANDMARK, AN_I32, -2, SLAT_INVALID, {"block", "-2"}},
    /* lightning */
    {NAMED(lightning.states_every), LINEAR, AN_I32, 0, SLAT_INVALID, {"states_every", "0"}},
    {NAMED(lightning.states_every), LINEAR, AN_I32, -1, SLAT_INVALID, {"states_every", "-1"}},
    {NAMED(lightning.states_every), LINEAR, AN_I32, 5, SLAT_INVALID, {"states", "3", "4"}},
    {NAMED(lightning.slot), LINEAR, A_TENSOR, 0, SLAT_INVALID, {"slot"}},
    {NAMED(lightning.states), STEP, A_TENSOR, 0, SLAT_INVALID, {"states"}},
    {NAMED(lightning.s0), STEP, A_TENSOR, 0, SLAT_INVALID, {"s0"}},
    {NAMED(merge_parts), PARTS, AN_I32, 0, SLAT_INVALID, {"n", "0"}},
    {NAMED(merge_parts), PARTS, AN_I32, -1, SLAT_INVALID, {"n", "-1"}},
    {NAMED(merge_parts), PARTS, AN_I32, INT32_MAX, SLAT_INVALID, {"n", "2147483647"}},
};

static void set_field(call *c, const field *f, DLTensor *any)
{
    void *at = (char *)c + f->at;
    const int32_t small = f->k == AN_I32 ? (int32_t)f->value : 0;
    const int64_t large = f->k == AN_I64 ? (int64_t)f->value : 0;
    if (f->k == AN_I32) memcpy(at, &small, sizeof small);
    if (f->k == AN_I64) memcpy(at, &large, sizeof large);
    if (f->k == A_DOUBLE) memcpy(at, &f->value, sizeof f->value);
    if (f->k == A_TENSOR) memcpy(at, &any, sizeof any);
}

static void bad_fields(const void *argument)
{
    const which *w = argument;
    const problem_parameters any = {.op = OP_LANDMARK, .type = TENSOR_F32, .b = 1, .tq = {4}, .hq = 1, .d = 4, .landmark = {2}};
    problem *other = subject_new(&any, LAYOUT_PLAIN);
    for (size_t n = 0; n < sizeof fields / sizeof *fields; n++) {
        if (!(fields[n].ops & 1 << w->op)) continue;
        call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
        char what[80];
        snprintf(what, sizeof what, "%s = %g", fields[n].name, fields[n].value);
        set_field(c, &fields[n], tensor_dl(other->t[ROLE_Q]));
        const char *const words[] = {fields[n].words[0], fields[n].words[1], fields[n].words[2], NULL};
        call_refused(c, fields[n].status, words, what);
        call_free(c);
    }
    problem_free(other);
}

static void reserved_words(const void *argument)
{
    const which *w = argument;
    const struct {
        const char *name;
        size_t at, count;
        int32_t ops;
    } all[] = {
        {"exec", offsetof(call, exec.reserved), 6, SOFTMAX | LINEAR | STEP | PARTS},
        {"attention", offsetof(call, attention.reserved), 8, SOFTMAX},
        {"block_sparse", offsetof(call, block_sparse.reserved), 4, BLOCKS},
        {"neighborhood", offsetof(call, neighborhood.reserved), 4, 1 << OP_NEIGHBORHOOD},
        {"sharded", offsetof(call, sharded.reserved), 4, 1 << OP_SHARDED},
        {"landmark", offsetof(call, landmark.reserved), 4, 1 << OP_LANDMARK},
        {"lightning", offsetof(call, lightning.reserved), 8, LINEAR | STEP},
    };
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        if (!(all[n].ops & 1 << w->op)) continue;
        for (size_t word = 0; word < all[n].count; word++) {
            char what[80], place[40];
            snprintf(what, sizeof what, "%s.reserved[%zu]", all[n].name, word);
            snprintf(place, sizeof place, "reserved[%zu]", word);
            const uint64_t one = UINT64_C(1) << (9 * word % 64), zero = 0;
            memcpy((char *)c + all[n].at + 8 * word, &one, 8);
            const char *const words[] = {place, NULL};
            call_refused(c, SLAT_INVALID, words, what);
            memcpy((char *)c + all[n].at + 8 * word, &zero, 8);
        }
    }
    call_accepted(c, "all zero again");
    call_free(c);
}

/* An element of an index tensor that gets a value. In the block_sparse problem every query block (3 a head) lists every
 * key block (4): indptr is 0 4 8 12, 12 16 20 24, ... to 96, t_indptr 0 3 6 9 12, 12 15, ... */
typedef struct {
    problem_op op;
    problem_role role;
    int64_t place;
    double value;
    int32_t passes;
    const char *words[3];
} element;

static const element elements[] = {
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 0, 1, BOTH, {"indptr[0]", "1", "0"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 0, -1, BOTH, {"indptr[0]", "-1"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 2, 3, BOTH, {"indptr[2]", "3", "4"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 2, INT32_MIN, BOTH, {"indptr[2]", "4"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 1, 97, BOTH, {"indptr[1]", "97", "96"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 1, INT32_MAX, BOTH, {"indptr[1]", "2147483647", "96"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 4, 11, BOTH, {"indptr[4]", "11", "12"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 4, 13, BOTH, {"indptr[4]", "13", "12"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 31, 95, BOTH, {"indptr", "95", "96"}},
    {OP_BLOCK_SPARSE, ROLE_INDPTR, 31, 97, BOTH, {"indptr[31]", "97", "96"}},
    {OP_BLOCK_SPARSE, ROLE_INDICES, 1, 0, BOTH, {"indices[1]", "0"}},
    {OP_BLOCK_SPARSE, ROLE_INDICES, 1, 3, BOTH, {"indices[2]", "2"}},
    {OP_BLOCK_SPARSE, ROLE_INDICES, 3, 4, BOTH, {"indices[3]", "4", "3"}},
    {OP_BLOCK_SPARSE, ROLE_INDICES, 0, -1, BOTH, {"indices[0]", "-1"}},
    {OP_BLOCK_SPARSE, ROLE_INDICES, 95, INT32_MAX, BOTH, {"indices[95]", "2147483647"}},
    {OP_BLOCK_SPARSE, ROLE_INDICES, 92, INT32_MIN, BOTH, {"indices[92]", "-2147483648"}},
    {OP_BLOCK_SPARSE, ROLE_BITMAP_OF, 5, -2, BOTH, {"bitmap_of[5]", "-2", "-1"}},
    {OP_BLOCK_SPARSE, ROLE_BITMAP_OF, 95, INT32_MAX, BOTH, {"bitmap_of[95]", "2147483647"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDPTR, 0, 1, BACKWARD, {"t_indptr[0]", "1"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDPTR, 2, 2, BACKWARD, {"t_indptr[2]", "2", "3"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDPTR, 5, 11, BACKWARD, {"t_indptr[5]", "11"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDPTR, 39, 95, BACKWARD, {"t_indptr", "95", "96"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDPTR, 39, INT32_MAX, BACKWARD, {"t_indptr[39]", "2147483647"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDICES, 1, 0, BACKWARD, {"t_indices[1]", "0"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDICES, 2, 3, BACKWARD, {"t_indices[2]", "3"}},
    {OP_BLOCK_SPARSE, ROLE_T_INDICES, 0, -1, BACKWARD, {"t_indices[0]", "-1"}},
    {OP_BLOCK_SPARSE, ROLE_T_ENTRY, 0, 1, BACKWARD, {"t_entry[0]", "1"}},
    {OP_BLOCK_SPARSE, ROLE_T_ENTRY, 0, -1, BACKWARD, {"t_entry[0]", "-1"}},
    {OP_BLOCK_SPARSE, ROLE_T_ENTRY, 0, 12, BACKWARD, {"t_entry[0]", "12"}}, /* the same block of another head */
    {OP_BLOCK_SPARSE, ROLE_T_ENTRY, 95, INT32_MAX, BACKWARD, {"t_entry[95]", "2147483647"}},
    {OP_LIGHTNING, ROLE_SLOPES, 1, -.5, BOTH, {"slopes[1]", "-0.5"}},
    {OP_LIGHTNING, ROLE_SLOPES, 3, NAN, BOTH, {"slopes[3]", "nan"}},
    {OP_LIGHTNING, ROLE_SLOPES, 0, INFINITY, BOTH, {"slopes[0]", "inf"}},
    {OP_LIGHTNING_STEP, ROLE_SLOPES, 2, -1e-30, FORWARD, {"slopes[2]", "-1e-30"}},
    {OP_LIGHTNING_STEP, ROLE_SLOPES, 0, NAN, FORWARD, {"slopes[0]", "nan"}},
    {OP_LIGHTNING_STEP, ROLE_SLOT, 1, 5, FORWARD, {"slot[1]", "5", "4"}},
    {OP_LIGHTNING_STEP, ROLE_SLOT, 2, -2, FORWARD, {"slot[2]", "-2", "-1"}},
    {OP_LIGHTNING_STEP, ROLE_SLOT, 0, INT32_MAX, FORWARD, {"slot[0]", "2147483647"}},
    {OP_LIGHTNING_STEP, ROLE_SLOT, 0, INT32_MIN, FORWARD, {"slot[0]", "-2147483648"}},
};

static void bad_elements(const void *argument)
{
    const which *w = argument;
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    for (size_t n = 0; n < sizeof elements / sizeof *elements; n++) {
        const element *e = &elements[n];
        if (e->op != w->op || !(e->passes & 1 << w->pass)) continue;
        char what[80];
        snprintf(what, sizeof what, "%s[%lld] = %g", SLOT_NAME(e->role), (long long)e->place, e->value);
        tensor *t = c->p->t[e->role];
        const double kept = tensor_get(t, e->place);
        tensor_set(t, e->place, e->value);
        const char *const words[] = {e->words[0], e->words[1], e->words[2], NULL};
        call_refused(c, SLAT_INVALID, words, what);
        tensor_set(t, e->place, kept);
    }
    call_accepted(c, "as it was");
    call_free(c);
}

static void slot_twice(const void *argument)
{
    (void)argument;
    call *c = call_new(OP_LIGHTNING_STEP, PASS_FORWARD, LAYOUT_PLAIN);
    tensor *slot = c->p->t[ROLE_SLOT];
    tensor_set(slot, 0, 4);
    tensor_set(slot, 1, 2);
    tensor_set(slot, 2, 4);
    static const char *const words[] = {"slot[2]", "4", NULL};
    call_refused(c, SLAT_INVALID, words, "slot 4 twice");
    tensor_set(slot, 0, -1);
    tensor_set(slot, 2, -1);
    call_accepted(c, "-1 twice");
    call_free(c);
}

/* Types that each by itself is right, but not together. */
static void mixed_types(const void *argument)
{
    (void)argument;
    static const struct {
        problem_op op;
        problem_pass pass;
        int slot;
        tensor_type type;
        const char *words[3];
    } mixed[] = {
        {OP_LANDMARK, PASS_FORWARD, ROLE_K, TENSOR_F16, {"k", "f16", "f32"}},
        {OP_LANDMARK, PASS_FORWARD, ROLE_V, TENSOR_BF16, {"v", "bf16", "f32"}},
        {OP_LANDMARK, PASS_FORWARD, ROLE_O, TENSOR_F16, {"o", "f16", "f32"}},
        {OP_LANDMARK, PASS_FORWARD, ROLE_O, TENSOR_F64, {"o", "f64", "f32"}},
        {OP_LANDMARK, PASS_FORWARD, ROLE_LSE, TENSOR_F64, {"lse", "f64", "f32"}},
        {OP_LANDMARK, PASS_BACKWARD, ROLE_DO, TENSOR_F16, {"grad_o", "f16", "f32"}},
        {OP_LANDMARK, PASS_BACKWARD, ROLE_DLSE, TENSOR_F64, {"grad_lse", "f64", "f32"}},
        {OP_LANDMARK, PASS_BACKWARD, ROLE_DK, TENSOR_BF16, {"grad_k", "bf16", "f32"}},
        {OP_SHARDED, PASS_BACKWARD, ROLE_SINK, TENSOR_F16, {"sink", "f16", "f32"}},
        {OP_SHARDED, PASS_BACKWARD, ROLE_DSINK, TENSOR_F64, {"grad_sink", "f64", "f32"}},
        {OP_SHARDED, PASS_FORWARD, ROLE_OFFSETS, TENSOR_I64, {"offsets", "i64", "i32"}},
        {OP_BLOCK_SPARSE, PASS_FORWARD, ROLE_INDICES, TENSOR_I64, {"indices", "i64", "i32"}},
        {OP_BLOCK_SPARSE, PASS_FORWARD, ROLE_BITMAPS, TENSOR_I32, {"bitmaps", "i32", "u8"}},
        {OP_LIGHTNING, PASS_FORWARD, ROLE_SLOPES, TENSOR_F64, {"slopes", "f64", "f32"}},
        {OP_LIGHTNING, PASS_FORWARD, ROLE_S0, TENSOR_F16, {"s0", "f16", "f32"}},
        {OP_LIGHTNING, PASS_BACKWARD, ROLE_DSLOPES, TENSOR_F64, {"grad_slopes", "f64", "f32"}},
        {OP_MERGE, PASS_FORWARD, ROLE_PART_O + 4, TENSOR_F16, {"o[1]", "f16", "f32"}},
        {OP_MERGE, PASS_FORWARD, ROLE_PART_LSE + 8, TENSOR_F64, {"lse[2]", "f64", "f32"}},
        {OP_MERGE, PASS_FORWARD, ROLE_O, TENSOR_BF16, {"out", "bf16", "f32"}},
    };
    for (size_t n = 0; n < sizeof mixed / sizeof *mixed; n++) {
        call *c = call_new(mixed[n].op, mixed[n].pass, LAYOUT_PLAIN);
        c->p->t[mixed[n].slot]->dl.dtype = tensor_type_dl(mixed[n].type);
        const char *const words[] = {mixed[n].words[0], mixed[n].words[1], mixed[n].words[2], NULL};
        call_refused(c, SLAT_INVALID, words, mixed[n].words[0]);
        call_free(c);
    }
}

/* Sizes that are right by themselves and too large together, and widths that are not served. */
static void sizes(const void *argument)
{
    (void)argument;
    static const char *const none[] = {NULL};
    static const problem_role rows[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_LSE};
    call *c = call_new(OP_LANDMARK, PASS_FORWARD, LAYOUT_PLAIN);
    for (size_t n = 0; n < 5; n++) {
        c->p->t[rows[n]]->shape[0] = INT64_MAX / 1000;
        c->p->t[rows[n]]->dl.strides = NULL;
    }
    call_refused(c, SLAT_INVALID, none, "a batch whose bytes overflow");
    for (size_t n = 0; n < 5; n++) c->p->t[rows[n]]->shape[0] = c->p->t[rows[n]]->shape[1] = INT64_C(1) << 33;
    call_refused(c, SLAT_INVALID, none, "extents whose product overflows");
    call_free(c);
    for (int32_t wide = 0; wide < 2; wide++) {
        static const char *const d[] = {"257", "256", NULL}, *const zero[] = {"0", NULL};
        c = call_new(OP_LANDMARK, PASS_FORWARD, LAYOUT_PLAIN);
        c->p->t[ROLE_Q]->shape[3] = c->p->t[ROLE_K]->shape[3] = wide ? 257 : 0;
        call_refused(c, SLAT_INVALID, wide ? d : zero, "D");
        call_free(c);
        c = call_new(OP_LIGHTNING, PASS_FORWARD, LAYOUT_PLAIN);
        c->p->t[ROLE_V]->shape[3] = wide ? 257 : 0;
        call_refused(c, SLAT_INVALID, wide ? d : zero, "Dv");
        call_free(c);
    }
    c = call_new(OP_LANDMARK, PASS_FORWARD, LAYOUT_PLAIN);
    c->p->t[ROLE_K]->shape[2] = c->p->t[ROLE_V]->shape[2] = 0;
    call_refused(c, SLAT_INVALID, none, "Hk of 0");
    c->p->t[ROLE_K]->shape[2] = c->p->t[ROLE_V]->shape[2] = 3;
    static const char *const heads[] = {"k", "3", "4", NULL};
    call_refused(c, SLAT_INVALID, heads, "Hk of 3 beside Hq of 4");
    call_free(c);
    c = call_new(OP_LIGHTNING_STEP, PASS_FORWARD, LAYOUT_PLAIN);
    for (int32_t n = 0; n < 4; n++) c->p->t[rows[n]]->shape[1] = 2;
    call_refused(c, SLAT_INVALID, none, "a step of two tokens");
    call_free(c);
}

/* slat_block_sparse_transpose refuses as the entries do. */
static void transpose(const void *argument)
{
    (void)argument;
    call *c = call_new(OP_BLOCK_SPARSE, PASS_FORWARD, LAYOUT_PLAIN);
    slat_block_sparse s = c->block_sparse;
    DLTensor *t[3] = {tensor_dl(c->p->t[ROLE_T_INDPTR]), tensor_dl(c->p->t[ROLE_T_INDICES]), tensor_dl(c->p->t[ROLE_T_ENTRY])};
    s.t_indptr = s.t_indices = s.t_entry = NULL;
    CHECK(slat_block_sparse_transpose(NULL, &s, 20, 28, t[0], t[1], t[2]) == SLAT_OK, "%s", slat_error());
    CHECK(slat_block_sparse_transpose(NULL, NULL, 20, 28, t[0], t[1], t[2]) == SLAT_INVALID, "layout NULL");
    static const char *const names[] = {"t_indptr", "t_indices", "t_entry"};
    for (int32_t n = 0; n < 3; n++) {
        const slat_status got = slat_block_sparse_transpose(NULL, &s, 20, 28, n == 0 ? NULL : t[0], n == 1 ? NULL : t[1], n == 2 ? NULL : t[2]);
        CHECK(got == SLAT_INVALID && strstr(slat_error(), names[n]), "%s NULL: %s", names[n], slat_error());
    }
    static const int64_t lengths[][2] = {{-1, 28}, {20, -1}, {25, 28}, {20, 33}, {INT64_MAX, 28}, {20, INT64_MAX}, {INT64_MIN, INT64_MIN}};
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        const slat_status got = slat_block_sparse_transpose(NULL, &s, lengths[n][0], lengths[n][1], t[0], t[1], t[2]);
        CHECK(got == SLAT_INVALID, "%lld queries, %lld keys: %s", (long long)lengths[n][0], (long long)lengths[n][1], slat_status_name(got));
    }
    slat_block_sparse dense = {.causal = 1};
    CHECK(slat_block_sparse_transpose(NULL, &dense, 20, 28, t[0], t[1], t[2]) == SLAT_INVALID, "dense");
    s.reserved[3] = 1;
    CHECK(slat_block_sparse_transpose(NULL, &s, 20, 28, t[0], t[1], t[2]) == SLAT_INVALID, "reserved");
    s.reserved[3] = 0;
    tensor_repoison(c->p->t[ROLE_T_INDPTR]);
    const double poison = tensor_get(c->p->t[ROLE_T_INDPTR], 0);
    tensor_set(c->p->t[ROLE_INDICES], 1, 0);
    CHECK(slat_block_sparse_transpose(NULL, &s, 20, 28, t[0], t[1], t[2]) == SLAT_INVALID, "a duplicate");
    CHECK(strstr(slat_error(), "indices[1]"), "%s", slat_error());
    CHECK(tensor_get(c->p->t[ROLE_T_INDPTR], 0) == poison, "refused, but t_indptr was written");
    call_free(c);
}

int main(int argc, char **argv)
{
    static which calls[OP_COUNT * PASS_COUNT];
    for (int32_t n = 0; call_number(n, &calls[n].op, &calls[n].pass); n++) {
        const char *op = problem_op_name(calls[n].op), *pass = problem_pass_name(calls[n].pass);
        harness_add(null_pointers, &calls[n], "%s %s: NULL in turn", op, pass);
        harness_add(bad_fields, &calls[n], "%s %s: fields", op, pass);
        harness_add(reserved_words, &calls[n], "%s %s: reserved words", op, pass);
        harness_add(bad_elements, &calls[n], "%s %s: indices, slopes, slots", op, pass);
    }
    harness_add(slot_twice, NULL, "a slot given twice");
    harness_add(mixed_types, NULL, "types that do not go together");
    harness_add(sizes, NULL, "sizes");
    harness_add(transpose, NULL, "the transposed layout");
    return harness_main("bad input", argc, argv);
}

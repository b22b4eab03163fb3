/* Arguments that are refused beside the tensors' own words (test_bad_tensors): NULL in turn, every field of the
 * descriptors and of slat_exec, reserved words, fields that are not served. Each time the status, the sentence, and no
 * byte written.
 */
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
    int32_t ops;    /* bits 1 << problem_op */
    int32_t needed; /* bits 1 << problem_pass where NULL is refused; else it is fine */
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
        if (at->needed & 1 << w->pass)
            call_refused(c, SLAT_INVALID, words, what);
        else
            call_accepted(c, what);
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
    const problem_parameters any = {
        .op = OP_LANDMARK, .type = TENSOR_F32, .b = 1, .tq = {4}, .hq = 1, .d = 4, .landmark = {2}};
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

int main(int argc, char **argv)
{
    static which calls[OP_COUNT * PASS_COUNT];
    for (int32_t n = 0; call_number(n, &calls[n].op, &calls[n].pass); n++) {
        const char *op = problem_op_name(calls[n].op), *pass = problem_pass_name(calls[n].pass);
        harness_add(null_pointers, &calls[n], "%s %s: NULL in turn", op, pass);
        harness_add(bad_fields, &calls[n], "%s %s: fields", op, pass);
        harness_add(reserved_words, &calls[n], "%s %s: reserved words", op, pass);
    }
    return harness_main("bad fields", argc, argv);
}

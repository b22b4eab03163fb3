/* Values that are refused: block layouts, slopes, slots; types and sizes that do not go together. Each time the status,
 * the sentence, and no byte written.
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

enum { FORWARD = 1 << PASS_FORWARD, BACKWARD = 1 << PASS_BACKWARD, BOTH = FORWARD | BACKWARD };

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

/* Landmark attention takes no sink, however right it is; a gradient of one needs one. */
static void sinks(const void *argument)
{
    (void)argument;
    static const char *const sink[] = {"sink", NULL}, *const grad_sink[] = {"grad_sink", "NULL", NULL};
    const int64_t heads[] = {4};
    tensor *t = tensor_new(memory_host(), TENSOR_F32, 1, heads);
    if (!t) abort();
    tensor_fill(t, 0);
    for (problem_pass pass = PASS_FORWARD; pass <= PASS_BACKWARD; pass++) {
        call *c = call_new(OP_LANDMARK, pass, LAYOUT_PLAIN);
        c->attention.sink = tensor_dl(t);
        call_refused(c, SLAT_INVALID, sink, "a sink of landmark");
        call_free(c);
    }
    call *c = call_new(OP_SHARDED, PASS_BACKWARD, LAYOUT_PLAIN);
    c->attention.sink = NULL;
    call_refused(c, SLAT_INVALID, grad_sink, "grad_sink without sink");
    c->attention.grad_sink = NULL;
    call_accepted(c, "neither");
    call_free(c);
    tensor_free(t);
}

/* slat_block_sparse_transpose refuses as the entries do. */
static void transpose(const void *argument)
{
    (void)argument;
    call *c = call_new(OP_BLOCK_SPARSE, PASS_FORWARD, LAYOUT_PLAIN);
    slat_block_sparse s = c->block_sparse;
    DLTensor *t[3] = {tensor_dl(c->p->t[ROLE_T_INDPTR]), tensor_dl(c->p->t[ROLE_T_INDICES]),
                      tensor_dl(c->p->t[ROLE_T_ENTRY])};
    s.t_indptr = s.t_indices = s.t_entry = NULL;
    CHECK(slat_block_sparse_transpose(NULL, &s, 20, 28, t[0], t[1], t[2]) == SLAT_OK, "%s", slat_error());
    CHECK(slat_block_sparse_transpose(NULL, NULL, 20, 28, t[0], t[1], t[2]) == SLAT_INVALID, "layout NULL");
    static const char *const names[] = {"t_indptr", "t_indices", "t_entry"};
    for (int32_t n = 0; n < 3; n++) {
        const slat_status got = slat_block_sparse_transpose(NULL, &s, 20, 28, n == 0 ? NULL : t[0],
                                                            n == 1 ? NULL : t[1], n == 2 ? NULL : t[2]);
        CHECK(got == SLAT_INVALID && strstr(slat_error(), names[n]), "%s NULL: %s", names[n], slat_error());
    }
    static const int64_t lengths[][2] = {
        {-1, 28}, {20, -1}, {25, 28}, {20, 33}, {INT64_MAX, 28}, {20, INT64_MAX}, {INT64_MIN, INT64_MIN}};
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        const slat_status got = slat_block_sparse_transpose(NULL, &s, lengths[n][0], lengths[n][1], t[0], t[1], t[2]);
        CHECK(got == SLAT_INVALID, "%lld queries, %lld keys: %s", (long long)lengths[n][0], (long long)lengths[n][1],
              slat_status_name(got));
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
        harness_add(bad_elements, &calls[n], "%s %s: indices, slopes, slots", op, pass);
    }
    harness_add(slot_twice, NULL, "a slot given twice");
    harness_add(mixed_types, NULL, "types that do not go together");
    harness_add(sizes, NULL, "sizes");
    harness_add(sinks, NULL, "sinks");
    harness_add(transpose, NULL, "the transposed layout");
    return harness_main("bad values", argc, argv);
}

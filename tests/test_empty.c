/* Extents of zero: SLAT_OK, and outputs that have elements get their empty sum. On every backend of this machine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "subject.h"
#include "visible.h"

typedef struct {
    const char *id;
    problem_parameters p;
    bool no_keys; /* k and v are cut to Tk = 0, a layout to no entries */
} empty;

#define GENERAL .type = TENSOR_F32, .pass = PASS_BACKWARD, .hq = 4, .hk = 2, .d = 8, .dv = 16

static const empty problems[] = {
    {"dense, Tq 0", {.op = OP_BLOCK_SPARSE, GENERAL, .b = 2, .tk = {9}, .sink = true, .dlse = true}, false},
    {"dense, Tk 0", {.op = OP_BLOCK_SPARSE, GENERAL, .b = 2, .tq = {9}, .dlse = true}, true},
    {"dense, Tk 0, a sink", {.op = OP_BLOCK_SPARSE, GENERAL, .b = 2, .tq = {9}, .sink = true, .dlse = true}, true},
    {"dense, B 0", {.op = OP_BLOCK_SPARSE, GENERAL, .tq = {9}, .sink = true, .dlse = true}, false},
    {"block_sparse, Tq 0",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      .b = 2,
      .tk = {9},
      .sink = true,
      .dlse = true,
      .block_sparse = {.block_q = 8, .causal = 1, .density = 1}},
     false},
    {"block_sparse, Tk 0",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      .b = 2,
      .tq = {20},
      .sink = true,
      .dlse = true,
      .block_sparse = {.block_q = 8, .density = 1}},
     true},
    {"block_sparse, B 0",
     {.op = OP_BLOCK_SPARSE, GENERAL, .tq = {20}, .block_sparse = {.block_q = 8, .density = 1}},
     false},
    {"neighborhood, Tq 0",
     {.op = OP_NEIGHBORHOOD, GENERAL, .b = 2, .tk = {9}, .sink = true, .neighborhood = {.window = {3}}},
     false},
    {"neighborhood 2-D, a box of 0 x 3",
     {.op = OP_NEIGHBORHOOD,
      GENERAL,
      .ndim = 2,
      .b = 2,
      .tq = {0, 3},
      .tk = {5, 6},
      .neighborhood = {.window = {3, 2}, .q_start = {5, 1}}},
     false},
    {"neighborhood, B 0", {.op = OP_NEIGHBORHOOD, GENERAL, .tq = {9}, .neighborhood = {.window = {3}}}, false},
    {"sharded, Tq 0",
     {.op = OP_SHARDED, GENERAL, .b = 2, .tk = {9}, .sharded = {.block = 4, .local_blocks = 1, .stride = 2}},
     false},
    {"sharded, Tk 0",
     {.op = OP_SHARDED,
      GENERAL,
      .b = 2,
      .tq = {9},
      .sink = true,
      .sharded = {.block = 4, .local_blocks = 1, .stride = 2}},
     true},
    {"landmark, Tq 0", {.op = OP_LANDMARK, GENERAL, .b = 2, .tk = {9}, .landmark = {4}}, false},
    {"landmark, Tk 0", {.op = OP_LANDMARK, GENERAL, .b = 2, .tq = {9}, .dlse = true, .landmark = {4}}, true},
    {"landmark, B 0", {.op = OP_LANDMARK, GENERAL, .tq = {9}, .landmark = {4}}, false},
    {"lightning, T 0", {.op = OP_LIGHTNING, GENERAL, .b = 2, .lightning = {.s0 = true, .dst = true}}, false},
    {"lightning, T 0, no states", {.op = OP_LIGHTNING, GENERAL, .b = 2}, false},
    {"lightning, B 0",
     {.op = OP_LIGHTNING, GENERAL, .tq = {9}, .lightning = {.s0 = true, .dst = true, .states_every = 4}},
     false},
    {"lightning_step, B 0", {.op = OP_LIGHTNING_STEP, GENERAL, .tq = {1}, .lightning = {.s0 = true}}, false},
    {"merge, B 0", {.op = OP_MERGE, GENERAL, .tq = {9}, .dlse = true}, false},
    {"merge, T 0", {.op = OP_MERGE, GENERAL, .b = 2, .dlse = true}, false},
};

typedef struct {
    const empty *problem;
    const char *backend;
} row;

/* Puts a tensor of another shape, filled with 0, in a slot's place. */
static void reshape(problem *p, int slot, int dimension, int64_t extent)
{
    tensor *old = p->t[slot];
    int64_t shape[TENSOR_DIMS];
    if (!old) return;
    memcpy(shape, old->shape, sizeof shape);
    shape[dimension] = extent;
    p->t[slot] = tensor_new(memory_host(), old->type, old->dl.ndim, shape);
    if (!p->t[slot]) abort();
    tensor_fill(p->t[slot], 0);
    tensor_free(old);
}

static problem *make(const empty *e)
{
    problem_parameters parameters = e->p;
    if (parameters.op == OP_LIGHTNING || parameters.op == OP_LIGHTNING_STEP || parameters.op == OP_MERGE)
        parameters.hk = 0;
    problem *p = subject_new(&parameters, LAYOUT_PLAIN);
    if (e->no_keys) {
        sentence why = {""};
        reshape(p, ROLE_K, 1, 0);
        reshape(p, ROLE_V, 1, 0);
        if (p->t[ROLE_INDPTR]) reshape(p, ROLE_INDPTR, 0, 1);
        reshape(p, ROLE_INDICES, 0, 0);
        if (!problem_settle(p, &why)) abort();
    }
    return p;
}

static void check_fill(const problem *p, problem_role role, double value)
{
    const tensor *t = p->t[role];
    for (int64_t n = 0; t && n < tensor_count(t); n++) {
        const double got = tensor_get(t, n);
        CHECK(got == value, "%s[%lld]: %g, expected %g", SLOT_NAME(role), (long long)n, got, value);
    }
}

static void check_equal(const problem *p, problem_role role, problem_role as)
{
    for (int64_t n = 0; p->t[role] && n < tensor_count(p->t[role]); n++) {
        const double got = tensor_get(p->t[role], n), want = p->t[as] ? tensor_get(p->t[as], n) : 0;
        CHECK(got == want, "%s[%lld]: %g, expected %g", SLOT_NAME(role), (long long)n, got, want);
    }
}

static void check_forward(const problem *p)
{
    check_fill(p, ROLE_O, 0);
    if (p->op == OP_LIGHTNING) {
        check_equal(p, ROLE_ST, ROLE_S0);
        return;
    }
    for (int64_t n = 0; p->t[ROLE_LSE] && n < tensor_count(p->t[ROLE_LSE]); n++) {
        const double got = tensor_get(p->t[ROLE_LSE], n);
        const double want = p->t[ROLE_SINK] ? tensor_get(p->t[ROLE_SINK], n % p->extents.hq) : -INFINITY;
        CHECK(got == want, "lse[%lld]: %g, expected %g", (long long)n, got, want);
    }
}

/* With a sink and no keys lse is the sink itself, so dsink is the sum of dlse over the rows of the head. */
static void check_sink_gradient(const problem *p)
{
    const tensor *t = p->t[ROLE_DSINK], *dlse = p->t[ROLE_DLSE];
    for (int64_t h = 0; t && h < p->extents.hq; h++) {
        double sum = 0;
        for (int64_t n = h; dlse && n < tensor_count(dlse); n += p->extents.hq) sum += tensor_get(dlse, n);
        CHECK(fabs(tensor_get(t, h) - sum) <= 1e-5, "dsink[%lld]: %g, expected %g", (long long)h, tensor_get(t, h),
              sum);
    }
}

static void run(const void *argument)
{
    const row *r = argument;
    const slat_exec exec = {.backend = r->backend};
    problem *p = make(r->problem);
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    const slat_status forward = subject_call(p, PASS_FORWARD, &exec, "forward");
    if (CHECK(forward == SLAT_OK, "forward: %s", slat_error())) check_forward(p);
    if (problem_has_pass(p->op, PASS_BACKWARD)) {
        subject_outputs(p, PASS_BACKWARD, LAYOUT_PLAIN);
        const slat_status backward = subject_call(p, PASS_BACKWARD, &exec, "backward");
        CHECK(backward == SLAT_OK, "backward: %s", slat_error());
        check_fill(p, ROLE_DQ, 0);
        check_fill(p, ROLE_DK, 0);
        check_fill(p, ROLE_DV, 0);
        check_fill(p, ROLE_DSLOPES, 0);
        check_equal(p, ROLE_DS0, ROLE_DST);
        check_sink_gradient(p);
    }
    problem_free(p);
}

/* No gradient flows into a part whose rows see nothing, whatever do and dlse are there. */
static void unseen_parts(const void *argument)
{
    const slat_exec exec = {.backend = ((const row *)argument)->backend};
    const problem_parameters x = {
        .op = OP_MERGE, .pass = PASS_BACKWARD, .type = TENSOR_F32, .b = 1, .tq = {3}, .hq = 2, .d = 8, .dlse = true,
        .merge = {.parts = 3}};
    problem *p = subject_new(&x, LAYOUT_PLAIN);
    tensor_fill(p->t[problem_part(ROLE_PART_LSE, 1)], -(double)INFINITY);
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    CHECK(subject_call(p, PASS_FORWARD, &exec, "forward") == SLAT_OK, "%s", slat_error());
    tensor_fill(p->t[ROLE_DO], (double)NAN);
    tensor_fill(p->t[ROLE_DLSE], (double)INFINITY);
    subject_outputs(p, PASS_BACKWARD, LAYOUT_PLAIN);
    CHECK(subject_call(p, PASS_BACKWARD, &exec, "backward") == SLAT_OK, "%s", slat_error());
    check_fill(p, (problem_role)problem_part(ROLE_PART_DO, 1), 0);
    check_fill(p, (problem_role)problem_part(ROLE_PART_DLSE, 1), 0);
    problem_free(p);
}

/* The pairs of no batches are none, though a layout then has no batches either and T is long. */
static void no_pairs(const void *argument)
{
    (void)argument;
    const problem_op ops[] = {OP_BLOCK_SPARSE, OP_NEIGHBORHOOD, OP_SHARDED, OP_LANDMARK, OP_LIGHTNING};
    for (size_t n = 0; n < sizeof ops / sizeof *ops; n++) {
        problem_parameters x = {.op = ops[n], .type = TENSOR_F32, .tq = {64}, .hq = 1, .d = 8};
        x.block_sparse.block_q = 8;
        x.neighborhood.window[0] = x.sharded.block = x.sharded.local_blocks = x.sharded.stride = x.landmark.block = 2;
        problem *p = subject_new(&x, LAYOUT_PLAIN);
        if (ops[n] == OP_BLOCK_SPARSE) p->extents.layout_batches = 0;
        if (ops[n] != OP_BLOCK_SPARSE) p->extents.tq[0] = p->extents.tk[0] = INT64_C(1) << 50;
        CHECK(visible_pairs(p) == 0, "%s", problem_op_name(ops[n]));
        problem_free(p);
    }
}

int main(int argc, char **argv)
{
    enum { COUNT = sizeof problems / sizeof *problems };
    static row rows[COUNT * SUBJECT_BACKENDS];
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_backends(names);
    row *r = rows;
    for (int32_t n = 0; n < COUNT; n++) {
        for (int32_t b = 0; b < backends; b++) {
            *r = (row){&problems[n], names[b]};
            harness_add(run, r++, "%s, %s", problems[n].id, names[b]);
        }
    }
    for (int32_t b = 0; b < backends; b++)
        harness_add(unseen_parts, &rows[b], "merge, a part that sees nothing, %s", names[b]);
    harness_add(no_pairs, NULL, "visible pairs, B 0");
    return harness_main("empty", argc, argv);
}

/* slat_exec: the plan, workspace and its allocation, the caller's threads, the choice of a backend. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "child.h"
#include "harness.h"
#include "subject.h"

typedef struct {
    problem_op op;
    problem_pass pass;
    const char *backend;
} which;

static slat_plan plan_of(call *c)
{
    slat_plan plan = {.backend = NULL, .kernel = NULL, .workspace = 12345, .deterministic = -7, .launches = -7};
    c->exec.plan = &plan;
    const slat_status s = call_run(c);
    CHECK(s == SLAT_OK, "plan: %s", slat_error());
    c->exec.plan = NULL;
    return plan;
}

/* A plan looks at no data and no index: all pointers are NULL, then all contents are nonsense, then misaligned. */
static void plan(const void *argument)
{
    const which *w = argument;
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN), *nonsense = call_new(w->op, w->pass, LAYOUT_PLAIN);
    c->exec.backend = nonsense->exec.backend = w->backend;
    const slat_plan with = plan_of(c);
    CHECK(with.backend && !strcmp(with.backend, w->backend), "the plan's backend is %s",
          with.backend ? with.backend : "NULL");
    CHECK(with.kernel && *with.kernel, "the plan names no kernel");
    CHECK(with.deterministic == 0 || with.deterministic == 1, "deterministic %d", with.deterministic);
    CHECK(w->pass == PASS_BACKWARD || with.deterministic == 1, "a forward that may vary");
    CHECK(with.launches == 0, "%d launches on a CPU", with.launches);
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (c->p->t[slot]) c->p->t[slot]->dl.data = NULL;
        if (nonsense->p->t[slot]) tensor_repoison(nonsense->p->t[slot]);
    }
    const slat_plan without = plan_of(c), blind = plan_of(nonsense);
    CHECK(without.workspace == with.workspace, "%zu bytes without data, %zu with", without.workspace, with.workspace);
    CHECK(without.kernel == with.kernel || !strcmp(without.kernel, with.kernel), "%s without data, %s with",
          without.kernel, with.kernel);
    CHECK(blind.workspace == with.workspace, "%zu bytes with other contents", blind.workspace);
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (nonsense->p->t[slot]) nonsense->p->t[slot]->dl.byte_offset += tensor_type_size(nonsense->p->t[slot]->type);
    }
    const slat_plan shifted = plan_of(nonsense);
    CHECK(shifted.workspace == with.workspace, "%zu bytes for data of less alignment, %zu else", shifted.workspace,
          with.workspace);
    call_free(c);
    call_free(nonsense);
}

/* The caller's workspace is enough at the planned size, its neighbours stay, and too little of it is refused. */
static void workspace(const void *argument)
{
    const which *w = argument;
    call *own = call_new(w->op, w->pass, LAYOUT_PLAIN), *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    own->exec.backend = c->exec.backend = w->backend;
    call_accepted(own, "the library's own memory");
    const size_t bytes = plan_of(c).workspace;
    unsigned char *bare = aligned_alloc(256, (bytes + 255) / 256 * 256 + 512);
    if (!bare) abort();
    memset(bare, 0xA5, bytes + 512);
    c->exec.workspace = bare + 256;
    c->exec.workspace_bytes = bytes;
    call_accepted(c, "the caller's workspace");
    CHECK(subject_same(c->p, own->p, w->pass), "other bits than with the library's own memory");
    for (size_t n = 0; n < 256; n++) {
        CHECK(bare[n] == 0xA5 && bare[256 + bytes + n] == 0xA5, "a byte %zu beside the workspace was written", n);
    }
    subject_outputs(c->p, w->pass, LAYOUT_PLAIN);
    c->exec.workspace_bytes = 0;
    c->exec.workspace = bare + 256 + 16;
    if (bytes) {
        char text[32];
        snprintf(text, sizeof text, "%zu", bytes);
        const char *const words[] = {text, "workspace", NULL};
        c->exec.workspace_bytes = bytes;
        call_refused(c, SLAT_WORKSPACE, words, "misaligned workspace");
        c->exec.workspace = bare + 256;
        c->exec.workspace_bytes = bytes - 1;
        const slat_status s = call_run(c); /* what is needed for this data may be less than the plan's bound */
        CHECK(s == SLAT_OK || s == SLAT_WORKSPACE, "%s", slat_error());
        c->exec.workspace_bytes = 0;
        subject_outputs(c->p, w->pass, LAYOUT_PLAIN);
        call_refused(c, SLAT_WORKSPACE, words + 1, "workspace of 0 bytes");
    }
    free(bare);
    call_free(own);
    call_free(c);
}

typedef struct {
    int32_t calls;
    size_t bytes;
    void *answer; /* NULL: a fresh block, as it should be */
    bool refuse;
    void *given;
} allocator;

static void *allocate(void *context, size_t bytes)
{
    allocator *a = context;
    a->calls++;
    a->bytes = bytes;
    if (a->refuse) return NULL;
    if (!a->given) a->given = aligned_alloc(256, (bytes + 511) / 256 * 256);
    return (char *)a->given + (a->answer ? 8 : 0);
}

static void allocation(const void *argument)
{
    const which *w = argument;
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    c->exec.backend = w->backend;
    allocator a = {0};
    c->exec.allocate = allocate;
    c->exec.allocator = &a;
    const size_t bytes = plan_of(c).workspace;
    CHECK(a.calls == 0, "a plan allocates");
    call_accepted(c, "allocate");
    CHECK(a.calls == (bytes > 0) || (a.calls == 0 && bytes), "asked %d times for a plan of %zu bytes", a.calls, bytes);
    CHECK(a.bytes <= bytes, "%zu bytes asked for, %zu planned", a.bytes, bytes);
    if (a.calls) {
        subject_outputs(c->p, w->pass, LAYOUT_PLAIN);
        a.refuse = true;
        static const char *const words[] = {"allocate", NULL};
        call_refused(c, SLAT_NO_MEMORY, words, "allocate gives NULL");
        a.refuse = false;
        a.answer = &a;
        call_refused(c, SLAT_WORKSPACE, NULL, "allocate gives a misaligned block");
        a.answer = NULL;
        a.calls = 0;
        c->exec.workspace = a.given;
        c->exec.workspace_bytes = bytes;
        call_accepted(c, "workspace and allocate");
        CHECK(a.calls == 0, "asked although there is a workspace");
    }
    free(a.given);
    call_free(c);
}

/* Some kernel needs workspace, or the rows above would show nothing. */
static void some_workspace(const void *argument)
{
    (void)argument;
    const problem_parameters parameters = {.op = OP_BLOCK_SPARSE,
                                           .pass = PASS_BACKWARD,
                                           .type = TENSOR_F32,
                                           .b = 1,
                                           .tq = {40},
                                           .hq = 2,
                                           .d = 8,
                                           .block_sparse = {.block_q = 8, .density = 1}};
    problem *p = subject_new(&parameters, LAYOUT_PLAIN);
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    subject_outputs(p, PASS_BACKWARD, LAYOUT_PLAIN);
    const char *names[SUBJECT_BACKENDS];
    size_t most = 0;
    for (int32_t n = subject_backends(names) - 1; n >= 0; n--) {
        slat_plan plan_ = {0};
        const slat_exec exec = {.backend = names[n], .plan = &plan_};
        CHECK(problem_call(p, PASS_BACKWARD, &exec) == SLAT_OK, "%s", slat_error());
        if (plan_.workspace > most) most = plan_.workspace;
    }
    CHECK(most > 0, "a backward without the transposed layout needs no workspace on any backend");
    problem_free(p);
}

/* Memory that is not aligned, and the sentence names who gave it. */
static void *misaligned(void *context, size_t bytes)
{
    (void)bytes;
    return (char *)context + 16;
}

/* What one rank leaves to the next is no failure: the sentence of the last failure stays. */
static void sentences(const void *argument)
{
    (void)argument;
    const problem_parameters x = {
        .op = OP_LANDMARK, .type = TENSOR_F64, .b = 1, .tq = {20}, .hq = 2, .d = 8, .landmark = {.block = 4}};
    problem *p = subject_new(&x, LAYOUT_PLAIN);
    char *space = harness_memory(1 << 10);
    slat_exec exec = {.allocate = misaligned, .allocator = space + (256 - (uintptr_t)space % 256)};
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    CHECK(problem_call(p, PASS_FORWARD, &exec) == SLAT_WORKSPACE && strstr(slat_error(), "exec.allocate"),
          "misaligned memory: %s", slat_error());
    int64_t first, count;
    CHECK(slat_neighborhood_keys(8, 9, 1, 1, 0, 0, &first, &count) == SLAT_INVALID, "a window that is too large");
    char before[256];
    snprintf(before, sizeof before, "%s", slat_error());
    CHECK(problem_call(p, PASS_FORWARD, NULL) == SLAT_OK, "%s", slat_error());
    CHECK(strcmp(slat_error(), before) == 0, "a call that was SLAT_OK left the sentence \"%s\"", slat_error());
    problem_free(p);
}

/* The caller's threads: all tasks, backwards, one by one. */
static void backwards(void *pool, int32_t n, void (*task)(void *context, int32_t i), void *context)
{
    ++*(int32_t *)pool;
    for (int32_t i = n - 1; i >= 0; i--) task(context, i);
}

static void parallel(const void *argument)
{
    const which *w = argument;
    call *usual = call_new(w->op, w->pass, LAYOUT_PLAIN), *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    int32_t calls = 0;
    usual->exec.backend = c->exec.backend = w->backend;
    usual->exec.threads = 1;
    usual->exec.deterministic = c->exec.deterministic = 1;
    c->exec.threads = 4;
    c->exec.parallel = backwards;
    c->exec.pool = &calls;
    call_accepted(usual, "one thread");
    call_accepted(c, "the caller's threads");
    CHECK(subject_same(c->p, usual->p, w->pass), "other bits than with one thread");
    call_free(usual);
    call_free(c);
}

/* Work enough for four threads: a backend other than the definition shares it out among the caller's. */
static void shared_out(const void *argument)
{
    const which *w = argument;
    const bool linear = w->op == OP_LIGHTNING || w->op == OP_LIGHTNING_STEP;
    problem_parameters parameters = {.op = w->op, .type = TENSOR_F32, .b = 4, .tq = {200}, .hq = 8, .d = 64};
    if (w->op == OP_LIGHTNING_STEP) parameters.b = 64, parameters.tq[0] = 1;
    parameters.lightning.s0 = linear;
    parameters.neighborhood.window[0] = 64;
    parameters.sharded.block = parameters.landmark.block = 32;
    parameters.sharded.local_blocks = parameters.sharded.stride = 2;
    problem *p = subject_new(&parameters, LAYOUT_PLAIN);
    int32_t calls = 0;
    const slat_exec exec = {.backend = w->backend, .threads = 4, .parallel = backwards, .pool = &calls};
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    CHECK(problem_call(p, PASS_FORWARD, &exec) == SLAT_OK, "%s", slat_error());
    CHECK(calls > 0, "the caller's threads were not asked");
    problem_free(p);
}

static void unknown_backends(const void *argument)
{
    const which *w = argument;
    static const char *const names[] = {"nonsense", "", "cuda", "cuda-sm90", "scala", "scalar,avx2", "SCALAR"};
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        c->exec.backend = names[n];
        const char *const words[] = {names[n], NULL};
        call_refused(c, SLAT_NO_BACKEND, words, names[n]);
    }
    call_free(c);
}

/* Scenes under SLAT_BACKEND: what a plain call runs on, and what exec->backend does to it. */
static slat_status ask(const char *forced, slat_plan *answer)
{
    static int64_t shape[4] = {1, 4, 1, 8}, lse_shape[3] = {1, 4, 1};
    static float data[32], rows[4];
    DLTensor q = {.data = data, .device = {kDLCPU, 0}, .ndim = 4, .dtype = {kDLFloat, 32, 1}, .shape = shape}, o = q,
             lse = q;
    static float result[32];
    o.data = result;
    lse.data = rows;
    lse.ndim = 3;
    lse.shape = lse_shape;
    const slat_attention t = {.q = &q, .k = &q, .v = &q, .o = &o, .lse = &lse};
    const slat_landmark block = {.block = 2};
    const slat_exec exec = {.backend = forced, .plan = answer};
    return slat_landmark_forward(&exec, &block, &t);
}

static bool runs_on(const char *forced, const char *expected)
{
    slat_plan plan_ = {0};
    const slat_status s = ask(forced, &plan_);
    if (s == SLAT_OK && !strcmp(plan_.backend, expected)) return true;
    printf("%s, backend %s, expected %s: %s\n", slat_status_name(s), s ? "none" : plan_.backend, expected,
           s ? slat_error() : "");
    return false;
}

static bool refuses(const char *forced, const char *named)
{
    slat_plan plan_ = {0};
    const slat_status s = ask(forced, &plan_);
    if (s == SLAT_NO_BACKEND && strstr(slat_error(), named)) return true;
    printf("%s: %s\n", slat_status_name(s), s ? slat_error() : plan_.backend);
    return false;
}

static bool is_scalar(void)
{
    return runs_on(NULL, "scalar");
}

static bool is_refused(void)
{
    return refuses(NULL, "nonsense") && ask(NULL, NULL) == SLAT_NO_BACKEND;
}

static bool is_outranked(void)
{
    return runs_on("scalar", "scalar") && refuses("absurd", "absurd") && refuses(NULL, "nonsense");
}

static bool is_best(void)
{
    const char *names[SUBJECT_BACKENDS];
    return subject_backends(names) > 0 && runs_on(NULL, names[0]);
}

static bool is_read_once(void)
{
    return is_scalar() && setenv("SLAT_BACKEND", "nonsense", 1) == 0 && is_scalar();
}

static const child_scene scenes[] = {
    {"scalar", is_scalar}, {"refused", is_refused},     {"outranked", is_outranked},
    {"best", is_best},     {"read once", is_read_once},
};

static void environment(const void *argument)
{
    (void)argument;
    static const struct {
        const char *scene, *setting;
    } played[] = {
        {"best", "SLAT_BACKEND"},
        {"best", "SLAT_BACKEND="},
        {"scalar", "SLAT_BACKEND=scalar"},
        {"scalar", "SLAT_BACKEND=cuda,scalar"},
        {"scalar", "SLAT_BACKEND=scalar,cuda-sm90"},
        {"best", "SLAT_BACKEND=cuda"},
        {"refused", "SLAT_BACKEND=nonsense"},
        {"refused", "SLAT_BACKEND=cuda,nonsense"},
        {"outranked", "SLAT_BACKEND=nonsense"},
        {"read once", "SLAT_BACKEND=scalar"},
    };
    for (size_t n = 0; n < sizeof played / sizeof *played; n++) {
        const char *const settings[] = {played[n].setting, NULL};
        child_check(played[n].scene, settings);
    }
}

int main(int argc, char **argv)
{
    static which calls[OP_COUNT * PASS_COUNT * SUBJECT_BACKENDS];
    child_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_backends(names);
    which *w = calls;
    for (int32_t b = 0; b < backends; b++) {
        for (int32_t n = 0; call_number(n, &w->op, &w->pass); n++, w++) {
            const char *op = problem_op_name(w->op), *pass = problem_pass_name(w->pass);
            w->backend = names[b];
            harness_add(plan, w, "%s %s %s: plan", op, pass, names[b]);
            harness_add(workspace, w, "%s %s %s: workspace", op, pass, names[b]);
            harness_add(allocation, w, "%s %s %s: allocate", op, pass, names[b]);
            harness_add(parallel, w, "%s %s %s: the caller's threads", op, pass, names[b]);
            if (strcmp(names[b], "scalar") != 0 && w->pass == PASS_FORWARD) {
                harness_add(shared_out, w, "%s %s: much work on the caller's threads", op, names[b]);
            }
            if (b == 0) harness_add(unknown_backends, w, "%s %s: backends that are not there", op, pass);
        }
    }
    harness_add(some_workspace, NULL, "there is a kernel with workspace");
    harness_add(sentences, NULL, "sentences of failures, and of calls that did not fail");
    harness_add(environment, NULL, "SLAT_BACKEND");
    return harness_main("exec", argc, argv);
}

/* Every primitive and pass in a CUDA graph: captured once, replayed with other data in the same tensors, and held bit
 * for bit against direct calls. What problems cannot say has rows of its own: the transposed layout, which is also held
 * against the definition's, and merges of more parts than a launch carries.
 */
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "gpu.h"
#include "harness.h"
#include "subject.h"

typedef struct {
    const case_problem *problem; /* NULL: a merge of many parts */
    const char *backend;         /* NULL: what dispatch picks */
    tensor_type type;
} row;

enum { STREAM_OWN = 1, CAPTURE_LOCAL = 1 }; /* CU_STREAM_NON_BLOCKING, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL */

typedef slat_status caller(void *subject, problem_pass pass, const slat_exec *exec);

typedef struct {
    void *stream, *graph, *run;
    void *rooms[PASS_COUNT]; /* workspaces, kept as long as the graph */
} recording;

/* Plans the passes, and captures them one after the other. */
static bool record(recording *r, caller *call, void *subject, problem_pass last, const char *backend)
{
    const cuda_driver *d = gpu_driver();
    slat_plan plans[PASS_COUNT] = {{0}};
    *r = (recording){0};
    for (problem_pass pass = PASS_FORWARD; pass <= last; pass++) {
        const slat_exec exec = {.backend = backend, .deterministic = 1, .plan = &plans[pass]};
        if (!CHECK(call(subject, pass, &exec) == SLAT_OK, "plan: %s", slat_error())) return false;
        if (!plans[pass].workspace) continue;
        r->rooms[pass] = gpu_memory()->allocate(gpu_memory(), plans[pass].workspace);
        if (!CHECK(r->rooms[pass], "no %zu bytes on the device", plans[pass].workspace)) return false;
    }
    if (!CHECK(!d->stream_create(&r->stream, STREAM_OWN) && !d->capture_begin(r->stream, CAPTURE_LOCAL), "no capture"))
        return false;
    for (problem_pass pass = PASS_FORWARD; pass <= last; pass++) {
        const slat_exec exec = {.backend = backend,
                                .stream = r->stream,
                                .deterministic = 1,
                                .workspace = r->rooms[pass],
                                .workspace_bytes = plans[pass].workspace};
        const slat_status s = call(subject, pass, &exec);
        CHECK(s == SLAT_OK, "captured %s: %s", problem_pass_name(pass), slat_error());
    }
    return CHECK(!d->capture_end(r->stream, &r->graph) && !d->graph_make(&r->run, r->graph, 0), "the capture broke");
}

static bool replay(const recording *r)
{
    const cuda_driver *d = gpu_driver();
    return CHECK(!d->graph_launch(r->run, r->stream) && !d->stream_wait(r->stream), "the replay failed");
}

static void discard(recording *r)
{
    const cuda_driver *d = gpu_driver();
    if (r->run) d->graph_run_destroy(r->run);
    if (r->graph) d->graph_destroy(r->graph);
    if (r->stream) d->stream_destroy(r->stream);
    for (int n = 0; n < PASS_COUNT; n++) gpu_memory()->release(gpu_memory(), r->rooms[n]);
}

static bool call_directly(caller *call, void *subject, problem_pass last, const char *backend)
{
    bool right = true;
    for (problem_pass pass = PASS_FORWARD; right && pass <= last; pass++) {
        gpu_room room = {0};
        slat_exec exec = gpu_exec(&room, backend, NULL);
        exec.deterministic = 1;
        const slat_status s = call(subject, pass, &exec);
        right = CHECK(s == SLAT_OK && gpu_room_end(&room), "%s: %s, %s", problem_pass_name(pass), slat_status_name(s),
                      slat_error());
    }
    return right;
}

static void reset(problem *p, problem_pass last)
{
    for (problem_pass pass = PASS_FORWARD; pass <= last; pass++) problem_reset(p, pass);
}

static bool same(const problem *a, const problem *b, problem_pass last)
{
    return subject_same(a, b, PASS_FORWARD) && (last == PASS_FORWARD || subject_same(a, b, PASS_BACKWARD));
}

static bool is_input(const problem *p, int slot)
{
    return p->t[slot] && !problem_slot_is_output(p, slot, PASS_FORWARD) &&
           !problem_slot_is_output(p, slot, PASS_BACKWARD);
}

/* Other blocks in each row, as many as before: its columns from right to left. */
static void mirror(const tensor *indptr, tensor *indices, int64_t columns)
{
    double *at = tensor_values(indptr), *old = tensor_values(indices);
    for (int64_t r = 1; r < tensor_count(indptr); r++) {
        const int64_t begin = (int64_t)at[r - 1], end = (int64_t)at[r];
        for (int64_t e = begin; e < end; e++) tensor_set(indices, e, (double)columns - 1 - old[begin + end - 1 - e]);
    }
    free(at), free(old);
}

static int64_t columns_of(const problem *p)
{
    const int64_t block = p->block_sparse.block_k ? p->block_sparse.block_k : p->block_sparse.block_q;
    return (p->extents.tk[0] + block - 1) / block;
}

/* Index tensors, slopes and slots that the seed does not change. */
static void change(problem *p)
{
    tensor *slopes = p->t[ROLE_SLOPES], *slot = p->t[ROLE_SLOT], *offsets = p->t[ROLE_OFFSETS];
    for (int64_t h = 0; slopes && h < tensor_count(slopes); h++) tensor_set(slopes, h, 1.25 * tensor_get(slopes, h));
    for (int64_t b = 0; slot && b < tensor_count(slot); b++) tensor_set(slot, b, (double)b - 1); /* one is left out */
    for (int64_t h = 0; offsets && h < tensor_count(offsets); h++) {
        const int32_t shard = (int32_t)tensor_get(offsets, h);
        if (shard >= 0) tensor_set(offsets, h, (shard + 1) % p->sharded.stride);
    }
    if (p->t[ROLE_INDPTR] && !p->t[ROLE_T_INDPTR]) mirror(p->t[ROLE_INDPTR], p->t[ROLE_INDICES], columns_of(p));
}

static slat_status call_problem(void *subject, problem_pass pass, const slat_exec *exec)
{
    return problem_call(subject, pass, exec);
}

static void captured(const void *argument)
{
    const row *r = argument;
    problem_parameters parameters = r->problem->p;
    problem *given = gpu_host_problem(&parameters, r->type);
    parameters.seed += 77;
    problem *others = gpu_host_problem(&parameters, r->type);
    const problem_pass last = given->pass;
    problem *p = gpu_problem(given, last, LAYOUT_PLAIN), *direct = gpu_problem(given, last, LAYOUT_PLAIN);
    recording recorded;
    change(others);
    if (record(&recorded, call_problem, p, last, r->backend)) {
        for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
            if (!is_input(p, slot)) continue;
            CHECK(tensor_copy(p->t[slot], others->t[slot]) && tensor_copy(direct->t[slot], others->t[slot]), "upload");
        }
        reset(p, last);
        reset(direct, last);
        if (replay(&recorded) && call_directly(call_problem, direct, last, r->backend))
            CHECK(same(p, direct, last), "the replay has other bits");
    }
    discard(&recorded);
    problem_free(p);
    problem_free(direct);
    problem_free(given);
    problem_free(others);
}

/* slat_block_sparse_transpose() of a problem's layout into three tensors. */
typedef struct {
    problem *p;
    tensor *t[3];
} turned;

static turned turned_of(problem *p, const memory *m)
{
    const tensor *indptr = p->t[ROLE_INDPTR];
    const int64_t entries = tensor_count(p->t[ROLE_INDICES]);
    const int64_t shape[3] = {indptr->shape[0], indptr->shape[1], columns_of(p) + 1};
    return (turned){p,
                    {tensor_new(m, TENSOR_I32, 3, shape), tensor_new(m, TENSOR_I32, 1, &entries),
                     tensor_new(m, TENSOR_I32, 1, &entries)}};
}

static slat_status call_turned(void *subject, problem_pass pass, const slat_exec *exec)
{
    turned *x = subject;
    slat_block_sparse blocks = problem_block_sparse(x->p);
    (void)pass;
    blocks.t_indptr = blocks.t_indices = blocks.t_entry = NULL;
    return slat_block_sparse_transpose(exec, &blocks, x->p->extents.tq[0], x->p->extents.tk[0], &x->t[0]->dl,
                                       &x->t[1]->dl, &x->t[2]->dl);
}

static void turned_same(const turned *got, turned *want, const char *what)
{
    static const slat_exec on_scalar = {.backend = "scalar"};
    CHECK(call_turned(want, PASS_FORWARD, &on_scalar) == SLAT_OK, "%s", slat_error());
    for (int n = 0; n < 3; n++) {
        double *x = tensor_values(got->t[n]), *y = tensor_values(want->t[n]);
        CHECK(!memcmp(x, y, (size_t)tensor_count(got->t[n]) * sizeof *x), "%s: tensor %d differs", what, n);
        CHECK(tensor_guards_ok(got->t[n]), "%s: written beside tensor %d", what, n);
        free(x), free(y);
    }
}

static void transposed(const void *argument)
{
    const row *r = argument;
    problem *given = gpu_host_problem(&r->problem->p, r->type), *p = gpu_problem(given, PASS_FORWARD, LAYOUT_PLAIN);
    turned x = turned_of(p, gpu_memory()), want = turned_of(given, memory_host());
    recording recorded;
    if (call_directly(call_turned, &x, PASS_FORWARD, r->backend)) turned_same(&x, &want, "direct");
    if (record(&recorded, call_turned, &x, PASS_FORWARD, r->backend)) {
        mirror(given->t[ROLE_INDPTR], given->t[ROLE_INDICES], columns_of(given));
        CHECK(tensor_copy(p->t[ROLE_INDICES], given->t[ROLE_INDICES]), "upload");
        for (int n = 0; n < 3; n++) tensor_repoison(x.t[n]);
        if (replay(&recorded)) turned_same(&x, &want, "replayed");
    }
    discard(&recorded);
    for (int n = 0; n < 3; n++) tensor_free(x.t[n]), tensor_free(want.t[n]);
    problem_free(p);
    problem_free(given);
}

/* A merge of more parts than a problem or a launch has: the parts of several problems, the result in the first. */
enum { GROUPS = 4, GROUP_PARTS = 10, MANY = GROUPS * GROUP_PARTS };

static slat_status call_many(void *subject, problem_pass pass, const slat_exec *exec)
{
    problem **group = subject;
    const DLTensor *o[MANY], *lse[MANY];
    DLTensor *grad_o[MANY], *grad_lse[MANY];
    for (int n = 0; n < MANY; n++) {
        tensor **t = group[n / GROUP_PARTS]->t;
        const int part = n % GROUP_PARTS;
        o[n] = tensor_dl(t[problem_part(ROLE_PART_O, part)]);
        lse[n] = tensor_dl(t[problem_part(ROLE_PART_LSE, part)]);
        grad_o[n] = tensor_dl(t[problem_part(ROLE_PART_DO, part)]);
        grad_lse[n] = tensor_dl(t[problem_part(ROLE_PART_DLSE, part)]);
    }
    tensor **out = group[0]->t;
    if (pass == PASS_FORWARD)
        return slat_merge_forward(exec, MANY, o, lse, tensor_dl(out[ROLE_O]), tensor_dl(out[ROLE_LSE]));
    return slat_merge_backward(exec, MANY, o, lse, tensor_dl(out[ROLE_O]), tensor_dl(out[ROLE_LSE]),
                               tensor_dl(out[ROLE_DO]), tensor_dl(out[ROLE_DLSE]), grad_o, grad_lse);
}

static void make_many(problem *group[GROUPS], tensor_type type, uint64_t seed)
{
    for (int n = 0; n < GROUPS; n++) {
        const problem_parameters parameters = {.op = OP_MERGE,
                                               .pass = PASS_BACKWARD,
                                               .b = 2,
                                               .tq = {33},
                                               .hq = 3,
                                               .d = 72,
                                               .dlse = true,
                                               .seed = seed + (uint64_t)n,
                                               .merge = {.parts = GROUP_PARTS, .empty = .9}};
        group[n] = gpu_host_problem(&parameters, type);
    }
}

static void free_many(problem *group[GROUPS])
{
    for (int n = 0; n < GROUPS; n++) problem_free(group[n]);
}

/* Against the definition in f64, which reads o and lse as forward wrote them. */
static void agree_many(problem *p[GROUPS], problem *given[GROUPS])
{
    static const slat_exec on_scalar = {.backend = "scalar"};
    problem *twin[GROUPS];
    for (int n = 0; n < GROUPS; n++) {
        twin[n] = subject_twin(given[n]);
        subject_outputs(twin[n], PASS_FORWARD, LAYOUT_PLAIN);
        subject_outputs(twin[n], PASS_BACKWARD, LAYOUT_PLAIN);
    }
    CHECK(call_many(twin, PASS_FORWARD, &on_scalar) == SLAT_OK, "%s", slat_error());
    subject_agree(p[0], twin[0], PASS_FORWARD, "many parts");
    tensor_copy(twin[0]->t[ROLE_O], p[0]->t[ROLE_O]);
    tensor_copy(twin[0]->t[ROLE_LSE], p[0]->t[ROLE_LSE]);
    CHECK(call_many(twin, PASS_BACKWARD, &on_scalar) == SLAT_OK, "%s", slat_error());
    for (int n = 0; n < GROUPS; n++) subject_agree(p[n], twin[n], PASS_BACKWARD, "many parts");
    free_many(twin);
}

static void many_parts(const void *argument)
{
    const row *r = argument;
    problem *given[GROUPS], *others[GROUPS], *p[GROUPS], *direct[GROUPS];
    make_many(given, r->type, 1);
    make_many(others, r->type, 101);
    for (int n = 0; n < GROUPS; n++) {
        p[n] = gpu_problem(given[n], PASS_BACKWARD, LAYOUT_PLAIN);
        direct[n] = gpu_problem(others[n], PASS_BACKWARD, LAYOUT_PADDED);
    }
    recording recorded;
    if (call_directly(call_many, p, PASS_BACKWARD, r->backend)) agree_many(p, given);
    if (record(&recorded, call_many, p, PASS_BACKWARD, r->backend)) {
        for (int n = 0; n < GROUPS; n++) {
            for (int slot = 0; slot < PROBLEM_SLOTS; slot++)
                if (is_input(p[n], slot)) CHECK(tensor_copy(p[n]->t[slot], others[n]->t[slot]), "upload");
            reset(p[n], PASS_BACKWARD);
        }
        if (replay(&recorded) && call_directly(call_many, direct, PASS_BACKWARD, r->backend))
            for (int n = 0; n < GROUPS; n++) CHECK(same(p[n], direct[n], PASS_BACKWARD), "the replay has other bits");
    }
    discard(&recorded);
    free_many(p), free_many(direct), free_many(given), free_many(others);
}

static const char *const chosen[] = {"bs-ragged",   "bs-bitmaps", "bs-transposed", "bs-d256",       "dense",
                                     "na1d",        "na2d",       "na3d",          "na2d-d256",     "s2",
                                     "s2-d256",     "lm-tail",    "lm-100",        "lm-130-prefix", "s2-dense-heads",
                                     "lm-100-d256", "la",         "la-states",     "la-d128",       "la-d256",
                                     "step",        "step-slots", "merge-2",       "merge-5",       "dense-decode"};
static const char *const layouts[] = {"bs-ragged", "bs-layout-a-head", "bs-empty-rows", "bs-far-keys", "bs-bitmaps"};
enum { CHOSEN = sizeof chosen / sizeof *chosen, TURNED = sizeof layouts / sizeof *layouts };

static const case_problem *find(const char *id)
{
    for (int n = 0; n < CASE_PROBLEMS; n++)
        if (!strcmp(case_problems[n].id, id)) return &case_problems[n];
    abort();
}

int main(int argc, char **argv)
{
    static row rows[(CHOSEN + TURNED + 2) * 2];
    const char *names[GPU_BACKENDS];
    gpu_begin("cuda_graphs");
    const int32_t backends = gpu_backends(names);
    row *r = rows;
    for (int32_t b = 0; b < (backends > 1 ? 2 : 1); b++) { /* the general backend; what dispatch picks, if others are */
        const char *backend = b ? NULL : names[backends - 1], *name = b ? "any" : backend;
        for (int n = 0; n < CHOSEN; n++, r++) {
            *r = (row){find(chosen[n]), backend, n % 2 ? TENSOR_BF16 : TENSOR_F32};
            harness_add(captured, r, "graph %s %s", chosen[n], name);
        }
        for (int n = 0; n < TURNED; n++, r++) {
            *r = (row){find(layouts[n]), backend, TENSOR_F32};
            harness_add(transposed, r, "transpose %s %s", layouts[n], name);
        }
        for (int n = 0; n < 2; n++, r++) {
            *r = (row){NULL, backend, n ? TENSOR_BF16 : TENSOR_F32};
            harness_add(many_parts, r, "merge of %d parts %s %s", (int)MANY, name, tensor_type_name(r->type));
        }
    }
    return harness_main("cuda_graphs", argc, argv);
}

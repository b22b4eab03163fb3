/* What stands beside the arithmetic: the cost of a small call, of the dispatch alone, and of a longer sequence.
 *
 * decode-small-cpu  one token, 256 visible keys: `beyond_us` is the call's time less its flops at the matrix product's
 *                   rate
 * dispatch-cpu      the row's time is a call that only plans (arguments checked, kernel chosen); `smallest_us` a whole
 *                   call of one query, one key, D 8
 * linear-T-cpu      a window of 512 over T from 4k to 64k: nanoseconds a token, medians of lengths that take
 *                   turns; `worst` is the largest of these over the least, less 1
 * na1d-small        a small problem on a GPU: the row's time is the device's, of a call among others; `host_us` what the
 *                   caller's thread spends on a call, `plan_us` on one that only plans
 */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH   16  /* calls in one timed sample of a small call */
#define SAMPLES 501 /* at most */
#define LEAST   21

/* A dense call, made ready so that only the library's own work is timed. */
typedef struct {
    problem *p;
    slat_block_sparse layout;
    slat_attention tensors;
    slat_exec exec;
    slat_plan plan;
} small_call;

static void small_free(small_call *c)
{
    if (c->exec.workspace) memory_host()->release(memory_host(), c->exec.workspace);
    problem_free(c->p);
}

static slat_status small_plan(small_call *c)
{
    c->exec.plan = &c->plan;
    const slat_status status = slat_block_sparse_forward(&c->exec, &c->layout, &c->tensors);
    c->exec.plan = NULL;
    return status;
}

static bool small_make(small_call *c, const bench_row *row, const problem_parameters *parameters, shim_state *state)
{
    sentence why = {""};
    *c = (small_call){.layout = {.causal = 1}, .exec = {.backend = row->backend}};
    c->p = problem_new(parameters, LAYOUT_PLAIN, memory_host(), &why);
    if (!c->p || !problem_allocate_outputs(c->p, PASS_FORWARD, LAYOUT_PLAIN, &why)) {
        bench_fail(state, "%s", why.text);
        problem_free(c->p);
        return false;
    }
    tensor *const *t = c->p->t;
    c->tensors = (slat_attention){.q = tensor_dl(t[ROLE_Q]), .k = tensor_dl(t[ROLE_K]), .v = tensor_dl(t[ROLE_V]),
                                  .o = tensor_dl(t[ROLE_O]), .lse = tensor_dl(t[ROLE_LSE])};
    slat_status status = small_plan(c);
    if (status == SLAT_OK && c->plan.workspace) {
        c->exec.workspace = memory_host()->allocate(memory_host(), c->plan.workspace);
        c->exec.workspace_bytes = c->plan.workspace;
    }
    if (status == SLAT_OK) status = slat_block_sparse_forward(&c->exec, &c->layout, &c->tensors);
    if (status == SLAT_OK) return true;
    bench_fail(state, "%s: %s", slat_status_name(status), slat_error());
    small_free(c);
    return false;
}

/* Seconds of one call, from BATCH of them. */
static double small_sample(small_call *c, bool plan_only)
{
    slat_plan plan;
    slat_exec exec = c->exec;
    if (plan_only) exec.plan = &plan;
    const double start = bench_seconds();
    for (int i = 0; i < BATCH; i++) slat_block_sparse_forward(&exec, &c->layout, &c->tensors);
    return (bench_seconds() - start) / BATCH;
}

/* The median of the loop's first SAMPLES iterations: a loop that fills half a second with calls of a microsecond would
 * go on for half a million. */
static double small_loop(small_call *c, bool plan_only, shim_state *state)
{
    double samples[SAMPLES];
    int64_t count = 0;
    small_sample(c, plan_only);
    while (shim_next(state))
        if (count < SAMPLES) samples[count++] = small_sample(c, plan_only);
    while (count < LEAST) samples[count++] = small_sample(c, plan_only);
    shim_counter(state, "samples", (double)count);
    return bench_median(samples, count);
}

/* Beside the row's own time. */
static double small_median(small_call *c)
{
    double samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) samples[i] = small_sample(c, false);
    return bench_median(samples, SAMPLES);
}

static void run_decode_small(const bench_row *row, shim_state *state)
{
    small_call call;
    if (!small_make(&call, row, &row->workload->parameters, state)) return;
    bench_watch watch;
    bench_watch_begin(&watch, row->device);
    const double seconds = small_loop(&call, false, state), flops = problem_flops(call.p, PASS_FORWARD);
    char note[300];
    snprintf(note, sizeof note, "TFLOP/s of the matrix product; %s; 8 query heads, 2 key heads, D 128",
             call.plan.kernel);
    bench_watch_end(&watch, row->device);
    bench_report(state, row->workload, &watch, flops / seconds * 1e-12, note, sizeof note);
    if (watch.ceilings && watch.ceilings->matrix > 0)
        shim_counter(state, "beyond_us", (seconds - flops / (watch.ceilings->matrix * 1e12)) * 1e6);
    shim_label(state, note);
    shim_time(state, seconds);
    small_free(&call);
}

static void run_dispatch(const bench_row *row, shim_state *state)
{
    small_call call;
    if (!small_make(&call, row, &row->workload->parameters, state)) return;
    const double plan = small_loop(&call, true, state), whole = small_median(&call);
    shim_counter(state, "plan_us", plan * 1e6);
    shim_counter(state, "smallest_us", whole * 1e6);
    shim_label(state, "time of a call that only plans");
    shim_time(state, plan);
    small_free(&call);
}

/* Few enough that all are enqueued before the device begins. */
enum { IN_A_ROW = 8, LATENCY_SAMPLES = 101 };

/* Seconds of a call, on the device and of this thread. */
static slat_status latency_sample(const bench_device *device, const bench_subject *s, double *on_device, double *on_host)
{
    slat_status status = SLAT_OK;
    device->begin();
    const double start = bench_seconds();
    for (int i = 0; i < IN_A_ROW && status == SLAT_OK; i++) status = bench_subject_call(s, 0);
    *on_host = (bench_seconds() - start) / IN_A_ROW;
    *on_device = device->end() / IN_A_ROW;
    return status;
}

static void run_latency(const bench_row *row, shim_state *state)
{
    double on_device[LATENCY_SAMPLES], on_host[LATENCY_SAMPLES], planned[LATENCY_SAMPLES], unused;
    const bench_subject *s = bench_subject_of(row, state);
    if (!s) return;
    slat_plan plan;
    bench_subject plans = *s;
    plans.exec.plan = &plan;
    slat_status status = SLAT_OK;
    while (shim_next(state)) continue;
    for (int i = 0; i < LATENCY_SAMPLES && status == SLAT_OK; i++) {
        status = latency_sample(row->device, s, &on_device[i], &on_host[i]);
        if (status == SLAT_OK) status = latency_sample(row->device, &plans, &unused, &planned[i]);
    }
    if (status != SLAT_OK) {
        bench_fail(state, "%s: %s", slat_status_name(status), slat_error());
        return;
    }
    shim_counter(state, "host_us", bench_median(on_host, LATENCY_SAMPLES) * 1e6);
    shim_counter(state, "plan_us", bench_median(planned, LATENCY_SAMPLES) * 1e6);
    shim_label(state, s->plan.kernel);
    shim_time(state, bench_median(on_device, LATENCY_SAMPLES));
}

enum { LENGTHS = 5, ROUNDS = 7 };
static const int64_t lengths[LENGTHS] = {4096, 8192, 16384, 32768, 65536};
static const char *const length_names[LENGTHS] = {"ns_token_4k", "ns_token_8k", "ns_token_16k", "ns_token_32k",
                                                  "ns_token_64k"};

static problem *linear_problem(const bench_row *row, int64_t tokens, sentence *why)
{
    problem_parameters parameters = row->workload->parameters;
    const bool backward = row->pass == BENCH_BACKWARD;
    parameters.tq[0] = tokens;
    parameters.pass = backward ? PASS_BACKWARD : PASS_FORWARD;
    problem *p = problem_new(&parameters, LAYOUT_PLAIN, memory_host(), why);
    bool good = p && problem_allocate_outputs(p, PASS_FORWARD, LAYOUT_PLAIN, why);
    if (good && backward)
        good = problem_allocate_outputs(p, PASS_BACKWARD, LAYOUT_PLAIN, why);
    if (good) return p;
    problem_free(p);
    return NULL;
}

/* All lengths of a row. They take turns, so that a machine that slows down for a while slows all of them. */
typedef struct {
    problem *p[LENGTHS];
    double seconds[LENGTHS][ROUNDS];
} linear_lengths;

static void linear_free(linear_lengths *all)
{
    for (int n = 0; n < LENGTHS; n++) problem_free(all->p[n]);
}

static problem_pass linear_pass(const bench_row *row)
{
    return row->pass == BENCH_BACKWARD ? PASS_BACKWARD : PASS_FORWARD;
}

/* The first call of each length warms up; backward's answers come from the best backend. */
static bool linear_make(linear_lengths *all, const bench_row *row, shim_state *state)
{
    const slat_exec exec = {.backend = row->backend}, best = {0};
    *all = (linear_lengths){0};
    for (int n = 0; n < LENGTHS; n++) {
        sentence why = {""};
        problem *p = all->p[n] = linear_problem(row, lengths[n], &why);
        slat_status status = p ? SLAT_OK : SLAT_NO_MEMORY;
        if (p && row->pass == BENCH_BACKWARD) status = problem_call(p, PASS_FORWARD, &best);
        if (status == SLAT_OK) status = problem_call(p, linear_pass(row), &exec);
        if (status == SLAT_OK) continue;
        bench_fail(state, "T %lld: %s: %s", (long long)lengths[n], slat_status_name(status),
                   p ? slat_error() : why.text);
        linear_free(all);
        return false;
    }
    return true;
}

static bool linear_round(linear_lengths *all, int round, const bench_row *row, shim_state *state)
{
    const slat_exec exec = {.backend = row->backend};
    for (int n = 0; n < LENGTHS; n++) {
        const double start = bench_seconds();
        const slat_status status = problem_call(all->p[n], linear_pass(row), &exec);
        all->seconds[n][round] = bench_seconds() - start;
        if (status == SLAT_OK) continue;
        bench_fail(state, "T %lld: %s: %s", (long long)lengths[n], slat_status_name(status), slat_error());
        return false;
    }
    return true;
}

static void run_linear(const bench_row *row, shim_state *state)
{
    linear_lengths all;
    bench_watch watch;
    double least = 0, most = 0, total = 0;
    if (strcmp(row->backend, "scalar") == 0 && !bench_set.full) {
        shim_skip(state, "skipped: takes minutes on scalar, --full measures it");
        return;
    }
    if (!linear_make(&all, row, state)) return;
    bench_watch_begin(&watch, row->device);
    bool good = true;
    while (good && shim_next(state))
        for (int round = 0; good && round < ROUNDS; round++) good = linear_round(&all, round, row, state);
    const bool steady = bench_watch_end(&watch, row->device);
    for (int n = 0; good && n < LENGTHS; n++) {
        const double seconds = bench_median(all.seconds[n], ROUNDS), token = seconds / (double)lengths[n] * 1e9;
        shim_counter(state, length_names[n], token);
        if (n == 0 || token < least) least = token;
        if (n == 0 || token > most) most = token;
        total += seconds;
    }
    linear_free(&all);
    if (!good) return;
    shim_counter(state, "worst", most / least - 1);
    shim_label(state, steady ? "nanoseconds a token of 2 heads, window 512, D 128"
                             : "nanoseconds a token of 2 heads, window 512, D 128; the machine was not steady");
    shim_time(state, total);
}

static const bench_workload workloads[] = {
    {.id = "decode-small-cpu", .passes = BENCH_ONLY_FORWARD, .run = run_decode_small, .unit = "us",
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_F32, .b = 1, .tq = {1}, .tk = {256}, .hq = 8, .hk = 2,
                    .d = 128, .block_sparse = {.causal = 1}}},
    {.id = "dispatch-cpu", .passes = BENCH_ONLY_FORWARD, .run = run_dispatch, .unit = "ns",
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_F32, .b = 1, .tq = {1}, .tk = {1}, .hq = 1, .d = 8,
                    .block_sparse = {.causal = 1}}},
    {.id = "linear-T-cpu", .passes = BENCH_ONLY_FORWARD | 1 << BENCH_BACKWARD, .run = run_linear,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_F32, .b = 1, .ndim = 1, .tq = {4096}, .hq = 2, .d = 128,
                    .neighborhood = {.window = {512}}}},
    {.id = "na1d-small", .gpu = true, .passes = BENCH_ONLY_FORWARD | 1 << BENCH_BACKWARD, .run = run_latency,
     .unit = "us",
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_BF16, .b = 1, .ndim = 1, .tq = {1024}, .hq = 8, .d = 64,
                    .neighborhood = {.window = {128}}}},
};

const bench_list bench_small = {workloads, sizeof workloads / sizeof *workloads};

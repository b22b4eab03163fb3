/* What a row measures: its problem in both layouts, made once and kept while the next rows need the same tensors. */
#define _GNU_SOURCE
#include "bench.h"
#include "visible.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const bench_workload *workload;
    const bench_row *row; /* that `subject` is ready for; NULL: only its tensors are */
    bool states;
    void *workspace;
    const memory *memory;
    bench_subject subject;
} now;

void bench_subject_release(void)
{
    for (int i = 0; i < 2; i++) problem_free(now.subject.p[i]);
    if (now.workspace) now.memory->release(now.memory, now.workspace);
    memset(&now, 0, sizeof now);
}

/* `scalar` is a definition, not a kernel: the rate of one head and some rows is the rate of all. */
static void reduce(problem_parameters *p, char *part, size_t size)
{
    const int64_t group = p->hk ? p->hq / p->hk : 1;
    p->b = 1;
    p->hq = group;
    p->hk = 1;
    p->block_sparse.heads = 0;
    const char *heads = group > 1 ? "1 key head" : "1 head";
    if (p->op == OP_LIGHTNING_STEP || (p->tk[0] && p->tk[0] != p->tq[0])) {
        snprintf(part, size, "%s of 1 sequence", heads);
        return;
    }
    const int64_t all = p->tq[0], rows = all > 16 ? all / 16 : all;
    snprintf(part, size, "%s, %lld of %lld %s", heads, (long long)rows, (long long)all,
             p->ndim > 1 ? "grid rows" : p->op == OP_LIGHTNING ? "tokens" : "queries");
    p->tq[0] = rows;
    if (p->op == OP_LIGHTNING) return;
    p->tk[0] = all;
    for (int i = 1; i < p->ndim; i++) p->tk[i] = p->tq[i];
    if (p->op == OP_NEIGHBORHOOD) p->neighborhood.q_start[0] = (all - rows) / 2;
}

/* Bytes of q, k, v, o and, if asked, their gradients, in both layouts. */
static double tensor_bytes(const problem_parameters *p, bool backward)
{
    double tq = 1, tk = 1;
    for (int i = 0; i < 3; i++) {
        tq *= p->tq[i] ? (double)p->tq[i] : 1;
        tk *= p->tk[i] ? (double)p->tk[i] : p->tq[i] ? (double)p->tq[i] : 1;
    }
    const double rows = tq * (double)p->hq + tk * (double)(p->hk ? p->hk : p->hq);
    const double states = p->op == OP_LIGHTNING_STEP
                              ? 4.0 * (double)((p->lightning.slots ? p->lightning.slots : p->b) * p->hq * p->d * p->d)
                              : 0;
    return 4 * (double)(p->b * p->d) * rows * (double)tensor_type_size(p->type) * (backward ? 2 : 1) + 2 * states;
}

static double available_memory(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    double kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

/* The published counts of a random layout. */
static bool counts_agree(const bench_workload *w, const problem *p, bool reduced, shim_state *state)
{
    if (!w->pairs || reduced) return true;
    const int64_t blocks = p->extents.entries, pairs = visible_pairs(p);
    if (blocks == w->blocks && pairs == w->pairs) return true;
    bench_fail(state, "the layout has %lld blocks and %lld pairs, published are %lld and %lld", (long long)blocks,
               (long long)pairs, (long long)w->blocks, (long long)w->pairs);
    return false;
}

static bool make_problems(const bench_row *row, bool reduced, bool states, shim_state *state)
{
    bench_subject *s = &now.subject;
    const bench_workload *w = row->workload;
    problem_parameters p = w->parameters;
    char text[600];
    sentence why = {""};
    p.pass = w->passes & 1 << BENCH_BACKWARD ? PASS_BACKWARD : PASS_FORWARD;
    p.seed = 1;
    if (!states) p.lightning.states_every = 0;
    if (reduced) reduce(&p, s->part, sizeof s->part);
    const double needed = tensor_bytes(&p, p.pass == PASS_BACKWARD), there = available_memory();
    if (!w->gpu && there > 0 && needed > 0.9 * there) {
        snprintf(text, sizeof text, "skipped: needs %.1f GiB of memory, %.1f are available", needed / (1 << 30),
                 there / (1 << 30));
        shim_skip(state, text);
        return false;
    }
    now.workload = w;
    now.states = states;
    now.memory = row->device->memory;
    s->reduced = reduced;
    s->layouts = p.op == OP_LIGHTNING_STEP ? 1 : 2;
    const bool on_host = memory_on_host(now.memory);
    problem *host = bench_host_problem(&p, !on_host, &why);
    if (!host) {
        bench_fail(state, "%s", why.text);
        return false;
    }
    for (int pass = 0; pass < PASS_COUNT; pass++)
        s->work[pass] = w->limit == BENCH_MATRIX ? problem_flops(host, (problem_pass)pass) * 1e-12
                                                 : problem_bytes(host, (problem_pass)pass) * 1e-9;
    const bool good = counts_agree(w, host, reduced, state);
    s->p[0] = on_host ? host : bench_device_problem(host, LAYOUT_PLAIN, now.memory, &why);
    if (s->p[0] && s->layouts == 2)
        s->p[1] = on_host ? problem_copy(host, LAYOUT_HEADS_FIRST, now.memory, &why)
                          : bench_device_problem(host, LAYOUT_HEADS_FIRST, now.memory, &why);
    if (!on_host) problem_free(host);
    if (!s->p[s->layouts - 1]) bench_fail(state, "%s", why.text);
    return good && s->p[s->layouts - 1];
}

static void drop(problem *p, int slot)
{
    tensor_free(p->t[slot]);
    p->t[slot] = NULL;
}

/* The outputs of the row's pass; backward has forward's too. Lightning's workloads ask for no state and no dslopes. */
static bool make_outputs(shim_state *state)
{
    bench_subject *s = &now.subject;
    sentence why = {""};
    for (int i = 0; i < s->layouts; i++) {
        problem *p = s->p[i];
        const layout form = i ? LAYOUT_HEADS_FIRST : LAYOUT_PLAIN;
        if (!problem_allocate_outputs(p, PASS_FORWARD, form, &why) ||
            (s->pass == PASS_BACKWARD && !problem_allocate_outputs(p, PASS_BACKWARD, form, &why))) {
            bench_fail(state, "%s", why.text);
            return false;
        }
        if (p->op == OP_LIGHTNING) drop(p, ROLE_ST);
        drop(p, ROLE_DSLOPES);
    }
    return true;
}

/* Forward's answers, for backward, by the best backend. */
static bool forward_first(const bench_row *row, shim_state *state)
{
    for (int i = 0; i < now.subject.layouts; i++) {
        const problem *p = now.subject.p[i];
        slat_plan plan = {0};
        slat_exec exec = {.stream = row->device->stream, .plan = &plan};
        slat_status status = problem_call(p, PASS_FORWARD, &exec);
        exec.plan = NULL;
        if (status == SLAT_OK && plan.workspace) {
            exec.workspace = now.memory->allocate(now.memory, plan.workspace);
            exec.workspace_bytes = plan.workspace;
        }
        row->device->begin();
        if (status == SLAT_OK) status = problem_call(p, PASS_FORWARD, &exec);
        row->device->end();
        if (exec.workspace) now.memory->release(now.memory, exec.workspace);
        if (status == SLAT_OK) continue;
        bench_fail(state, "forward before backward: %s: %s", slat_status_name(status), slat_error());
        return false;
    }
    return true;
}

/* Asks what each layout needs. */
static bool make_plan(const bench_row *row, shim_state *state)
{
    bench_subject *s = &now.subject;
    s->exec = (slat_exec){.backend = row->backend, .stream = row->device->stream};
    for (int i = 0; i < s->layouts; i++) {
        slat_plan plan = {0};
        s->exec.plan = &plan;
        s->exec.deterministic = 0;
        slat_status status = problem_call(s->p[i], s->pass, &s->exec);
        if (status == SLAT_OK && row->pass == BENCH_DETERMINISTIC) {
            if (plan.deterministic) {
                shim_skip(state, "skipped: `backward` is deterministic already");
                return false;
            }
            s->exec.deterministic = 1;
            status = problem_call(s->p[i], s->pass, &s->exec);
        }
        if (status == SLAT_UNSUPPORTED) {
            char text[600];
            snprintf(text, sizeof text, "skipped: %s", slat_error());
            shim_skip(state, text);
            return false;
        }
        if (status != SLAT_OK) {
            bench_fail(state, "%s: %s", slat_status_name(status), slat_error());
            return false;
        }
        if (i == 0 || plan.workspace > s->plan.workspace) s->plan = plan;
    }
    s->exec.plan = NULL;
    return true;
}

/* Resets the process's peak to what it holds now. False: this kernel does not say. */
static bool reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return false;
    const bool written = fputs("5", f) >= 0;
    return fclose(f) == 0 && written;
}

static double peak(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    double kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

static bool make_workspace(shim_state *state)
{
    bench_subject *s = &now.subject;
    if (!s->plan.workspace) return true;
    now.workspace = now.memory->allocate(now.memory, s->plan.workspace);
    if (!now.workspace) {
        bench_fail(state, "no memory for a workspace of %zu bytes", s->plan.workspace);
        return false;
    }
    if (memory_on_host(now.memory)) memset(now.workspace, 0xff, s->plan.workspace);
    s->exec.workspace = now.workspace;
    s->exec.workspace_bytes = s->plan.workspace;
    return true;
}

/* The first call of each layout warms up, and shows what it takes beyond inputs, outputs and workspace, all of which
 * have been touched by now. The library never allocates on a GPU. */
static bool first_calls(const bench_row *row, shim_state *state)
{
    bench_subject *s = &now.subject;
    const bool host = memory_on_host(now.memory);
    double growth = 0;
    bool known = true;
    for (int i = 0; i < s->layouts; i++) {
        known = (!host || reset_peak()) && known;
        const double before = peak();
        bench_subject_turn(row, s, i);
        row->device->begin();
        const slat_status status = bench_subject_call(s, i);
        row->device->end();
        if (status != SLAT_OK) {
            bench_fail(state, "%s: %s", slat_status_name(status), slat_error());
            return false;
        }
        if (host && peak() - before > growth) growth = peak() - before;
    }
    s->peak_bytes = known ? (double)s->plan.workspace + growth : -1;
    return true;
}

bench_subject *bench_subject_of(const bench_row *row, shim_state *state)
{
    if (now.row == row) return &now.subject;
    now.row = NULL;
    const bool reduced = strcmp(row->backend, "scalar") == 0 && !bench_set.full, states = row->pass == BENCH_STATES;
    bench_subject *s = &now.subject;
    if (now.workload != row->workload || s->reduced != reduced || now.states != states) {
        bench_subject_release();
        if (!make_problems(row, reduced, states, state)) {
            bench_subject_release();
            return NULL;
        }
    }
    if (now.workspace) now.memory->release(now.memory, now.workspace);
    now.workspace = NULL;
    s->pass = row->pass == BENCH_FORWARD ? PASS_FORWARD : PASS_BACKWARD;
    s->plan = (slat_plan){0};
    if (!make_outputs(state) || !make_plan(row, state) || !make_workspace(state)) return NULL;
    if (s->pass == PASS_BACKWARD && !forward_first(row, state)) return NULL;
    if (!first_calls(row, state)) return NULL;
    now.row = row;
    return s;
}

/* The next set of states: rows of the batch take the slots behind those of the call before. */
void bench_subject_turn(const bench_row *row, bench_subject *s, int i)
{
    static int64_t turn;
    tensor *slot = s->p[i]->t[ROLE_SLOT];
    if (!row->workload->rotate || !slot) return;
    const int64_t b = s->p[i]->extents.b, slots = s->p[i]->extents.slots;
    turn = (turn + b) % (slots - slots % b);
    for (int64_t n = 0; n < b; n++) tensor_set(slot, n, (double)(turn + n));
}

slat_status bench_subject_call(const bench_subject *s, int i) { return problem_call(s->p[i], s->pass, &s->exec); }

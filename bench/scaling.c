/* --scaling: a row of the CPU once more in [B,T,H,D], with 1, 2, 4 ... threads, beside the FMA loop with as many. */
#include "bench.h"
#include <stdio.h>

#define SAMPLES 5   /* of a number of threads, at most */
#define ENOUGH  0.3 /* seconds: so long a measurement needs no SAMPLES */

/* The row's rate with so many threads; 0: a call failed, and so does the row. */
static double rate_of(const bench_row *row, const bench_subject *s, int threads, shim_state *state)
{
    const memory *m = row->device->memory;
    slat_plan plan = {0};
    slat_exec exec = s->exec;
    exec.threads = threads;
    exec.plan = &plan;
    slat_status status = problem_call(s->p[0], s->pass, &exec);
    exec.plan = NULL;
    exec.workspace_bytes = plan.workspace;
    exec.workspace = status == SLAT_OK && plan.workspace ? m->allocate(m, plan.workspace) : NULL;
    double samples[SAMPLES], sum = 0;
    int count = 0;
    if (status == SLAT_OK) status = problem_call(s->p[0], s->pass, &exec);
    while (status == SLAT_OK && count < SAMPLES && sum < ENOUGH) {
        row->device->begin();
        status = problem_call(s->p[0], s->pass, &exec);
        sum += samples[count++] = row->device->end();
    }
    if (exec.workspace) m->release(m, exec.workspace);
    if (status == SLAT_OK) return s->work[s->pass] / bench_median(samples, count);
    bench_fail(state, "%s: %s", slat_status_name(status), slat_error());
    return 0;
}

void bench_scaling(const bench_row *row, const bench_subject *s, shim_state *state)
{
    double first = 0, first_fma = 0;
    char name[32];
    if (row->workload->gpu || row->workload->limit != BENCH_MATRIX || s->reduced) return;
    for (int n = 1, last = 0; !last; n *= 2) {
        last = n >= bench_set.threads;
        const int threads = last ? bench_set.threads : n;
        const double fma = bench_fma(threads), rate = rate_of(row, s, threads, state);
        if (rate <= 0) return;
        if (n == 1) first = rate, first_fma = fma;
        snprintf(name, sizeof name, "rate_%d", threads);
        shim_counter(state, name, rate);
        snprintf(name, sizeof name, "gain_%d", threads);
        shim_counter(state, name, rate / first);
        snprintf(name, sizeof name, "gain_fma_%d", threads);
        shim_counter(state, name, fma / first_fma);
        if (last) shim_counter(state, "scaling", rate / first / (fma / first_fma));
    }
}

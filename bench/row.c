/* Measures one row: both layouts in turn, each call timed by itself; the row's time is the median of the slower one. */
#include "bench.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_SAMPLES 5
#define LONG_ENOUGH   1.0 /* seconds: a row that takes this needs no LEAST_SAMPLES */
#define PATIENCE      3.0 /* seconds, of both layouts: a row that took these is not measured again */
#define MOST_SAMPLES  (1 << 16)

static bool failed;

bool bench_failed(void) { return failed; }

void bench_fail(shim_state *state, const char *format, ...)
{
    char text[700] = "failed: ";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + strlen(text), sizeof text - strlen(text), format, arguments);
    va_end(arguments);
    failed = true;
    shim_skip(state, text);
}

bool bench_runnable(const bench_row *row, shim_state *state)
{
    char text[600];
    if (!row->device) snprintf(text, sizeof text, "skipped: %s", row->absent);
    else if (!row->rank) snprintf(text, sizeof text, "skipped: the backend %s is not for this machine", row->backend);
    else return true;
    shim_skip(state, text);
    return false;
}

typedef struct {
    double *seconds[2];
    int64_t count; /* of each */
    double sum;
} sample_set;

static bool take_sample(const bench_row *row, bench_subject *s, sample_set *samples, shim_state *state)
{
    const int64_t place = samples->count % MOST_SAMPLES;
    for (int i = 0; i < s->layouts; i++) {
        bench_subject_turn(row, s, i);
        row->device->begin();
        const slat_status status = bench_subject_call(s, i);
        const double seconds = row->device->end();
        if (status != SLAT_OK) {
            bench_fail(state, "%s: %s", slat_status_name(status), slat_error());
            return false;
        }
        samples->seconds[i][place] = seconds;
        samples->sum += seconds;
    }
    samples->count++;
    return true;
}

void bench_report(shim_state *state, const bench_workload *w, const bench_watch *watch, double rate, char *note,
                  size_t size)
{
    const size_t used = strlen(note);
    const bench_ceilings *c = watch->ceilings;
    const double ceiling = c ? bench_limit_rate(c, w->limit) : 0;
    shim_counter(state, "rate", rate);
    if (ceiling <= 0) {
        snprintf(note + used, size - used, "; no ceiling: this device's %s has not been measured",
                 bench_limit_name(w->limit));
        return;
    }
    shim_counter(state, "ceiling", ceiling);
    if (watch->steady) shim_counter(state, "share", rate / ceiling);
    else
        snprintf(note + used, size - used, "; no share: the FMA loop ran at %.3f, %.3f, %.3f TFLOP/s", c->fma,
                 watch->fma_before, watch->fma_after);
}

/* Median, least and spread of a layout's samples; sorts them. */
static double middle(double *seconds, int64_t count, double *least, double *spread)
{
    const double median = bench_median(seconds, count);
    *least = seconds[0];
    *spread = (seconds[count - 1] - seconds[0]) / median;
    return median;
}

static void report(const bench_row *row, const bench_subject *s, sample_set *samples, const bench_watch *watch,
                   shim_state *state)
{
    static const char *const names[2] = {"rate_bthd", "rate_bhtd"};
    const bench_workload *w = row->workload;
    const bool flops = w->limit == BENCH_MATRIX;
    const double work = s->work[s->pass];
    const int64_t count = samples->count < MOST_SAMPLES ? samples->count : MOST_SAMPLES;
    double time[2] = {0}, least[2], spread[2];
    int slower = 0;
    for (int i = 0; i < s->layouts; i++) {
        time[i] = middle(samples->seconds[i], count, &least[i], &spread[i]);
        if (time[i] > time[slower]) slower = i;
    }
    char note[400];
    snprintf(note, sizeof note, "%s of the %s%s; %s%s%s%s", flops ? "TFLOP/s" : "GB/s", bench_limit_name(w->limit),
             s->layouts == 1 ? "" : slower ? "; slower in [B,H,T,D]" : "; slower in [B,T,H,D]", s->plan.kernel,
             s->pass == PASS_FORWARD ? "" : s->plan.deterministic ? ", deterministic" : ", not deterministic",
             s->reduced ? "; only " : "", s->part);
    bench_report(state, w, watch, work / time[slower], note, sizeof note);
    for (int i = 0; i < s->layouts && s->layouts == 2; i++) shim_counter(state, names[i], work / time[i]);
    if (s->peak_bytes >= 0) shim_counter(state, "peak_mib", s->peak_bytes / (1 << 20));
    shim_counter(state, "min_ms", least[slower] * 1e3);
    shim_counter(state, "spread", spread[slower]);
    shim_counter(state, "samples", (double)samples->count);
    if (watch->ceilings && watch->ceilings->matrix_bf16 > 0 && s->p[0]->extents.type == TENSOR_BF16)
        shim_counter(state, "ceiling_bf16", watch->ceilings->matrix_bf16);
    if (watch->ceilings && watch->ceilings->tiles > 0 && s->p[0]->extents.type == TENSOR_BF16)
        shim_counter(state, "tile_peak_bf16", watch->ceilings->tiles);
    shim_label(state, note);
    shim_time(state, time[slower]);
}

/* The samples that Google Benchmark's loop did not ask for: enough of them, and all once more while the machine was not
 * steady, as far as patience goes. False: a call failed. */
static bool complete(const bench_row *row, bench_subject *s, sample_set *samples, bench_watch *watch, shim_state *state)
{
    while (samples->count < LEAST_SAMPLES && samples->sum < LONG_ENOUGH)
        if (!take_sample(row, s, samples, state)) return false;
    const int64_t count = samples->count;
    double spent = samples->sum;
    while (!bench_watch_end(watch, row->device) && watch->ceilings && !watch->hopeless && spent < PATIENCE) {
        bench_watch_begin(watch, row->device);
        samples->count = 0;
        samples->sum = 0;
        while (samples->count < count)
            if (!take_sample(row, s, samples, state)) return false;
        spent += samples->sum + 0.1; /* the loop beside it */
    }
    return true;
}

static void measure(const bench_row *row, shim_state *state)
{
    bench_subject *s = bench_subject_of(row, state);
    if (!s) return;
    sample_set samples = {{malloc(MOST_SAMPLES * sizeof(double)), malloc(MOST_SAMPLES * sizeof(double))}, 0, 0};
    bench_watch watch;
    bench_watch_begin(&watch, row->device);
    bool good = samples.seconds[0] && samples.seconds[1];
    if (!good) bench_fail(state, "no memory for samples");
    while (good && shim_next(state)) good = take_sample(row, s, &samples, state);
    if (good && complete(row, s, &samples, &watch, state)) {
        report(row, s, &samples, &watch, state);
        if (bench_set.scaling) bench_scaling(row, s, state);
    }
    free(samples.seconds[0]);
    free(samples.seconds[1]);
}

void bench_row_run(void *data, shim_state *state)
{
    const bench_row *row = data;
    if (!bench_runnable(row, state)) return;
    if (row->workload->run) row->workload->run(row, state);
    else measure(row, state);
}

/* Ceilings are worth something only while the machine stays as it was. Beside every measurement of ceilings and of a
 * row stands the rate of the FMA loop: where it has drifted since the ceilings, they are measured again; a row gets a
 * share only where the loop ran alike beside the ceilings, before the row and after it. */
#include "bench.h"
#include <math.h>
#include <stdio.h>

#define DRIFT  0.05
#define TRIALS 3
#define REST   60.0 /* seconds until ceilings are tried again on a machine that would not keep still */

static bool apart(double a, double b) { return fabs(a - b) > DRIFT * fmax(a, b); }

typedef struct {
    const bench_device *device;
    bench_ceilings ceilings;
    bool measured, there;
    double rest_until; /* 0: the last ceilings were steady */
    char reason[200];
} known_ceilings;

static known_ceilings known[2]; /* CPU, GPU */

static known_ceilings *find(const bench_device *device)
{
    known_ceilings *k = &known[device != bench_device_cpu()];
    k->device = device;
    return k;
}

/* Until the loop runs alike before and after them. */
static void measure(known_ceilings *k)
{
    k->measured = true;
    k->there = false;
    if (!k->device->ceilings) {
        snprintf(k->reason, sizeof k->reason, "no ceilings of %s", k->device->name);
        return;
    }
    for (int trial = 0; trial < TRIALS; trial++) {
        k->there = k->device->ceilings(&k->ceilings, k->reason, sizeof k->reason);
        if (!k->there || !k->device->pulse || !apart(k->ceilings.fma, k->device->pulse())) {
            k->rest_until = 0;
            return;
        }
    }
    k->rest_until = bench_seconds() + REST;
}

const bench_ceilings *bench_ceilings_of(const bench_device *device, const char **reason)
{
    known_ceilings *k = find(device);
    if (!k->measured) measure(k);
    if (reason) *reason = k->reason;
    return k->there ? &k->ceilings : NULL;
}

void bench_watch_begin(bench_watch *watch, const bench_device *device)
{
    *watch = (bench_watch){.ceilings = bench_ceilings_of(device, NULL)};
    if (!watch->ceilings || !device->pulse) return;
    watch->fma_before = device->pulse();
    known_ceilings *k = find(device);
    watch->hopeless = bench_seconds() < k->rest_until;
    if (watch->hopeless || !apart(watch->ceilings->fma, watch->fma_before)) return;
    measure(k);
    watch->hopeless = k->rest_until > 0;
    watch->ceilings = k->there ? &k->ceilings : NULL;
    watch->fma_before = device->pulse();
}

bool bench_watch_end(bench_watch *watch, const bench_device *device)
{
    watch->steady = watch->ceilings && !device->pulse;
    if (!watch->ceilings || !device->pulse) return watch->steady;
    watch->fma_after = device->pulse();
    const double a = watch->ceilings->fma, b = watch->fma_before, c = watch->fma_after;
    return watch->steady = !apart(a, b) && !apart(b, c) && !apart(a, c);
}

/* Ceilings are worth something only while the machine stays as it was. Beside every measurement of ceilings and of a row
 * stands the rate of the FMA loop; where it is not what it was at its best in this run, somebody else is at work: ceilings
 * are measured again, and a row gets no share. */
#include "bench.h"
#include <math.h>
#include <stdio.h>

#define DRIFT        0.05
#define FIRST_TRIALS 3

/* The FMA loop at its best in this run. */
static double best;

static double pulse(const bench_device *device)
{
    const double rate = device->pulse();
    best = fmax(best, rate);
    return rate;
}

static bool drifted(double rate) { return rate < (1 - DRIFT) * best; }

typedef struct {
    const bench_device *device;
    bench_ceilings ceilings;
    bool measured, there;
    char reason[200];
} known_ceilings;

static known_ceilings known[2]; /* CPU, GPU */

static known_ceilings *find(const bench_device *device)
{
    known_ceilings *k = &known[device != bench_device_cpu()];
    k->device = device;
    return k;
}

/* At most so many times, until the loop is at its best on both sides. */
static void measure(known_ceilings *k, int trials)
{
    k->measured = true;
    k->there = false;
    if (!k->device->ceilings) {
        snprintf(k->reason, sizeof k->reason, "no ceilings of %s", k->device->name);
        return;
    }
    for (int trial = 0; trial < trials; trial++) {
        k->there = k->device->ceilings(&k->ceilings, k->reason, sizeof k->reason);
        if (!k->there || !k->device->pulse) return;
        best = fmax(best, k->ceilings.fma);
        const double after = pulse(k->device);
        if (!drifted(k->ceilings.fma) && !drifted(after)) return;
    }
}

const bench_ceilings *bench_ceilings_of(const bench_device *device, const char **reason)
{
    known_ceilings *k = find(device);
    if (!k->measured) measure(k, FIRST_TRIALS);
    if (reason) *reason = k->reason;
    return k->there ? &k->ceilings : NULL;
}

void bench_watch_begin(bench_watch *watch, const bench_device *device)
{
    watch->ceilings = bench_ceilings_of(device, NULL);
    watch->fma_before = watch->fma_after = 0;
    if (!watch->ceilings || !device->pulse) return;
    watch->fma_before = pulse(device);
    if (!drifted(watch->ceilings->fma) && !drifted(watch->fma_before)) return;
    known_ceilings *k = find(device);
    measure(k, 1);
    watch->ceilings = k->there ? &k->ceilings : NULL;
    watch->fma_before = pulse(device);
}

bool bench_watch_steady(bench_watch *watch, const bench_device *device)
{
    if (!watch->ceilings) return false;
    if (!device->pulse) return true;
    watch->fma_after = pulse(device);
    return !drifted(watch->ceilings->fma) && !drifted(watch->fma_before) && !drifted(watch->fma_after);
}

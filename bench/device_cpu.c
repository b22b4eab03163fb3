/* The CPU as a device: a call has ended when it returns. */
#include "device.h"
#include <omp.h>

static double started;

static void begin(void) { started = bench_seconds(); }

static double end(void) { return bench_seconds() - started; }

static double pulse(void) { return bench_fma(omp_get_max_threads()); }

const bench_device *bench_device_cpu(void)
{
    static bench_device device = {
        .name = "cpu", .begin = begin, .end = end, .ceilings = bench_ceilings_cpu, .pulse = pulse};
    device.memory = memory_host();
    return &device;
}

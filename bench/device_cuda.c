/* The first GPU, through the driver's own library: the bench builds and runs without CUDA. */
#define _POSIX_C_SOURCE 199309L
#include "ceilings_cuda.h"
#include "device.h"
#include <time.h>

static const cuda_driver *driver;
static void *start, *stop; /* events */

/* Filled before the clock starts: what follows has been enqueued when the device comes to it, so that its time is the
 * device's alone, and the cache holds none of its inputs. */
static cuda_address filled;
#define FILLED_BYTES ((size_t)256 << 20)

/* Some 30 ms of a fast kernel bring a GPU to its power's limit, where its clock falls by a sixth; after a short rest it
 * is as before. So calls come in short bursts, those of rows and those of the ceilings. */
#define BURST 8e-3 /* seconds */
#define REST  30e-3
static double busy;

static void begin(void)
{
    if (busy > BURST) {
        nanosleep(&(struct timespec){.tv_nsec = (long)(REST * 1e9)}, NULL);
        busy = 0;
    }
    driver->fill(filled, 0, FILLED_BYTES, NULL);
    driver->event_record(start, NULL);
}

/* A failed kernel shows in the next call's status; a time that cannot be read is no time. */
static double end(void)
{
    float ms = 0;
    driver->event_record(stop, NULL);
    if (driver->event_wait(stop) || driver->event_time(&ms, start, stop)) return -1;
    busy += ms * 1e-3;
    return ms * 1e-3;
}

static bool ceilings(bench_ceilings *c, char *reason, size_t size)
{
    static const bench_clock clock = {begin, end};
    return bench_ceilings_cuda(driver, &clock, c, reason, size);
}

const bench_device *bench_device_gpu(const char **reason)
{
    static char name[128];
    static bench_device device = {.name = name, .begin = begin, .end = end, .ceilings = ceilings};
    int first = 0;
    device.memory = memory_cuda(reason);
    if (!device.memory) return NULL;
    driver = cuda_driver_open(0, reason);
    if (driver->device(&first, 0) || driver->name(name, sizeof name, first) || driver->event_create(&start, 0) ||
        driver->event_create(&stop, 0) || driver->allocate(&filled, FILLED_BYTES)) {
        *reason = "the CUDA driver cannot open the first device";
        return NULL;
    }
    return &device;
}

/* Where a row runs: memory, a stream, a clock and ceilings. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H
#include "ceilings.h"
#include "memory.h"

typedef struct {
    const char *name; /* of the machine's part, for the printed context */
    const memory *memory;
    void *stream;     /* for slat_exec */
    /* Seconds that the work between the two calls took on the device; end() waits for it. */
    void (*begin)(void);
    double (*end)(void);
    /* Measures the ceilings, or says why not. */
    bool (*ceilings)(bench_ceilings *, char *reason, size_t size);
    /* A rate that shows whether the machine is the same as before; NULL: the device has no such loop. */
    double (*pulse)(void);
} bench_device;

const bench_device *bench_device_cpu(void);
/* The first GPU; NULL with the reason. Loads the driver when first asked. */
const bench_device *bench_device_gpu(const char **reason);
#endif

/* What a GPU can do at best. */
#ifndef BENCH_CEILINGS_CUDA_H
#define BENCH_CEILINGS_CUDA_H
#include "ceilings.h"
#include "cuda_driver.h"

/* Seconds of the device between the two calls, as of bench_device. */
typedef struct {
    void (*begin)(void);
    double (*end)(void);
} bench_clock;

/* A few seconds. Without cuBLAS the matrix product stays 0 and `reason` says so; false where not even copies could be
 * measured. */
bool bench_ceilings_cuda(const cuda_driver *driver, const bench_clock *clock, bench_ceilings *ceilings, char *reason,
                         size_t size);
#endif

/* The only file that knows OpenMP. */
#include "parallel.h"
#include <omp.h>

int32_t slat_threads(void)
{
    return omp_in_parallel() ? 1 : omp_get_max_threads();
}

void slat_parallel(const slat_run *run, int32_t workers, void (*task)(void *ctx, int32_t worker), void *ctx)
{
    if (workers == 1) {
        task(ctx, 0);
    } else if (run->parallel) {
        run->parallel(run->pool, workers, task, ctx);
    } else {
#pragma omp parallel for num_threads(workers) schedule(static, 1)
        for (int32_t i = 0; i < workers; i++) task(ctx, i);
    }
}

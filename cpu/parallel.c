/* The only file that knows OpenMP. */
#include "parallel.h"
#include <omp.h>
#include <pthread.h>

/* A forked child has OpenMP's bookkeeping and none of its threads: it would wait for them for ever. There the caller's
 * thread does all the work, to the same bits. */
static int forked;
static pthread_once_t watching = PTHREAD_ONCE_INIT;

static void note_fork(void) { forked = 1; }

static void watch_forks(void) { pthread_atfork(NULL, NULL, note_fork); }

int32_t slat_threads(void)
{
    return forked || omp_in_parallel() ? 1 : omp_get_max_threads();
}

void slat_parallel(const slat_run *run, int32_t workers, void (*task)(void *ctx, int32_t worker), void *ctx)
{
    if (workers == 1) {
        task(ctx, 0);
    } else if (run->parallel) {
        run->parallel(run->pool, workers, task, ctx);
    } else if (forked) {
        for (int32_t i = 0; i < workers; i++) task(ctx, i);
    } else {
        pthread_once(&watching, watch_forks);
#pragma omp parallel for num_threads(workers) schedule(static, 1)
        for (int32_t i = 0; i < workers; i++) task(ctx, i);
    }
}

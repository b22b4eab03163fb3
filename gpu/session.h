/* One call on a GPU, planned or run.
 *
 * Each primitive enqueues its work once, through a session: a planning session loads the kernels, counts launches and
 * adds up the workspace; a running one cuts the workspace and launches. So the plan and the run cannot differ.
 */
#ifndef SLAT_GPU_SESSION_H
#define SLAT_GPU_SESSION_H
#include "backend.h"
#include "launch.h"

class slat_session
{
  public:
    const slat_problem &problem;
    const int32_t deterministic; /* what the caller asks for: 0 the default, 1 required, -1 not needed */

    slat_session(const slat_problem *p, const slat_run *run, bool planning);
    ~slat_session(); /* restores the current device */

    /* `count` elements of workspace, 256-byte aligned; NULL while planning. */
    void *take(int64_t count, size_t size);

    /* Sets bytes that `take` gave to 0. */
    void clear(void *at, size_t count);

    /* What a tensor map is made of: the tensor's data, or any address while planning. */
    slat_view mapped(const slat_view &view) const;

    /* Multiprocessors of the call's device. */
    int processors();

    /* Bytes a nanosecond that its memory moves, about. */
    double memory_rate();

    /* `blocks` of slat_block threads; none: nothing is launched. Kernels stride over more work than a grid has blocks.
     */
    template <class... P, class... A> void launch(void (*kernel)(P...), int64_t blocks, size_t shared, A &&...arguments)
    {
        launch_wide(kernel, blocks, slat_block, shared, std::forward<A>(arguments)...);
    }

    /* Blocks of `threads`. */
    template <class... P, class... A>
    void launch_wide(void (*kernel)(P...), int64_t blocks, int threads, size_t shared, A &&...arguments)
    {
        start(kernel, blocks, threads, shared, false, std::forward<A>(arguments)...);
    }

    /* The same for a kernel that may begin before the one enqueued before it has ended: it waits for it by itself. */
    template <class... P, class... A>
    void launch_early(void (*kernel)(P...), int64_t blocks, int threads, size_t shared, A &&...arguments)
    {
        start(kernel, blocks, threads, shared, true, std::forward<A>(arguments)...);
    }

    /* The kernels do not compute this problem: finish() says SLAT_UNSUPPORTED. Only while planning. */
    void refuse(const char *sentence) { refused = sentence; }

    /* The result depends on the order in which blocks run. */
    void varies() { order = true; }

    slat_status finish(slat_plan *plan); /* plan: NULL when run */

  private:
    template <class... P, class... A>
    void start(void (*kernel)(P...), int64_t blocks, int threads, size_t shared, bool early, A &&...arguments)
    {
        if (error != cudaSuccess || blocks <= 0) return;
        ++launches;
        if (planning) {
            error = slat_load(kernel, shared);
            return;
        }
        std::tuple<P...> values(std::forward<A>(arguments)...);
        const unsigned grid = blocks < INT32_MAX ? (unsigned)blocks : (unsigned)INT32_MAX;
        error =
            slat_start(kernel, grid, (unsigned)threads, shared, stream, early, values, std::index_sequence_for<P...>());
    }

    int attribute(cudaDeviceAttr which);

    bool planning;
    cudaStream_t stream;
    char *workspace;
    size_t bytes = 0;
    int32_t launches = 0;
    const char *refused = NULL;
    bool order = false;
    int previous = -1; /* the caller's device, where it is another one */
    cudaError_t error = cudaSuccess;
};

/* The work of each primitive, for the passes that it has. */
void slat_cuda_block_sparse(slat_session &);
void slat_cuda_neighborhood(slat_session &);
void slat_cuda_sharded(slat_session &);
void slat_cuda_landmark(slat_session &);
void slat_cuda_lightning(slat_session &);
void slat_cuda_lightning_step(slat_session &);
void slat_cuda_merge(slat_session &);
void slat_cuda_transpose(slat_session &);

extern const slat_backend_table slat_sm90_table; /* `cuda-sm90` */

extern const slat_host *slat_cuda_host; /* how to say what went wrong */

/* Keeps CUDA's sentence for slat_error(). */
slat_status slat_cuda_failed(const char *what, cudaError_t error);
#endif

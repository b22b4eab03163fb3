/* Sessions: the device of a call, its workspace, its failures. */
#include "session.h"

const slat_host *slat_cuda_host;

slat_status slat_cuda_failed(const char *what, cudaError_t error)
{
    cudaGetLastError(); /* the next call begins clean, where the device still can */
    return slat_cuda_host->fail(SLAT_DEVICE, "cuda: %s: %s", what, cudaGetErrorString(error));
}

slat_session::slat_session(const slat_problem *p, const slat_run *run, bool plans)
    : problem(*p), planning(plans), stream((cudaStream_t)run->stream), workspace((char *)run->workspace)
{
    int current = 0;
    error = cudaGetDevice(&current);
    if (error != cudaSuccess || current == p->device.device_id) return;
    error = cudaSetDevice(p->device.device_id);
    if (error == cudaSuccess) previous = current;
}

slat_session::~slat_session()
{
    if (previous >= 0) cudaSetDevice(previous);
}

void *slat_session::take(int64_t count, size_t size)
{
    char *at = planning ? NULL : workspace + bytes;
    bytes += ((size_t)count * size + 255) / 256 * 256;
    return at;
}

slat_status slat_session::finish(slat_plan *plan)
{
    if (error != cudaSuccess) return slat_cuda_failed(planning ? "loading a kernel" : "launching a kernel", error);
    if (plan) {
        plan->workspace = bytes;
        plan->deterministic = 1;
        plan->launches = launches;
    }
    return SLAT_OK;
}

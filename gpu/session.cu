/* Sessions: the device of a call, its workspace, its failures. */
#include "session.h"
#include <atomic>

const slat_host *slat_cuda_host;

slat_status slat_cuda_failed(const char *what, cudaError_t error)
{
    cudaGetLastError(); /* the next call begins clean, where the device still can */
    return slat_cuda_host->fail(SLAT_DEVICE, "cuda: %s: %s", what, cudaGetErrorString(error));
}

slat_session::slat_session(const slat_problem *p, const slat_run *run, bool plans)
    : problem(*p), deterministic(run->deterministic), planning(plans), stream((cudaStream_t)run->stream),
      workspace((char *)run->workspace)
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

void slat_session::clear(void *at, size_t count)
{
    if (error == cudaSuccess && !planning) error = cudaMemsetAsync(at, 0, count, stream);
}

slat_view slat_session::mapped(const slat_view &view) const
{
    slat_view v = view;
    if (planning) v.data = (void *)256;
    return v;
}

int slat_session::attribute(cudaDeviceAttr which)
{
    int value = 1;
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, which, problem.device.device_id);
    return value;
}

int slat_session::processors()
{
    return attribute(cudaDevAttrMultiProcessorCount);
}

/* Copies reached .88 to .90 of what clock (kHz) and width (bits) say, on H100 and H200. The driver takes a millisecond
 * to tell a clock, so a device is asked once. */
double slat_session::memory_rate()
{
    constexpr int places = 64; /* devices of one machine */
    static std::atomic<double> known[places];
    std::atomic<double> &own = known[problem.device.device_id % places];
    double rate = own.load(std::memory_order_relaxed);
    if (rate > 0) return rate;
    const double clock = attribute(cudaDevAttrMemoryClockRate), width = attribute(cudaDevAttrGlobalMemoryBusWidth);
    rate = 0.88 * 2 * clock * width / 8 * 1e-6;
    if (error == cudaSuccess) own.store(rate, std::memory_order_relaxed);
    return rate;
}

slat_status slat_session::finish(slat_plan *plan)
{
    if (refused && error == cudaSuccess) return slat_cuda_host->fail(SLAT_UNSUPPORTED, "%s", refused);
    if (error != cudaSuccess) return slat_cuda_failed(planning ? "loading a kernel" : "launching a kernel", error);
    if (plan) {
        plan->workspace = bytes;
        plan->deterministic = !order;
        plan->launches = launches;
    }
    return SLAT_OK;
}

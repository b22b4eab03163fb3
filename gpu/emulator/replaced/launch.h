/* Takes the place of gpu/launch.h: a kernel is called as a function, once a thread, by emulator::launch. */
#ifndef SLAT_GPU_LAUNCH_H
#define SLAT_GPU_LAUNCH_H
#include <cuda_runtime.h>
#include <functional>
#include <tuple>
#include <utility>

constexpr int slat_block = 256; /* threads of a block, where a kernel does not say otherwise */
constexpr size_t slat_shared_most = 227 * 1024;

namespace emulator
{
cudaError_t launch(const void *kernel, const std::function<void()> &body, unsigned blocks, unsigned threads,
                   size_t shared);
}

template <class... P> cudaError_t slat_load(void (*)(P...), size_t shared)
{
    return shared > slat_shared_most ? cudaErrorInvalidValue : cudaSuccess;
}

template <class... P, size_t... I>
cudaError_t slat_start(void (*kernel)(P...), unsigned blocks, unsigned threads, size_t shared, cudaStream_t, bool,
                       std::tuple<P...> &arguments, std::index_sequence<I...>)
{
    const std::function<void()> body = [&] { kernel(std::get<I>(arguments)...); };
    return emulator::launch((const void *)kernel, body, blocks, threads, shared);
}
#endif

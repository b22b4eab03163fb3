/* Loading and starting a kernel whose arguments are values. */
#ifndef SLAT_GPU_LAUNCH_H
#define SLAT_GPU_LAUNCH_H
#include <cuda_runtime.h>
#include <tuple>
#include <utility>

constexpr int slat_block = 256; /* threads of a block, where a kernel does not say otherwise */

/* Brings the kernel onto the current device, so that a later capture has nothing to load, and grants its shared memory.
 */
template <class... P> cudaError_t slat_load(void (*kernel)(P...), size_t shared)
{
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, (const void *)kernel);
    if (error != cudaSuccess || shared <= 48 * 1024) return error;
    return cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
}

template <class... P, size_t... I>
cudaError_t slat_start(void (*kernel)(P...), unsigned blocks, unsigned threads, size_t shared, cudaStream_t stream,
                       std::tuple<P...> &arguments, std::index_sequence<I...>)
{
    void *pointers[] = {(void *)&std::get<I>(arguments)...};
    return cudaLaunchKernel((const void *)kernel, dim3(blocks), dim3(threads), pointers, shared, stream);
}
#endif

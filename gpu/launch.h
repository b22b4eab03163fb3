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
    if (shared > 48 * 1024)
        return cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, (const void *)kernel);
}

/* early: it may begin before the kernel before it has ended, and says itself where it waits for that one. */
template <class... P, size_t... I>
cudaError_t slat_start(void (*kernel)(P...), unsigned blocks, unsigned threads, size_t shared, cudaStream_t stream,
                       bool early, std::tuple<P...> &arguments, std::index_sequence<I...>)
{
    void *pointers[] = {(void *)&std::get<I>(arguments)...};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = early ? 1 : 0;
    return cudaLaunchKernelExC(&config, (const void *)kernel, pointers);
}
#endif

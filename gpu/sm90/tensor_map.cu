/* Tensor maps through the driver's entry point, so that nothing links libcuda. */
#include "tensor_map.h"
#include <cudaTypedefs.h>
#include <cuda_runtime.h>
#include <numeric>
#include <pthread.h>

namespace
{

typedef PFN_cuTensorMapEncodeTiled_v12000 encoder;

encoder encode_tiled;
pthread_once_t found = PTHREAD_ONCE_INIT;

void find_encoder()
{
    void *entry = NULL;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t error = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &result);
#endif
    if (error == cudaSuccess && result == cudaDriverEntryPointSuccess)
        encode_tiled = (encoder)entry;
    else
        cudaGetLastError();
}

constexpr int element_bytes = 2, box_columns = 64;

/* strides[i], in elements, steps dimension i + 1; those of extents of 1 are free. */
bool encode(CUtensorMap *map, const slat_view *view, int dims, const int64_t *extents, const int64_t *strides,
            const int32_t *box)
{
    pthread_once(&found, find_encoder);
    if (!encode_tiled) return false;
    cuuint64_t extent[5], stride[4];
    cuuint32_t size[5], step[5];
    for (int i = 0; i < dims; ++i) {
        if (extents[i] < 1 || extents[i] > UINT32_MAX) return false;
        extent[i] = (cuuint64_t)extents[i];
        size[i] = (cuuint32_t)box[i];
        step[i] = 1;
        if (!i) continue;
        stride[i - 1] = (cuuint64_t)(extents[i] > 1 ? strides[i - 1] * element_bytes : 16);
    }
    const CUtensorMapDataType type =
        view->type == SLAT_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    return encode_tiled(map, type, (cuuint32_t)dims, view->data, extent, stride, size, step,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

} // namespace

bool slat_map_sequence(CUtensorMap *map, const slat_view *view, int64_t b, int64_t tokens, int32_t heads,
                       int32_t columns, int32_t box_tokens)
{
    const int64_t extents[] = {columns, tokens, heads, b}, strides[] = {view->token[2], view->head, view->batch};
    const int32_t box[] = {box_columns, box_tokens, 1, 1};
    return encode(map, view, 4, extents, strides, box);
}

bool slat_map_grid(CUtensorMap *map, const slat_view *view, int64_t b, bool deep, const int64_t extents[3],
                   int32_t heads, int32_t columns, const int32_t box[3])
{
    int64_t extent[5] = {columns, extents[2], extents[1], heads, b};
    int64_t stride[4] = {view->token[2], view->token[1], view->head, view->batch};
    int32_t size[5] = {box_columns, box[2], box[1], 1, 1};
    if (deep) {
        extent[3] = extents[0], extent[4] = heads;
        stride[2] = view->token[0], stride[3] = view->head;
        size[3] = box[0];
    }
    return encode(map, view, 5, extent, stride, size);
}

bool slat_map_groups(CUtensorMap *maps, int count, slat_group_steps *steps, const slat_view *view, int64_t b,
                     const int64_t extents[3], const int32_t dilation[3], int32_t heads, int32_t columns,
                     const int32_t box[3])
{
    /* The last dimension steps by what divides all the ways from a group, head or entry to the next. */
    const int64_t ways[] = {view->token[0], view->token[1], view->token[2], view->head, view->batch};
    int64_t many[] = {1, 1, 1, heads, b}, unit = 0, farthest = 0;
    for (int d = 0; d < 3; ++d) many[d] = slat_min(dilation[d], extents[d]);
    for (int i = 0; i < 5; ++i) {
        if (many[i] == 1) continue;
        if (ways[i] < 0) return false;
        unit = std::gcd(unit, ways[i]);
        farthest += (many[i] - 1) * ways[i];
    }
    if (!unit) unit = 16 / element_bytes;
    if (farthest / unit >= INT32_MAX) return false;
    int32_t *const step[] = {&steps->group[0], &steps->group[1], &steps->group[2], &steps->head, &steps->batch};
    for (int i = 0; i < 5; ++i) *step[i] = many[i] > 1 ? (int32_t)(ways[i] / unit) : 0;

    for (int n = 0; n < count; ++n) {
        int64_t extent[5] = {columns, 0, 0, 0, farthest / unit + 1}, stride[4] = {0, 0, 0, unit};
        const int32_t size[5] = {box_columns, box[2], box[1], box[0], 1};
        bool used = true;
        for (int d = 0; d < 3; ++d) {
            const int bit = 1 << (2 - d);
            const bool longer = bit < count && !(n & bit);
            used &= !longer || extents[d] % dilation[d];
            extent[3 - d] = slat_max(extents[d] / dilation[d] + longer, 1);
            stride[2 - d] = view->token[d] * dilation[d];
        }
        if (used && !encode(maps + n, view, 5, extent, stride, size)) return false;
    }
    return true;
}

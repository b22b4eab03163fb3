/* Rows in shared memory that nobody sees become 0, so that what stands there, which may be NaN, meets no product. */
#ifndef SLAT_SM90_ZERO_ROWS_CUH
#define SLAT_SM90_ZERO_ROWS_CUH
#include "softmax_room.cuh"

namespace sm90
{

/* Of two operands in chunks of `height` rows, rows `first` to `first` + `rows` - 1 where unseen(row). All threads of a
 * group take part. */
template <int chunks, int height, class Unseen>
__device__ __forceinline__ void zero_rows(uint32_t a, uint32_t b, int first, int rows, int thread, const Unseen &unseen)
{
    for (int row = first + thread / 8; row < first + rows; row += group_threads / 8) {
        if (!unseen(row)) continue;
#pragma unroll
        for (int c = 0; c < chunks; ++c) {
            store_zeros(a + (c * height + row) * row_bytes + thread % 8 * 16);
            store_zeros(b + (c * height + row) * row_bytes + thread % 8 * 16);
        }
    }
}

} // namespace sm90
#endif

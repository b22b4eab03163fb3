/* The transposed block layout: the same entries by key block, query blocks ascending. One launch, a block a head. */
#include "transpose.cuh"

namespace simt
{

constexpr int transpose_threads = 1024;

__global__ void __launch_bounds__(transpose_threads)
    transpose(const __grid_constant__ slat_layout l, const __grid_constant__ transposed to)
{
    const int64_t heads = (int64_t)l.batches * l.heads;
    for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) transpose_head<transpose_threads>(l, head, to);
}

void enqueue_transpose(slat_session &session, const transposed &to)
{
    const slat_layout &l = session.problem.layout;
    session.launch_wide(transpose, (int64_t)l.batches * l.heads, transpose_threads,
                        sizeof(transpose_room<transpose_threads>), l, to);
}

transposed take_transposed(slat_session &session, bool entries)
{
    const slat_layout &l = session.problem.layout;
    transposed to = {};
    to.indptr = (int32_t *)session.take((int64_t)l.batches * l.heads * (l.columns + 1), sizeof(int32_t));
    to.indices = (int32_t *)session.take(l.entries, sizeof(int32_t));
    if (entries) to.entry = (int32_t *)session.take(l.entries, sizeof(int32_t));
    return to;
}

} // namespace simt

void slat_cuda_transpose(slat_session &session)
{
    simt::enqueue_transpose(session, simt::by_key(session.problem.layout));
}

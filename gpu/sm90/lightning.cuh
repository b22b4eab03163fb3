/* Lightning attention on Hopper: the kernel of the scan, and the launch of one or two of them. */
#ifndef SLAT_SM90_LIGHTNING_CUH
#define SLAT_SM90_LIGHTNING_CUH
#include "lightning_line.cuh"
#include "lightning_rows.cuh"
#include "session.h"

namespace sm90
{

/* Scans that run side by side, the blocks of one head next to each other: what both read comes from memory once. */
struct scans {
    scan job[2];
};

template <class T, int DEPTH, int SLABS, class Work>
__device__ __forceinline__ void scan_block(uint8_t *raw, const scans &jobs, const split &by)
{
    typedef chunk_room<DEPTH, SLABS> room;
    room &s = room_in<room>(raw);
    s.init();
    const scan &p = jobs.job[blockIdx.x % by.jobs];
    const Work w = {work_of(p, by, blockIdx.x)};
    const int role = __shfl_sync(~0u, threadIdx.x / group, 0);
    places<room> now;
    if (role == 0) {
        registers_give<40>();
        if (threadIdx.x == 0) produce(s, p, w, now);
    } else if (role == 1) {
        registers_take<232>();
        keep_state<T>(s, p, w, now);
    } else {
        registers_take<232>();
        write_rows<T>(s, p, w, now);
    }
}

template <class T, int DEPTH, int SLABS>
__global__ void __launch_bounds__(3 * group, 1) lightning_scan(const __grid_constant__ scans jobs, const split by)
{
    extern __shared__ uint8_t raw[];
    scan_block<T, DEPTH, SLABS, work>(raw, jobs, by);
}

/* The same where the line did not do it. */
template <class T, int DEPTH, int SLABS>
__global__ void __launch_bounds__(3 * group, 1) lightning_else(const __grid_constant__ scans jobs, const split by)
{
    extern __shared__ uint8_t raw[];
    kernel_before_wait();
    if (line(jobs.job[0], by).pays()) return;
    scan_block<T, DEPTH, SLABS, late_work>(raw, jobs, by);
}

/* All heads' chunks as one line, where that is soonest: blocks of 128 columns of c. */
template <class T, int DEPTH>
__global__ void __launch_bounds__(3 * group, 1) lightning_line(const __grid_constant__ scans jobs, const split by)
{
    typedef chunk_room<DEPTH, 2> room;
    extern __shared__ uint8_t raw[];
    room &s = room_in<room>(raw);
    line all(jobs.job[0], by);
    if (!all.pays()) return;
    part own = all.part_of(blockIdx.x / by.jobs);
    s.init();
    const scan &p = jobs.job[blockIdx.x % by.jobs];
    const int role = __shfl_sync(~0u, threadIdx.x / group, 0);
    places<room> now;
    piece w;
    if (role == 0) {
        registers_give<40>();
        if (threadIdx.x == 0)
            while (own.next(w, p, by)) produce(s, p, w, now);
    } else if (role == 1) {
        registers_take<232>();
#pragma unroll 1
        while (own.next(w, p, by)) keep_state<T>(s, p, w, now);
    } else {
        registers_take<232>();
#pragma unroll 1
        while (own.next(w, p, by)) write_rows<T>(s, p, w, now);
    }
}

template <class T, int DEPTH, int SLABS>
void launch_scans(slat_session &session, const scans &jobs, const split &by, int64_t blocks)
{
    constexpr size_t bytes = room_bytes<chunk_room<DEPTH, SLABS>>;
    if constexpr (DEPTH <= 128)
        if (by.workers)
            return session.launch_early(lightning_else<T, DEPTH, SLABS>, blocks, 3 * group, bytes, jobs, by);
    session.launch_wide(lightning_scan<T, DEPTH, SLABS>, blocks, 3 * group, bytes, jobs, by);
}

template <class T> void launch_line(slat_session &session, const scans &jobs, const split &by)
{
    const bool narrow = jobs.job[0].depth <= 64;
    const size_t bytes = narrow ? room_bytes<chunk_room<64, 2>> : room_bytes<chunk_room<128, 2>>;
    session.launch_wide(narrow ? lightning_line<T, 64> : lightning_line<T, 128>, by.workers * (int64_t)by.jobs,
                        3 * group, bytes, jobs, by);
}

/* Columns of a and b in shared memory, and 64 columns of c a block, once or twice. */
template <class T>
void launch_scans(slat_session &session, const scans &jobs, const split &by, int64_t blocks, int depth, int slabs)
{
    if (depth <= 64)
        slabs == 1 ? launch_scans<T, 64, 1>(session, jobs, by, blocks)
                   : launch_scans<T, 64, 2>(session, jobs, by, blocks);
    else if (depth <= 128)
        slabs == 1 ? launch_scans<T, 128, 1>(session, jobs, by, blocks)
                   : launch_scans<T, 128, 2>(session, jobs, by, blocks);
    else if (depth <= 192)
        launch_scans<T, 192, 1>(session, jobs, by, blocks);
    else
        launch_scans<T, 256, 1>(session, jobs, by, blocks);
}

/* lightning_bf16.cu, lightning_f16.cu */
void launch_scans_bf16(slat_session &, const scans &, const split &, int64_t blocks, int depth, int slabs);
void launch_scans_f16(slat_session &, const scans &, const split &, int64_t blocks, int depth, int slabs);
void launch_line_bf16(slat_session &, const scans &, const split &);
void launch_line_f16(slat_session &, const scans &, const split &);

/* lightning_slope.cu: dslopes of the scan of forward whose y is do, in f32 its rows too, and whose end is dS_T. */
void enqueue_slopes(slat_session &, const scan &);

/* lightning_round.cu: grad_o of f32 in q's type. Where f16 needs it, every head is multiplied by a power of 2. */
struct rounded {
    slat_view view;
    float *units, *powers; /* [batches, heads] or NULL: what 1 stands for, and its reciprocal */
};
rounded round_grad(slat_session &);

} // namespace sm90
#endif

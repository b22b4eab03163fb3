/* The scans of lightning attention in bf16. */
#include "lightning.cuh"

void sm90::launch_scans_bf16(slat_session &session, const scans &jobs, const split &by, int64_t blocks, int depth,
                             int slabs)
{
    launch_scans<__nv_bfloat16>(session, jobs, by, blocks, depth, slabs);
}

void sm90::launch_line_bf16(slat_session &session, const scans &jobs, const split &by)
{
    launch_line<__nv_bfloat16>(session, jobs, by);
}

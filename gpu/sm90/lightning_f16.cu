/* The scans of lightning attention in f16. */
#include "lightning.cuh"

void sm90::launch_scans_f16(slat_session &session, const scans &jobs, const split &by, int64_t blocks, int depth,
                            int slabs)
{
    launch_scans<__half>(session, jobs, by, blocks, depth, slabs);
}

void sm90::launch_line_f16(slat_session &session, const scans &jobs, const split &by)
{
    launch_line<__half>(session, jobs, by);
}

/* Counting through a ring of buffers: a slot, and the parity of the phase in which its barrier ends next. Who fills a
 * slot waits for the parity before, on the barrier of the empty ones.
 */
#ifndef SLAT_SM90_RING_CUH
#define SLAT_SM90_RING_CUH
#include <cstdint>

namespace sm90
{

template <int slots> struct ring {
    int slot = 0;
    uint32_t parity = 0;

    __device__ __forceinline__ void advance()
    {
        if (++slot < slots) return;
        slot = 0;
        parity ^= 1;
    }
};

} // namespace sm90
#endif

/* Takes the place of gpu/sm90/wgmma.cuh, which says what each of these does. */
#ifndef SLAT_SM90_WGMMA_CUH
#define SLAT_SM90_WGMMA_CUH
#include "ptx.cuh"

namespace sm90
{

constexpr int chunk = 64;            /* columns */
constexpr int row_bytes = 2 * chunk; /* of a chunk */

inline uint32_t swizzle_128(uint32_t row, uint32_t piece)
{
    return row * row_bytes + ((piece ^ (row & 7)) << 4);
}

inline uint32_t operand(uint32_t address, uint32_t chunk_bytes = 16)
{
    return address >> 4 | chunk_bytes >> 4 << 16;
}

constexpr uint32_t operand_step(uint32_t bytes)
{
    return bytes >> 4;
}

constexpr uint32_t operand_rest = 8 * row_bytes >> 4 | 1u << 30;

inline void wgmma_fence() {}
inline void wgmma_commit()
{
    emulator::products_commit();
}

template <int pending> __forceinline__ void wgmma_wait()
{
    emulator::products_wait(pending);
}

template <int N> inline void wgmma_ended(float (&)[N]) {}

template <class T, int N> struct wgmma {
    static constexpr bool half = std::is_same<T, __half>::value;

    template <int across = 0, int across_left = 0>
    static __forceinline__ void ss(float (&c)[N / 2], uint32_t a, uint32_t b, int add)
    {
        emulator::multiply({c, N, half, NULL, a, b, add != 0, across != 0, across_left != 0});
    }

    template <int across = 0> static __forceinline__ void rs(float (&c)[N / 2], const uint32_t *a, uint32_t b, int add)
    {
        emulator::multiply({c, N, half, a, 0, b, add != 0, across != 0, false});
    }
};

} // namespace sm90
#endif

/* Takes the place of gpu/sm90/ptx.cuh, which says what each of these does. What waits or is checked is inlined, so that
 * the emulator sees the kernel's own line as its caller. */
#ifndef SLAT_SM90_PTX_CUH
#define SLAT_SM90_PTX_CUH
#include <cstdint>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace sm90
{

/* ---- shared memory and barriers ---- */

inline uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

__forceinline__ void barrier_init(uint64_t *barrier, int arrivals)
{
    emulator::barrier_init(barrier, arrivals);
}

inline void barrier_init_fence() {}
__forceinline__ void barrier_arrive(uint64_t *barrier)
{
    emulator::barrier_arrive(barrier, 0);
}

__forceinline__ void barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    emulator::barrier_arrive(barrier, bytes);
}

__forceinline__ void barrier_expect_warp(uint64_t *barrier, uint32_t bytes)
{
    emulator::barrier_arrive(barrier, emulator::lane() == 0 ? bytes : 0);
}

__forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    emulator::barrier_wait(barrier, parity);
}

__forceinline__ void named_sync(int barrier, int threads)
{
    emulator::named_barrier(barrier, threads, true);
}

__forceinline__ void named_arrive(int barrier, int threads)
{
    emulator::named_barrier(barrier, threads, false);
}

inline void proxy_fence()
{
    emulator::proxy_fence();
}

inline void proxy_fence_all()
{
    emulator::proxy_fence();
}

/* ---- counters in memory, between blocks ---- */

__forceinline__ int32_t counter_read(const int32_t *counter)
{
    emulator::pause();
    return *(const volatile int32_t *)counter;
}

inline void counter_add(int32_t *counter)
{
    ++*(volatile int32_t *)counter;
}

/* ---- the kernels before and after this one; registers ---- */

inline void kernel_before_wait() {}
inline void kernel_after_begins() {}
template <int count> inline void registers_give() {}
template <int count> inline void registers_take() {}

/* ---- bulk tensor copies ---- */

inline void prefetch_map(const CUtensorMap *) {}

__forceinline__ void load_box(void *to, const CUtensorMap *map, uint64_t *barrier, int c0, int c1, int c2, int c3)
{
    emulator::load_box(to, map, barrier, 4, {{c0, c1, c2, c3, 0}});
}

__forceinline__ void load_box(void *to, const CUtensorMap *map, uint64_t *barrier, int c0, int c1, int c2, int c3,
                              int c4)
{
    emulator::load_box(to, map, barrier, 5, {{c0, c1, c2, c3, c4}});
}

__forceinline__ void store_box(const CUtensorMap *map, const void *from, int c0, int c1, int c2, int c3)
{
    emulator::store_box(map, from, 4, {{c0, c1, c2, c3, 0}});
}

__forceinline__ void store_box(const CUtensorMap *map, const void *from, int c0, int c1, int c2, int c3, int c4)
{
    emulator::store_box(map, from, 5, {{c0, c1, c2, c3, c4}});
}

inline void store_commit()
{
    emulator::store_commit();
}

template <int pending = 0> inline void store_wait_read()
{
    emulator::store_wait(pending);
}

inline void store_wait()
{
    emulator::store_wait(0);
}

__forceinline__ void load_bytes(void *to, const void *from, uint32_t bytes, uint64_t *barrier)
{
    emulator::load_bytes(to, from, bytes, barrier);
}

__forceinline__ void add_floats(float *to, const void *from, uint32_t bytes)
{
    emulator::add_floats(to, from, bytes);
}

/* ---- plain copies, done at once ---- */

__forceinline__ void copy_piece(uint32_t to, const void *from, int bytes)
{
    uint8_t *piece = emulator::shared_write(to, 16);
    memset(piece, 0, 16);
    memcpy(piece, from, bytes);
}

__forceinline__ void copies_arrive(uint64_t *barrier)
{
    emulator::barrier_arrive(barrier, 0);
}

/* ---- registers to shared memory ---- */

/* Lane l holds elements 2 (l % 4) and the next of row l / 4 of every matrix. */
inline void store_matrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    const uint64_t *all = emulator::exchange(address, emulator::matrices_stored);
    const uint32_t x[4] = {a, b, c, d};
    const int l = emulator::lane();
    for (int m = 0; m < 4; ++m) memcpy(emulator::shared_write((uint32_t)all[8 * m + l / 4] + l % 4 * 4, 4), &x[m], 4);
    emulator::exchange(0, emulator::matrices_done);
}

inline void load_matrices(uint32_t (&x)[4], uint32_t address)
{
    const uint64_t *all = emulator::exchange(address, emulator::matrices_loaded);
    const int l = emulator::lane();
    for (int m = 0; m < 4; ++m) memcpy(&x[m], emulator::shared_read((uint32_t)all[8 * m + l / 4] + l % 4 * 4, 4), 4);
    emulator::exchange(0, emulator::matrices_done);
}

inline void load_matrices_transposed(uint32_t (&x)[4], uint32_t address)
{
    const uint64_t *all = emulator::exchange(address, emulator::matrices_loaded);
    const int l = emulator::lane();
    for (int m = 0; m < 4; ++m) {
        uint16_t pair[2];
        for (int i = 0; i < 2; ++i)
            memcpy(&pair[i], emulator::shared_read((uint32_t)all[8 * m + l % 4 * 2 + i] + l / 4 * 2, 2), 2);
        x[m] = pair[0] | (uint32_t)pair[1] << 16;
    }
    emulator::exchange(0, emulator::matrices_done);
}

__forceinline__ void store_floats(uint32_t address, float a, float b, float c, float d)
{
    const float x[4] = {a, b, c, d};
    memcpy(emulator::shared_write(address, sizeof x), x, sizeof x);
}

__forceinline__ void store_floats(uint32_t address, float a, float b)
{
    const float x[2] = {a, b};
    memcpy(emulator::shared_write(address, sizeof x), x, sizeof x);
}

__forceinline__ float2 load_floats(uint32_t address)
{
    float2 x;
    memcpy(&x, emulator::shared_read(address, sizeof x), sizeof x);
    return x;
}

__forceinline__ void store_zeros(uint32_t address)
{
    memset(emulator::shared_write(address, 16), 0, 16);
}

/* ---- arithmetic ---- */

inline uint32_t low_bits(int32_t n)
{
    return n >= 32 || n < 0 ? ~0u : (1u << n) - 1;
}

inline float exp2_fast(float x)
{
    return exp2f(x);
}

inline float log2_fast(float x)
{
    return ::log2f(x);
}

inline float reciprocal_fast(float x)
{
    return 1 / x;
}

/* Element k % 2 of a pair. */
template <class T> inline float half_of(uint32_t pair, int k)
{
    return emulator::element(std::is_same<T, __half>::value, (uint16_t)(k % 2 ? pair >> 16 : pair));
}

template <class T> inline void multiply(T, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    const uint32_t given[6] = {a[0], a[1], a[2], a[3], b0, b1};
    uint32_t all[6][32];
    for (int i = 0; i < 6; ++i) {
        const uint64_t *lanes = emulator::exchange(given[i], emulator::operand_shared);
        for (int l = 0; l < 32; ++l) all[i][l] = (uint32_t)lanes[l];
    }
    const int row = emulator::lane() / 4, column = emulator::lane() % 4 * 2;
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 16; ++k) {
            const uint32_t left = all[k / 8 * 2 + i / 2][row * 4 + k % 8 / 2];
            const uint32_t right = all[4 + k / 8][(column + i % 2) * 4 + k % 8 / 2];
            c[i] += half_of<T>(left, k) * half_of<T>(right, k);
        }
}

inline uint32_t pack(__nv_bfloat16, float a, float b)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(a)) | (uint32_t)__bfloat16_as_ushort(__float2bfloat16_rn(b)) << 16;
}

inline uint32_t pack(__half, float a, float b)
{
    return __half_as_ushort(__float2half_rn(a)) | (uint32_t)__half_as_ushort(__float2half_rn(b)) << 16;
}

template <class T> inline float2 unpack(T, uint32_t x)
{
    return make_float2(half_of<T>(x, 0), half_of<T>(x, 1));
}

} // namespace sm90
#endif

/* A Hopper GPU on a CPU, for the kernels' own sources: every thread is a fiber with a stack of its own, and what the
 * kernels ask of the hardware (barriers, bulk copies, tensor core products, warp collectives) is done in plain C++.
 *
 * tools/emulate_gpu builds it. This header comes before every source of the module; those in replaced/ take the place
 * of the module's own. Errors and deadlocks are told on stderr, with the lines of the kernel, and fail the launch.
 *
 * Settings, from the environment:
 * - EMULATOR_LATE: a sum of 1, 2 and 4. 1: copies into shared memory land as late as they may, when nothing else can
 *   go on, in any order; 2: bulk stores read shared memory when they are waited for; 4: tensor core products read their
 *   operands when they are waited for. 0, the default: all is done where it is asked for.
 * - EMULATOR_SEED: other than 0, warps run in a random order drawn from it, and some pause; 0 is the default.
 * - EMULATOR_PROCESSORS: the device's multiprocessors, 2 by default. A grid of as many blocks at most runs all at once.
 */
#ifndef SLAT_EMULATOR_H
#define SLAT_EMULATOR_H
#include <cmath>
#include <cstdint>
#include <cstring>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math_constants.h>
#include <type_traits>

namespace emulator
{

struct place {
    unsigned x, y, z;
};
extern place thread_index, block_index, grid_size, block_size;

/* ---- shared memory of the running block; an address counts its bytes ---- */

uint8_t *shared_memory();
uint8_t *shared_read(uint32_t address, int bytes);
uint8_t *shared_write(uint32_t address, int bytes); /* noted, for what asks whether a proxy fence came after it */
void proxy_fence();

/* ---- threads that wait for one another ---- */

enum collective {
    sync_warp,
    shuffle,
    vote,
    reduction,
    matrices_stored,
    matrices_loaded,
    matrices_done,
    operand_shared
};

/* Every lane of the warp gives a value and gets all 32 of them. All must ask for the same collective. */
const uint64_t *exchange(uint64_t value, collective kind);
void block_sync();
void pause();
void named_barrier(int barrier, int threads, bool waits);
void barrier_init(uint64_t *barrier, int arrivals);
void barrier_arrive(uint64_t *barrier, uint32_t bytes);
void barrier_wait(uint64_t *barrier, uint32_t parity);

/* ---- bulk copies ---- */

struct corner {
    int at[5];
};
void load_box(void *to, const CUtensorMap *map, uint64_t *barrier, int dims, corner at);
void store_box(const CUtensorMap *map, const void *from, int dims, corner at);
void load_bytes(void *to, const void *from, uint32_t bytes, uint64_t *barrier);
void add_floats(float *to, const void *from, uint32_t bytes);
void store_commit();
void store_wait(int pending);

/* ---- tensor core products ---- */

/* One product of a warp group: `sums` of 64 x `columns`, the operands as sm90::wgmma takes them. The left one is in
 * `registers`, or in shared memory at `left` where that is NULL. */
struct product {
    float *sums;
    int columns;
    bool half;
    const uint32_t *registers;
    uint32_t left, right;
    bool add, across, across_left;
};
void multiply(const product &p);
void products_commit();
void products_wait(int pending);

/* ---- values ---- */

template <class T> inline uint64_t bits_of(T value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> inline T value_of(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

constexpr float float_of(int bits)
{
    return __builtin_bit_cast(float, bits);
}

/* A 16-bit element as a float. */
inline float element(bool half, uint16_t bits)
{
    if (!half) return float_of((int)((uint32_t)bits << 16));
    __half_raw raw;
    raw.x = bits;
    return __half2float(__half(raw));
}

inline int lane()
{
    return (int)(thread_index.x % 32);
}

} // namespace emulator

/* ---- what nvcc knows by itself ---- */

#undef __launch_bounds__
#undef __grid_constant__
#undef __shared__
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__                  static
#define threadIdx                   emulator::thread_index
#define blockIdx                    emulator::block_index
#define gridDim                     emulator::grid_size
#define blockDim                    emulator::block_size
#define __cvta_generic_to_shared(p) ((size_t)((const uint8_t *)(p)-emulator::shared_memory()))
#define __int_as_float(x)           emulator::float_of(x)
#define __uint_as_float(x)          emulator::float_of((int)(x))
#define __float_as_int(x)           __builtin_bit_cast(int, (float)(x))
#define __float_as_uint(x)          __builtin_bit_cast(unsigned, (float)(x))
#define __log2f(x)                  ::log2f(x)
#define __clz(x)                    ((x) ? __builtin_clz((unsigned)(x)) : 32)
#define __clzll(x)                  ((x) ? __builtin_clzll(x) : 64)
#define __popc(x)                   __builtin_popcount(x)
#define __popcll(x)                 __builtin_popcountll(x)
#define __ffs(x)                    __builtin_ffs(x)
#define __nanosleep(x)              emulator::pause()
#define __threadfence()

using std::isfinite;
using std::isinf;
using std::isnan;

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b)
{
    typedef std::common_type_t<A, B> C;
    return C(b) < C(a) ? C(b) : C(a);
}

template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b)
{
    typedef std::common_type_t<A, B> C;
    return C(a) < C(b) ? C(b) : C(a);
}

inline int __vimax3_s32(int a, int b, int c)
{
    return max(max(a, b), c);
}

inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}

template <class T> inline T __ldcg(const T *p)
{
    return *p;
}

inline void __syncthreads()
{
    emulator::block_sync();
}

inline void __syncwarp(unsigned = ~0u)
{
    emulator::exchange(0, emulator::sync_warp);
}

/* What lane `from` gave; this lane's own value where `from` is none. */
template <class T> inline T slat_shuffle(T value, int from)
{
    const uint64_t *all = emulator::exchange(emulator::bits_of(value), emulator::shuffle);
    return from < 0 ? value : emulator::value_of<T>(all[from]);
}

template <class T> inline T __shfl_sync(unsigned, T value, int from, int width = 32)
{
    return slat_shuffle(value, (emulator::lane() & ~(width - 1)) | (from & (width - 1)));
}

template <class T> inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32)
{
    return slat_shuffle(value, (emulator::lane() ^ mask) & 31);
}

template <class T> inline T __shfl_up_sync(unsigned, T value, int by, int width = 32)
{
    return slat_shuffle(value, emulator::lane() % width < by ? -1 : emulator::lane() - by);
}

template <class T> inline T __shfl_down_sync(unsigned, T value, int by, int width = 32)
{
    return slat_shuffle(value, emulator::lane() % width + by >= width ? -1 : emulator::lane() + by);
}

inline unsigned __ballot_sync(unsigned, int value)
{
    const uint64_t *all = emulator::exchange(value != 0, emulator::vote);
    unsigned bits = 0;
    for (int i = 0; i < 32; ++i) bits |= (unsigned)all[i] << i;
    return bits;
}

inline int __any_sync(unsigned mask, int value)
{
    return __ballot_sync(mask, value) != 0;
}

inline int __all_sync(unsigned mask, int value)
{
    return __ballot_sync(mask, value) == ~0u;
}

template <class T, class F> inline T slat_reduce(T value, F join)
{
    const uint64_t *all = emulator::exchange(emulator::bits_of(value), emulator::reduction);
    T result = emulator::value_of<T>(all[0]);
    for (int i = 1; i < 32; ++i) result = join(result, emulator::value_of<T>(all[i]));
    return result;
}

template <class T> inline T __reduce_max_sync(unsigned, T value)
{
    return slat_reduce(value, [](T a, T b) { return max(a, b); });
}

template <class T> inline T __reduce_min_sync(unsigned, T value)
{
    return slat_reduce(value, [](T a, T b) { return min(a, b); });
}

template <class T> inline T __reduce_add_sync(unsigned, T value)
{
    return slat_reduce(value, [](T a, T b) { return (T)(a + b); });
}

/* Fibers change only where they wait: no other thread comes between. */
template <class T> inline T slat_replace(T *p, T value)
{
    const T before = *p;
    *p = value;
    return before;
}

template <class T, class U> inline T atomicAdd(T *p, U value)
{
    return slat_replace(p, (T)(*p + (T)value));
}

template <class T, class U> inline T atomicMax(T *p, U value)
{
    return slat_replace(p, (T)value > *p ? (T)value : *p);
}

template <class T, class U> inline T atomicMin(T *p, U value)
{
    return slat_replace(p, (T)value < *p ? (T)value : *p);
}

template <class T, class U> inline T atomicOr(T *p, U value)
{
    return slat_replace(p, (T)(*p | (T)value));
}
#endif

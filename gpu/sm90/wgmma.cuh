/* Hopper's matrix product: a warp group adds a 64 x N product over 16 elements to its accumulators.
 *
 * wgmma<T, N>::ss(c, a, b, add): both operands in shared memory; rs(c, a, b, add): the left one in registers. `add` 0
 * clears c before. The right operand is [N][16] in shared memory, or [16][N] where `across` is set (the wanted index
 * runs along a row); `across_left`: the left one is [16][64] likewise. Between wgmma_fence() and wgmma_wait() nobody
 * may touch the registers of a product in flight.
 *
 * Accumulators: thread t of the warp group holds rows 16 (t / 32) + t % 32 / 4 and that + 8; c[4 i], c[4 i + 1] are
 * columns 8 i + 2 (t % 4) and the next of the first row, c[4 i + 2], c[4 i + 3] of the second one. Packed two by two
 * they are left operands: 16 columns are four registers.
 *
 * A tile in shared memory is cut into chunks of 64 columns (128 bytes): row r of a chunk lies at 128 r, its 16-byte
 * pieces exchanged by swizzle_128. Rows are counted from a multiple of 1024 bytes.
 */
#ifndef SLAT_SM90_WGMMA_CUH
#define SLAT_SM90_WGMMA_CUH
#include "ptx.cuh"

namespace sm90
{

constexpr int chunk = 64;              /* columns */
constexpr int row_bytes = 2 * chunk;   /* of a chunk */

/* Where piece `piece` (of 8 elements) of row `row` lies in a chunk. */
__device__ __forceinline__ uint32_t swizzle_128(uint32_t row, uint32_t piece)
{
    return row * row_bytes + ((piece ^ (row & 7)) << 4);
}

/* An operand of 128-byte rows, and steps from it: the lower half of its descriptor, whose upper half never changes.
 * across: the product's own index runs along the rows, `chunk_bytes` from chunk to chunk. */
__device__ __forceinline__ uint32_t operand(uint32_t address, uint32_t chunk_bytes = 16)
{
    return address >> 4 | chunk_bytes >> 4 << 16;
}

__device__ constexpr uint32_t operand_step(uint32_t bytes) { return bytes >> 4; }

constexpr uint32_t operand_rest = 8 * row_bytes >> 4 | 1u << 30; /* eight rows are a group; 128-byte swizzle */

/* Before the first product of a group, after any other use of its registers. */
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/* Until at most `pending` groups are in flight. */
template <int pending> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

/* Keeps what reads c behind the wait for its product. */
template <int N> __device__ __forceinline__ void wgmma_ended(float (&c)[N])
{
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(c[i]));
}

template <class T, int N> struct wgmma;

#define SLAT_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define SLAT_NAMES_32                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "   \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SLAT_NAMES_48                                                                     \
    SLAT_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define SLAT_NAMES_64 \
    SLAT_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SLAT_SUMS_4(i)  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define SLAT_SIXTEEN(i) SLAT_SUMS_4(i), SLAT_SUMS_4(i + 4), SLAT_SUMS_4(i + 8), SLAT_SUMS_4(i + 12)
#define SLAT_SUMS_16    SLAT_SIXTEEN(0)
#define SLAT_SUMS_32    SLAT_SIXTEEN(0), SLAT_SIXTEEN(16)
#define SLAT_SUMS_48    SLAT_SUMS_32, SLAT_SIXTEEN(32)
#define SLAT_SUMS_64    SLAT_SUMS_48, SLAT_SIXTEEN(48)

/* COUNT accumulators are operands 0 to COUNT - 1; Fi is the number of the i-th operand after them. */
#define SLAT_WGMMA(T, TYPE, N, COUNT, F0, F1, F2, F3, F4, F5, F6, F7)                                                       \
    template <> struct wgmma<T, N> {                                                                                    \
        template <int across = 0, int across_left = 0>                                                                  \
        static __device__ __forceinline__ void ss(float (&c)[COUNT], uint32_t a, uint32_t b, int add)                   \
        {                                                                                                               \
            asm volatile("{\n.reg .pred add;\n.reg .b64 a, b;\nsetp.ne.b32 add, %" #F2 ", 0;\n"                        \
                         "mov.b64 a, {%" #F0 ", %" #F4 "};\nmov.b64 b, {%" #F1 ", %" #F4 "};\n"                         \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SLAT_NAMES_##COUNT        \
                         "}, a, b, add, 1, 1, %" #F5 ", %" #F3 ";\n}"                                                    \
                         : SLAT_SUMS_##COUNT                                                                            \
                         : "r"(a), "r"(b), "r"(add), "n"(across), "n"(operand_rest), "n"(across_left));                 \
        }                                                                                                               \
        template <int across = 0> static __device__ __forceinline__ void rs(float (&c)[COUNT], const uint32_t *a,       \
                                                                            uint32_t b, int add)                        \
        {                                                                                                               \
            asm volatile("{\n.reg .pred add;\n.reg .b64 b;\nsetp.ne.b32 add, %" #F5 ", 0;\n"                           \
                         "mov.b64 b, {%" #F4 ", %" #F7 "};\n"                                                           \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SLAT_NAMES_##COUNT        \
                         "}, {%" #F0 ", %" #F1 ", %" #F2 ", %" #F3 "}, b, add, 1, 1, %" #F6 ";\n}"                       \
                         : SLAT_SUMS_##COUNT                                                                            \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(add), "n"(across), "n"(operand_rest)); \
        }                                                                                                               \
    };

SLAT_WGMMA(__nv_bfloat16, "bf16", 32, 16, 16, 17, 18, 19, 20, 21, 22, 23)
SLAT_WGMMA(__nv_bfloat16, "bf16", 64, 32, 32, 33, 34, 35, 36, 37, 38, 39)
SLAT_WGMMA(__nv_bfloat16, "bf16", 96, 48, 48, 49, 50, 51, 52, 53, 54, 55)
SLAT_WGMMA(__nv_bfloat16, "bf16", 128, 64, 64, 65, 66, 67, 68, 69, 70, 71)
SLAT_WGMMA(__half, "f16", 32, 16, 16, 17, 18, 19, 20, 21, 22, 23)
SLAT_WGMMA(__half, "f16", 64, 32, 32, 33, 34, 35, 36, 37, 38, 39)
SLAT_WGMMA(__half, "f16", 96, 48, 48, 49, 50, 51, 52, 53, 54, 55)
SLAT_WGMMA(__half, "f16", 128, 64, 64, 65, 66, 67, 68, 69, 70, 71)

#undef SLAT_WGMMA
#undef SLAT_NAMES_16
#undef SLAT_NAMES_32
#undef SLAT_NAMES_48
#undef SLAT_NAMES_64
#undef SLAT_SUMS_4
#undef SLAT_SIXTEEN
#undef SLAT_SUMS_16
#undef SLAT_SUMS_32
#undef SLAT_SUMS_48
#undef SLAT_SUMS_64

} // namespace sm90
#endif

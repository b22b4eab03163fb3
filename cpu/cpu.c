/* Which instruction sets this machine has: the processor says so, and the system saves their registers. */
#define _GNU_SOURCE
#include "cpu.h"
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux saves the tiles of a process that has asked for them. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18
#define HAS_AMX_BF16        (1u << 22) /* leaf 7, edx */
#define HAS_AMX_TILE        (1u << 24)
#define SAVED_TILES         0x60000 /* XCR0: their configuration and data */

typedef struct {
    uint32_t a, b, c, d;
} leaf;

static leaf ask(uint32_t number, uint32_t part)
{
    leaf x = {0, 0, 0, 0};
    if (!__get_cpuid_count(number, part, &x.a, &x.b, &x.c, &x.d)) return (leaf){0, 0, 0, 0};
    return x;
}

/* XCR0: the register sets that the system saves; 0 where it does not tell. */
static uint64_t saved(void)
{
    if (!(ask(1, 0).c & bit_OSXSAVE)) return 0;
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

static int has_avx2(void)
{
    return (saved() & 0x06) == 0x06 && has(ask(1, 0).c, bit_AVX | bit_FMA | bit_F16C) && has(ask(7, 0).b, bit_AVX2);
}

static int has_avx512(void)
{
    return has_avx2() && (saved() & 0xe6) == 0xe6 &&
           has(ask(7, 0).b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
}

int32_t slat_avx2_rank(DLDevice device)
{
    return device.device_type == kDLCPU && has_avx2() ? 10 : 0;
}

int32_t slat_avx512_rank(DLDevice device)
{
    return device.device_type == kDLCPU && has_avx512() ? 20 : 0;
}

/* Tiles, and all that the code around them uses. Asking for permission counts for the whole process. */
static int has_amx(void)
{
    return slat_has_avx512_bf16() && (saved() & SAVED_TILES) == SAVED_TILES &&
           has(ask(7, 0).d, HAS_AMX_TILE | HAS_AMX_BF16) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

int32_t slat_amx_rank(DLDevice device)
{
    return device.device_type == kDLCPU && has_amx() ? 30 : 0;
}

/* The answer to a question. Asking the processor takes long on a virtual machine. */
typedef struct {
    int (*ask)(void);
    atomic_int known; /* 1: no, 2: yes */
} answer;

static int recall(answer *x)
{
    int is = atomic_load_explicit(&x->known, memory_order_relaxed);
    if (!is) {
        is = 1 + x->ask();
        atomic_store_explicit(&x->known, is, memory_order_relaxed);
    }
    return is == 2;
}

static int has_avx512_bf16(void)
{
    return has_avx512() && has(ask(7, 1).a, bit_AVX512BF16);
}

int slat_has_avx512_bf16(void)
{
    static answer x = {.ask = has_avx512_bf16};
    return recall(&x);
}

static int is_amd(void)
{
    return ask(0, 0).b == signature_AMD_ebx;
}

int slat_fetches_near(void)
{
    static answer x = {.ask = is_amd};
    return recall(&x);
}

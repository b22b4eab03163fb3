/* The arithmetic peak: fused multiply-adds on twelve named accumulators, which no compiler spills. Twelve cover the
 * latency (4 or 5 cycles) of two pipes. Their start values differ, or a compiler would merge them. */
#include "ceilings.h"
#include <math.h>
#include <omp.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define ACCUMULATORS 12
#define RUNS         5

static volatile float sink; /* keeps the results */

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void loop_avx512(int64_t rounds)
{
    const __m512 m = _mm512_set1_ps(0.9999f), c = _mm512_set1_ps(1e-4f);
    __m512 a0 = c, a1 = _mm512_add_ps(a0, m), a2 = _mm512_add_ps(a1, m), a3 = _mm512_add_ps(a2, m);
    __m512 a4 = _mm512_add_ps(a3, m), a5 = _mm512_add_ps(a4, m), a6 = _mm512_add_ps(a5, m), a7 = _mm512_add_ps(a6, m);
    __m512 a8 = _mm512_add_ps(a7, m), a9 = _mm512_add_ps(a8, m), a10 = _mm512_add_ps(a9, m);
    __m512 a11 = _mm512_add_ps(a10, m);
    for (int64_t i = 0; i < rounds; i++) {
        a0 = _mm512_fmadd_ps(a0, m, c);
        a1 = _mm512_fmadd_ps(a1, m, c);
        a2 = _mm512_fmadd_ps(a2, m, c);
        a3 = _mm512_fmadd_ps(a3, m, c);
        a4 = _mm512_fmadd_ps(a4, m, c);
        a5 = _mm512_fmadd_ps(a5, m, c);
        a6 = _mm512_fmadd_ps(a6, m, c);
        a7 = _mm512_fmadd_ps(a7, m, c);
        a8 = _mm512_fmadd_ps(a8, m, c);
        a9 = _mm512_fmadd_ps(a9, m, c);
        a10 = _mm512_fmadd_ps(a10, m, c);
        a11 = _mm512_fmadd_ps(a11, m, c);
    }
    const __m512 low =
        _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(a0, a1), _mm512_add_ps(a2, a3)), _mm512_add_ps(a4, a5));
    const __m512 high =
        _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(a6, a7), _mm512_add_ps(a8, a9)), _mm512_add_ps(a10, a11));
    sink = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
}

__attribute__((target("avx2,fma"))) static void loop_avx2(int64_t rounds)
{
    const __m256 m = _mm256_set1_ps(0.9999f), c = _mm256_set1_ps(1e-4f);
    __m256 a0 = c, a1 = _mm256_add_ps(a0, m), a2 = _mm256_add_ps(a1, m), a3 = _mm256_add_ps(a2, m);
    __m256 a4 = _mm256_add_ps(a3, m), a5 = _mm256_add_ps(a4, m), a6 = _mm256_add_ps(a5, m), a7 = _mm256_add_ps(a6, m);
    __m256 a8 = _mm256_add_ps(a7, m), a9 = _mm256_add_ps(a8, m), a10 = _mm256_add_ps(a9, m);
    __m256 a11 = _mm256_add_ps(a10, m);
    for (int64_t i = 0; i < rounds; i++) {
        a0 = _mm256_fmadd_ps(a0, m, c);
        a1 = _mm256_fmadd_ps(a1, m, c);
        a2 = _mm256_fmadd_ps(a2, m, c);
        a3 = _mm256_fmadd_ps(a3, m, c);
        a4 = _mm256_fmadd_ps(a4, m, c);
        a5 = _mm256_fmadd_ps(a5, m, c);
        a6 = _mm256_fmadd_ps(a6, m, c);
        a7 = _mm256_fmadd_ps(a7, m, c);
        a8 = _mm256_fmadd_ps(a8, m, c);
        a9 = _mm256_fmadd_ps(a9, m, c);
        a10 = _mm256_fmadd_ps(a10, m, c);
        a11 = _mm256_fmadd_ps(a11, m, c);
    }
    const __m256 low =
        _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(a0, a1), _mm256_add_ps(a2, a3)), _mm256_add_ps(a4, a5));
    const __m256 high =
        _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(a6, a7), _mm256_add_ps(a8, a9)), _mm256_add_ps(a10, a11));
    sink = _mm256_cvtss_f32(_mm256_add_ps(low, high));
}
#endif

/* Multiply and add, as the compiler's baseline has them. */
static void loop_baseline(int64_t rounds)
{
    float a[ACCUMULATORS];
    for (int j = 0; j < ACCUMULATORS; j++) a[j] = (float)j;
    for (int64_t i = 0; i < rounds; i++)
        for (int j = 0; j < ACCUMULATORS; j++) a[j] = a[j] * 0.9999f + 1e-4f;
    for (int j = 0; j < ACCUMULATORS; j++) sink = a[j];
}

typedef struct {
    const char *name;
    int lanes;
    void (*loop)(int64_t rounds);
} instruction_set;

static instruction_set widest(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return (instruction_set){"avx512", 16, loop_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (instruction_set){"avx2", 8, loop_avx2};
#endif
    return (instruction_set){"baseline", 1, loop_baseline};
}

const char *bench_instruction_set(void) { return widest().name; }

double bench_fma(int threads)
{
    const instruction_set set = widest();
    /* About 10 ms: long enough for threads to find a core each. */
    const int64_t rounds = set.lanes > 1 ? 3000000 : 250000;
    double least = HUGE_VAL; /* a peak is the best of a few runs; whoever shares the machine slows all of them */
    for (int run = -1; run < RUNS; run++) {
        double start = 0;
#pragma omp parallel num_threads(threads)
        {
#pragma omp barrier
#pragma omp master
            start = bench_seconds();
            set.loop(rounds);
        }
        if (run >= 0) least = fmin(least, bench_seconds() - start);
    }
    const double flops = 2.0 * (double)rounds * ACCUMULATORS * set.lanes * threads;
    return flops / least * 1e-12;
}

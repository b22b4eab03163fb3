/* The CPU's ceilings: a matrix product by OpenBLAS, copies and a read of main memory.
 *
 * The environment may hold OpenBLAS back (OPENBLAS_CORETYPE=Haswell halves sgemm where there is AVX-512), and it reads
 * its settings when it loads. So it is opened here, after they have been set for the machine's widest instruction set,
 * and linked nowhere. */
#define _GNU_SOURCE
#include "ceilings.h"
#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MATRIX      2048
#define BUFFER      ((size_t)256 << 20) /* bytes, far beyond any cache */
#define MATRIX_RUNS 7
#define MEMORY_RUNS 7

double bench_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *samples, int64_t count)
{
    qsort(samples, (size_t)count, sizeof *samples, ascending);
    return count % 2 ? samples[count / 2] : 0.5 * (samples[count / 2 - 1] + samples[count / 2]);
}

double bench_limit_rate(const bench_ceilings *c, bench_limit limit)
{
    switch (limit) {
    case BENCH_MATRIX: return c->matrix;
    case BENCH_COPY: return c->copy;
    case BENCH_STREAM_COPY: return c->stream_copy;
    case BENCH_READ: return c->read;
    }
    return 0;
}

const char *bench_limit_name(bench_limit limit)
{
    switch (limit) {
    case BENCH_MATRIX: return "matrix product";
    case BENCH_COPY: return "copy";
    case BENCH_STREAM_COPY: return "non-temporal copy";
    case BENCH_READ: return "read";
    }
    return "";
}

/* CBLAS's own numbers. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111 };
typedef void sgemm_function(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                            int);
typedef void sbgemm_function(int, int, int, int, int, int, float, const uint16_t *, int, const uint16_t *, int, float,
                             float *, int);
typedef char *name_function(void);

/* dlsym() returns an object pointer; POSIX lets it be copied into a function pointer. */
static bool find(void *library, const char *name, void *function, size_t size)
{
    void *symbol = dlsym(library, name);
    if (symbol) memcpy(function, &symbol, size);
    return symbol != NULL;
}

static void *open_blas(void)
{
    static void *blas;
    if (blas) return blas;
    char threads[16];
    snprintf(threads, sizeof threads, "%d", omp_get_max_threads());
    setenv("OPENBLAS_NUM_THREADS", threads, 1);
    setenv("OPENBLAS_THREAD_TIMEOUT", "4", 1); /* its threads must not spin beside the row that comes next */
    const char *set = bench_instruction_set();
    if (strcmp(set, "avx512") == 0) setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
    else if (strcmp(set, "avx2") == 0) setenv("OPENBLAS_CORETYPE", "Haswell", 1);
    else unsetenv("OPENBLAS_CORETYPE");
    return blas = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
}

static double matrix_rate(double *samples)
{
    return 2.0 * MATRIX * MATRIX * MATRIX / bench_median(samples, MATRIX_RUNS) * 1e-12;
}

/* a, b, c: at least MATRIX^2 floats each. */
static void measure_matrix(bench_ceilings *c, float *a, float *b, float *out)
{
    void *blas = open_blas();
    sgemm_function *sgemm;
    sbgemm_function *sbgemm;
    name_function *core;
    if (!blas || !find(blas, "cblas_sgemm", &sgemm, sizeof sgemm)) {
        snprintf(c->library, sizeof c->library, "no libopenblas.so.0: no matrix product");
        return;
    }
    const bool named = find(blas, "openblas_get_corename", &core, sizeof core);
    snprintf(c->library, sizeof c->library, "OpenBLAS, core type %s", named ? core() : "unknown");
    double samples[MATRIX_RUNS];
    for (int run = -2; run < MATRIX_RUNS; run++) {
        const double start = bench_seconds();
        sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, MATRIX, MATRIX, MATRIX, 1, a, MATRIX, b, MATRIX, 0, out, MATRIX);
        if (run >= 0) samples[run] = bench_seconds() - start;
    }
    c->matrix = matrix_rate(samples);
    if (!find(blas, "cblas_sbgemm", &sbgemm, sizeof sbgemm)) return;
    for (size_t i = 0; i < (size_t)MATRIX * MATRIX; i++) { /* the upper halves of floats are bf16 */
        memmove((uint16_t *)a + i, (uint16_t *)(a + i) + 1, 2);
        memmove((uint16_t *)b + i, (uint16_t *)(b + i) + 1, 2);
    }
    for (int run = -2; run < MATRIX_RUNS; run++) {
        const double start = bench_seconds();
        sbgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, MATRIX, MATRIX, MATRIX, 1, (uint16_t *)a, MATRIX, (uint16_t *)b,
               MATRIX, 0, out, MATRIX);
        if (run >= 0) samples[run] = bench_seconds() - start;
    }
    c->matrix_bf16 = matrix_rate(samples);
}

/* Three ways through memory; n is a multiple of 256 bytes. The plain copy is written out because memcpy() turns to
 * non-temporal stores by itself when it is long. */
#if defined(__x86_64__)
__attribute__((target("avx"))) static void copy_plain(char *to, const char *from, size_t n)
{
    for (size_t i = 0; i < n; i += 64) {
        const __m256i x = _mm256_load_si256((const __m256i *)(from + i));
        const __m256i y = _mm256_load_si256((const __m256i *)(from + i + 32));
        _mm256_store_si256((__m256i *)(to + i), x);
        _mm256_store_si256((__m256i *)(to + i + 32), y);
    }
}

__attribute__((target("avx"))) static void copy_stream(char *to, const char *from, size_t n)
{
    for (size_t i = 0; i < n; i += 64) {
        const __m256i x = _mm256_load_si256((const __m256i *)(from + i));
        const __m256i y = _mm256_load_si256((const __m256i *)(from + i + 32));
        _mm256_stream_si256((__m256i *)(to + i), x);
        _mm256_stream_si256((__m256i *)(to + i + 32), y);
    }
    _mm_sfence();
}

__attribute__((target("avx"))) static void read_all(char *to, const char *from, size_t n)
{
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
    for (size_t i = 0; i < n; i += 128) {
        a = _mm256_or_ps(a, _mm256_load_ps((const float *)(from + i)));
        b = _mm256_or_ps(b, _mm256_load_ps((const float *)(from + i + 32)));
        c = _mm256_or_ps(c, _mm256_load_ps((const float *)(from + i + 64)));
        d = _mm256_or_ps(d, _mm256_load_ps((const float *)(from + i + 96)));
    }
    _mm256_store_ps((float *)to, _mm256_or_ps(_mm256_or_ps(a, b), _mm256_or_ps(c, d)));
}

static bool can_stream(void) { return __builtin_cpu_supports("avx"); }
#else
static void copy_plain(char *to, const char *from, size_t n) { memcpy(to, from, n); }
static void copy_stream(char *to, const char *from, size_t n) { memcpy(to, from, n); }

static void read_all(char *to, const char *from, size_t n)
{
    uint64_t all = 0;
    for (const uint64_t *x = (const uint64_t *)from; x < (const uint64_t *)(from + n); x++) all |= *x;
    memcpy(to, &all, sizeof all);
}

static bool can_stream(void) { return true; }
#endif

/* GB/s over `bytes` a run; every thread takes one slice of whole 4 KiB pages. */
static double measure_memory(void (*pass)(char *, const char *, size_t), char *to, const char *from, double bytes)
{
    double samples[MEMORY_RUNS];
    for (int run = -1; run < MEMORY_RUNS; run++) {
        const double start = bench_seconds();
#pragma omp parallel
        {
            const size_t pages = BUFFER / 4096, n = (size_t)omp_get_num_threads(), i = (size_t)omp_get_thread_num();
            const size_t first = pages * i / n * 4096, end = pages * (i + 1) / n * 4096;
            pass(to + first, from + first, end - first);
        }
        if (run >= 0) samples[run] = bench_seconds() - start;
    }
    return bytes / bench_median(samples, MEMORY_RUNS) * 1e-9;
}

bool bench_ceilings_cpu(bench_ceilings *c, char *reason, size_t size)
{
    *c = (bench_ceilings){0};
    float *from = aligned_alloc(4096, BUFFER), *to = aligned_alloc(4096, BUFFER);
    if (!from || !to || !can_stream()) {
        snprintf(reason, size, can_stream() ? "no memory for the ceilings" : "the ceilings need AVX");
        free(from);
        free(to);
        return false;
    }
#pragma omp parallel for
    for (size_t i = 0; i < BUFFER / sizeof *from; i++) {
        from[i] = (float)(i % 1021) / 1021 - 0.5f;
        to[i] = (float)(i % 509) / 509 - 0.5f;
    }
    c->fma_one = bench_fma(1);
    c->fma = bench_fma(omp_get_max_threads());
    c->tiles = bench_tiles(omp_get_max_threads());
    c->copy = measure_memory(copy_plain, (char *)to, (char *)from, 2.0 * BUFFER);
    c->stream_copy = measure_memory(copy_stream, (char *)to, (char *)from, 2.0 * BUFFER);
    c->read = measure_memory(read_all, (char *)to, (char *)from, 1.0 * BUFFER);
    measure_matrix(c, from, to, to + (size_t)MATRIX * MATRIX);
    free(from);
    free(to);
    return true;
}

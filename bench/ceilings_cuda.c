/* The GPU's ceilings: a bf16 matrix product of 8192^3 by cuBLAS, opened at run time, and a copy of 2 GiB. */
#define _GNU_SOURCE
#include "ceilings_cuda.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EDGE = 8192, REPEATS = 15, CUDA_BF16 = 14, COMPUTE_F32 = 68, NO_TRANSPOSE = 0, DEFAULT_ALGORITHM = -1 };
#define COPY_BYTES ((size_t)2 << 30)

/* cuBLAS's own interface, of the functions used; 0 is success. */
typedef struct {
    int (*create)(void **);
    int (*destroy)(void *);
    int (*version)(void *, int *);
    int (*product)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int,
                   const void *, void *, int, int, int, int);
} blas;

static const char *load(blas *b, void **library)
{
    static const char *const files[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    for (size_t i = 0; !*library && i < sizeof files / sizeof *files; i++)
        *library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    if (!*library) return "no cuBLAS (libcublas.so.13 or .12) was found";
    const struct {
        const char *name;
        void *place;
    } symbols[] = {{"cublasCreate_v2", &b->create},
                   {"cublasDestroy_v2", &b->destroy},
                   {"cublasGetVersion_v2", &b->version},
                   {"cublasGemmEx", &b->product}};
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(*library, symbols[i].name);
        if (!symbol) return "cuBLAS lacks a function";
        memcpy(symbols[i].place, &symbol, sizeof symbol);
    }
    return NULL;
}

/* Random numbers in [-1, 1): zeros would run faster than real data. */
static bool fill(const cuda_driver *driver, cuda_address to, int64_t count)
{
    uint16_t *values = malloc((size_t)count * sizeof *values);
    uint64_t state = 1;
    for (int64_t n = 0; values && n < count; n++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float x = (float)(int32_t)(state >> 32) * 0x1p-31f;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        values[n] = (uint16_t)(bits >> 16);
    }
    const bool done = values && !driver->upload(to, values, (size_t)count * sizeof *values);
    free(values);
    return done;
}

/* Median rate of `work` a call; 0 where a call or a time failed. */
static double rate_of(const bench_clock *clock, int (*call)(void *), void *context, double work)
{
    double seconds[REPEATS];
    for (int n = -3; n < REPEATS; n++) {
        clock->begin();
        if (call(context)) return 0;
        const double s = clock->end();
        if (s <= 0) return 0;
        if (n >= 0) seconds[n] = s;
    }
    return work / bench_median(seconds, REPEATS);
}

typedef struct {
    const cuda_driver *driver;
    cuda_address a, b, c;
    blas *blas;
    void *handle;
} call;

static int multiply(void *context)
{
    static const float one = 1, zero = 0;
    const call *k = context;
    return k->blas->product(k->handle, NO_TRANSPOSE, NO_TRANSPOSE, EDGE, EDGE, EDGE, &one, (void *)(uintptr_t)k->a,
                            CUDA_BF16, EDGE, (void *)(uintptr_t)k->b, CUDA_BF16, EDGE, &zero, (void *)(uintptr_t)k->c,
                            CUDA_BF16, EDGE, COMPUTE_F32, DEFAULT_ALGORITHM);
}

static int copy(void *context)
{
    const call *k = context;
    return k->driver->copy(k->b, k->a, COPY_BYTES, NULL);
}

static const char *measure_matrix(const bench_clock *clock, call *k, bench_ceilings *c)
{
    blas b = {0};
    void *library = NULL;
    int version = 0;
    const char *missing = load(&b, &library);
    if (missing) return missing;
    k->blas = &b;
    if (b.create(&k->handle)) return "cuBLAS cannot open the device";
    b.version(k->handle, &version);
    snprintf(c->library, sizeof c->library, "cuBLAS %d", version);
    if (fill(k->driver, k->a, (int64_t)EDGE * EDGE) && fill(k->driver, k->b, (int64_t)EDGE * EDGE))
        c->matrix = rate_of(clock, multiply, k, 2.0 * EDGE * EDGE * EDGE) * 1e-12;
    b.destroy(k->handle);
    return c->matrix > 0 ? NULL : "cuBLAS's matrix product failed";
}

bool bench_ceilings_cuda(const cuda_driver *driver, const bench_clock *clock, bench_ceilings *c, char *reason,
                         size_t size)
{
    call k = {.driver = driver};
    const char *failed = NULL;
    *c = (bench_ceilings){0};
    if (driver->allocate(&k.a, COPY_BYTES) || driver->allocate(&k.b, COPY_BYTES) ||
        driver->allocate(&k.c, (size_t)EDGE * EDGE * 2))
        failed = "the device has no memory for the ceilings";
    if (!failed) {
        failed = measure_matrix(clock, &k, c);
        c->copy = rate_of(clock, copy, &k, 2.0 * (double)COPY_BYTES) * 1e-9;
    }
    driver->release(k.a);
    driver->release(k.b);
    driver->release(k.c);
    if (failed) snprintf(reason, size, "%s", failed);
    return c->copy > 0;
}

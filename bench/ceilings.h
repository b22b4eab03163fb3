/* What the machine can do at best, measured in the same run as the rows that are held against it. */
#ifndef BENCH_CEILINGS_H
#define BENCH_CEILINGS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rates are TFLOP/s or GB/s; 0: this device has no such ceiling, or it could not be measured. */
typedef struct {
    double matrix;      /* f32 matrix product of 2048^3 on a CPU, bf16 of 8192^3 on a GPU */
    double matrix_bf16; /* CPU: bf16 product of 2048^3, where the BLAS has one */
    double tiles;       /* CPU: bench_tiles(all threads) */
    double copy;        /* bytes read and written */
    double stream_copy; /* CPU: the same with non-temporal stores */
    double read;        /* CPU: bytes read */
    double fma;         /* CPU: what bench_fma(all threads) said just before these */
    double fma_one;     /* CPU: and one thread */
    char library[96];   /* the matrix product's: name, version, core type */
} bench_ceilings;

/* A row's work is held against one of these. */
typedef enum { BENCH_MATRIX, BENCH_COPY, BENCH_STREAM_COPY, BENCH_READ } bench_limit;

double bench_limit_rate(const bench_ceilings *ceilings, bench_limit limit);
const char *bench_limit_name(bench_limit limit);

/* Host clock in seconds. */
double bench_seconds(void);
/* Sorts the samples and returns their median. */
double bench_median(double *samples, int64_t count);

/* fma.c: TFLOP/s of a loop that lives in registers, at the machine's widest instruction set. */
double bench_fma(int threads);
const char *bench_instruction_set(void); /* "avx512", "avx2", or "baseline" */

/* tiles.c: the same for bf16 products in AMX's tiles; 0 where there are none. */
double bench_tiles(int threads);

/* ceilings.c: the CPU's. A few seconds; false with a sentence where even copies cannot be measured. */
bool bench_ceilings_cpu(bench_ceilings *ceilings, char *reason, size_t size);
#endif

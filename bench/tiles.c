/* The arithmetic peak of AMX: products of bf16 tiles that stay in registers, into four sums that do not wait for each
 * other. The library has asked for the tiles where it has a backend that uses them. */
#include "ceilings.h"
#include <math.h>
#include <omp.h>
#include <slat/slat.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define RUNS    5
#define PRODUCT (2.0 * 16 * 16 * 32) /* operations of one */

static bool has_tiles(void)
{
    const char *name;
    int32_t rank;
    for (int32_t i = 0; slat_backend(i, (DLDevice){kDLCPU, 0}, &name, &rank) == SLAT_OK; i++)
        if (strcmp(name, "amx") == 0) return rank > 0;
    return false;
}

__attribute__((target("amx-tile"))) static void begin(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) shapes.row_bytes[i] = 64, shapes.rows[i] = 16;
    __asm__ volatile("" ::"r"(&shapes) : "memory"); /* compilers do not know that it is read */
    _tile_loadconfig(&shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

__attribute__((target("amx-tile,amx-bf16"))) static void loop(int64_t rounds)
{
    for (int64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

__attribute__((target("amx-tile"))) static void end(void)
{
    _tile_release();
}

double bench_tiles(int threads)
{
    if (!has_tiles()) return 0;
    const int64_t rounds = 400000; /* about 10 ms */
    double least = HUGE_VAL;
    for (int run = -1; run < RUNS; run++) {
        double start = 0;
#pragma omp parallel num_threads(threads)
        {
            begin();
#pragma omp barrier
#pragma omp master
            start = bench_seconds();
            loop(rounds);
            end();
        }
        if (run >= 0) least = fmin(least, bench_seconds() - start);
    }
    return PRODUCT * 4 * (double)rounds * threads / least * 1e-12;
}
#else
double bench_tiles(int threads)
{
    return (void)threads, 0.0;
}
#endif

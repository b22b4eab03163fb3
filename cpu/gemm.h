/* The one matrix product of this folder: C[m, n] = (C +) sum_k A[m, k] * B[k, n].
 *
 * Rows of B and C are vectors (their last stride is 1); elements of A are scalars with two free strides, broadcast
 * straight from memory. A microtile of C stays in registers while k runs: 4 x 4 vectors on AVX-512, 6 x 2 on AVX2. Each
 * element is one chain of fused additions in ascending k, whatever the tiling: sums over the same terms in the same
 * order are the same bits. gemm_scaled() first multiplies each row of C by a factor of its own.
 */
#ifndef SLAT_CPU_GEMM_H
#define SLAT_CPU_GEMM_H
#ifdef SLAT_TILES
#include "gemm_tiles.h"
#else
#include "microtile.h"

/* Instances. The last strip of C's rows is cut into smaller ones, or begins earlier where C is only stored. */
#define MICROTILE(rows, vectors)                                                                                       \
    static void microtile_##rows##x##vectors(const gemm_product *g, float *c, const float *a, const float *b,          \
                                             const float *factor)                                                      \
    {                                                                                                                  \
        if (g->mode == GEMM_STORE)                                                                                     \
            microtile(rows, vectors, GEMM_STORE, g, c, a, b, factor);                                                  \
        else if (g->mode == GEMM_ADD)                                                                                  \
            microtile(rows, vectors, GEMM_ADD, g, c, a, b, factor);                                                    \
        else if (g->mode == GEMM_SCALE)                                                                                \
            microtile(rows, vectors, GEMM_SCALE, g, c, a, b, factor);                                                  \
        else                                                                                                           \
            microtile(rows, vectors, GEMM_WEIGH, g, c, a, b, factor);                                                  \
    }
MICROTILE(1, 1)
MICROTILE(2, 1)
MICROTILE(4, 1)
MICROTILE(8, 1)
MICROTILE(1, 2)
MICROTILE(2, 2)
MICROTILE(4, 2)
#if VL == 16
MICROTILE(16, 1)
MICROTILE(8, 2)
MICROTILE(1, 3)
MICROTILE(2, 3)
MICROTILE(4, 3)
MICROTILE(1, 4)
MICROTILE(2, 4)
MICROTILE(4, 4)
#else
MICROTILE(6, 2)
#endif

typedef void microtile_function(const gemm_product *g, float *c, const float *a, const float *b, const float *factor);

/* For each number of vectors: tiles by falling number of rows. */
typedef struct {
    int32_t rows;
    microtile_function *run;
} microtile_entry;

static const microtile_entry microtiles[GEMM_VECTORS][5] = {
#if VL == 16
    {{16, microtile_16x1}, {8, microtile_8x1}, {4, microtile_4x1}, {2, microtile_2x1}, {1, microtile_1x1}},
    {{8, microtile_8x2}, {4, microtile_4x2}, {2, microtile_2x2}, {1, microtile_1x2}},
    {{4, microtile_4x3}, {2, microtile_2x3}, {1, microtile_1x3}},
    {{4, microtile_4x4}, {2, microtile_2x4}, {1, microtile_1x4}},
#else
    {{8, microtile_8x1}, {4, microtile_4x1}, {2, microtile_2x1}, {1, microtile_1x1}},
    {{6, microtile_6x2}, {4, microtile_4x2}, {2, microtile_2x2}, {1, microtile_1x2}},
#endif
};

/* C[m, vectors * VL] from A[m, k] B[k, vectors * VL]; factor [m] and fetch may be NULL. No terms: products are 0. */
static inline void gemm_any(float *c, int64_t c_row, gemm_scalars a, gemm_rows b, int64_t m, int64_t vectors,
                            gemm_terms k, gemm_mode mode, const float *factor, gemm_fetch *fetch)
{
    const gemm_product g = {c_row, a.row, a.step, b.row, k, mode, fetch};
    for (int64_t left = vectors; left > 0;) {
        const int64_t strips = (left + GEMM_VECTORS - 1) / GEMM_VECTORS, width = (left + strips - 1) / strips;
        const microtile_entry *tile = microtiles[width - 1];
        for (int64_t i = 0; i < m; i += tile->rows) {
            while (tile->rows > m - i) tile++;
            if (mode == GEMM_STORE && tile->rows < m - i && tile > microtiles[width - 1] && tile[-1].rows <= m)
                i = m - (--tile)->rows; /* one tile instead of several: what is stored again is the same */
            tile->run(&g, c + i * c_row, a.at + i * a.row, b.at, factor ? factor + i : NULL);
        }
        left -= width;
        c += width * VL;
        b.at += width * VL;
    }
}

/* What a task does before its first product and after its last: nothing, but on AMX. */
static inline void tiles_begin(void) {}
static inline void tiles_end(void) {}

/* How often a product fetches. */
static inline int64_t gemm_chunks(int64_t m, int64_t vectors, int64_t k)
{
    const int64_t strips = (vectors + GEMM_VECTORS - 1) / GEMM_VECTORS,
                  width = (vectors + strips - 1) / (strips ? strips : 1);
    const int64_t rows = width ? microtiles[width - 1][0].rows : 1;
    return (m + rows - 1) / rows * strips * ((k + GEMM_CHUNK - 1) / GEMM_CHUNK);
}
#endif

/* C = (C +) AB. */
static inline void gemm(float *c, int64_t c_row, gemm_scalars a, gemm_rows b, int64_t m, int64_t vectors, gemm_terms k,
                        int add)
{
    gemm_any(c, c_row, a, b, m, vectors, k, add ? GEMM_ADD : GEMM_STORE, NULL, NULL);
}

/* C = factor * C + AB. */
static inline void gemm_scaled(float *c, int64_t c_row, gemm_scalars a, gemm_rows b, int64_t m, int64_t vectors,
                               gemm_terms k, const float *factor)
{
    gemm_any(c, c_row, a, b, m, vectors, k, GEMM_SCALE, factor, NULL);
}
#endif

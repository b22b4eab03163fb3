/* The innermost product: a few rows of a few vectors of C, held in registers while k runs. gemm.h cuts C into these. */
#ifndef SLAT_CPU_MICROTILE_H
#define SLAT_CPU_MICROTILE_H
#include "vec.h"

#define GEMM_VECTORS (VL == 16 ? 4 : 2) /* of a microtile at most */
#define GEMM_FETCHES 512                /* rows to fetch, at most */
#define GEMM_CHUNK   32                 /* terms between two fetches */

/* A matrix of scalars: (i, j) is at[i * row + j * step]. */
typedef struct {
    const float *at;
    int64_t row, step;
} gemm_scalars;

/* A matrix of vectors: row i begins at at[i * row]. */
typedef struct {
    const float *at;
    int64_t row;
} gemm_rows;

/* What k runs over: `runs` runs of `run` terms. Between two runs A and B skip so many elements more. */
typedef struct {
    int64_t runs, run, skip_a, skip_b;
} gemm_terms;

/* What becomes of C: AB, C + AB, or with a factor for each of its rows factor * C + AB, C + factor * AB, the factor
 * 1 where none is given. */
typedef enum { GEMM_STORE, GEMM_ADD, GEMM_SCALE, GEMM_WEIGH } gemm_mode;

/* Up to four neighbouring vectors. Accumulators have names, for compilers spill arrays of them. */
typedef struct {
    vec v0, v1, v2, v3;
} vectors4;

INLINE vectors4 load_vectors(const int vectors, const float *p)
{
    vectors4 x = {vec_load(p), vec_zero(), vec_zero(), vec_zero()};
    if (vectors > 1) x.v1 = vec_load(p + VL);
    if (vectors > 2) x.v2 = vec_load(p + 2 * VL);
    if (vectors > 3) x.v3 = vec_load(p + 3 * VL);
    return x;
}

INLINE void store_vectors(const int vectors, float *p, vectors4 x)
{
    vec_store(p, x.v0);
    if (vectors > 1) vec_store(p + VL, x.v1);
    if (vectors > 2) vec_store(p + 2 * VL, x.v2);
    if (vectors > 3) vec_store(p + 3 * VL, x.v3);
}

/* One term of a product, or a pair of them: words of two bf16 (operands.h). */
#ifdef SLAT_PAIRS
INLINE vec vec_term(vec a, vec b, vec sum)
{
    return vec_dot_pairs(a, b, sum);
}
#else
INLINE vec vec_term(vec a, vec b, vec sum)
{
    return vec_fma(a, b, sum);
}
#endif

INLINE vectors4 fma_vectors(const int vectors, float a, vectors4 x, vectors4 sum)
{
    const vec all = vec_all(a);
    sum.v0 = vec_term(all, x.v0, sum.v0);
    if (vectors > 1) sum.v1 = vec_term(all, x.v1, sum.v1);
    if (vectors > 2) sum.v2 = vec_term(all, x.v2, sum.v2);
    if (vectors > 3) sum.v3 = vec_term(all, x.v3, sum.v3);
    return sum;
}

/* The same in f32, whatever a term is. */
INLINE vectors4 fma_rows(const int vectors, float a, vectors4 x, vectors4 sum)
{
    const vec all = vec_all(a);
    sum.v0 = vec_fma(all, x.v0, sum.v0);
    if (vectors > 1) sum.v1 = vec_fma(all, x.v1, sum.v1);
    if (vectors > 2) sum.v2 = vec_fma(all, x.v2, sum.v2);
    if (vectors > 3) sum.v3 = vec_fma(all, x.v3, sum.v3);
    return sum;
}

INLINE vectors4 scale_vectors(const int vectors, float a, vectors4 x)
{
    const vec all = vec_all(a);
    x.v0 = vec_mul(all, x.v0);
    if (vectors > 1) x.v1 = vec_mul(all, x.v1);
    if (vectors > 2) x.v2 = vec_mul(all, x.v2);
    if (vectors > 3) x.v3 = vec_mul(all, x.v3);
    return x;
}

/* Rows of memory that a later product will read. They are fetched in the middle of products, `each` of them after
 * GEMM_CHUNK terms: a burst would stall the loads that follow, most of all where every row stands in a page of its own.
 */
typedef struct {
    const char *at;
    int64_t bytes;
} gemm_fetch_row;

typedef struct {
    gemm_fetch_row row[GEMM_FETCHES];
    int32_t rows, next, each;
    int near; /* slat_fetches_near() */
} gemm_fetch;

INLINE void gemm_fetch_some(gemm_fetch *f)
{
    for (int32_t i = 0; i < f->each && f->next < f->rows; i++, f->next++)
        for (int64_t byte = 0; byte < f->row[f->next].bytes; byte += 64)
            vec_fetch_next(f->row[f->next].at + byte, f->near);
}

/* C's row `row`, at p, from the sums of its products. */
INLINE void store_product(const int vectors, const gemm_mode mode, float *p, const float *factor, int row, vectors4 x)
{
    if (mode == GEMM_WEIGH) x = fma_rows(vectors, factor ? factor[row] : 1, x, load_vectors(vectors, p));
    store_vectors(vectors, p, x);
}

/* What a product's microtiles share. */
typedef struct {
    int64_t c_row, a_row, a_step, b_row;
    gemm_terms k;
    gemm_mode mode;
    gemm_fetch *fetch; /* NULL: nothing to fetch */
} gemm_product;

/* rows, vectors and mode are constants; the four pointers into A stand four rows apart. factor: [rows]. */
INLINE void microtile(const int rows, const int vectors, const gemm_mode mode, const gemm_product *g, float *c,
                      const float *a, const float *b, const float *factor)
{
    const int64_t c_row = g->c_row, a_row = g->a_row, a_step = g->a_step, b_row = g->b_row;
    const gemm_terms k = g->k;
    gemm_fetch *fetch = g->fetch;
    const vectors4 zero = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    vectors4 c0 = zero, c1 = zero, c2 = zero, c3 = zero, c4 = zero, c5 = zero, c6 = zero, c7 = zero;
    vectors4 c8 = zero, c9 = zero, c10 = zero, c11 = zero, c12 = zero, c13 = zero, c14 = zero, c15 = zero;
    if (mode == GEMM_ADD || mode == GEMM_SCALE) {
        c0 = load_vectors(vectors, c + 0 * c_row);
        if (rows > 1) c1 = load_vectors(vectors, c + 1 * c_row);
        if (rows > 2) c2 = load_vectors(vectors, c + 2 * c_row);
        if (rows > 3) c3 = load_vectors(vectors, c + 3 * c_row);
        if (rows > 4) c4 = load_vectors(vectors, c + 4 * c_row);
        if (rows > 5) c5 = load_vectors(vectors, c + 5 * c_row);
        if (rows > 6) c6 = load_vectors(vectors, c + 6 * c_row);
        if (rows > 7) c7 = load_vectors(vectors, c + 7 * c_row);
        if (rows > 8) c8 = load_vectors(vectors, c + 8 * c_row);
        if (rows > 9) c9 = load_vectors(vectors, c + 9 * c_row);
        if (rows > 10) c10 = load_vectors(vectors, c + 10 * c_row);
        if (rows > 11) c11 = load_vectors(vectors, c + 11 * c_row);
        if (rows > 12) c12 = load_vectors(vectors, c + 12 * c_row);
        if (rows > 13) c13 = load_vectors(vectors, c + 13 * c_row);
        if (rows > 14) c14 = load_vectors(vectors, c + 14 * c_row);
        if (rows > 15) c15 = load_vectors(vectors, c + 15 * c_row);
    }
    if (mode == GEMM_SCALE) {
        c0 = scale_vectors(vectors, factor[0], c0);
        if (rows > 1) c1 = scale_vectors(vectors, factor[1], c1);
        if (rows > 2) c2 = scale_vectors(vectors, factor[2], c2);
        if (rows > 3) c3 = scale_vectors(vectors, factor[3], c3);
        if (rows > 4) c4 = scale_vectors(vectors, factor[4], c4);
        if (rows > 5) c5 = scale_vectors(vectors, factor[5], c5);
        if (rows > 6) c6 = scale_vectors(vectors, factor[6], c6);
        if (rows > 7) c7 = scale_vectors(vectors, factor[7], c7);
        if (rows > 8) c8 = scale_vectors(vectors, factor[8], c8);
        if (rows > 9) c9 = scale_vectors(vectors, factor[9], c9);
        if (rows > 10) c10 = scale_vectors(vectors, factor[10], c10);
        if (rows > 11) c11 = scale_vectors(vectors, factor[11], c11);
        if (rows > 12) c12 = scale_vectors(vectors, factor[12], c12);
        if (rows > 13) c13 = scale_vectors(vectors, factor[13], c13);
        if (rows > 14) c14 = scale_vectors(vectors, factor[14], c14);
        if (rows > 15) c15 = scale_vectors(vectors, factor[15], c15);
    }
    const float *a0 = a, *a1 = a0 + 4 * a_row, *a2 = a1 + 4 * a_row, *a3 = a2 + 4 * a_row;
    for (int64_t run = 0; run < k.runs; run++) {
        for (int64_t left = k.run, terms; left > 0; left -= terms) {
            terms = fetch && left > GEMM_CHUNK ? GEMM_CHUNK : left;
            for (const float *end = b + terms * b_row; b != end; b += b_row) {
                const vectors4 x = load_vectors(vectors, b);
                c0 = fma_vectors(vectors, a0[0 * a_row], x, c0);
                if (rows > 1) c1 = fma_vectors(vectors, a0[1 * a_row], x, c1);
                if (rows > 2) c2 = fma_vectors(vectors, a0[2 * a_row], x, c2);
                if (rows > 3) c3 = fma_vectors(vectors, a0[3 * a_row], x, c3);
                if (rows > 4) c4 = fma_vectors(vectors, a1[0 * a_row], x, c4);
                if (rows > 5) c5 = fma_vectors(vectors, a1[1 * a_row], x, c5);
                if (rows > 6) c6 = fma_vectors(vectors, a1[2 * a_row], x, c6);
                if (rows > 7) c7 = fma_vectors(vectors, a1[3 * a_row], x, c7);
                if (rows > 8) c8 = fma_vectors(vectors, a2[0 * a_row], x, c8);
                if (rows > 9) c9 = fma_vectors(vectors, a2[1 * a_row], x, c9);
                if (rows > 10) c10 = fma_vectors(vectors, a2[2 * a_row], x, c10);
                if (rows > 11) c11 = fma_vectors(vectors, a2[3 * a_row], x, c11);
                if (rows > 12) c12 = fma_vectors(vectors, a3[0 * a_row], x, c12);
                if (rows > 13) c13 = fma_vectors(vectors, a3[1 * a_row], x, c13);
                if (rows > 14) c14 = fma_vectors(vectors, a3[2 * a_row], x, c14);
                if (rows > 15) c15 = fma_vectors(vectors, a3[3 * a_row], x, c15);
                a0 += a_step;
                if (rows > 4) a1 += a_step;
                if (rows > 8) a2 += a_step;
                if (rows > 12) a3 += a_step;
            }
            if (fetch) gemm_fetch_some(fetch);
        }
        a0 += k.skip_a;
        if (rows > 4) a1 += k.skip_a;
        if (rows > 8) a2 += k.skip_a;
        if (rows > 12) a3 += k.skip_a;
        b += k.skip_b;
    }
    store_product(vectors, mode, c + 0 * c_row, factor, 0, c0);
    if (rows > 1) store_product(vectors, mode, c + 1 * c_row, factor, 1, c1);
    if (rows > 2) store_product(vectors, mode, c + 2 * c_row, factor, 2, c2);
    if (rows > 3) store_product(vectors, mode, c + 3 * c_row, factor, 3, c3);
    if (rows > 4) store_product(vectors, mode, c + 4 * c_row, factor, 4, c4);
    if (rows > 5) store_product(vectors, mode, c + 5 * c_row, factor, 5, c5);
    if (rows > 6) store_product(vectors, mode, c + 6 * c_row, factor, 6, c6);
    if (rows > 7) store_product(vectors, mode, c + 7 * c_row, factor, 7, c7);
    if (rows > 8) store_product(vectors, mode, c + 8 * c_row, factor, 8, c8);
    if (rows > 9) store_product(vectors, mode, c + 9 * c_row, factor, 9, c9);
    if (rows > 10) store_product(vectors, mode, c + 10 * c_row, factor, 10, c10);
    if (rows > 11) store_product(vectors, mode, c + 11 * c_row, factor, 11, c11);
    if (rows > 12) store_product(vectors, mode, c + 12 * c_row, factor, 12, c12);
    if (rows > 13) store_product(vectors, mode, c + 13 * c_row, factor, 13, c13);
    if (rows > 14) store_product(vectors, mode, c + 14 * c_row, factor, 14, c14);
    if (rows > 15) store_product(vectors, mode, c + 15 * c_row, factor, 15, c15);
}
#endif

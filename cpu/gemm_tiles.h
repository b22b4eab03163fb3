/* gemm.h's matrix product on AMX: C[m, n] = (C +) sum_k A[m, k] * B[k, n] over words of two bf16, with f32 sums.
 *
 * A tile is 16 rows of 64 bytes. A's tiles hold 16 words of each of 16 rows, which must stand side by side (step 1);
 * B's 16 rows of 16 words; C's 16 rows of a vector. Two by two tiles of C stay in registers while k
 * runs, so that every tile that is loaded is used twice. What is not whole tiles takes a configuration of its own, with
 * exactly the rows and words that are there: nothing is read or written beyond them, and as terms are added in chunks
 * of 16 words from the first one on, an element's bits do not depend on which way it was computed.
 *
 * The configuration belongs to the thread: tiles_begin() before a task's first product, tiles_end() after its last.
 */
#ifndef SLAT_CPU_GEMM_TILES_H
#define SLAT_CPU_GEMM_TILES_H
#include "microtile.h"

#define TILE_ROWS  16
#define TILE_BYTES 64 /* of a row */
#define TILE_TERMS 16 /* words of a row */

/* What ldtilecfg reads. Rows and bytes of 0: the tile is not used. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

/* Compilers do not know that these read memory: what is written before stays before. */
INLINE void settle_memory(void)
{
    __asm__ volatile("" ::: "memory");
}

static inline void set_tile_shapes(const tile_shapes *shapes)
{
    __asm__ volatile("" ::"r"(shapes) : "memory");
    _tile_loadconfig(shapes);
}

static inline void tiles_begin(void)
{
    tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) shapes.row_bytes[i] = TILE_BYTES, shapes.rows[i] = TILE_ROWS;
    set_tile_shapes(&shapes);
}

static inline void tiles_end(void)
{
    _tile_release();
}

/* Tiles of the edge: 0, 1: C; 2, 3: A's whole and last words; 4 to 7: two of B's for each of those. */
static inline void tiles_begin_edge(int64_t rows, int64_t last_terms)
{
    tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shapes.row_bytes[i] = TILE_BYTES;
        shapes.rows[i] = (uint8_t)(i < 4 ? rows : TILE_ROWS);
    }
    shapes.row_bytes[3] = (uint16_t)(4 * last_terms);
    shapes.rows[6] = shapes.rows[7] = (uint8_t)last_terms;
    if (!last_terms) shapes.rows[3] = shapes.row_bytes[6] = shapes.row_bytes[7] = 0;
    set_tile_shapes(&shapes);
}

/* A product's strides, in bytes, and its terms. */
typedef struct {
    int64_t c_row, a_row, b_row, terms;
    gemm_mode mode;
    gemm_fetch *fetch; /* NULL: nothing to fetch */
} tile_product;

/* C = C + factor * sums, for the rows of one or two tiles' sums, 32 floats apart. */
static void weigh_tiles(float *c, int64_t c_row, const float *sums, const float *factor, int64_t rows, int vectors)
{
    for (int64_t i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            float *to = (float *)((char *)c + i * c_row) + v * VL;
            vec_store(to, vec_fma(vec_load(sums + i * 2 * VL + v * VL), vec_all(factor ? factor[i] : 1), vec_load(to)));
        }
}

/* rows x vectors tiles of C, all whole; both are constants, 1 or 2. factor: of C's rows; NULL but for GEMM_WEIGH. */
INLINE void tile_block(const int rows, const int vectors, const tile_product *g, float *c, const char *a, const char *b,
                       const float *factor)
{
    _Alignas(64) float sums[2 * TILE_ROWS * 2 * VL];
    const int64_t a_row = g->a_row, b_row = g->b_row, a_next = TILE_ROWS * a_row, b_next = TILE_ROWS * b_row;
    const int apart = g->mode == GEMM_WEIGH;
    const int64_t c_row = apart ? 2 * VL * 4 : g->c_row;
    char *at = apart ? (char *)sums : (char *)c, *below = at + TILE_ROWS * c_row;
    if (g->mode == GEMM_ADD) {
        _tile_loadd(0, at, c_row);
        if (vectors > 1) _tile_loadd(1, at + TILE_BYTES, c_row);
        if (rows > 1) _tile_loadd(2, below, c_row);
        if (rows > 1 && vectors > 1) _tile_loadd(3, below + TILE_BYTES, c_row);
    } else {
        _tile_zero(0);
        if (vectors > 1) _tile_zero(1);
        if (rows > 1) _tile_zero(2);
        if (rows > 1 && vectors > 1) _tile_zero(3);
    }
    for (int64_t k = g->terms; k > 0; k -= TILE_TERMS, a += TILE_BYTES, b += b_next) {
        _tile_loadd(6, b, b_row);
        _tile_loadd(4, a, a_row);
        _tile_dpbf16ps(0, 4, 6);
        if (vectors > 1) {
            _tile_loadd(7, b + TILE_BYTES, b_row);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (rows > 1) {
            _tile_loadd(5, a + a_next, a_row);
            _tile_dpbf16ps(2, 5, 6);
            if (vectors > 1) _tile_dpbf16ps(3, 5, 7);
        }
        if (g->fetch) gemm_fetch_some(g->fetch);
    }
    _tile_stored(0, at, c_row);
    if (vectors > 1) _tile_stored(1, at + TILE_BYTES, c_row);
    if (rows > 1) _tile_stored(2, below, c_row);
    if (rows > 1 && vectors > 1) _tile_stored(3, below + TILE_BYTES, c_row);
    settle_memory();
    if (apart) weigh_tiles(c, g->c_row, sums, factor, rows * TILE_ROWS, vectors);
}

/* C = C + AB for two rows of tiles, where A's words are two tiles wide: its four tiles stay, and C's are loaded, which
 * saves a quarter of the loads of tile_block(). The sums are in the same order. */
static void tile_rows(const tile_product *g, int64_t vectors, float *c, const char *a, const char *b)
{
    const int64_t a_row = g->a_row, b_row = g->b_row, c_row = g->c_row;
    const char *a_below = a + TILE_ROWS * a_row, *b_below = b + TILE_ROWS * b_row;
    char *at = (char *)c, *below = at + TILE_ROWS * c_row;
    _tile_loadd(4, a, a_row);
    _tile_loadd(5, a + TILE_BYTES, a_row);
    _tile_loadd(6, a_below, a_row);
    _tile_loadd(7, a_below + TILE_BYTES, a_row);
    for (int64_t v = 0; v < vectors; v++) {
        _tile_loadd(0, at, c_row);
        _tile_loadd(2, b, b_row);
        _tile_dpbf16ps(0, 4, 2);
        _tile_loadd(1, below, c_row);
        _tile_dpbf16ps(1, 6, 2);
        _tile_loadd(3, b_below, b_row);
        _tile_dpbf16ps(0, 5, 3);
        _tile_dpbf16ps(1, 7, 3);
        _tile_stored(0, at, c_row);
        _tile_stored(1, below, c_row);
        at += TILE_BYTES, below += TILE_BYTES, b += TILE_BYTES, b_below += TILE_BYTES;
        if (g->fetch) gemm_fetch_some(g->fetch);
    }
    settle_memory();
}

/* 1 x vectors tiles of C, of as many rows and last words as tiles_begin_edge() said. */
INLINE void tile_edge(const int64_t rows, const int vectors, const tile_product *g, float *c, const char *a,
                      const char *b, const float *factor)
{
    _Alignas(64) float sums[TILE_ROWS * 2 * VL];
    const int64_t a_row = g->a_row, b_row = g->b_row;
    const int apart = g->mode == GEMM_WEIGH;
    const int64_t c_row = apart ? 2 * VL * 4 : g->c_row;
    char *at = apart ? (char *)sums : (char *)c;
    if (g->mode == GEMM_ADD) {
        _tile_loadd(0, at, c_row);
        if (vectors > 1) _tile_loadd(1, at + TILE_BYTES, c_row);
    } else {
        _tile_zero(0);
        if (vectors > 1) _tile_zero(1);
    }
    int64_t k = g->terms;
    for (; k >= TILE_TERMS; k -= TILE_TERMS, a += TILE_BYTES, b += TILE_ROWS * b_row) {
        _tile_loadd(2, a, a_row);
        _tile_loadd(4, b, b_row);
        _tile_dpbf16ps(0, 2, 4);
        if (vectors > 1) {
            _tile_loadd(5, b + TILE_BYTES, b_row);
            _tile_dpbf16ps(1, 2, 5);
        }
        if (g->fetch) gemm_fetch_some(g->fetch);
    }
    if (k > 0) {
        _tile_loadd(3, a, a_row);
        _tile_loadd(6, b, b_row);
        _tile_dpbf16ps(0, 3, 6);
        if (vectors > 1) {
            _tile_loadd(7, b + TILE_BYTES, b_row);
            _tile_dpbf16ps(1, 3, 7);
        }
        if (g->fetch) gemm_fetch_some(g->fetch);
    }
    _tile_stored(0, at, c_row);
    if (vectors > 1) _tile_stored(1, at + TILE_BYTES, c_row);
    settle_memory();
    if (apart) weigh_tiles(c, g->c_row, sums, factor, rows, vectors);
}

/* Two neighbouring vectors of C, or the last one, over `m` rows, a multiple of TILE_ROWS. */
static void tile_columns(const tile_product *g, int64_t vectors, float *c, const char *a, const char *b, int64_t m,
                         const float *factor)
{
    for (int64_t i = 0; i < m; i += 2 * TILE_ROWS) {
        float *to = (float *)((char *)c + i * g->c_row);
        const char *from = a + i * g->a_row;
        const float *some = factor ? factor + i : NULL;
        const int two = m - i > TILE_ROWS;
        if (vectors > 1 && two)
            tile_block(2, 2, g, to, from, b, some);
        else if (vectors > 1)
            tile_block(1, 2, g, to, from, b, some);
        else if (two)
            tile_block(2, 1, g, to, from, b, some);
        else
            tile_block(1, 1, g, to, from, b, some);
    }
}

/* The rows that are not whole tiles, or all of them where their words are not. */
static void tile_edges(const tile_product *g, int64_t vectors, float *c, const char *a, const char *b, int64_t m,
                       const float *factor)
{
    for (int64_t i = 0; i < m; i += TILE_ROWS) {
        const int64_t rows = m - i < TILE_ROWS ? m - i : TILE_ROWS;
        float *to = (float *)((char *)c + i * g->c_row);
        const char *from = a + i * g->a_row;
        const float *some = factor ? factor + i : NULL;
        if (i == 0 || rows < TILE_ROWS) tiles_begin_edge(rows, g->terms % TILE_TERMS);
        int64_t v = 0;
        for (; v + 2 <= vectors; v += 2) tile_edge(rows, 2, g, to + v * VL, from, b + v * TILE_BYTES, some);
        if (v < vectors) tile_edge(rows, 1, g, to + v * VL, from, b + v * TILE_BYTES, some);
    }
    tiles_begin();
}

/* As gemm.h describes; A's step is 1, and the mode GEMM_SCALE is not served. */
static inline void gemm_any(float *c, int64_t c_row, gemm_scalars a, gemm_rows b, int64_t m, int64_t vectors,
                            gemm_terms k, gemm_mode mode, const float *factor, gemm_fetch *fetch)
{
    tile_product g = {4 * c_row, 4 * a.row, 4 * b.row, k.run, mode, fetch};
    const int64_t whole = k.run % TILE_TERMS ? 0 : m / TILE_ROWS * TILE_ROWS;
    const char *from = (const char *)a.at, *rows = (const char *)b.at;
    settle_memory();
    for (int64_t run = 0; run < k.runs; run++) {
        const int64_t done = g.mode == GEMM_ADD && k.run == 2 * TILE_TERMS ? whole / (2 * TILE_ROWS) * 2 * TILE_ROWS : 0;
        for (int64_t i = 0; i < done; i += 2 * TILE_ROWS)
            tile_rows(&g, vectors, c + i * c_row, from + i * g.a_row, rows);
        for (int64_t v = 0; v < vectors && done < whole; v += 2)
            tile_columns(&g, vectors - v, c + done * c_row + v * VL, from + done * g.a_row, rows + v * TILE_BYTES,
                         whole - done, factor ? factor + done : NULL);
        if (whole < m)
            tile_edges(&g, vectors, c + whole * c_row, from + whole * g.a_row, rows, m - whole,
                       factor ? factor + whole : NULL);
        from += 4 * (k.run + k.skip_a);
        rows += k.run * g.b_row + 4 * k.skip_b;
        if (mode == GEMM_STORE) g.mode = GEMM_ADD;
    }
}

/* How often a product fetches. */
static inline int64_t gemm_chunks(int64_t m, int64_t vectors, int64_t k)
{
    return (m + 2 * TILE_ROWS - 1) / (2 * TILE_ROWS) * ((vectors + 1) / 2) * ((k + TILE_TERMS - 1) / TILE_TERMS);
}
#endif

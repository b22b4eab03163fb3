/* `slat compare`: the primitives on a model's own queries, keys and values, beside dense attention on the same. */
#ifndef TOOLS_COMPARE_H
#define TOOLS_COMPARE_H
#include "options.h"

enum { COMPARE_BACKENDS = 8, COMPARE_SETTINGS = 18 };

/* One way to use a primitive. */
typedef struct {
    const char *line; /* as for `slat run` and `slat mask`, without files */
    int chosen;       /* blocks a row by compare_choose_blocks(), beside those of the line; 0: none */
    int first;        /* tokens at the start that every query sees too, by compare_first_block() and a merge; 0: none */
    const char *name; /* of its files, and in words: what is special about it */
    const char *words;
    bool brief; /* the slow definition runs this one too */
} compare_setting;

extern const compare_setting compare_settings[COMPARE_SETTINGS]; /* the first one is dense attention */

/* What one setting gave. Shares are of dense attention under the same causality. NAN: does not apply. */
typedef struct {
    double pairs;                     /* share of pairs; lightning: of floating-point work */
    double mass;                      /* share of softmax mass kept, mean over rows */
    double error;                     /* rms(o - dense o) / rms(dense o), on the first backend */
    double spread;                    /* the same between that backend and the one that differs most from it */
    double seconds[COMPARE_BACKENDS]; /* NAN: not run */
} compare_result;

/* Adds to a causal block_sparse problem the layout: the line's local and first blocks, and for each query block the
 * `chosen` other blocks where softmax over queries and keys, averaged over 16 tokens each, puts most mass. Sets
 * indptr and indices for every query head. */
bool compare_choose_blocks(problem *, const options *, int chosen, sentence *why);

/* Beside a causal neighborhood: block-sparse attention on the same q, k, v to the first block of `block` tokens, from
 * the first block of queries on whose windows do not reach it. Outputs are allocated. */
problem *compare_first_block(const problem *window, int block, sentence *why);

/* Another tensor on the same elements. NULL: no memory. */
tensor *compare_share(const tensor *);

/* k or v [B, T, Hk, D] with each head repeated Hq/Hk times. NULL: no memory. */
tensor *compare_repeat_heads(const tensor *, int64_t heads);

/* Answers as doubles, [B, T, H, D] and [B, T, H]; lse NULL: the primitive has none. */
typedef struct {
    double *o, *lse;
    int64_t rows, heads, width; /* rows: B * T */
} compare_answer;

bool compare_read(const problem *, compare_answer *);
void compare_answer_free(compare_answer *);
/* rms of the difference over rms of `right`; with `scaled`, after each head of `o` was scaled to fit best. */
double compare_error(const compare_answer *o, const compare_answer *right, bool scaled);
/* Mean over rows of exp(lse - right's lse). */
double compare_mass(const compare_answer *o, const compare_answer *right);

/* One forward call; where `rest` is not NULL, one of it too, merged into the first one's answer. The fastest of
 * several such calls, after a first one that is not counted; one call where it is slow. */
slat_status compare_time(const problem *, const problem *rest, const slat_exec *, double *seconds);

typedef struct {
    const char *file, *folder, *backend;
    int32_t threads;
    int backends;
    struct {
        const char *name;
        const memory *memory;
        bool brief; /* too slow for every setting */
    } on[COMPARE_BACKENDS];
    tensor *q, *k, *v;
    compare_answer dense;
    compare_result results[COMPARE_SETTINGS];
} comparison;

/* The setting as a problem on the model's tensors, outputs allocated. */
problem *compare_problem(const comparison *, const compare_setting *, sentence *why);

void compare_print_head(const comparison *);
void compare_print_row(const comparison *, int setting);
void compare_print_notes(const comparison *);
bool compare_write_chart(const comparison *, sentence *why); /* into the folder */

int slat_compare_main(int argc, char **argv);
#endif

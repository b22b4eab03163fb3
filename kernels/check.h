/* Argument checks of the public entries: every tensor is held against what it must be, the first misfit becomes one
 * sentence, and what is left is a slat_problem that kernels trust. */
#ifndef SLAT_CHECK_H
#define SLAT_CHECK_H
#include "backend.h"

enum {
    SLAT_IS_F64 = 1 << SLAT_F64,
    SLAT_IS_F32 = 1 << SLAT_F32,
    SLAT_IS_F16 = 1 << SLAT_F16,
    SLAT_IS_BF16 = 1 << SLAT_BF16,
    SLAT_IS_I32 = 16,
    SLAT_IS_U8 = 32,
    SLAT_IS_REAL = SLAT_IS_F64 | SLAT_IS_F32 | SLAT_IS_F16 | SLAT_IS_BF16
};

enum {
    SLAT_OPTIONAL = 1,
    SLAT_OUTPUT = 2,
    SLAT_UNIT = 4,    /* the last dimension's stride is 1 */
    SLAT_COMPACT = 8, /* row-major, without gaps */
    SLAT_FAST = 16    /* its strides count for slat_problem.strides16 */
};

#define SLAT_RANK 6
#define SLAT_ANY  (-1)

/* What an argument must be. */
typedef struct {
    const char *name, *dims; /* "k", "[B, Tk, Hk, D]" */
    int32_t types, flags, ndim;
    int64_t shape[SLAT_RANK]; /* SLAT_ANY: free */
} slat_want;

typedef struct {
    const char *name;
    const DLTensor *tensor;
    uintptr_t first, last; /* bytes that it spans; first > last: none */
    int32_t output;
} slat_seen;

typedef struct {
    slat_problem *problem;
    int32_t planning, count;
    slat_seen seen[32];
} slat_checker;

/* Checks exec's own words. exec may be NULL. */
slat_status slat_check_begin(slat_checker *c, slat_problem *p, const slat_exec *exec);

/* Checks one tensor; the first one names the device. NULL is fine where it is optional. */
slat_status slat_check_tensor(slat_checker *c, const slat_want *want, const DLTensor *t);

/* The same for a tensor whose rank and extents are known to be right: type, device, strides, data. */
slat_status slat_check_contents(slat_checker *c, const slat_want *want, const DLTensor *t);

/* After the last tensor: outputs overlap nothing (but `same` may lie exactly on `as`: st on s0), alignment is noted. */
slat_status slat_check_end(slat_checker *c, const DLTensor *same, const DLTensor *as);

/* The tensors of softmax attention, with `tokens` token dimensions (1; 2 and 3 on grids). Fills extents, views, scale.
 */
slat_status slat_check_attention(slat_checker *c, const slat_attention *t, int32_t tokens);

slat_status slat_check_reserved(const char *name, const uint64_t *words, int32_t count);
slat_status slat_check_later(const char *name, int32_t given); /* a field that is declared and not served yet */
slat_status slat_check_scale(double scale, double otherwise, double *out);

/* The element type, or -1 where none of ours. */
int32_t slat_type_of(DLDataType type);
int32_t slat_types_like(slat_type type); /* f64 for f64, else f32: the type of lse, sink, slopes and states */
const char *slat_dtype_name(DLDataType type, char buffer[16]);
int64_t slat_stride(const DLTensor *t, int32_t dimension); /* in elements; row-major where strides are NULL */
void *slat_data(const DLTensor *t);                        /* its first element; never NULL */
int32_t slat_on_cpu(const slat_problem *p);

/* [B, tokens..., H(, D)] as a view; absent where t is NULL. Written in place: see set_want() in attention.c. */
void slat_set_view(slat_view *view, const DLTensor *t, int32_t tokens);
/* [H] or another vector as a view whose `head` is the stride. */
slat_view slat_vector_view(const DLTensor *t);

/* overlap.c: the addresses of the first and the last byte of t's elements; 0: it has none. */
int32_t slat_span(const DLTensor *t, uintptr_t *first, uintptr_t *last);
/* Whether two tensors share a byte (2: it could not be told within the work that a check may cost). */
int32_t slat_overlap(const DLTensor *a, const DLTensor *b);
/* Whether two indices of t reach the same element. */
int32_t slat_overlaps_itself(const DLTensor *t);
#endif

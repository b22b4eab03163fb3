/* What a backend is: the one contract between the public entries (kernels/<primitive>.c) and the kernels.
 *
 * A public entry checks its arguments and reduces them to a slat_problem: extents, typed views with strides in
 * elements, one mask. Every kernel may trust it; nothing below the entry validates arguments. This header is also
 * included by CUDA C++ in gpu/.
 */
#ifndef SLAT_BACKEND_H
#define SLAT_BACKEND_H
#include <slat/slat.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLAT_ABI 1u /* of this header, between libslat and its modules; grows with every change here */

typedef enum { SLAT_F64, SLAT_F32, SLAT_F16, SLAT_BF16 } slat_type;

typedef enum {
    SLAT_OP_BLOCK_SPARSE,
    SLAT_OP_NEIGHBORHOOD,
    SLAT_OP_SHARDED,
    SLAT_OP_LANDMARK,
    SLAT_OP_LIGHTNING,
    SLAT_OP_LIGHTNING_STEP,
    SLAT_OP_MERGE,
    SLAT_OP_TRANSPOSE, /* of a block-sparse layout */
    SLAT_OPS
} slat_op;

typedef enum { SLAT_FORWARD, SLAT_BACKWARD, SLAT_PASSES } slat_pass;

/* A checked tensor: element (b, x, y, z, h, c) is data[b*batch + x*token[0] + y*token[1] + z*token[2] + h*head + c], in
 * elements of `type`. A sequence has only z. Strides of extents of 1 are 0. */
typedef struct {
    void *data; /* NULL: absent. When a call only plans, a non-NULL value says present and is never read. */
    slat_type type;
    int64_t batch, token[3], head;
} slat_view;

/* States of lightning: element (b, h, n, d, c) is data[b*batch + h*head + n*snapshot + d*row + c], f32 (f64 for f64).
 * Where slots are used, b is the slot. */
typedef struct {
    void *data;
    int64_t batch, head, snapshot, row;
} slat_state_view;

/* A block layout. Query block i of layout (b, h) sees the key blocks that indices lists from indptr[r] to indptr[r +
 * 1], r = (b*heads + h)*(rows + 1) + i. */
typedef struct {
    int32_t block_q, block_k, causal;
    int64_t rows, columns;           /* query blocks, key blocks */
    int32_t batches, heads;          /* of the layout: Bm is 1 or B, Hm is 1, Hk or Hq */
    int64_t entries;                 /* nnz */
    const int32_t *indptr, *indices; /* indptr NULL: dense, block sizes are 0 */
    const int32_t *bitmap_of;        /* NULL: every listed block is wholly visible */
    const uint8_t *bitmaps;          /* [n, block_q, ceil(block_k/8)], least significant bit first */
    int64_t bitmap_count;
    const int32_t *t_indptr, *t_indices, *t_entry; /* by key block; NULL: absent (outputs of SLAT_OP_TRANSPOSE) */
} slat_layout;

/* The window of one dimension, and the extents of k's grid and of q's box in it. 1-D and 2-D problems have leading
 * dimensions of length 1 with window, stride and dilation 1. */
typedef struct {
    int64_t length, q_length, q_start;
    int32_t window, stride, dilation, causal;
} slat_window;

typedef struct {
    int32_t block, local_blocks, stride;
    const int32_t *offsets; /* [Hk] */
} slat_shards;

typedef struct {
    slat_state_view s0, st, states, grad_st, grad_s0;
    int32_t states_every;
    int64_t snapshots;             /* n of states */
    int64_t slots;                 /* extent of b in s0 and st where slot is given */
    const int32_t *slot;           /* [B]; NULL: row b uses state b */
    slat_view slopes, grad_slopes; /* `head` is the stride */
} slat_decay;

#define SLAT_MERGE_DIMS 5
typedef struct {
    int32_t parts, ndim;            /* ndim row dimensions after folding, at most SLAT_MERGE_DIMS */
    int64_t shape[SLAT_MERGE_DIMS]; /* rows; the value extent is slat_problem.dv */
    int32_t inner[SLAT_MERGE_DIMS]; /* the caller's dimension whose stride steps a folded one */
    /* The caller's tensors, unfolded: slat_merge_strides() gives the folded strides of any of them. */
    const DLTensor *const *o, *const *lse;
    const DLTensor *out, *out_lse, *grad_out, *grad_out_lse;
    DLTensor *const *grad_o, *const *grad_lse;
} slat_parts;

typedef struct {
    slat_op op;
    slat_pass pass;
    slat_type type;    /* of q, k, v and their gradients (merge: of the parts) */
    DLDevice device;   /* kDLCPU or kDLCUDA: host-pinned and managed memory are folded into them */
    int32_t aligned;   /* every data pointer is a multiple of 16 bytes (a plan asks with both values) */
    int32_t strides16; /* every stride of q, k, v, o and their gradients is a multiple of 16 bytes */
    int64_t b, tq, tk; /* grids: tq and tk are the numbers of their points */
    int32_t hq, hk, d, dv;
    double scale; /* never 0: the default is filled in */
    slat_view q, k, v, o, lse, grad_o, grad_lse, grad_q, grad_k, grad_v;
    slat_view sink, grad_sink; /* `head` is the stride */
    union {
        slat_layout layout;
        slat_window window[3];
        slat_shards shards;
        int32_t landmark_block;
        slat_decay decay;
        slat_parts parts;
    };
} slat_problem;

/* What a kernel gets of slat_exec. */
typedef struct {
    void *stream;
    int32_t threads;       /* CPU; never 0 when a kernel runs or plans */
    int32_t deterministic; /* 0: the kernel's default, 1: required, -1: not needed */
    void *workspace;       /* as many bytes as the kernel's plan said, 256-byte aligned */
    size_t workspace_bytes;
    void (*parallel)(void *pool, int32_t n, void (*task)(void *ctx, int32_t i), void *ctx);
    void *pool;
} slat_run;

/* A kernel decides in `plan`, from shapes, strides, types, p->aligned and the run's wishes alone, whether it computes
 * the problem: SLAT_OK fills the plan's kernel, workspace, deterministic and launches; SLAT_UNSUPPORTED sends the
 * problem to the next rank. `run` is called only after a SLAT_OK plan of the same problem, and computes it. */
typedef struct {
    slat_status (*plan)(const slat_problem *p, const slat_run *run, slat_plan *plan);
    slat_status (*run)(const slat_problem *p, const slat_run *run);
} slat_kernel;

typedef struct {
    uint32_t abi;
    const char *name;
    DLDeviceType device;
    int32_t (*rank)(DLDevice);                 /* 0: not on this machine */
    slat_kernel kernel[SLAT_OPS][SLAT_PASSES]; /* NULL: another rank's work */
} slat_backend_table;

/* A module (libslat_cuda.so) exports `slat_module`; libslat hands it the way to say what went wrong. */
typedef struct {
    uint32_t abi;
    slat_status (*fail)(slat_status status, const char *format, ...);
} slat_host;

typedef struct {
    uint32_t abi;
    int32_t count;
    const slat_backend_table *const *backends;
} slat_module_table;

typedef const slat_module_table *slat_module_entry(const slat_host *host); /* the type of `slat_module` */

/* Keeps the sentence for slat_error() and returns the status. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
slat_status
slat_fail(slat_status status, const char *format, ...);

/* Strides, in elements, of the folded row dimensions of one of merge's tensors (an o or an lse). */
static inline void slat_merge_strides(const slat_parts *parts, const DLTensor *t, int64_t strides[SLAT_MERGE_DIMS])
{
    for (int32_t i = 0; i < parts->ndim; i++) {
        int64_t stride = 1;
        if (t->strides)
            stride = t->strides[parts->inner[i]];
        else
            for (int32_t j = parts->inner[i] + 1; j < t->ndim; j++) stride *= t->shape[j];
        strides[i] = parts->shape[i] > 1 ? stride : 0;
    }
}

/* What OpenMP would use (cpu/parallel.c); 1 in a library without cpu/. */
int32_t slat_threads(void);

#define SLAT_TRY(call)                                                                                                 \
    do {                                                                                                               \
        const slat_status try_ = (call);                                                                               \
        if (try_ != SLAT_OK) return try_;                                                                              \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif

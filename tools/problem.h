/* A problem as data: a primitive, its parameters and its tensors by role, ready to be handed to the library. Case
 * files, the command, the tests and the benchmarks all come through here, and use nothing of the library but
 * <slat/slat.h>.
 *
 * Life: problem_load() or problem_new() gives the inputs; problem_allocate_outputs() the outputs of a pass, poisoned;
 * problem_call() computes. Backward reads o and lse as forward wrote them: call forward first, on the same problem.
 * problem_copy() gives the same problem in another layout or memory. problem_free() ends it.
 */
#ifndef TOOLS_PROBLEM_H
#define TOOLS_PROBLEM_H
#include <slat/slat.h>

#include "agree.h"
#include "layouts.h"
#include "safetensors.h"

typedef enum {
    OP_BLOCK_SPARSE,
    OP_NEIGHBORHOOD,
    OP_SHARDED,
    OP_LANDMARK,
    OP_LIGHTNING,
    OP_LIGHTNING_STEP,
    OP_MERGE,
    OP_COUNT
} problem_op;

typedef enum { PASS_FORWARD, PASS_BACKWARD, PASS_COUNT } problem_pass;

/* Roles of tensors. The four of a merge part stand PROBLEM_PARTS times: see problem_part(). */
typedef enum {
    ROLE_Q,
    ROLE_K,
    ROLE_V,
    ROLE_O,
    ROLE_LSE,
    ROLE_DO,
    ROLE_DLSE,
    ROLE_DQ,
    ROLE_DK,
    ROLE_DV,
    ROLE_SINK,
    ROLE_DSINK,
    ROLE_INDPTR,
    ROLE_INDICES,
    ROLE_BITMAP_OF,
    ROLE_BITMAPS,
    ROLE_T_INDPTR,
    ROLE_T_INDICES,
    ROLE_T_ENTRY,
    ROLE_OFFSETS,
    ROLE_SLOPES,
    ROLE_DSLOPES,
    ROLE_S0,
    ROLE_ST,
    ROLE_STATES,
    ROLE_DST,
    ROLE_DS0,
    ROLE_SLOT,
    ROLE_PART_O, /* o.0 o.1 ... */
    ROLE_PART_LSE,
    ROLE_PART_DO,
    ROLE_PART_DLSE,
    ROLE_COUNT
} problem_role;

enum {
    PROBLEM_PARTS = 16, /* of a merge, at most */
    PROBLEM_SLOTS = ROLE_PART_O + 4 * PROBLEM_PARTS,
    PROBLEM_NAME = 16,  /* characters of a slot's name */
    PROBLEM_GROUPS = 10 /* of tensors that LAYOUT_INTERLEAVED puts into one buffer */
};

/* Extents. Sequences have ndim 1 and use tq[0], tk[0]; a neighborhood has 1 to 3 dimensions. */
typedef struct {
    int64_t b, tq[3], tk[3], hq, hk, d, dv;
    int32_t ndim;
    tensor_type type, o_type;                               /* of q, k, v; of o and do */
    int64_t layout_batches, layout_heads, entries, bitmaps; /* block_sparse: Bm, Hm, nnz, n */
    int64_t slots; /* lightning_step with `slot`: extent of the states; else 0 */
    int32_t rank;  /* merge: of o, with its shape; the other extents are unused but dv and type */
    int64_t shape[TENSOR_DIMS];
} problem_extents;

typedef struct {
    problem_op op;
    problem_pass pass; /* what a case file asks for; backward includes forward */
    problem_extents extents;
    union { /* the descriptor as the library takes it; its tensors are filled in by problem_call() */
        slat_block_sparse block_sparse;
        slat_neighborhood neighborhood;
        slat_sharded sharded;
        slat_landmark landmark;
    };
    double scale;
    int32_t states_every, parts;
    const memory *memory;
    tensor *t[PROBLEM_SLOTS];      /* by role, parts by problem_part(); NULL: absent. Owned. */
    tensor *group[PROBLEM_GROUPS]; /* buffers of LAYOUT_INTERLEAVED. Owned. */
} problem;

/* Place in problem.t of a part's tensor: role is one of ROLE_PART_*. */
static inline int problem_part(problem_role role, int part)
{
    return (int)role + 4 * part;
}

/* Role of a place in problem.t. */
static inline problem_role problem_slot_role(int slot)
{
    return slot < ROLE_PART_O ? (problem_role)slot : (problem_role)(ROLE_PART_O + (slot - ROLE_PART_O) % 4);
}

const char *problem_op_name(problem_op); /* block_sparse neighborhood ... */
bool problem_op_from_name(const char *, problem_op *);
const char *problem_pass_name(problem_pass);                      /* forward backward */
const char *problem_slot_name(int slot, char name[PROBLEM_NAME]); /* q ... dslopes, o.3: as in case files; gives name */
bool problem_is_softmax(problem_op);                              /* block_sparse neighborhood sharded landmark */
bool problem_has_pass(problem_op, problem_pass);                  /* lightning_step has no backward */
bool problem_slot_is_output(const problem *, int slot, problem_pass); /* written by that pass */

/* An empty problem of that op: no tensors yet. */
problem *problem_create(problem_op, const memory *);
void problem_free(problem *); /* NULL is fine */

/* Type and shape that a slot's tensor has by the extents. False: the problem has no such tensor. */
bool problem_slot_shape(const problem *, int slot, tensor_type *type, int *ndim, int64_t shape[TENSOR_DIMS]);
/* Allocates a slot's tensor in a layout, poisoned. False: no memory, or the problem has no such tensor. */
bool problem_allocate(problem *, int slot, layout);
/* Derives the extents from the input tensors that are there. */
bool problem_measure(problem *, sentence *why);
/* problem_measure(), then asks for every tensor that the primitive needs and holds all of them against the extents. */
bool problem_settle(problem *, sentence *why);

/* A case file: its parameters and inputs, in plain layout on the host. Expected answers: problem_expected(). */
problem *problem_load(const safetensors *, sentence *why);
/* The expected answer of a slot (`expect.NAME`), on the host; NULL without a sentence: the file has none. */
tensor *problem_expected(const safetensors *, int slot, sentence *why);

/* What problem_new() makes. Zero is a default everywhere but op, type, b, tq, tk, hq, d. */
typedef struct {
    problem_op op;
    problem_pass pass; /* backward: do is made too */
    tensor_type type;
    bool o_f32;              /* o and do are f32 whatever q's type is */
    int64_t b, tq[3], tk[3]; /* tk 0: as tq */
    int32_t ndim;            /* 0: 1 */
    int64_t hq, hk, d, dv;   /* hk 0: hq; dv 0: d */
    double scale;            /* handed on: 0 is the primitive's default */
    double spread;           /* of q; 0: 1 */
    bool sink, dlse;
    uint64_t seed;
    struct {
        int32_t block_q, block_k, causal; /* block_q 0: dense */
        double density;                   /* of the random blocks off the diagonal */
        int32_t window_blocks;            /* > 0: the last so many blocks before the diagonal too */
        int64_t batches, heads;           /* Bm: 0 is 1; Hm: 0 is hq */
        double bitmaps;                   /* share of the blocks that get a random bitmap */
        uint64_t seed;                    /* 0: the standard workloads' layout */
        bool transposed;                  /* t_indptr, t_indices, t_entry too, by slat_block_sparse_transpose() */
    } block_sparse;
    struct {
        int32_t window[3], stride[3], dilation[3], causal[3];
        int64_t q_start[3];
    } neighborhood;
    struct {
        int32_t block, local_blocks, stride, dense_heads, head_offset, per_key_head;
    } sharded;
    struct {
        int32_t block;
    } landmark;
    struct {
        double slope;  /* > 0: every head's; 0: ALiBi's */
        bool no_decay; /* slopes are 0 */
        bool s0, dst;
        int32_t states_every; /* > 0: states are an output of forward */
        int64_t slots;        /* lightning_step: > 0: states are [slots, ...], each row takes another one */
    } lightning;
    struct {
        int32_t parts; /* 0: 2 */
        double empty;  /* share of the rows of a part with lse = -inf, o = NaN */
    } merge;           /* shape [b, tq, hq, d] */
} problem_parameters;

/* Inputs near N(0, 1) from the seed (states and slopes in f32; parts' lse about 3 +- 1), in a layout. */
problem *problem_new(const problem_parameters *, layout, const memory *, sentence *why);

/* The inputs of a problem once more, in another layout or memory; outputs are not copied. */
problem *problem_copy(const problem *, layout, const memory *, sentence *why);

/* Makes the outputs of a pass that are missing, then problem_reset(). Forward: o, lse or st (and states where
 * states_every is set); backward: every gradient whose input is there. */
bool problem_allocate_outputs(problem *, problem_pass, layout, sentence *why);
/* Poisons every output of a pass that is there. lightning_step: st becomes s0 again. Backward leaves o and lse alone.
 */
bool problem_reset(problem *, problem_pass);

/* Hands the problem to the library. Tensors that are NULL are absent: free and clear a slot to leave an output out. */
slat_status problem_call(const problem *, problem_pass, const slat_exec *);
/* The arguments that problem_call() makes, for callers who change one first. */
slat_attention problem_attention(const problem *, problem_pass);
slat_block_sparse problem_block_sparse(const problem *);
slat_sharded problem_sharded(const problem *);
slat_lightning problem_lightning(const problem *, problem_pass); /* of OP_LIGHTNING_STEP too */

/* How an answer is held against its expectation: limits and floors from the inputs. Slots that are no answers have
 * none: asking is a programming error. */
agree_rule problem_rule(const problem *, int slot);

/* The scale that the primitive uses: never 0. */
double problem_scale(const problem *);

/* Work of a pass, in floating-point operations over visible pairs: 2 (D + Dv) a pair forward, 2 (3 D + 2 Dv) backward.
 * Lightning: 64 (D + Dv) + 4 D Dv a token and head, backward 2.5 times that. merge: 0. */
double problem_flops(const problem *, problem_pass);
/* Bytes that must move. Lightning: q k v read, o written; backward q k v do read, dq dk dv written; step: the states of
 * the rows read and written. Softmax primitives with few queries: k and v of visible keys, once a key head, which is
 * what a decode step reads (visible pairs of one query head a key head). merge: parts read, o written, and the reverse.
 */
double problem_bytes(const problem *, problem_pass);

#endif

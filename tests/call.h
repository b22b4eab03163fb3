/* A call of the library with everything in reach: a right problem of each primitive, its arguments as the caller writes
 * them, to be spoiled by a test and to be refused by the library.
 */
#ifndef SLAT_TESTS_CALL_H
#define SLAT_TESTS_CALL_H
#include "problem.h"

typedef struct {
    problem *p; /* owns the tensors that the structs below point to */
    problem_pass pass;
    slat_exec exec;
    slat_attention attention;
    slat_block_sparse block_sparse;
    slat_neighborhood neighborhood;
    slat_sharded sharded;
    slat_landmark landmark;
    slat_lightning lightning;
    const DLTensor *merge_o[PROBLEM_PARTS], *merge_lse[PROBLEM_PARTS];
    DLTensor *merge_grad_o[PROBLEM_PARTS], *merge_grad_lse[PROBLEM_PARTS];
    const DLTensor *const *merge_arrays[2]; /* o, lse */
    DLTensor *merge_out, *merge_out_lse;
    const DLTensor *merge_grad_out;
    int32_t merge_parts;
    bool no_descriptor, no_tensors;
} call;

/* f32, small, with every optional tensor that the primitive has; all blocks of a block_sparse layout are listed.
 * Outputs are poisoned; before a backward call forward has run. */
call *call_new(problem_op op, problem_pass pass, layout l);
void call_free(call *c);

/* Makes the call as it stands. */
slat_status call_run(const call *c);

/* Checks that the call is refused with this status, that the sentence holds every one of `words` (up to a NULL), and
 * that nothing was written anywhere. `what` names the spoiling. */
void call_refused(const call *c, slat_status status, const char *const *words, const char *what);

/* Checks that the call is SLAT_OK. */
void call_accepted(const call *c, const char *what);

/* Whether the call is handed the slot's tensor, and its name in the library's sentences ("grad_q", "lse[1]"). */
bool call_takes(const call *c, int slot);
const char *call_argument(const call *c, int slot, char name[24]);

/* Every primitive and pass: fills `op` and `pass` of number n; false past the last. */
bool call_number(int32_t n, problem_op *op, problem_pass *pass);

#endif

/* What the tests do with a problem: call it watched, make its twin in f64, hold answers against each other. */
#ifndef SLAT_TESTS_SUBJECT_H
#define SLAT_TESTS_SUBJECT_H
#include "problem.h"
#include "seen.h"

enum { SUBJECT_BACKENDS = 16 };

/* A slot's name, in memory of the block where this stands. */
#define SLOT_NAME(slot) problem_slot_name((int)(slot), (char[PROBLEM_NAME]){0})

/* Names of the CPU's backends that are on this machine, best first: those that serve every call but f64, and all. */
int32_t subject_backends(const char *names[SUBJECT_BACKENDS]);
int32_t subject_all_backends(const char *names[SUBJECT_BACKENDS]);

/* Whether a backend may answer SLAT_UNSUPPORTED: f64 anywhere but in scalar; amx serves bf16 alone, and of that at least
 * all block-sparse and sharded problems of more than 16 rows a key head. */
bool subject_may_refuse(const char *backend, const problem *p);

/* The same inputs, exactly, in f64 and plain layout on the host; outputs are not made. Never NULL. */
problem *subject_twin(const problem *p);

/* problem_new() and problem_copy() that end the program where they fail. */
problem *subject_new(const problem_parameters *parameters, layout l);
problem *subject_copy(const problem *p, layout l);
void subject_outputs(problem *p, problem_pass pass, layout l);

/* Calls with every buffer of the problem watched, and checks that nothing but the outputs of the pass was written, and
 * on failure nothing at all and a sentence kept. `what` names the call in what is printed. */
slat_status subject_call(problem *p, problem_pass pass, const slat_exec *exec, const char *what);

/* Holds the outputs of the pass against `expected`'s, by the rule of agreement. */
void subject_agree(const problem *p, const problem *expected, problem_pass pass, const char *what);

/* Whether the outputs of the pass are the same, bit for bit (as doubles; NaN equals NaN). */
bool subject_same(const problem *a, const problem *b, problem_pass pass);

/* A softmax problem's mask. Points into `p`, and into the descriptors that `storage` holds. */
typedef struct {
    slat_block_sparse block_sparse;
    slat_sharded sharded;
} subject_descriptors;

seen_mask subject_mask(const problem *p, subject_descriptors *storage);

/* Fills with NaN every key that a kernel must not read: v where no query of the head sees the key or where it is a
 * landmark, k where a whole key tile (a key block; else 256 keys) is unseen. Everything else stays. */
void subject_hide_unread(problem *p);

#endif

/* The user's tensors on their way into a problem and back: 3-D tensors are one batch entry, and with --grid a sequence
 * is seen as a grid. Results go back in the shape in which q and k came. */
#ifndef TOOLS_RUN_TENSORS_H
#define TOOLS_RUN_TENSORS_H
#include "options.h"

/* How the leading dimensions of q and of k stood in the file: all but head and row. */
typedef struct {
    int q_rank, k_rank;
    int64_t q[TENSOR_DIMS], k[TENSOR_DIMS];
} run_shapes;

/* A problem of the options with the file's tensors and everything that the options make. NULL: the sentence says what
 * is wrong, and for a missing tensor what the file has. */
problem *run_load(const options *, const safetensors *, run_shapes *, sentence *why);

/* Writes the outputs that are there, under their names. */
bool run_save(const problem *, const run_shapes *, const char *path, const slat_plan *, sentence *why);

#endif

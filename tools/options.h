/* The command line of `slat run` and `slat mask`: a primitive, its parameters, and files.
 *
 * Both commands read the same options with options_parse(); which of them it needs is its own affair. Counts of 0
 * and NULL texts mean that an option was not given.
 */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H
#include "problem.h"

enum { OPTIONS_LIST = 256, OPTIONS_FILES = 16 };

typedef struct {
    int32_t count;
    double value[OPTIONS_LIST];
} option_list;

typedef struct {
    problem_op op;
    /* shapes, where no tensors give them */
    option_list tokens; /* T, or Tq,Tk */
    option_list grid;   /* of k, one to three lengths */
    option_list q_grid; /* of q; as k's */
    option_list heads;  /* Hq, or Hq,Hk */
    /* parameters, as the public headers name them */
    option_list block;  /* one size, or block_q,block_k */
    option_list causal; /* flags; one stands for every dimension */
    option_list window, stride, dilation, q_start;
    option_list local;   /* blocks: local_blocks of sharded; around the diagonal of block_sparse */
    option_list offsets; /* of sharded, a key head each */
    option_list slopes;  /* of lightning, a head each */
    option_list scale, states_every;
    /* a block layout made from a rule: `local`, and these */
    option_list first;   /* block columns from the left that everybody sees */
    option_list density; /* share of the other blocks, at random */
    /* sharded's builders of offsets */
    option_list dense_heads, head_offset;
    bool by_key_heads;
    /* how it runs */
    bool backward;
    option_list threads, repeat;
    const char *backend;
    const char *output; /* -o */
    int32_t files;
    const char *file[OPTIONS_FILES];
    bool help;
} options;

/* Reads argv[1] (the primitive) and what follows. An option that the primitive does not know is wrong. `--help`
 * anywhere sets help, and nothing more is asked. */
bool options_parse(options *o, int argc, char **argv, sentence *why);
void options_help(void); /* prints every option with the primitives that know it */

/* The n-th value of a list, its last one where it is shorter, `missing` where it is empty. */
double option_value(const option_list *list, int n, double missing);

/* Gives a problem, whose extents are known, the parameters: its descriptor, and the index tensors and slopes that it
 * has not got yet. Ranges are the library's to check. Block layouts are made from --local, --first and --density;
 * without any of them attention is dense. */
bool options_apply(const options *o, problem *p, sentence *why);

/* A problem of these options without q, k and v: extents from --tokens or --grid and --heads. */
problem *options_problem(const options *o, sentence *why);
#endif

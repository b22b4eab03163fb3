/* What sees what, straight from the definitions: an oracle for tests and pictures, and the count of pairs that rates
 * are made of. Queries and keys are numbered row-major over their grids. Index tensors are read on the host: for a
 * problem on a device ask its copy on the host. */
#ifndef TOOLS_VISIBLE_H
#define TOOLS_VISIBLE_H
#include "problem.h"

int64_t visible_queries(const problem *); /* Tq, of all dimensions */
int64_t visible_keys(const problem *);    /* Tk */

/* Does query i of query head h see key j, in batch entry b? For lightning: j <= i. */
bool visible(const problem *, int64_t b, int64_t h, int64_t i, int64_t j);

/* Pairs summed over batch and query heads, exactly, in time linear in T or in the layout's entries. Landmark: ordinary
 * keys and landmarks that a row sees. merge: 0. */
int64_t visible_pairs(const problem *);
/* Keys that query i of head h sees. */
int64_t visible_row(const problem *, int64_t b, int64_t h, int64_t i);
/* Pairs of dense attention under the same causality: what visible_pairs() is a share of. */
int64_t visible_dense_pairs(const problem *);

#endif

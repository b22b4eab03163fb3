/* The layout by key block, made on the device. */
#ifndef SLAT_ANY_TRANSPOSE_H
#define SLAT_ANY_TRANSPOSE_H
#include "session.h"

namespace simt
{

/* From session.problem.layout: t_indptr [Bm, Hm, columns + 1], t_indices and t_entry [nnz]. Bad entries are left out.
 * t_entry may be NULL: not wanted. */
void enqueue_transpose(slat_session &session, int32_t *t_indptr, int32_t *t_indices, int32_t *t_entry);

} // namespace simt
#endif

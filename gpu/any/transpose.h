/* The layout by key block, made on the device. */
#ifndef SLAT_ANY_TRANSPOSE_H
#define SLAT_ANY_TRANSPOSE_H
#include "session.h"

namespace simt
{

/* indptr [Bm, Hm, columns + 1], indices and entry [nnz]; entry may be NULL: not wanted. */
struct transposed {
    int32_t *indptr, *indices, *entry;
};

/* The caller's. */
inline transposed by_key(const slat_layout &l)
{
    return {(int32_t *)l.t_indptr, (int32_t *)l.t_indices, (int32_t *)l.t_entry};
}

/* Room for that of session.problem.layout in workspace. */
transposed take_transposed(slat_session &session, bool entries);

/* Writes it. Bad entries are left out. */
void enqueue_transpose(slat_session &session, const transposed &to);

} // namespace simt
#endif

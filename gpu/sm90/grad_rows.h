/* What softmax backward makes ready before its products. */
#ifndef SLAT_SM90_GRAD_ROWS_H
#define SLAT_SM90_GRAD_ROWS_H
#include "any/transpose.h"
#include "grad_room.cuh"
#include "session.h"

namespace sm90
{

/* Made beside the numbers, in the same launch. */
struct grad_start {
    int32_t *counters, count; /* become 0 */
    simt::transposed layout;  /* the call's by key block; indptr NULL: none is wanted */
};

/* The numbers of all query rows, as grad_room.cuh lays them out, in workspace. */
void enqueue_numbers(slat_session &session, const grad_start &start, grad_call &call);

} // namespace sm90
#endif

/* The parts of softmax backward that look at query rows alone. */
#ifndef SLAT_SM90_GRAD_ROWS_H
#define SLAT_SM90_GRAD_ROWS_H
#include "session.h"

namespace sm90
{

/* The numbers of every query row, as grad_room.cuh lays them out, in workspace. */
const float *enqueue_numbers(slat_session &session);

} // namespace sm90
#endif

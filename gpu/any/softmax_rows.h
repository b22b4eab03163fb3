/* The parts of softmax backward that look at rows alone. */
#ifndef SLAT_ANY_SOFTMAX_ROWS_H
#define SLAT_ANY_SOFTMAX_ROWS_H
#include "session.h"

namespace simt
{

/* delta - dlse of every query row, f32 [B, Hq, Tq] in workspace. */
float *enqueue_shift(slat_session &session);
/* dsink = sum of exp(sink - lse) (dlse - delta), head by head, in a fixed order. */
void enqueue_grad_sink(slat_session &session, const float *shift);

} // namespace simt
#endif

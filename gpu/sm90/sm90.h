/* What the backend `cuda-sm90` serves. Each check decides from shapes, strides, types and alignment alone; the sentence
 * of a SLAT_UNSUPPORTED names what is not served.
 */
#ifndef SLAT_SM90_H
#define SLAT_SM90_H
#include "session.h"

slat_status slat_sm90_block_sparse_check(const slat_problem &);
void slat_sm90_block_sparse(slat_session &);
slat_status slat_sm90_block_sparse_backward_check(const slat_problem &);
void slat_sm90_block_sparse_backward(slat_session &);
/* Of a block layout, for both passes. */
slat_status slat_sm90_block_layout_check(const slat_layout &);
slat_status slat_sm90_neighborhood_check(const slat_problem &);
void slat_sm90_neighborhood(slat_session &);
/* Static storage: the kernel with an item's box of queries and a run of keys, x by y by z. */
const char *slat_sm90_neighborhood_name(const slat_problem &);
slat_status slat_sm90_neighborhood_backward_check(const slat_problem &);
void slat_sm90_neighborhood_backward(slat_session &);
slat_status slat_sm90_sharded_check(const slat_problem &);
void slat_sm90_sharded(slat_session &);
slat_status slat_sm90_sharded_backward_check(const slat_problem &);
void slat_sm90_sharded_backward(slat_session &);
slat_status slat_sm90_landmark_check(const slat_problem &);
void slat_sm90_landmark(slat_session &);
slat_status slat_sm90_landmark_backward_check(const slat_problem &);
void slat_sm90_landmark_backward(slat_session &);

/* Few queries, of the softmax primitives. */
slat_status slat_sm90_decode_check(const slat_problem &);
void slat_sm90_block_sparse_decode(slat_session &);
void slat_sm90_neighborhood_decode(slat_session &);
void slat_sm90_sharded_decode(slat_session &);
void slat_sm90_landmark_decode(slat_session &);

slat_status slat_sm90_lightning_check(const slat_problem &);
void slat_sm90_lightning(slat_session &);
slat_status slat_sm90_lightning_step_check(const slat_problem &);
void slat_sm90_lightning_step(slat_session &);
#endif

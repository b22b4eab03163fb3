/* Holds every byte of some tensors' buffers (red zones, gaps and neighbours included) against what it was before a
 * call, except the elements that the call may write. */
#ifndef TOOLS_WATCH_H
#define TOOLS_WATCH_H
#include "sentence.h"
#include "tensor.h"

typedef struct watch watch;

/* Copies the buffers of `count` tensors; NULL entries are left out, shared buffers are copied once. NULL: no memory. */
watch *watch_begin(tensor *const *tensors, int count);
/* True when nothing outside the elements of `written` changed since; else the sentence says which tensor's buffer and
 * how far from its start, in bytes. Written tensors that are NULL or were not watched are left out. */
bool watch_unchanged(const watch *, tensor *const *written, int count, sentence *why);
void watch_free(watch *);

#endif

/* The buffer behind tensors, for tensor.c and watch.c. */
#ifndef TOOLS_TENSOR_BUFFER_H
#define TOOLS_TENSOR_BUFFER_H
#include "tensor.h"

struct tensor_buffer {
    const memory *memory;
    unsigned char *base; /* red zone, `bytes` of data, red zone */
    size_t bytes;
    int references;
};

static inline size_t tensor_buffer_size(const tensor_buffer *buffer)
{
    return buffer->bytes + 2 * (size_t)TENSOR_RED_ZONE;
}

/* Byte k of a poisoned stretch that begins at an even address. */
static inline unsigned char tensor_poison_byte(size_t k)
{
    return k % 2 ? TENSOR_POISON >> 8 : TENSOR_POISON & 0xFF;
}

/* Poisons a stretch. */
bool tensor_poison(const memory *, unsigned char *data, size_t bytes);

/* The walk behind tensor_walk(): `span` is a host address that stands for the tensor's first element. */
void tensor_walk_at(const tensor *, unsigned char *span, tensor_run *run, void *context);

#endif

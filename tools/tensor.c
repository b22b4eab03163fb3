/* Buffers with red zones, and tensors on them. */
#include "tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_buffer.h"

bool tensor_poison(const memory *m, unsigned char *data, size_t bytes)
{
    const size_t most = bytes < 1 << 20 ? bytes : 1 << 20;
    unsigned char *pattern = malloc(most + 1);
    for (size_t k = 0; pattern && k < most; k++) pattern[k] = tensor_poison_byte(k);
    const bool ok = pattern && m->upload(m, data, pattern, most) && m->repeat(m, data, most, bytes);
    free(pattern);
    return ok;
}

/* A poisoned buffer with no reference yet. */
static tensor_buffer *buffer_new(const memory *m, size_t bytes)
{
    tensor_buffer *buffer = malloc(sizeof *buffer);
    if (!buffer) return NULL;
    *buffer = (tensor_buffer){m, NULL, bytes, 0};
    buffer->base = m->allocate(m, tensor_buffer_size(buffer));
    if (buffer->base && tensor_poison(m, buffer->base, tensor_buffer_size(buffer))) return buffer;
    m->release(m, buffer->base);
    free(buffer);
    return NULL;
}

static void buffer_drop(tensor_buffer *buffer)
{
    if (--buffer->references > 0) return;
    buffer->memory->release(buffer->memory, buffer->base);
    free(buffer);
}

/* On failure the buffer goes when nobody else holds it. */
static tensor *tensor_on(tensor_buffer *buffer, tensor_type type, int ndim, const int64_t *shape,
                         const int64_t *strides, int64_t offset)
{
    buffer->references++;
    tensor *t = calloc(1, sizeof *t);
    if (!t) {
        buffer_drop(buffer);
        return NULL;
    }
    for (int i = 0; i < ndim; i++) {
        t->shape[i] = shape[i];
        t->strides[i] = strides[i];
    }
    t->type = type;
    t->buffer = buffer;
    t->dl.data = buffer->base + TENSOR_RED_ZONE;
    t->dl.device = buffer->memory->device;
    t->dl.ndim = ndim;
    t->dl.dtype = tensor_type_dl(type);
    t->dl.shape = t->shape;
    t->dl.strides = t->strides;
    t->dl.byte_offset = (uint64_t)offset * tensor_type_size(type);
    return t;
}

tensor *tensor_new_strided(const memory *m, tensor_type type, int ndim, const int64_t *shape, const int64_t *strides,
                           int64_t offset, int64_t elements)
{
    int64_t bytes;
    if (__builtin_mul_overflow(elements, (int64_t)tensor_type_size(type), &bytes)) return NULL;
    if (ndim > TENSOR_DIMS || bytes > INT64_MAX - 2 * TENSOR_RED_ZONE) return NULL;
    tensor_buffer *buffer = buffer_new(m, (size_t)bytes);
    return buffer ? tensor_on(buffer, type, ndim, shape, strides, offset) : NULL;
}

tensor *tensor_new(const memory *m, tensor_type type, int ndim, const int64_t *shape)
{
    int64_t strides[TENSOR_DIMS], elements = 1;
    if (ndim > TENSOR_DIMS) return NULL;
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = elements;
        if (shape[i] < 0 || __builtin_mul_overflow(elements, shape[i], &elements)) return NULL;
    }
    return tensor_new_strided(m, type, ndim, shape, strides, 0, elements);
}

tensor *tensor_new_view(const tensor *owner, int ndim, const int64_t *shape, const int64_t *strides, int64_t offset)
{
    return ndim > TENSOR_DIMS ? NULL : tensor_on(owner->buffer, owner->type, ndim, shape, strides, offset);
}

tensor *tensor_clone(const tensor *t, const memory *to)
{
    const tensor_buffer *from = t->buffer;
    const int64_t size = (int64_t)tensor_type_size(t->type);
    tensor *copy = tensor_new_strided(to, t->type, t->dl.ndim, t->shape, t->strides, (int64_t)t->dl.byte_offset / size,
                                      (int64_t)from->bytes / size);
    unsigned char *staged = copy ? malloc(from->bytes + 1) : NULL;
    if (!staged || !from->memory->download(from->memory, staged, from->base + TENSOR_RED_ZONE, from->bytes) ||
        !to->upload(to, copy->buffer->base + TENSOR_RED_ZONE, staged, from->bytes)) {
        tensor_free(copy);
        copy = NULL;
    }
    free(staged);
    return copy;
}

void tensor_free(tensor *t)
{
    if (!t) return;
    buffer_drop(t->buffer);
    free(t);
}

DLTensor *tensor_dl(tensor *t)
{
    return t ? &t->dl : NULL;
}

const memory *tensor_memory(const tensor *t)
{
    return t->buffer->memory;
}

int64_t tensor_count(const tensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->dl.ndim; i++) count *= t->shape[i];
    return count;
}

int64_t tensor_row_length(const tensor *t)
{
    return t->dl.ndim ? t->shape[t->dl.ndim - 1] : 1;
}

bool tensor_same_shape(const tensor *a, const tensor *b)
{
    return a->dl.ndim == b->dl.ndim && !memcmp(a->shape, b->shape, (size_t)a->dl.ndim * sizeof *a->shape);
}

void tensor_shape_text(const tensor *t, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < t->dl.ndim && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ", %lld" : "%lld", (long long)t->shape[i]);
    if (used < size) snprintf(text + used, size - used, "]");
}

void *tensor_address(const tensor *t, const int64_t *index)
{
    int64_t place = 0;
    for (int i = 0; i < t->dl.ndim; i++) place += index[i] * t->strides[i];
    return (unsigned char *)t->dl.data + t->dl.byte_offset + place * (int64_t)tensor_type_size(t->type);
}

bool tensor_guards_ok(const tensor *t)
{
    const tensor_buffer *buffer = t->buffer;
    const size_t back = TENSOR_RED_ZONE + buffer->bytes;
    unsigned char front_zone[TENSOR_RED_ZONE], back_zone[TENSOR_RED_ZONE];
    if (!buffer->memory->download(buffer->memory, front_zone, buffer->base, sizeof front_zone) ||
        !buffer->memory->download(buffer->memory, back_zone, buffer->base + back, sizeof back_zone))
        return false;
    for (size_t k = 0; k < TENSOR_RED_ZONE; k++)
        if (front_zone[k] != tensor_poison_byte(k) || back_zone[k] != tensor_poison_byte(back + k)) return false;
    return true;
}

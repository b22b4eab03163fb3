/* The elements of tensors: walked in rows, read, written, filled and copied as doubles. */
#include <stdlib.h>
#include <string.h>

#include "tensor_buffer.h"

void tensor_walk_at(const tensor *t, unsigned char *span, tensor_run *run, void *context)
{
    const int rows = t->dl.ndim - 1;
    const int64_t count = tensor_count(t), row = tensor_row_length(t);
    const int64_t stride = t->dl.ndim ? t->strides[rows] : 1, size = (int64_t)tensor_type_size(t->type);
    int64_t index[TENSOR_DIMS] = {0}, place = 0;
    for (int64_t number = 0; number < count; number += row) {
        run(context, span + place * size, number, row, stride);
        for (int i = rows - 1; i >= 0; i--) {
            if (t->shape[i] == 1) continue; /* its stride may be anything */
            place += t->strides[i];
            if (++index[i] < t->shape[i]) break;
            place -= t->strides[i] * t->shape[i];
            index[i] = 0;
        }
    }
}

/* Bytes from the first element to the end of the last. */
static size_t span_bytes(const tensor *t)
{
    int64_t last = 0;
    for (int i = 0; i < t->dl.ndim; i++) last += (t->shape[i] - 1) * t->strides[i];
    return (size_t)(last + 1) * tensor_type_size(t->type);
}

bool tensor_walk(const tensor *t, bool writes, tensor_run *run, void *context)
{
    if (tensor_count(t) == 0) return true;
    const memory *m = tensor_memory(t);
    unsigned char *first = (unsigned char *)t->dl.data + t->dl.byte_offset;
    if (memory_on_host(m)) {
        tensor_walk_at(t, first, run, context);
        return true;
    }
    const size_t bytes = span_bytes(t);
    unsigned char *staged = malloc(bytes);
    bool ok = staged && m->download(m, staged, first, bytes);
    if (ok) tensor_walk_at(t, staged, run, context);
    if (ok && writes) ok = m->upload(m, first, staged, bytes);
    free(staged);
    return ok;
}

typedef struct {
    tensor_type type;
    double *values; /* NULL: `value` everywhere */
    double value;
} transfer;

static void read_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const transfer *x = context;
    const size_t step = (size_t)stride * tensor_type_size(x->type);
    const unsigned char *element = first;
    for (int64_t i = 0; i < count; i++, element += step) x->values[number + i] = tensor_load(x->type, element);
}

static void write_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const transfer *x = context;
    const size_t step = (size_t)stride * tensor_type_size(x->type);
    unsigned char *element = first;
    for (int64_t i = 0; i < count; i++, element += step)
        tensor_store(x->type, element, x->values ? x->values[number + i] : x->value);
}

static void poison_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const size_t size = *(const size_t *)context;
    unsigned char *element = first;
    (void)number;
    for (int64_t i = 0; i < count; i++, element += (size_t)stride * size)
        for (size_t k = 0; k < size; k++) element[k] = tensor_poison_byte(k);
}

bool tensor_read(const tensor *t, double *values)
{
    transfer x = {t->type, values, 0};
    return tensor_walk(t, false, read_run, &x);
}

bool tensor_write(tensor *t, const double *values)
{
    transfer x = {t->type, (double *)values, 0};
    return tensor_walk(t, true, write_run, &x);
}

double *tensor_values(const tensor *t)
{
    double *values = malloc(((size_t)tensor_count(t) + 1) * sizeof *values);
    if (values && tensor_read(t, values)) return values;
    free(values);
    return NULL;
}

bool tensor_fill(tensor *t, double value)
{
    transfer x = {t->type, NULL, value};
    return tensor_walk(t, true, write_run, &x);
}

bool tensor_repoison(tensor *t)
{
    size_t size = tensor_type_size(t->type);
    return tensor_walk(t, true, poison_run, &size);
}

/* Equal types are gathered to and scattered from compact bytes, others go through doubles. */
typedef struct {
    unsigned char *compact;
    size_t size;
} gathering;

static void gather_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const gathering *g = context;
    for (int64_t i = 0; i < count; i++)
        memcpy(g->compact + (size_t)(number + i) * g->size, (unsigned char *)first + (size_t)(i * stride) * g->size,
               g->size);
}

static void scatter_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const gathering *g = context;
    for (int64_t i = 0; i < count; i++)
        memcpy((unsigned char *)first + (size_t)(i * stride) * g->size, g->compact + (size_t)(number + i) * g->size,
               g->size);
}

bool tensor_copy(tensor *to, const tensor *from)
{
    if (to->type != from->type) {
        double *values = tensor_values(from);
        const bool written = values && tensor_write(to, values);
        free(values);
        return written;
    }
    gathering g = {NULL, tensor_type_size(from->type)};
    g.compact = malloc((size_t)tensor_count(from) * g.size + 1);
    const bool copied = g.compact && tensor_walk(from, false, gather_run, &g) && tensor_walk(to, true, scatter_run, &g);
    free(g.compact);
    return copied;
}

static unsigned char *numbered(const tensor *t, int64_t number)
{
    int64_t index[TENSOR_DIMS] = {0};
    for (int i = t->dl.ndim - 1; i >= 0; i--) {
        index[i] = number % t->shape[i];
        number /= t->shape[i];
    }
    return tensor_address(t, index);
}

double tensor_get(const tensor *t, int64_t number)
{
    const memory *m = tensor_memory(t);
    unsigned char element[8] = {0};
    m->download(m, element, numbered(t, number), tensor_type_size(t->type));
    return tensor_load(t->type, element);
}

void tensor_set(tensor *t, int64_t number, double value)
{
    const memory *m = tensor_memory(t);
    unsigned char element[8] = {0};
    tensor_store(t->type, element, value);
    m->upload(m, numbered(t, number), element, tensor_type_size(t->type));
}

/* The elements of tensors: walked in rows, read, written, filled and copied as doubles. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_buffer.h"

enum { WORTH_THREADS = 1 << 22, MOST_THREADS = 32 }; /* elements; of a walk */

/* Rows `from` to `end` - 1 of a walk. */
typedef struct {
    const tensor *t;
    unsigned char *span;
    tensor_run *run;
    void *context;
    int64_t from, end;
} share;

static void *walk_share(void *argument)
{
    const share *s = argument;
    const tensor *t = s->t;
    const int rows = t->dl.ndim - 1;
    const int64_t row = tensor_row_length(t), size = (int64_t)tensor_type_size(t->type);
    const int64_t stride = t->dl.ndim ? t->strides[rows] : 1;
    int64_t index[TENSOR_DIMS] = {0}, place = 0, rest = s->from;
    for (int i = rows - 1; i >= 0; i--) {
        index[i] = rest % t->shape[i];
        rest /= t->shape[i];
        place += index[i] * t->strides[i];
    }
    for (int64_t n = s->from; n < s->end; n++) {
        s->run(s->context, s->span + place * size, n * row, row, stride);
        for (int i = rows - 1; i >= 0; i--) {
            if (t->shape[i] == 1) continue; /* its stride may be anything */
            place += t->strides[i];
            if (++index[i] < t->shape[i]) break;
            place -= t->strides[i] * t->shape[i];
            index[i] = 0;
        }
    }
    return NULL;
}

void tensor_walk_at(const tensor *t, unsigned char *span, tensor_run *run, void *context)
{
    const int64_t count = tensor_count(t);
    share all = {t, span, run, context, 0, count ? count / tensor_row_length(t) : 0};
    if (count) walk_share(&all);
}

static int processors(void)
{
    cpu_set_t set;
    const int count = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return count < MOST_THREADS ? count : MOST_THREADS;
}

/* The same, in threads where there are many elements: each run is somebody's, and no two touch the same element. */
static void walk_spread(const tensor *t, unsigned char *span, tensor_run *run, void *context)
{
    const int64_t rows = tensor_count(t) / tensor_row_length(t);
    const int threads = tensor_count(t) < WORTH_THREADS || rows < MOST_THREADS ? 1 : processors();
    share part[MOST_THREADS];
    pthread_t thread[MOST_THREADS];
    bool started[MOST_THREADS];
    for (int n = 0; n < threads; n++) {
        part[n] = (share){t, span, run, context, rows / threads * n, n + 1 < threads ? rows / threads * (n + 1) : rows};
        started[n] = n > 0 && !pthread_create(&thread[n], NULL, walk_share, &part[n]);
    }
    for (int n = 0; n < threads; n++)
        if (!started[n]) walk_share(&part[n]);
    for (int n = 0; n < threads; n++)
        if (started[n]) pthread_join(thread[n], NULL);
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
        walk_spread(t, first, run, context);
        return true;
    }
    const size_t bytes = span_bytes(t);
    unsigned char *staged = malloc(bytes);
    bool ok = staged && m->download(m, staged, first, bytes);
    if (ok) walk_spread(t, staged, run, context);
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
    const memory *m = tensor_memory(t);
    const size_t bytes = (size_t)tensor_count(t) * size;
    if (!memory_on_host(m) && size > 1 && bytes && span_bytes(t) == bytes) /* nothing between its elements */
        return tensor_poison(m, (unsigned char *)t->dl.data + t->dl.byte_offset, bytes);
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
    unsigned char *to = g->compact + (size_t)number * g->size;
    if (stride == 1)
        memcpy(to, first, (size_t)count * g->size);
    else
        for (int64_t i = 0; i < count; i++, to += g->size)
            memcpy(to, (unsigned char *)first + (size_t)(i * stride) * g->size, g->size);
}

static void scatter_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const gathering *g = context;
    const unsigned char *from = g->compact + (size_t)number * g->size;
    if (stride == 1)
        memcpy(first, from, (size_t)count * g->size);
    else
        for (int64_t i = 0; i < count; i++, from += g->size)
            memcpy((unsigned char *)first + (size_t)(i * stride) * g->size, from, g->size);
}

static bool is_compact(const tensor *t)
{
    int64_t elements = 1;
    for (int i = t->dl.ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->strides[i] != elements) return false;
        elements *= t->shape[i];
    }
    return true;
}

/* Compact elements into a tensor. Where its elements fill their span on a device, nothing of it is fetched first. */
static bool scatter(tensor *to, gathering *g)
{
    const memory *m = tensor_memory(to);
    const size_t bytes = (size_t)tensor_count(to) * g->size;
    unsigned char *first = (unsigned char *)to->dl.data + to->dl.byte_offset;
    if (memory_on_host(m) || bytes == 0 || span_bytes(to) != bytes) return tensor_walk(to, true, scatter_run, g);
    if (is_compact(to)) return m->upload(m, first, g->compact, bytes);
    unsigned char *staged = malloc(bytes);
    if (staged) walk_spread(to, staged, scatter_run, g);
    const bool done = staged && m->upload(m, first, staged, bytes);
    free(staged);
    return done;
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
    if (memory_on_host(tensor_memory(from)) && is_compact(from) && to->buffer != from->buffer) {
        g.compact = (unsigned char *)from->dl.data + from->dl.byte_offset;
        return scatter(to, &g);
    }
    g.compact = malloc((size_t)tensor_count(from) * g.size + 1);
    const bool copied = g.compact && tensor_walk(from, false, gather_run, &g) && scatter(to, &g);
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

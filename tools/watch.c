/* Buffers copied before a call and compared byte for byte after it. */
#include "watch.h"

#include <stdlib.h>
#include <string.h>

#include "tensor_buffer.h"

typedef struct {
    const tensor *any; /* one tensor of the buffer: keeps nothing alive, the caller does */
    int number;        /* its place in the caller's list */
    unsigned char *before;
} held;

struct watch {
    int count;
    held buffers[];
};

static unsigned char *download(const tensor_buffer *buffer)
{
    unsigned char *copy = malloc(tensor_buffer_size(buffer));
    if (copy && buffer->memory->download(buffer->memory, copy, buffer->base, tensor_buffer_size(buffer))) return copy;
    free(copy);
    return NULL;
}

static bool is_held(const watch *w, const tensor_buffer *buffer)
{
    for (int i = 0; i < w->count; i++)
        if (w->buffers[i].any->buffer == buffer) return true;
    return false;
}

watch *watch_begin(tensor *const *tensors, int count)
{
    watch *w = calloc(1, sizeof *w + (size_t)count * sizeof w->buffers[0]);
    if (!w) return NULL;
    for (int i = 0; i < count; i++) {
        if (!tensors[i] || is_held(w, tensors[i]->buffer)) continue;
        unsigned char *before = download(tensors[i]->buffer);
        if (!before) {
            watch_free(w);
            return NULL;
        }
        w->buffers[w->count++] = (held){tensors[i], i, before};
    }
    return w;
}

typedef struct {
    const unsigned char *before;
    unsigned char *now;
    size_t size;
} restoring;

/* Puts the elements of a run back to what they were, in the copy of the present. */
static void restore_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const restoring *r = context;
    (void)number;
    for (int64_t i = 0; i < count; i++) {
        unsigned char *element = (unsigned char *)first + (size_t)(i * stride) * r->size;
        memcpy(element, r->before + (element - r->now), r->size);
    }
}

static bool buffer_unchanged(const held *h, tensor *const *written, int count, sentence *why)
{
    const tensor_buffer *buffer = h->any->buffer;
    unsigned char *now = download(buffer);
    if (!now) return sentence_fail(why, "the buffer of tensor %d cannot be read", h->number);
    for (int i = 0; i < count; i++) {
        if (!written[i] || written[i]->buffer != buffer || tensor_count(written[i]) == 0) continue;
        restoring r = {h->before, now, tensor_type_size(written[i]->type)};
        tensor_walk_at(written[i], now + TENSOR_RED_ZONE + written[i]->dl.byte_offset, restore_run, &r);
    }
    size_t k = 0;
    while (k < tensor_buffer_size(buffer) && now[k] == h->before[k]) k++;
    const bool same = k == tensor_buffer_size(buffer);
    free(now);
    if (same) return true;
    return sentence_fail(why, "byte %lld of %lld in the buffer of tensor %d was written",
                         (long long)k - TENSOR_RED_ZONE, (long long)buffer->bytes, h->number);
}

bool watch_unchanged(const watch *w, tensor *const *written, int count, sentence *why)
{
    for (int i = 0; i < w->count; i++)
        if (!buffer_unchanged(&w->buffers[i], written, count, why)) return false;
    return true;
}

void watch_free(watch *w)
{
    if (!w) return;
    for (int i = 0; i < w->count; i++) free(w->buffers[i].before);
    free(w);
}

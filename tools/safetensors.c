/* The reader: opens, checks the header, finds and reads tensors. */
#define _POSIX_C_SOURCE   200809L
#define _FILE_OFFSET_BITS 64
#include "safetensors.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every type of the format; those that a tensor can hold name their own type. */
static const struct {
    const char *name;
    int size;
    bool readable;
    tensor_type type;
} types[] = {
    {"F64", 8, true, TENSOR_F64},        {"F32", 4, true, TENSOR_F32},        {"F16", 2, true, TENSOR_F16},
    {"BF16", 2, true, TENSOR_BF16},      {"I64", 8, true, TENSOR_I64},        {"I32", 4, true, TENSOR_I32},
    {"U8", 1, true, TENSOR_U8},          {"I16", 2, false, TENSOR_TYPES},     {"I8", 1, false, TENSOR_TYPES},
    {"U64", 8, false, TENSOR_TYPES},     {"U32", 4, false, TENSOR_TYPES},     {"U16", 2, false, TENSOR_TYPES},
    {"BOOL", 1, false, TENSOR_TYPES},    {"C64", 8, false, TENSOR_TYPES},     {"F8_E4M3", 1, false, TENSOR_TYPES},
    {"F8_E5M2", 1, false, TENSOR_TYPES}, {"F8_E8M0", 1, false, TENSOR_TYPES},
};
enum { TYPES = sizeof types / sizeof types[0] };

static char *copy_text(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

/* A whole number from 0 to 2^53, which JSON's doubles hold exactly. */
static bool whole(const cJSON *item, int64_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 0x1p53) return false;
    *value = (int64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

static bool parse_shape(const char *path, const cJSON *shape, safetensors_entry *entry, sentence *why)
{
    const cJSON *extent;
    if (!cJSON_IsArray(shape)) return sentence_fail(why, "%s: tensor %.80s has no shape", path, entry->name);
    cJSON_ArrayForEach(extent, shape)
    {
        if (entry->ndim == TENSOR_DIMS)
            return sentence_fail(why, "%s: tensor %.80s has more than %d dimensions", path, entry->name, TENSOR_DIMS);
        if (!whole(extent, &entry->shape[entry->ndim++]))
            return sentence_fail(why, "%s: tensor %.80s has an extent that is no whole number from 0 to 2^53", path,
                                 entry->name);
    }
    return true;
}

/* The bytes that type and shape ask for must be the bytes between the offsets. */
static bool check_size(const char *path, const safetensors_entry *entry, int size, int64_t data, sentence *why)
{
    int64_t bytes = size;
    bool empty = false;
    for (int i = 0; i < entry->ndim; i++) empty |= entry->shape[i] == 0;
    for (int i = 0; i < entry->ndim && !empty; i++)
        if (__builtin_mul_overflow(bytes, entry->shape[i], &bytes))
            return sentence_fail(why, "%s: the shape of tensor %.80s overflows", path, entry->name);
    if (empty) bytes = 0;
    if (entry->begin > entry->end || entry->end > data)
        return sentence_fail(why, "%s: tensor %.80s lies at bytes %lld to %lld, but the file holds %lld bytes of data",
                             path, entry->name, (long long)entry->begin, (long long)entry->end, (long long)data);
    if (entry->end - entry->begin == bytes) return true;
    return sentence_fail(why, "%s: tensor %.80s takes %lld bytes by its type and shape, but its offsets span %lld",
                         path, entry->name, (long long)bytes, (long long)(entry->end - entry->begin));
}

static bool parse_entry(const char *path, const cJSON *item, int64_t data, safetensors_entry *entry, sentence *why)
{
    if (!(entry->name = copy_text(item->string))) return sentence_fail(why, "%s: out of memory", path);
    if (!cJSON_IsObject(item)) return sentence_fail(why, "%s: tensor %.80s is no JSON object", path, entry->name);
    const char *dtype = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "dtype"));
    int t = 0;
    while (dtype && t < TYPES && strcmp(dtype, types[t].name)) t++;
    if (!dtype || t == TYPES)
        return sentence_fail(why, "%s: tensor %.80s has the type %.20s, which the format does not know", path,
                             entry->name, dtype ? dtype : "(none)");
    snprintf(entry->dtype, sizeof entry->dtype, "%s", dtype);
    entry->readable = types[t].readable;
    entry->type = types[t].type;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !whole(cJSON_GetArrayItem(offsets, 0), &entry->begin) || !whole(cJSON_GetArrayItem(offsets, 1), &entry->end))
        return sentence_fail(why, "%s: tensor %.80s has no two data_offsets", path, entry->name);
    return parse_shape(path, cJSON_GetObjectItemCaseSensitive(item, "shape"), entry, why) &&
           check_size(path, entry, types[t].size, data, why);
}

static bool parse_metadata(safetensors *file, const cJSON *metadata, sentence *why)
{
    const cJSON *item;
    if (!cJSON_IsObject(metadata) || file->metadata)
        return sentence_fail(why, "%s: __metadata__ is not one JSON object", file->path);
    file->metadata = calloc((size_t)cJSON_GetArraySize(metadata) + 1, sizeof *file->metadata);
    if (!file->metadata) return sentence_fail(why, "%s: out of memory", file->path);
    cJSON_ArrayForEach(item, metadata)
    {
        if (!cJSON_IsString(item))
            return sentence_fail(why, "%s: %.80s in __metadata__ is no string", file->path, item->string);
        safetensors_metadata *m = &file->metadata[file->metadata_count++];
        m->key = copy_text(item->string);
        m->value = copy_text(item->valuestring);
        if (!m->key || !m->value) return sentence_fail(why, "%s: out of memory", file->path);
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const safetensors_entry *const *)a)->name, (*(const safetensors_entry *const *)b)->name);
}

static bool names_differ(const safetensors *file, sentence *why)
{
    const safetensors_entry **sorted = malloc(((size_t)file->count + 1) * sizeof *sorted);
    if (!sorted) return sentence_fail(why, "%s: out of memory", file->path);
    for (int i = 0; i < file->count; i++) sorted[i] = &file->entries[i];
    qsort(sorted, (size_t)file->count, sizeof *sorted, by_name);
    bool differ = true;
    for (int i = 1; i < file->count && differ; i++)
        if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
            differ = sentence_fail(why, "%s: tensor %.80s is named twice", file->path, sorted[i]->name);
    free(sorted);
    return differ;
}

/* Entries by place: each begins where the last one ended, and the last ends with the file. */
static bool data_is_covered(safetensors *file, int64_t data, sentence *why)
{
    int64_t covered = 0;
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, by_place);
    for (int i = 0; i < file->count; i++) {
        const safetensors_entry *entry = &file->entries[i];
        if (entry->begin != covered)
            return sentence_fail(why, "%s: tensor %.80s begins at byte %lld of the data, but %s byte %lld", file->path,
                                 entry->name, (long long)entry->begin,
                                 entry->begin < covered ? "another one reaches to" : "nothing lies there from",
                                 (long long)covered);
        covered = entry->end;
    }
    if (covered == data) return true;
    return sentence_fail(why, "%s: tensors end at byte %lld of the data, but the file holds %lld", file->path,
                         (long long)covered, (long long)data);
}

static bool parse_header(safetensors *file, const char *text, size_t size, int64_t data, sentence *why)
{
    const char *end = NULL;
    cJSON *header = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    bool ok = cJSON_IsObject(header);
    while (ok && end < text + size && strchr(" \t\r\n", *end) && *end) end++;
    if (!ok || end != text + size) {
        cJSON_Delete(header);
        return sentence_fail(why, "%s: the header is no JSON object", file->path);
    }
    file->entries = calloc((size_t)cJSON_GetArraySize(header) + 1, sizeof *file->entries);
    if (!file->entries) ok = sentence_fail(why, "%s: out of memory", file->path);
    for (const cJSON *item = header->child; ok && item; item = item->next)
        ok = !strcmp(item->string, "__metadata__")
                 ? parse_metadata(file, item, why)
                 : parse_entry(file->path, item, data, &file->entries[file->count++], why);
    cJSON_Delete(header);
    return ok && names_differ(file, why) && data_is_covered(file, data, why);
}

static bool read_at(int descriptor, void *to, size_t bytes, int64_t from)
{
    unsigned char *at = to;
    while (bytes) {
        const ssize_t got = pread(descriptor, at, bytes > 1 << 30 ? 1 << 30 : bytes, (off_t)from);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        from += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool open_header(safetensors *file, sentence *why)
{
    struct stat about;
    unsigned char word[8];
    file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->descriptor < 0 || fstat(file->descriptor, &about))
        return sentence_fail(why, "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(about.st_mode)) return sentence_fail(why, "%s: not a regular file", file->path);
    if (about.st_size < 8 || !read_at(file->descriptor, word, sizeof word, 0))
        return sentence_fail(why, "%s: too short for a safetensors file", file->path);
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--) size = size << 8 | word[i];
    if (size > (uint64_t)about.st_size - 8)
        return sentence_fail(why, "%s: no safetensors file, or cut off: a header of %llu bytes in a file of %lld",
                             file->path, (unsigned long long)size, (long long)about.st_size);
    if (size > SAFETENSORS_HEADER_LIMIT)
        return sentence_fail(why, "%s: a header of %llu bytes; at most %d are read", file->path,
                             (unsigned long long)size, SAFETENSORS_HEADER_LIMIT);
    char *text = malloc((size_t)size + 1);
    if (!text) return sentence_fail(why, "%s: out of memory", file->path);
    file->data_start = 8 + (int64_t)size;
    const bool ok = read_at(file->descriptor, text, (size_t)size, 8)
                        ? parse_header(file, text, (size_t)size, about.st_size - file->data_start, why)
                        : sentence_fail(why, "%s: the header cannot be read", file->path);
    free(text);
    return ok;
}

safetensors *safetensors_open(const char *path, sentence *why)
{
    safetensors *file = calloc(1, sizeof *file);
    if (file) file->descriptor = -1;
    if (file && (file->path = copy_text(path)) && open_header(file, why)) return file;
    if (!file || !file->path) sentence_fail(why, "%s: out of memory", path);
    safetensors_close(file);
    return NULL;
}

void safetensors_close(safetensors *file)
{
    if (!file) return;
    if (file->descriptor >= 0) close(file->descriptor);
    for (int i = 0; i < file->count; i++) free(file->entries[i].name);
    for (int i = 0; i < file->metadata_count; i++) {
        free(file->metadata[i].key);
        free(file->metadata[i].value);
    }
    free(file->entries);
    free(file->metadata);
    free(file->path);
    free(file);
}

const safetensors_entry *safetensors_find(const safetensors *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (!strcmp(file->entries[i].name, name)) return &file->entries[i];
    return NULL;
}

const char *safetensors_meta(const safetensors *file, const char *key)
{
    for (int i = 0; i < file->metadata_count; i++)
        if (!strcmp(file->metadata[i].key, key)) return file->metadata[i].value;
    return NULL;
}

void safetensors_names(const safetensors *file, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < file->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ", %s" : "%s", file->entries[i].name);
    if (used >= size && size > 3) strcpy(text + size - 4, "...");
}

tensor *safetensors_read(const safetensors *file, const safetensors_entry *entry, sentence *why)
{
    tensor *t = entry->readable ? tensor_new(memory_host(), entry->type, entry->ndim, entry->shape) : NULL;
    if (t &&
        read_at(file->descriptor, t->dl.data, (size_t)(entry->end - entry->begin), file->data_start + entry->begin))
        return t;
    if (t)
        sentence_fail(why, "%s: tensor %.80s cannot be read", file->path, entry->name);
    else if (entry->readable)
        sentence_fail(why, "%s: no memory for tensor %.80s", file->path, entry->name);
    else
        sentence_fail(why, "%s: tensor %.80s is %s; f64, f32, f16, bf16, i64, i32 and u8 are read", file->path,
                      entry->name, entry->dtype);
    tensor_free(t);
    return NULL;
}

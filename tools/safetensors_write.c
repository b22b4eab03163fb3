/* The writer. */
#define _POSIX_C_SOURCE 200809L
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "safetensors.h"

static const char *type_name(tensor_type type)
{
    static const char *const names[TENSOR_TYPES] = {
        [TENSOR_F64] = "F64", [TENSOR_F32] = "F32", [TENSOR_F16] = "F16", [TENSOR_BF16] = "BF16",
        [TENSOR_I64] = "I64", [TENSOR_I32] = "I32", [TENSOR_U8] = "U8"};
    return names[type];
}

static bool add_entry(cJSON *header, const char *name, const tensor *t, int64_t *end)
{
    cJSON *entry = cJSON_AddObjectToObject(header, name);
    if (!entry || !cJSON_AddStringToObject(entry, "dtype", type_name(t->type))) return false;
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int i = 0; i < t->dl.ndim; i++)
        if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->shape[i]))) return false;
    const int64_t begin = *end;
    *end += tensor_count(t) * (int64_t)tensor_type_size(t->type);
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    return cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)begin)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*end));
}

/* Tensors of wide elements come first, so that every start is aligned to its element. */
static const size_t sizes[] = {8, 4, 2, 1};

static char *header_text(int count, const char *const *names, const tensor *const *tensors, int metadata_count,
                         const safetensors_metadata *metadata)
{
    cJSON *header = cJSON_CreateObject();
    cJSON *about = metadata_count ? cJSON_AddObjectToObject(header, "__metadata__") : NULL;
    bool ok = header && (about || !metadata_count);
    for (int i = 0; i < metadata_count; i++)
        ok = ok && cJSON_AddStringToObject(about, metadata[i].key, metadata[i].value);
    int64_t end = 0;
    for (size_t s = 0; s < 4; s++)
        for (int i = 0; i < count; i++)
            if (tensor_type_size(tensors[i]->type) == sizes[s])
                ok = ok && add_entry(header, names[i], tensors[i], &end);
    char *text = ok ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    return text;
}

/* Elements in logical order, one after the other: a compact copy on the host. */
static bool write_tensor(FILE *out, const tensor *t)
{
    tensor *compact = tensor_new(memory_host(), t->type, t->dl.ndim, t->shape);
    const size_t bytes = (size_t)tensor_count(t) * tensor_type_size(t->type);
    const bool ok = compact && tensor_copy(compact, t) && fwrite(compact->dl.data, 1, bytes, out) == bytes;
    tensor_free(compact);
    return ok;
}

static bool write_all(FILE *out, const char *header, int count, const tensor *const *tensors)
{
    const size_t length = strlen(header), padded = (length + 7) / 8 * 8;
    unsigned char word[8];
    for (int i = 0; i < 8; i++) word[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    bool ok = fwrite(word, 1, 8, out) == 8 && fprintf(out, "%-*s", (int)padded, header) == (int)padded;
    for (size_t s = 0; s < 4; s++)
        for (int i = 0; i < count; i++)
            if (tensor_type_size(tensors[i]->type) == sizes[s]) ok = ok && write_tensor(out, tensors[i]);
    return ok;
}

bool safetensors_writable(const char *path, sentence *why)
{
    struct stat about;
    if (!stat(path, &about) && !S_ISREG(about.st_mode)) return sentence_fail(why, "%s: not a regular file", path);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder) return sentence_fail(why, "%s: out of memory", path);
    const bool fine = access(folder, W_OK | X_OK) == 0;
    free(folder);
    return fine || sentence_fail(why, "%s: cannot be written: %s", path, strerror(errno));
}

bool safetensors_write(const char *path, int count, const char *const *names, const tensor *const *tensors,
                       int metadata_count, const safetensors_metadata *metadata, sentence *why)
{
    char *header = header_text(count, names, tensors, metadata_count, metadata);
    char *beside = malloc(strlen(path) + 6);
    FILE *out = NULL;
    bool ok = header && beside;
    if (!ok) sentence_fail(why, "%s: out of memory", path);
    ok = ok && safetensors_writable(path, why);
    if (ok) {
        sprintf(beside, "%s.part", path);
        out = fopen(beside, "wb");
        if (!out) ok = sentence_fail(why, "%s: %s", beside, strerror(errno));
    }
    if (out) {
        ok = write_all(out, header, count, tensors);
        ok = fclose(out) == 0 && ok;
        ok = ok && rename(beside, path) == 0;
        if (!ok) {
            sentence_fail(why, "%s: cannot be written: %s", path, strerror(errno));
            remove(beside);
        }
    }
    free(header);
    free(beside);
    return ok;
}

/* safetensors files: eight bytes of header length, a JSON header, data. The reader trusts nothing: the header's size is
 * bounded, every type, shape and offset is checked against the file's size with overflow in mind, and data must cover
 * the rest of the file without holes or overlaps. Nothing is read but the header until a tensor is asked for. */
#ifndef TOOLS_SAFETENSORS_H
#define TOOLS_SAFETENSORS_H
#include "sentence.h"
#include "tensor.h"

enum { SAFETENSORS_HEADER_LIMIT = 4 << 20 }; /* bytes; a header of ten thousand tensors takes about one million */

typedef struct {
    char *name;
    char dtype[12]; /* as in the file: BF16, I32, F8_E4M3, ... */
    bool readable;  /* `type` is set: one of ours */
    tensor_type type;
    int ndim;
    int64_t shape[TENSOR_DIMS];
    int64_t begin, end; /* bytes, from the start of the data */
} safetensors_entry;

typedef struct {
    char *key, *value;
} safetensors_metadata;

typedef struct {
    char *path;
    int descriptor;
    int64_t data_start; /* bytes from the start of the file */
    int count, metadata_count;
    safetensors_entry *entries; /* by place in the file */
    safetensors_metadata *metadata;
} safetensors;

/* NULL: the sentence begins with the path. */
safetensors *safetensors_open(const char *path, sentence *why);
void safetensors_close(safetensors *);                                            /* NULL is fine */
const safetensors_entry *safetensors_find(const safetensors *, const char *name); /* NULL: not there */
const char *safetensors_meta(const safetensors *, const char *key);               /* NULL: not there */
/* "q, k, v": the names of the tensors, cut to fit. */
void safetensors_names(const safetensors *, char *text, size_t size);
/* Reads one tensor, compact, into host memory. */
tensor *safetensors_read(const safetensors *, const safetensors_entry *, sentence *why);

/* Whether safetensors_write() could write there: a new or a regular file, in a folder that takes it. For those who ask
 * before hours of work. */
bool safetensors_writable(const char *path, sentence *why);
/* Writes tensors (of any layout and memory) compactly under these names, largest element first, and metadata. The file
 * appears whole or not at all: it is written beside `path` and renamed. */
bool safetensors_write(const char *path, int count, const char *const *names, const tensor *const *tensors,
                       int metadata_count, const safetensors_metadata *metadata, sentence *why);

#endif

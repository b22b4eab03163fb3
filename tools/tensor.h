/* Owned tensors of any type and layout, for tools, tests and benchmarks.
 *
 * A tensor is a DLTensor with its shape and strides, plus a share of the buffer that holds its elements; several
 * tensors may share one buffer. Every buffer has a red zone on both sides. A new buffer is filled with TENSOR_POISON,
 * which is a NaN in every floating type, so elements that were never written, gaps between rows and red zones all show.
 * Values are read and written as double, in logical row-major order, whatever the layout, the type and the memory.
 */
#ifndef TOOLS_TENSOR_H
#define TOOLS_TENSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

typedef enum {
    TENSOR_F64,
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I64,
    TENSOR_I32,
    TENSOR_U8,
    TENSOR_TYPES
} tensor_type;

enum {
    TENSOR_DIMS = 8,       /* of a tensor, at most */
    TENSOR_RED_ZONE = 256, /* bytes on each side of a buffer */
    TENSOR_POISON = 0xFFF5 /* every 16 bits of a new buffer: no kernel writes this NaN by itself */
};

typedef struct tensor_buffer tensor_buffer;

/* Never copied by value: dl.shape and dl.strides point into it. */
typedef struct {
    DLTensor dl;
    int64_t shape[TENSOR_DIMS], strides[TENSOR_DIMS]; /* in elements */
    tensor_type type;
    tensor_buffer *buffer;
} tensor;

size_t tensor_type_size(tensor_type);
const char *tensor_type_name(tensor_type);               /* f64 f32 f16 bf16 i64 i32 u8 */
bool tensor_type_from_name(const char *, tensor_type *); /* the same names */
DLDataType tensor_type_dl(tensor_type);

/* One element. Storing rounds to nearest even. */
double tensor_load(tensor_type, const void *element);
void tensor_store(tensor_type, void *element, double value);

/* A compact row-major tensor in a buffer of its own. NULL: no memory, or the size overflows. */
tensor *tensor_new(const memory *, tensor_type, int ndim, const int64_t *shape);
/* Any non-negative strides: the tensor begins `offset` elements (as byte_offset) into a buffer of `elements`. */
tensor *tensor_new_strided(const memory *, tensor_type, int ndim, const int64_t *shape, const int64_t *strides,
                           int64_t offset, int64_t elements);
/* Another tensor of the same type on `owner`'s buffer; offset counts from the buffer's start. */
tensor *tensor_new_view(const tensor *owner, int ndim, const int64_t *shape, const int64_t *strides, int64_t offset);
/* Same shape, type, strides and offset in a buffer of its own that lies in `to`; elements and gaps copied. */
tensor *tensor_clone(const tensor *, const memory *to);
void tensor_free(tensor *); /* NULL is fine */

DLTensor *tensor_dl(tensor *); /* NULL for NULL */
const memory *tensor_memory(const tensor *);
int64_t tensor_count(const tensor *);      /* elements */
int64_t tensor_row_length(const tensor *); /* extent of the last dimension; 1 without dimensions */
bool tensor_same_shape(const tensor *, const tensor *);
void tensor_shape_text(const tensor *, char *text, size_t size); /* "[2, 100, 4]" */
/* Address of an element on the host, or on the device where it lives. */
void *tensor_address(const tensor *, const int64_t *index);

/* All elements as doubles, row-major: tensor_count() of them. False: the memory failed. */
bool tensor_read(const tensor *, double *values);
bool tensor_write(tensor *, const double *values);
/* The same as a new array of the caller's, to free(); NULL: no memory. */
double *tensor_values(const tensor *);
bool tensor_fill(tensor *, double value);
bool tensor_copy(tensor *to, const tensor *from); /* same shape; layout, type and memory may differ */
/* A single element by its logical row-major number. On a device each call is a transfer. */
double tensor_get(const tensor *, int64_t number);
void tensor_set(tensor *, int64_t number, double value);

/* The tensor's elements become the poison; gaps and other tensors of the buffer stay. */
bool tensor_repoison(tensor *);
/* True while both red zones of the buffer are as they were made. */
bool tensor_guards_ok(const tensor *);

/* A row-major walk over the elements, in runs along the last dimension: `run` gets a host address, the number of the
 * first element, its count and its stride in elements; it may write. Of large tensors several runs go on at once, in
 * threads. Device tensors are staged through the host when the walk begins, and copied back when it ends if `writes`. */
typedef void tensor_run(void *context, void *first, int64_t number, int64_t count, int64_t stride);
bool tensor_walk(const tensor *, bool writes, tensor_run *run, void *context);

#endif

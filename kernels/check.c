/* The checks behind every public entry. See check.h. */
#include "check.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LIMIT (INT64_MAX / 4) /* bytes that a tensor may span */

int32_t slat_type_of(DLDataType type)
{
    if (type.lanes != 1) return -1;
    if (type.code == kDLFloat)
        return type.bits == 64 ? SLAT_F64 : type.bits == 32 ? SLAT_F32 : type.bits == 16 ? SLAT_F16 : -1;
    return type.code == kDLBfloat && type.bits == 16 ? SLAT_BF16 : -1;
}

int32_t slat_types_like(slat_type type)
{
    return type == SLAT_F64 ? SLAT_IS_F64 : SLAT_IS_F32;
}

static int32_t types_of(DLDataType type)
{
    if (type.lanes == 1 && type.code == kDLInt && type.bits == 32) return SLAT_IS_I32;
    if (type.lanes == 1 && type.code == kDLUInt && type.bits == 8) return SLAT_IS_U8;
    const int32_t real = slat_type_of(type);
    return real < 0 ? 0 : 1 << real;
}

const char *slat_dtype_name(DLDataType type, char buffer[16])
{
    const char *code = type.code == kDLFloat    ? "f"
                       : type.code == kDLBfloat ? "bf"
                       : type.code == kDLInt    ? "i"
                       : type.code == kDLUInt   ? "u"
                                                : "code?";
    if (type.lanes == 1)
        snprintf(buffer, 16, "%s%d", code, type.bits);
    else
        snprintf(buffer, 16, "%s%dx%d", code, type.bits, type.lanes);
    return buffer;
}

static const char *types_text(int32_t types)
{
    switch (types) {
    case SLAT_IS_F64:
        return "f64";
    case SLAT_IS_F32:
        return "f32";
    case SLAT_IS_F16:
        return "f16";
    case SLAT_IS_BF16:
        return "bf16";
    case SLAT_IS_I32:
        return "i32";
    case SLAT_IS_U8:
        return "u8";
    case SLAT_IS_F64 | SLAT_IS_F32:
        return "f64 or f32";
    case SLAT_IS_F16 | SLAT_IS_F32:
        return "f16 or f32";
    case SLAT_IS_BF16 | SLAT_IS_F32:
        return "bf16 or f32";
    default:
        return "f64, f32, f16 or bf16";
    }
}

int64_t slat_stride(const DLTensor *t, int32_t dimension)
{
    if (t->shape[dimension] <= 1) return 0;
    if (t->strides) return t->strides[dimension];
    int64_t stride = 1;
    for (int32_t i = dimension + 1; i < t->ndim; i++) stride *= t->shape[i];
    return stride;
}

void *slat_data(const DLTensor *t)
{
    /* In integers, for a plan sees offsets that nobody has checked. 16: present, and never read. */
    return (void *)(t->data ? (uintptr_t)t->data + t->byte_offset : 16);
}

int32_t slat_on_cpu(const slat_problem *p)
{
    return p->device.device_type == kDLCPU;
}

slat_status slat_check_reserved(const char *name, const uint64_t *words, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (words[i])
            return slat_fail(SLAT_INVALID, "%s.reserved[%d]: %llu, expected 0", name, i, (unsigned long long)words[i]);
    return SLAT_OK;
}

slat_status slat_check_later(const char *name, int32_t given)
{
    return given ? slat_fail(SLAT_UNSUPPORTED, "%s: not served yet, expected it absent", name) : SLAT_OK;
}

slat_status slat_check_scale(double scale, double otherwise, double *out)
{
    if (!isfinite(scale)) return slat_fail(SLAT_INVALID, "scale: %g, expected a finite number", scale);
    *out = scale == 0 ? otherwise : scale;
    return SLAT_OK;
}

slat_status slat_check_begin(slat_checker *c, slat_problem *p, const slat_exec *exec)
{
    c->problem = p;
    c->planning = exec && exec->plan;
    c->count = 0;
    p->aligned = p->strides16 = 1;
    if (!exec) return SLAT_OK;
    if (exec->threads < 0) return slat_fail(SLAT_INVALID, "exec.threads: %d, expected 0 or more", exec->threads);
    if (exec->deterministic < -1 || exec->deterministic > 1)
        return slat_fail(SLAT_INVALID, "exec.deterministic: %d, expected -1, 0 or 1", exec->deterministic);
    return slat_check_reserved("exec", exec->reserved, 6);
}

/* "[2, 64, 8, *]" */
static const char *shape_text(const int64_t *shape, int32_t ndim, char *buffer, size_t size)
{
    size_t at = 0;
    buffer[0] = 0;
    for (int32_t i = 0; i < ndim && at < size; i++) {
        const char *comma = i ? ", " : "";
        const int wrote = shape[i] == SLAT_ANY ? snprintf(buffer + at, size - at, "%s*", comma)
                                               : snprintf(buffer + at, size - at, "%s%lld", comma, (long long)shape[i]);
        at += (size_t)wrote;
    }
    return buffer;
}

static slat_status check_shape(const slat_want *want, const DLTensor *t)
{
    if (t->ndim != want->ndim)
        return slat_fail(SLAT_INVALID, "%s: rank %d, expected %d as %s", want->name, t->ndim, want->ndim, want->dims);
    if (t->ndim && !t->shape) return slat_fail(SLAT_INVALID, "%s: shape is NULL, expected %s", want->name, want->dims);
    for (int32_t i = 0; i < t->ndim; i++) {
        if (t->shape[i] < 0)
            return slat_fail(SLAT_INVALID, "%s: extent %lld in dimension %d, expected 0 or more", want->name,
                             (long long)t->shape[i], i);
        if (want->shape[i] != SLAT_ANY && t->shape[i] != want->shape[i]) {
            char is[96], expected[96];
            return slat_fail(SLAT_INVALID, "%s: shape [%s], expected [%s] as %s", want->name,
                             shape_text(t->shape, t->ndim, is, sizeof is),
                             shape_text(want->shape, want->ndim, expected, sizeof expected), want->dims);
        }
    }
    return SLAT_OK;
}

static slat_status check_type(const slat_checker *c, const slat_want *want, const DLTensor *t)
{
    if (types_of(t->dtype) & want->types) return SLAT_OK;
    char is[16];
    slat_dtype_name(t->dtype, is);
    if (c->count && want->types != SLAT_IS_REAL)
        return slat_fail(SLAT_INVALID, "%s: dtype %s, expected %s%s%s", want->name, is, types_text(want->types),
                         want->types & SLAT_IS_REAL ? " beside " : "",
                         want->types & SLAT_IS_REAL ? c->seen[0].name : "");
    return slat_fail(SLAT_INVALID, "%s: dtype %s, expected %s", want->name, is, types_text(want->types));
}

static slat_status check_device(slat_checker *c, const slat_want *want, const DLTensor *t)
{
    DLDevice device = t->device;
    if (device.device_type == kDLCUDAHost) device = (DLDevice){kDLCPU, 0};
    if (device.device_type == kDLCPU) device.device_id = 0;
    if (device.device_type == kDLCUDAManaged) device.device_type = kDLCUDA;
    DLDevice *first = &c->problem->device;
    if (c->count == 0) *first = device;
    if (device.device_type == first->device_type && device.device_id == first->device_id) return SLAT_OK;
    return slat_fail(SLAT_INVALID, "%s: device (type %d, id %d), but %s is on (type %d, id %d)", want->name,
                     (int)device.device_type, device.device_id, c->seen[0].name, (int)first->device_type,
                     first->device_id);
}

static slat_status check_stride(const slat_want *want, const DLTensor *t, int32_t i, int64_t stride, int64_t compact)
{
    if (stride == 0 && want->flags & SLAT_OUTPUT)
        return slat_fail(SLAT_INVALID, "%s: stride 0 in dimension %d, expected more than 0 for an output", want->name,
                         i);
    if ((i == t->ndim - 1 && want->flags & SLAT_UNIT && stride != 1) ||
        (want->flags & SLAT_COMPACT && stride != compact))
        return slat_fail(SLAT_INVALID, "%s: stride %lld in dimension %d, expected %lld", want->name, (long long)stride,
                         i, want->flags & SLAT_COMPACT ? (long long)compact : 1LL);
    return SLAT_OK;
}

/* Strides, the bytes that the tensor spans (-1: it has no elements), and their overflow. */
static slat_status check_strides(const slat_want *want, const DLTensor *t, int64_t *span)
{
    const int64_t element = t->dtype.bits / 8;
    int64_t reach = 0, elements = 1;
    int32_t empty = 0;
    for (int32_t i = 0; i < t->ndim; i++) empty |= t->shape[i] == 0;
    for (int32_t i = t->ndim - 1; i >= 0; i--) {
        const int64_t extent = t->shape[i];
        if (extent > 1 && __builtin_mul_overflow(elements, extent, &elements))
            return slat_fail(SLAT_INVALID, "%s: more elements than 2^63, expected fewer", want->name);
        if (extent <= 1) continue;
        const int64_t compact = elements / extent, stride = t->strides ? t->strides[i] : compact;
        if (stride < 0)
            return slat_fail(SLAT_INVALID, "%s: stride %lld in dimension %d, expected 0 or more", want->name,
                             (long long)stride, i);
        if (!empty) SLAT_TRY(check_stride(want, t, i, stride, compact));
        int64_t step;
        if (__builtin_mul_overflow(stride, extent - 1, &step) || __builtin_add_overflow(reach, step, &reach) ||
            reach > LIMIT / element)
            return slat_fail(SLAT_INVALID, "%s: stride %lld times extent %lld in dimension %d leaves the address space",
                             want->name, (long long)stride, (long long)extent, i);
    }
    if (elements > LIMIT / element)
        return slat_fail(SLAT_INVALID, "%s: %lld elements of %lld bytes leave the address space", want->name,
                         (long long)elements, (long long)element);
    *span = empty ? -1 : (reach + 1) * element - 1;
    return SLAT_OK;
}

static slat_status check_data(const slat_checker *c, const slat_want *want, const DLTensor *t, int64_t span)
{
    if (c->planning || span < 0) return SLAT_OK;
    if (!t->data)
        return slat_fail(SLAT_INVALID, "%s: data is NULL, expected %lld bytes", want->name, (long long)span + 1);
    uintptr_t first, last;
    if (__builtin_add_overflow((uintptr_t)t->data, t->byte_offset, &first) ||
        __builtin_add_overflow(first, (uintptr_t)span, &last))
        return slat_fail(SLAT_INVALID, "%s: byte_offset %llu leaves the address space", want->name,
                         (unsigned long long)t->byte_offset);
    if (first % (t->dtype.bits / 8u))
        return slat_fail(SLAT_INVALID, "%s: data at %p is not aligned to its %d-byte elements", want->name,
                         slat_data(t), t->dtype.bits / 8);
    return SLAT_OK;
}

static void note(slat_checker *c, const slat_want *want, const DLTensor *t, int64_t span)
{
    slat_seen *seen = &c->seen[c->count++];
    const uintptr_t first = (uintptr_t)slat_data(t);
    *seen = (slat_seen){want->name, t, first, first + (uintptr_t)span, want->flags & SLAT_OUTPUT};
    if (span < 0)
        seen->first = 1, seen->last = 0;
    else
        c->problem->aligned &= first % 16 == 0;
    if (want->flags & SLAT_FAST)
        for (int32_t i = 0; i < t->ndim - 1; i++)
            c->problem->strides16 &= slat_stride(t, i) * (t->dtype.bits / 8) % 16 == 0;
}

slat_status slat_check_tensor(slat_checker *c, const slat_want *want, const DLTensor *t)
{
    if (!t)
        return want->flags & SLAT_OPTIONAL ? SLAT_OK
                                           : slat_fail(SLAT_INVALID, "%s: NULL, expected %s", want->name, want->dims);
    SLAT_TRY(check_shape(want, t));
    return slat_check_contents(c, want, t);
}

slat_status slat_check_contents(slat_checker *c, const slat_want *want, const DLTensor *t)
{
    int64_t span = -1;
    SLAT_TRY(check_type(c, want, t));
    SLAT_TRY(check_device(c, want, t));
    SLAT_TRY(check_strides(want, t, &span));
    SLAT_TRY(check_data(c, want, t, span));
    if (want->flags & SLAT_OUTPUT && slat_overlaps_itself(t))
        return slat_fail(SLAT_INVALID, "%s: its strides let elements share memory, expected each on its own",
                         want->name);
    note(c, want, t, span);
    return SLAT_OK;
}

slat_status slat_check_end(slat_checker *c, const DLTensor *same, const DLTensor *as)
{
    if (c->planning) return SLAT_OK;
    for (int32_t i = 0; i < c->count; i++) {
        const slat_seen *out = &c->seen[i];
        for (int32_t j = 0; out->output && j < c->count; j++) {
            const slat_seen *other = &c->seen[j];
            if (i == j || (other->output && j < i)) continue;
            if (out->last < other->first || other->last < out->first) continue;
            if (same && out->tensor == same && other->tensor == as) continue;
            const int32_t shared = slat_overlap(out->tensor, other->tensor);
            if (shared)
                return slat_fail(SLAT_INVALID, "%s: %s memory with %s, expected its own", out->name,
                                 shared == 1 ? "shares" : "its strides may share", other->name);
        }
    }
    return SLAT_OK;
}

void slat_set_view(slat_view *view, const DLTensor *t, int32_t tokens)
{
    *view = (slat_view){0};
    if (!t) return;
    view->data = slat_data(t);
    view->type = (slat_type)slat_type_of(t->dtype);
    view->batch = slat_stride(t, 0);
    for (int32_t i = 0; i < tokens; i++) view->token[3 - tokens + i] = slat_stride(t, 1 + i);
    view->head = slat_stride(t, 1 + tokens);
}

slat_view slat_vector_view(const DLTensor *t)
{
    slat_view view = {0};
    if (!t) return view;
    view.data = slat_data(t);
    view.type = (slat_type)slat_type_of(t->dtype);
    view.head = slat_stride(t, 0);
    return view;
}

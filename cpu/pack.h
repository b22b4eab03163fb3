/* Rows of tensors into f32 buffers that the matrix product reads, and results back. */
#ifndef SLAT_CPU_PACK_H
#define SLAT_CPU_PACK_H
#include "gemm.h"
#include "softmax.h"

static inline int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static inline size_t element_size(slat_type type)
{
    return type == SLAT_F32 ? 4 : 2;
}

static inline const void *row_at(const slat_view *view, int64_t b, slat_point at, int64_t head)
{
    return (const char *)view->data + slat_offset(view, b, at, head) * (int64_t)element_size(view->type);
}

static inline void *row_to(const slat_view *view, int64_t b, slat_point at, int64_t head)
{
    return (char *)view->data + slat_offset(view, b, at, head) * (int64_t)element_size(view->type);
}

/* One element of a tensor without a last dimension (lse). */
static inline float *scalar_at(const slat_view *view, int64_t b, slat_point at, int64_t head)
{
    return (float *)view->data + slat_offset(view, b, at, head);
}

/* One row as f32, its tail up to a whole vector 0. */
INLINE void pack_row(float *to, const void *row, slat_type type, int64_t columns)
{
    int64_t c = 0;
    for (; c + VL <= columns; c += VL) vec_store(to + c, vec_load_row(row, type, c, VL));
    if (c < columns) vec_store(to + c, vec_load_row(row, type, c, (int)(columns - c)));
}

/* Row r of a step's keys begins at to[r * ld]; ld is `columns` rounded up to whole vectors. */
static inline void pack_keys(float *to, int64_t ld, const slat_view *view, int64_t b, int64_t head,
                             const slat_step *step, int64_t columns)
{
    const int64_t stride = view->token[2] * step->dz * (int64_t)element_size(view->type);
    for (int32_t i = 0; i < step->pieces; i++) {
        const char *row = row_at(view, b, step->piece[i].first, head);
        for (int32_t r = 0; r < step->piece[i].count; r++, row += stride, to += ld)
            pack_row(to, row, view->type, columns);
    }
}

/* Row l of a strip's queries begins at to[l * ld]. Lanes without a bit in `live`, and those past the last, are 0. */
static inline void pack_queries(float *to, int64_t ld, const slat_view *view, int64_t b, const slat_strip *strip,
                                uint64_t live, int64_t columns)
{
    for (int32_t l = 0; l < strip->wide; l++, to += ld) {
        if (l < strip->lanes && live >> l & 1)
            pack_row(to, row_at(view, b, strip->at[l], slat_lane_head(strip, l)), view->type, columns);
        else
            memset(to, 0, (size_t)ld * sizeof *to);
    }
}

/* The rows of lanes lane ... lane + VL - 1; NULL: past the last, or without a bit in `live`. */
static inline void lane_rows(const void *row[VL], const slat_view *view, int64_t b, const slat_strip *strip,
                             uint64_t live, int32_t lane)
{
    for (int32_t i = 0; i < VL; i++) {
        const int32_t l = lane + i;
        row[i] = l < strip->lanes && live >> l & 1 ? row_at(view, b, strip->at[l], slat_lane_head(strip, l)) : NULL;
    }
}

/* f32 rows, each times its factor, into a tensor's row. */
INLINE void unpack_row(void *row, slat_type type, const float *from, float factor, int64_t columns)
{
    const vec all = vec_all(factor);
    for (int64_t c = 0; c < columns; c += VL)
        vec_store_row(row, type, c, vec_mul(vec_load(from + c), all), (int)slat_min(VL, columns - c));
}

/* Rows 4096 bytes apart, or nearly, fall into the same few sets of a first-level cache. */
static inline int aliases(int64_t row_bytes)
{
    return (row_bytes & 4095) == 0 || (row_bytes & 2047) == 0;
}
#endif

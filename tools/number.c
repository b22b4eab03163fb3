/* Element types: their sizes and names, and single elements as doubles. */
#include <math.h>
#include <string.h>

#include "tensor.h"

static const struct {
    const char *name;
    size_t size;
    DLDataType dl;
} types[TENSOR_TYPES] = {
    [TENSOR_F64] = {"f64", 8, {kDLFloat, 64, 1}}, [TENSOR_F32] = {"f32", 4, {kDLFloat, 32, 1}},
    [TENSOR_F16] = {"f16", 2, {kDLFloat, 16, 1}}, [TENSOR_BF16] = {"bf16", 2, {kDLBfloat, 16, 1}},
    [TENSOR_I64] = {"i64", 8, {kDLInt, 64, 1}},   [TENSOR_I32] = {"i32", 4, {kDLInt, 32, 1}},
    [TENSOR_U8] = {"u8", 1, {kDLUInt, 8, 1}},
};

size_t tensor_type_size(tensor_type type)
{
    return types[type].size;
}

const char *tensor_type_name(tensor_type type)
{
    return types[type].name;
}

bool tensor_type_from_name(const char *name, tensor_type *type)
{
    for (int i = 0; i < TENSOR_TYPES; i++)
        if (!strcmp(name, types[i].name)) {
            *type = (tensor_type)i;
            return true;
        }
    return false;
}

DLDataType tensor_type_dl(tensor_type type)
{
    return types[type].dl;
}

/* A 16-bit float with `mantissa` bits of fraction and the rest, but the sign, of exponent. */
static uint16_t narrow(double value, int mantissa)
{
    const int bias = (1 << (14 - mantissa)) - 1;
    const uint16_t infinity = (uint16_t)((2 * bias + 1) << mantissa);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
    bits &= INT64_MAX;
    const int exponent = (int)(bits >> 52) - 1023;
    int shift = 52 - mantissa;
    uint64_t rebias = (uint64_t)(1023 - bias) << mantissa;
    if (isnan(value)) return (uint16_t)(sign | infinity | 1 << (mantissa - 1));
    if (exponent > bias) return sign | infinity;
    if (exponent < 1 - bias) { /* subnormal: the hidden bit moves into the fraction */
        shift += 1 - bias - exponent;
        if (shift > 54) return sign; /* under half of the least */
        bits = (bits & 0xFFFFFFFFFFFFF) | (uint64_t)1 << 52;
        rebias = 0;
    }
    const uint64_t half = (uint64_t)1 << (shift - 1);
    return (uint16_t)(sign | (((bits + half - 1 + (bits >> shift & 1)) >> shift) - rebias));
}

static double widen_f16(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    double value;
    if (exponent == 31)
        value = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        value = fraction * 0x1p-24;
    else {
        const uint64_t bits = (uint64_t)(exponent - 15 + 1023) << 52 | (uint64_t)fraction << 42;
        memcpy(&value, &bits, sizeof value);
    }
    return half & 0x8000 ? -value : value;
}

double tensor_load(tensor_type type, const void *element)
{
    double f64;
    float f32;
    uint16_t half;
    uint32_t bits;
    int64_t i64;
    int32_t i32;
    switch (type) {
    case TENSOR_F64:
        memcpy(&f64, element, sizeof f64);
        return f64;
    case TENSOR_F32:
        memcpy(&f32, element, sizeof f32);
        return (double)f32;
    case TENSOR_F16:
        memcpy(&half, element, sizeof half);
        return widen_f16(half);
    case TENSOR_BF16:
        memcpy(&half, element, sizeof half);
        bits = (uint32_t)half << 16;
        memcpy(&f32, &bits, sizeof f32);
        return (double)f32;
    case TENSOR_I64:
        memcpy(&i64, element, sizeof i64);
        return (double)i64;
    case TENSOR_I32:
        memcpy(&i32, element, sizeof i32);
        return (double)i32;
    case TENSOR_U8:
        return *(const unsigned char *)element;
    case TENSOR_TYPES:
        break;
    }
    return (double)NAN;
}

void tensor_store(tensor_type type, void *element, double value)
{
    const float f32 = (float)value;
    uint16_t half;
    int64_t i64;
    int32_t i32;
    switch (type) {
    case TENSOR_F64:
        memcpy(element, &value, sizeof value);
        break;
    case TENSOR_F32:
        memcpy(element, &f32, sizeof f32);
        break;
    case TENSOR_F16:
    case TENSOR_BF16:
        half = narrow(value, type == TENSOR_F16 ? 10 : 7);
        memcpy(element, &half, sizeof half);
        break;
    case TENSOR_I64:
        i64 = (int64_t)value;
        memcpy(element, &i64, sizeof i64);
        break;
    case TENSOR_I32:
        i32 = (int32_t)value;
        memcpy(element, &i32, sizeof i32);
        break;
    case TENSOR_U8:
        *(unsigned char *)element = (unsigned char)value;
        break;
    case TENSOR_TYPES:
        break;
    }
}

/* Bulk copies, and the tensor maps that describe their boxes. */
#include "machine.h"

namespace emulator
{

/* What the emulator keeps in a CUtensorMap. Boxes are 64 columns of 16 bits wide, swizzled by 128 bytes. */
struct tensor_map {
    uint32_t sign;
    int dims;
    uint8_t *data;
    int64_t extent[5], stride[5]; /* strides in bytes */
    uint16_t box[5];              /* places */
};
static constexpr uint32_t map_sign = 0x51a7;
static constexpr int columns = 64, element_bytes = 2, row_bytes = columns * element_bytes;
static_assert(sizeof(tensor_map) <= sizeof(CUtensorMap), "it fits");

static tensor_map map_of(const CUtensorMap &opaque)
{
    tensor_map m;
    memcpy(&m, &opaque, sizeof m);
    return m;
}

/* Refuses what the driver refuses, and what no kernel here uses. */
CUresult encode_map(CUtensorMap *map, CUtensorMapDataType, cuuint32_t dims, void *data, const cuuint64_t *extents,
                    const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *steps, CUtensorMapInterleave,
                    CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill)
{
    tensor_map m = {};
    m.sign = map_sign;
    m.dims = (int)dims;
    m.data = (uint8_t *)data;
    if ((uintptr_t)data % 16 || dims < 1 || dims > 5) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned d = 0; d < dims; ++d) {
        if (box[d] < 1 || box[d] > 256 || steps[d] != 1 || !extents[d]) return CUDA_ERROR_INVALID_VALUE;
        if (d && (strides[d - 1] % 16 || strides[d - 1] >= 1ull << 40)) return CUDA_ERROR_INVALID_VALUE;
        m.extent[d] = (int64_t)extents[d];
        m.stride[d] = d ? (int64_t)strides[d - 1] : element_bytes;
        m.box[d] = (uint16_t)box[d];
    }
    if (m.box[0] != columns) return CUDA_ERROR_INVALID_VALUE;
    memset(map, 0, sizeof *map);
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}

static int rows_of(const tensor_map &m)
{
    int rows = 1;
    for (int d = 1; d < m.dims; ++d) rows *= m.box[d];
    return rows;
}

/* Row `row` of the box at `at`, from column 0; NULL outside the tensor. */
static uint8_t *row_at(const tensor_map &m, const corner &at, int row)
{
    uint8_t *p = m.data;
    for (int d = 1; d < m.dims; ++d) {
        const int64_t place = (int64_t)at.at[d] + row % m.box[d];
        if (place < 0 || place >= m.extent[d]) return NULL;
        p += place * m.stride[d];
        row /= m.box[d];
    }
    return p;
}

/* Element `column` of row `row` of a tile that begins at `tile` in shared memory. */
static uint8_t *element_at(const uint8_t *tile, int row, int column)
{
    return here->shared + swizzled((uint32_t)(tile - here->shared) + row * row_bytes + column * element_bytes);
}

/* Calls f(in shared memory, in the tensor or NULL) for every element of the box. */
template <class F> static void each_element(const tensor_map &m, const corner &at, const uint8_t *tile, F f)
{
    const int rows = rows_of(m);
    for (int r = 0; r < rows; ++r) {
        uint8_t *row = row_at(m, at, r);
        for (int c = 0; c < columns; ++c) {
            const int64_t column = (int64_t)at.at[0] + c;
            const bool in = row && column >= 0 && column < m.extent[0];
            f(element_at(tile, r, c), in ? row + column * element_bytes : NULL);
        }
    }
}

void land(const load &l)
{
    if (!l.dims) {
        memcpy(l.to, l.from, l.bytes);
        bytes_landed(l.barrier, l.bytes);
        return;
    }
    const tensor_map m = map_of(l.map);
    each_element(m, l.at, l.to, [](uint8_t *shared, const uint8_t *tensor) {
        if (tensor)
            memcpy(shared, tensor, element_bytes);
        else
            memset(shared, 0, element_bytes);
    });
    bytes_landed(l.barrier, (uint32_t)(rows_of(m) * row_bytes));
}

static void perform(const store &s)
{
    if (!s.dims) {
        const float *values = (const float *)s.from;
        for (uint32_t i = 0; i < s.bytes / sizeof *values; ++i) s.to[i] += values[i];
        return;
    }
    each_element(map_of(s.map), s.at, s.from, [](const uint8_t *shared, uint8_t *tensor) {
        if (tensor) memcpy(tensor, shared, element_bytes);
    });
}

static void begin(const load &l)
{
    if (chosen.late_loads)
        here->loads.push_back(l);
    else
        land(l);
}

static void begin(const store &s)
{
    if (chosen.late_stores)
        self->stores.push_back(s);
    else
        perform(s);
}

static bool good_box(const CUtensorMap *map, const void *tile, int dims, code from)
{
    const tensor_map m = map_of(*map);
    if (m.sign == map_sign && m.dims == dims && inside(tile, (size_t)rows_of(m) * row_bytes) &&
        ((const uint8_t *)tile - here->shared) % row_bytes == 0)
        return true;
    tell(from, "a box copy of %d dimensions that its map or its place in shared memory does not allow", dims);
    failed = true;
    return false;
}

static bool good_bytes(const void *shared, const void *memory, uint32_t bytes, code from)
{
    if (bytes % 16 == 0 && (uintptr_t)memory % 16 == 0 && (uintptr_t)shared % 16 == 0 && inside(shared, bytes))
        return true;
    tell(from, "a copy of %u bytes, of a wrong size or place", bytes);
    failed = true;
    return false;
}

void load_box(void *to, const CUtensorMap *map, uint64_t *barrier, int dims, corner at)
{
    const code from = SLAT_CALLER;
    check_barrier(barrier, from);
    if (good_box(map, to, dims, from)) begin(load{*map, dims, at, (uint8_t *)to, barrier, NULL, 0});
}

void load_bytes(void *to, const void *memory, uint32_t bytes, uint64_t *barrier)
{
    const code from = SLAT_CALLER;
    check_barrier(barrier, from);
    if (good_bytes(to, memory, bytes, from)) begin(load{{}, 0, {}, (uint8_t *)to, barrier, memory, bytes});
}

void store_box(const CUtensorMap *map, const void *tile, int dims, corner at)
{
    const code from = SLAT_CALLER;
    if (!good_box(map, tile, dims, from)) return;
    const uint8_t *shared = (const uint8_t *)tile;
    check_fence((uint32_t)(shared - here->shared), (uint32_t)(rows_of(map_of(*map)) * row_bytes), from);
    begin(store{*map, dims, at, shared, NULL, 0});
}

void add_floats(float *to, const void *values, uint32_t bytes)
{
    const code from = SLAT_CALLER;
    if (!good_bytes(values, to, bytes, from)) return;
    const uint8_t *shared = (const uint8_t *)values;
    check_fence((uint32_t)(shared - here->shared), bytes, from);
    begin(store{{}, 0, {}, shared, to, bytes});
}

void store_commit()
{
    self->store_groups.push_back(std::move(self->stores));
    self->stores.clear();
}

void store_wait(int pending)
{
    for (; (int)self->store_groups.size() > pending; self->store_groups.pop_front())
        for (const store &s : self->store_groups.front()) perform(s);
}

} // namespace emulator

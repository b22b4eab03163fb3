/* Tiles that are gathered from runs of keys: a power of 2 of them, that come in one copy each. */
#ifndef SLAT_SM90_RUNS_CUH
#define SLAT_SM90_RUNS_CUH
#include "sequence.cuh"

namespace sm90
{

constexpr int most_runs = 16;

/* Runs of a tile: their first key, and the end of what any query of the item may see. */
struct run_note {
    int32_t first[most_runs], end[most_runs];
    int32_t clears; /* some of its keys are seen by no query of the item */
};

template <int GROUPS = 2> struct runs_of_keys : sequence_of<GROUPS> {
    int32_t run, run_shift;       /* keys of a run */
    int32_t copies, copies_shift; /* runs of a tile */

    /* Cuts tiles of `keys` into the longest runs, up to `longest`, that divide `block`, but 8 at least. */
    void cut(int32_t block, int keys, int longest)
    {
        run_shift = block % 8 ? 3 : twos(block, longest);
        run = 1 << run_shift;
        copies_shift = twos(keys, keys) - run_shift;
        copies = 1 << copies_shift;
    }

    /* The i-th copy of a tile. */
    template <class Note>
    __device__ __forceinline__ void load(const Note &told, int i, uint8_t *to, const CUtensorMap *map,
                                         uint64_t *barrier, int head, int b) const
    {
        const int n = i & (copies - 1), c = i >> copies_shift;
        load_box(to + (i << run_shift) * row_bytes, map, barrier, c * chunk, told.first[n], head, b);
    }

    /* A chunk of a tile that is one run. */
    template <class Note>
    static __device__ __forceinline__ void load_only(const Note &told, int c, uint8_t *to, const CUtensorMap *map,
                                                     uint64_t *barrier, int head, int b)
    {
        load_box(to, map, barrier, c * chunk, told.first[0], head, b);
    }

    /* The i-th copy of half a tile, whose rows come together. */
    template <class Note>
    __device__ __forceinline__ void load_half(const Note &told, int half, int i, uint8_t *to, const CUtensorMap *map,
                                              uint64_t *barrier, int head, int b) const
    {
        const int n = half * (copies >> 1) + (i & ((copies >> 1) - 1)), c = i >> (copies_shift - 1);
        load_box(to + (i << run_shift) * row_bytes, map, barrier, c * chunk, told.first[n], head, b);
    }

    /* Whether half a tile, the second one, is left empty. */
    __device__ __forceinline__ bool half_empty(const slat_problem &p, const run_note &told) const
    {
        return told.first[copies >> 1] >= p.tk;
    }

    /* Zeroes the rows of V that no query of the item sees, of `keys` from a run on; thread is one of `threads`. */
    template <int chunks, int keys>
    __device__ void clear(const run_note &told, uint32_t v, int thread, int threads, int first_run = 0) const
    {
        for (int row = thread / 8; row < keys; row += threads / 8) {
            const int n = first_run + (row >> run_shift);
            if (told.first[n] + (row & (run - 1)) < told.end[n]) continue;
#pragma unroll
            for (int c = 0; c < chunks; ++c) store_zeros(v + (c * keys + row) * row_bytes + thread % 8 * 16);
        }
    }

    /* The first `width` keys of run n in a row's mask. */
    __device__ __forceinline__ uint32_t run_columns(int n, int32_t width) const
    {
        return first_columns(min(width, run), threadIdx.x % 4) << (n << run_shift >> 2);
    }
};

/* Rows of a walk by query whose notes are run_notes. */
template <class Walk> struct rows_of_runs {
    const Walk *walk;

    __device__ __forceinline__ explicit rows_of_runs(const Walk &walk) : walk(&walk) {}

    static __device__ __forceinline__ bool clears(const run_note &told) { return told.clears; }

    template <int chunks, int keys>
    __device__ void clear(const run_note &told, uint32_t v, int thread, int threads, int first_run = 0) const
    {
        walk->template clear<chunks, keys>(told, v, thread, threads, first_run);
    }
};

} // namespace sm90
#endif

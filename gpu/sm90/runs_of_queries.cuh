/* What walks by key share whose queries come as runs. */
#ifndef SLAT_SM90_RUNS_OF_QUERIES_CUH
#define SLAT_SM90_RUNS_OF_QUERIES_CUH
#include "grad_room.cuh"
#include "runs.cuh"
#include "zero_rows.cuh"

namespace sm90
{

struct runs_of_queries : runs_of_keys<> {
    struct note {
        int32_t first[most_runs]; /* of each run; past the last query's tile: nothing */
        int32_t head;
        bool clears_queries; /* some of its queries see none of the item's keys */
        bool clears_keys;    /* the item's first tile: some of its keys are seen by no query */
    };

    __device__ __forceinline__ int pieces() const { return copies; }
    __device__ __forceinline__ int piece() const { return run; }
    static __device__ __forceinline__ int head(const note &told) { return told.head; }
    static __device__ __forceinline__ int32_t row(const query_rows &, const note &told, int i) { return told.first[i]; }
    static __device__ __forceinline__ bool clears_queries(const note &told) { return told.clears_queries; }
    static __device__ __forceinline__ bool clears_keys(const note &told) { return told.clears_keys; }

    /* Where query `row` of a tile stands among the keys. */
    __device__ __forceinline__ int32_t position(const slat_problem &p, const note &told, int row) const
    {
        return told.first[row >> run_shift] + (row & (run - 1)) + (int32_t)(p.tk - p.tq);
    }
};

} // namespace sm90
#endif

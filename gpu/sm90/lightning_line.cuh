/* The line: how blocks share the tokens of heads whose state soon holds nothing of what was before.
 *
 * What a token adds to the state has faded to 2^-forgotten of itself after some chunks, the head's reach. So a block
 * may take up a walk anywhere: it begins with a state of 0 that many chunks before, and writes nothing until it comes
 * to its own. All heads' chunks are one line, head after head, that the blocks cut into parts of equal cost: nothing is
 * handed on, and each tensor is read once but for the reaches. Slopes are known to the GPU alone. So each block finds
 * out for itself whether the line is sooner done than the usual split, and where its part is.
 */
#ifndef SLAT_SM90_LIGHTNING_LINE_CUH
#define SLAT_SM90_LIGHTNING_LINE_CUH
#include "chunk_loop.cuh"

namespace sm90
{

/* Powers of 2: what is left is below the rounding of sums in f32, and far below that of operands in 16 bits. A NaN or
 * an infinity that is further back than the reach may or may not come to later rows. */
constexpr float forgotten = 32;

/* A column is computed where it is used: else addresses are made before the loop, and registers spill. */
struct late_work : work {
    __device__ __forceinline__ int first_column(int columns) const
    {
        int column = slice * columns;
        asm volatile("" : "+r"(column));
        return column;
    }
};

/* A head's chunks that one block walks: from `first`, writing from `own_first` on. */
struct piece : late_work {
    int32_t own_first;

    __device__ __forceinline__ bool own(int n) const { return n >= own_first; }
    __device__ __forceinline__ bool begins() const { return first == 0; }
    __device__ __forceinline__ int first_own() const { return own_first; }

    template <int slots> __device__ __forceinline__ void skip(ring<slots> &at, int chunks) const
    {
        for (; chunks; --chunks) at.advance();
    }
};

/* The chunks that a head remembers. */
__device__ __forceinline__ int reach_of(const scan &p, int h)
{
    const float faded = decay_of(p, h).slope * chunk_tokens, chunks = (float)chunks_of(p);
    return (int)(faded * chunks > forgotten ? ceilf(forgotten / faded) : chunks);
}

/* A block's part: of heads `head` (from `chunk` on) to `last` (before `last_chunk`). */
struct part {
    int head, chunk, last, last_chunk;

    /* The next head's piece; false: there is none. */
    __device__ __forceinline__ bool next(piece &w, const scan &p, const split &by)
    {
        for (; head < last || (head == last && chunk < last_chunk); ++head, chunk = 0) {
            take_head(w, p, by, head);
            w.slice = w.turn = w.segment = 0;
            w.turns = 1;
            w.last = head == last ? last_chunk : w.chunks;
            w.own_first = chunk;
            w.first = max(chunk - reach_of(p, w.h), 0);
            if (chunk >= w.last) continue;
            ++head, chunk = 0;
            return true;
        }
        return false;
    }
};

/* A warp's lanes ask together. Costs count in chunks. */
struct line {
    const scan &p;
    const split &by;
    float chunks, workers, begun; /* of a head; that share a batch; the cost of a chunk whose y is not written */
    float length, loose;          /* of a part; workers that there are for each that heads need */

    /* Where y is not written, two of four tensors move; where dk and dv are made side by side, two of six. */
    __device__ __forceinline__ line(const scan &p, const split &by)
        : p(p), by(by), chunks((float)chunks_of(p)), workers((float)by.workers / (float)by.batches),
          begun(by.jobs > 1 ? 1.0f / 3 : 0.5f), length(by.limit), loose(1)
    {
    }

    template <class Each> __device__ __forceinline__ float sum(Each each) const
    {
        float sum = 0;
        for (int h = (int)threadIdx.x % 32; h < by.heads; h += 32) sum += each(h);
        for (int n = 16; n; n /= 2) sum += __shfl_xor_sync(~0u, sum, n);
        return sum;
    }

    /* Chunks of its own that a part of this length has; the workers that a head then needs. */
    __device__ __forceinline__ float own(int h) const { return fmaxf(length - begun * (float)reach_of(p, h), 0.01f); }
    __device__ __forceinline__ float needs(int h) const { return h < by.heads ? loose * chunks / own(h) : 0.0f; }

    /* The usual split takes longer. */
    __device__ __forceinline__ bool pays() const
    {
        return sum([&](int h) { return needs(h); }) <= workers;
    }

    /* Shortens parts until as many workers are needed as there are. */
    __device__ __forceinline__ void settle_length()
    {
        uint32_t most = 0;
        for (int h = (int)threadIdx.x % 32; h < by.heads; h += 32) most = max(most, (uint32_t)reach_of(p, h));
        const float shortest = begun * (float)__reduce_max_sync(~0u, most);
        for (int n = 0; n < 3; ++n) {
            const float all = sum([&](int h) { return needs(h); });
            const float steep = sum([&](int h) { return needs(h) / own(h); });
            length = fmaxf(length + all * (all / workers - 1) / steep, 0.5f * (length + shortest));
        }
        loose = workers / sum([&](int h) { return needs(h); });
    }

    /* The head and the chunk where the i-th worker begins. */
    __device__ __forceinline__ void cut(int i, int &head, int &chunk) const
    {
        const int lane = threadIdx.x % 32, b = min((int)((float)i / workers), by.batches - 1);
        head = by.batches * by.heads, chunk = 0;
        if (i >= by.workers) return;
        float x = (float)i - (float)b * workers;
        for (int h = 0; h < by.heads; h += 32) {
            const float need = needs(h + lane);
            float end = need;
            for (int n = 1; n < 32; n *= 2) {
                const float before = __shfl_up_sync(~0u, end, n);
                if (lane >= n) end += before;
            }
            const uint32_t found = __ballot_sync(~0u, x < end);
            if (found) {
                const int first = __ffs(found) - 1;
                const float share = __shfl_sync(~0u, (x - (end - need)) / need, first);
                head = b * by.heads + h + first;
                chunk = min((int)(fmaxf(share, 0.0f) * chunks), (int)chunks);
                return;
            }
            x -= __shfl_sync(~0u, end, 31);
        }
        head = (b + 1) * by.heads;
    }

    __device__ __forceinline__ part part_of(int i)
    {
        part found;
        settle_length();
        cut(i, found.head, found.chunk);
        cut(i + 1, found.last, found.last_chunk);
        return found;
    }
};

} // namespace sm90
#endif

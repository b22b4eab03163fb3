/* How the blocks of a scan share its work, by estimates of the time. */
#ifndef SLAT_SM90_LIGHTNING_SHARE_H
#define SLAT_SM90_LIGHTNING_SHARE_H
#include "lightning.cuh"
#include <algorithm>
#include <cmath>

namespace sm90
{

namespace
{

/* How a block may do its part: its width in 64 columns, and how many take turns at writing. */
struct shape {
    int slabs, turns;
    double own, keeping; /* nanoseconds for a chunk of 128 columns, measured on an H100; where nothing is written */
    double least;        /* `own` on an H200 */
};

struct share {
    split by;
    int64_t blocks;
    shape how;
};

/* Nanoseconds that `blocks` blocks take which walk `chunks` chunks each and move `bytes`, all blocks together, where
 * memory moves so many a nanosecond. Blocks come in rounds; each is as long as the memory's time or a block's own. */
double rounds_of(int64_t blocks, int processors, double chunks, double own, double bytes, double memory)
{
    const auto round = [&](int64_t count) {
        const double moving = bytes / memory * (double)count / (double)blocks, working = chunks * own;
        return std::max(moving, working) + 0.1 * std::min(moving, working);
    };
    const double full = (double)(blocks / processors);
    return (full ? full * round(processors) : 0) + (blocks % processors ? round(blocks % processors) : 0);
}

/* Bytes of a chunk of a tensor; what is measured for 128 columns of a and b, of others. */
double chunk_bytes(const scan &p)
{
    return (double)chunk_tokens * (p.depth + p.width);
}

double times_128(const scan &p)
{
    return std::max(p.depth, chunk) / 128.0;
}

double time_of(const share &s, double own, const scan &p, int processors, double memory)
{
    const double chunks = (double)((p.tokens + chunk_tokens - 1) / chunk_tokens), segments = s.by.segments;
    const double heads = (double)s.blocks / (s.by.jobs * s.by.slices * s.by.turns * segments);
    const double tensor = heads * chunks * chunk_bytes(p), wide = times_128(p);
    double time = rounds_of(s.blocks, processors, s.by.each, own * wide, tensor * (2 + 2 * s.by.jobs), memory);
    if (segments > 1)
        time += rounds_of((int64_t)((double)s.blocks / s.by.turns * (segments - 1) / segments), processors, s.by.each,
                          s.how.keeping * wide, tensor * 2 * (segments - 1) / segments, memory);
    return time;
}

/* Wide blocks read a and b once; narrow ones are twice as many; where blocks take turns at writing, there are twice as
 * many again, though all of them keep the state: they must run side by side. Segments share the tokens of heads that
 * are too few for all of these. */
share share_of(const scan &p, int64_t batches, int32_t heads, int32_t jobs, int processors)
{
    const int64_t chunks = (p.tokens + chunk_tokens - 1) / chunk_tokens, all = batches * heads * jobs;
    constexpr int64_t least = 32; /* chunks of a segment: its beginning and end are paid for */
    constexpr double memory = 3000;
    constexpr shape shapes[] = {{2, 1, 1400, 450, 1400}, {1, 1, 1020, 300, 1020}, {1, 2, 665, 300, 555}};
    share best = {};
    double shortest = INFINITY;
    for (int parted = 0; parted < 2; ++parted)
        for (const shape &how : shapes) {
            if (how.slabs == 2 && (p.depth > 128 || p.width <= chunk)) continue;
            const int32_t slices = (p.width + how.slabs * chunk - 1) / (how.slabs * chunk);
            share s = {{jobs, heads, slices, how.turns, 1, (int32_t)chunks, 0, 0, 0}, all * slices * how.turns, how};
            const int64_t segments = parted ? slat_min(processors / s.blocks, chunks / least) : 1;
            if (segments <= parted || (how.turns > 1 && s.blocks > processors)) continue;
            s.by.each = (int32_t)((chunks + segments - 1) / segments);
            s.by.segments = (int32_t)((chunks + s.by.each - 1) / s.by.each);
            s.blocks *= s.by.segments;
            const double time = time_of(s, how.own, p, processors, memory);
            if (time < shortest) best = s, shortest = time;
        }
    return best;
}

/* Chunks of a part of the line, without what it begins with; 0: it does not compute this. */
double parts_of(const share &s, const scan &p, int64_t batches, int processors)
{
    if (p.depth > 128 || p.width <= chunk || p.width > 128) return 0;
    const double chunks = (double)((p.tokens + chunk_tokens - 1) / chunk_tokens);
    return (double)batches * s.by.heads * chunks / (processors / s.by.jobs);
}

/* Says how long parts of the line may be (with what they begin with: lightning_line.cuh) that take as long as this
 * share; memory moves so many bytes a nanosecond. Where no slopes could make the line sooner, there is none. */
void offer_line(share &s, const scan &p, int64_t batches, int processors, double memory)
{
    constexpr double own = 1400, beginning = 6000; /* nanoseconds: a chunk; launches, and the way to the parts */
    const int workers = processors / s.by.jobs;
    const double each = rounds_of(workers * s.by.jobs, processors, 1, own * times_128(p),
                                  workers * chunk_bytes(p) * (2 + 2 * s.by.jobs), memory);
    const double limit = (time_of(s, s.how.least, p, processors, memory) - beginning) / each;
    if (limit < 1.02 * parts_of(s, p, batches, processors)) return;
    s.by.workers = workers;
    s.by.batches = (int32_t)batches;
    s.by.limit = (float)limit;
}

} // namespace

} // namespace sm90
#endif

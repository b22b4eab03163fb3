/* Shared memory, and how threads wait for one another: warps, blocks, groups, named barriers, barriers in memory. */
#include "machine.h"
#include <algorithm>

namespace emulator
{

static uint64_t clock_now; /* orders writes and fences */

/* ---- shared memory ---- */

uint8_t *shared_memory()
{
    return here->shared;
}

bool inside(const void *p, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)p;
    return at >= here->shared && at + bytes <= here->shared + here->bytes;
}

static uint8_t *shared_at(uint32_t address, int bytes, code from)
{
    if (address + (size_t)bytes > here->bytes) {
        tell(from, "address %u is beyond the %zu bytes of shared memory", address, here->bytes);
        failed = true;
        stop();
    }
    return here->shared + address;
}

uint8_t *shared_read(uint32_t address, int bytes)
{
    return shared_at(address, bytes, __builtin_return_address(0));
}

uint8_t *shared_write(uint32_t address, int bytes)
{
    const code from = __builtin_return_address(0);
    uint8_t *at = shared_at(address, bytes, from);
    const int piece = (int)(address / piece_bytes);
    written &w = here->last[piece];
    if (w.thread != self->thread + 1) self->pieces.push_back(piece);
    w = {++clock_now, self->thread + 1, from};
    return at;
}

void proxy_fence()
{
    self->fenced = ++clock_now;
    for (int piece : self->pieces)
        if (here->last[piece].thread == self->thread + 1) here->last[piece].thread = 0;
    self->pieces.clear();
}

void check_fence(uint32_t address, uint32_t bytes, code from)
{
    const uint32_t end = (uint32_t)((address + bytes + piece_bytes - 1) / piece_bytes);
    for (uint32_t piece = address / piece_bytes; piece < end; ++piece) {
        const written &w = here->last[piece];
        if (!w.thread || self->fenced >= w.when) continue;
        if (!first_time(from)) return;
        tell(from, "an asynchronous read of address %u, no proxy fence since its write", piece * (uint32_t)piece_bytes);
        tell(w.from, "thread %d wrote it here", w.thread - 1);
        return;
    }
}

/* ---- meetings ---- */

/* Whether this thread is the last one to come; the round is then over. */
static bool last_of(meeting *m, int threads)
{
    if (++m->count < threads) {
        self->round = m->round;
        return false;
    }
    m->count = 0;
    ++m->round;
    ++progress;
    return true;
}

const uint64_t *exchange(uint64_t value, collective kind)
{
    const code from = SLAT_CALLER;
    const int first = self->thread / lanes * lanes;
    warp &w = here->warps[first / lanes];
    if (w.count == 0)
        w.kind = kind;
    else if (w.kind != kind && first_time(from))
        tell(from, "lanes of a warp meet in collectives of kinds %d and %d", w.kind, kind);
    uint64_t *values = w.values[w.round % 2];
    values[self->thread - first] = value;
    if (++w.count == std::min(lanes, (int)here->fibers.size() - first)) {
        w.count = 0;
        ++w.round;
        ++progress;
        return values;
    }
    self->round = w.round;
    wait_for(at_warp);
    return values;
}

void block_sync()
{
    SLAT_CALLER;
    if (!last_of(&here->all, (int)here->fibers.size())) wait_for(at_block);
}

void meet_group()
{
    if (!last_of(&here->groups[self->thread / group_threads], group_threads)) wait_for(at_group);
}

void pause()
{
    SLAT_CALLER;
    wait_for(pauses);
}

void named_barrier(int number, int threads, bool waits)
{
    const code from = SLAT_CALLER;
    if (number < 0 || number > 15 || threads % lanes || threads > (int)most_threads)
        tell(from, "named barrier %d of %d threads", number, threads);
    meeting &m = here->named[number & 15];
    if (m.count == 0)
        m.threads = threads;
    else if (m.threads != threads)
        tell(from, "named barrier %d is of %d threads for some, of %d for this one", number, m.threads, threads);
    if (last_of(&m, m.threads) || !waits) return;
    self->number = number & 15;
    wait_for(at_named);
}

/* ---- barriers in shared memory ---- */

void check_barrier(uint64_t *b, code from)
{
    if (!inside(b, sizeof *b) || (uintptr_t)b % sizeof *b) tell(from, "a barrier outside shared memory");
}

static void end_phase(barrier *b)
{
    if (b->pending || b->bytes) return;
    b->pending = b->count;
    b->phase ^= 1;
    ++progress;
}

void barrier_init(uint64_t *at, int arrivals)
{
    const code from = SLAT_CALLER;
    check_barrier(at, from);
    if (arrivals < 1) tell(from, "a barrier of %d arrivals", arrivals);
    *(barrier *)at = {(uint16_t)arrivals, (uint16_t)arrivals, 0, 0};
}

void barrier_arrive(uint64_t *at, uint32_t bytes)
{
    const code from = SLAT_CALLER;
    check_barrier(at, from);
    barrier *b = (barrier *)at;
    b->bytes += (int32_t)bytes;
    if (b->pending) {
        --b->pending;
    } else {
        tell(from, "too many arrivals at the barrier at %td (%d a phase)", (uint8_t *)at - here->shared, b->count);
        failed = true;
    }
    end_phase(b);
}

void bytes_landed(uint64_t *at, uint32_t bytes)
{
    barrier *b = (barrier *)at;
    b->bytes -= (int32_t)bytes;
    end_phase(b);
}

void barrier_wait(uint64_t *at, uint32_t parity)
{
    const code from = SLAT_CALLER;
    check_barrier(at, from);
    if (parity > 1) tell(from, "a phase of parity %u", parity);
    self->on = (const barrier *)at;
    self->number = (int)parity;
    if (!phase_ended(self->on, self->number)) wait_for(at_barrier);
}

} // namespace emulator

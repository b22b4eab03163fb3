/* Fibers, and launches: whose turn it is. */
#include "machine.h"
#include "replaced/launch.h"
#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>

/* Saves this stack's registers and top, and goes on with the other. */
extern "C" void slat_emulator_switch(void **from, void *to);
asm(".text\n"
    ".globl slat_emulator_switch\n"
    ".hidden slat_emulator_switch\n"
    "slat_emulator_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\n"
    "mov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
    "ret\n");

namespace emulator
{

place thread_index, block_index, grid_size, block_size;
block *here;
fiber *self;
uint64_t progress;
bool failed;
const void *kernel_now;

static constexpr int saved_registers = 6;
static const std::function<void()> *kernel_body;
static void *scheduler;

static int setting(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static const int late = setting("EMULATOR_LATE", 0);
const settings chosen = {(late & 1) != 0, (late & 2) != 0, (late & 4) != 0, (unsigned)setting("EMULATOR_SEED", 0),
                         std::max(1, setting("EMULATOR_PROCESSORS", 2))};

/* xorshift */
static uint64_t random_number()
{
    static uint64_t state = 88172645463325252ull + chosen.seed * 7919;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* ---- fibers ---- */

static void leave()
{
    slat_emulator_switch(&self->stack, scheduler);
}

static void resume(fiber *f)
{
    here = f->home;
    self = f;
    thread_index = {(unsigned)f->thread, 0, 0};
    block_index = {(unsigned)here->number, 0, 0};
    slat_emulator_switch(&scheduler, f->stack);
}

void wait_for(waiting what)
{
    self->state = what;
    leave();
    self->state = runs;
}

void stop()
{
    self->state = ended;
    for (;;) leave();
}

/* The first function of every fiber. */
static void run_thread()
{
    (*kernel_body)();
    if (!self->stores.empty()) {
        tell(self->from, "stores are not committed at the end");
        store_commit();
    }
    store_wait(0);
    if (!self->product_groups.empty() && first_time(self->from)) tell(self->from, "products are in flight at the end");
    ++progress;
    --here->left;
    stop();
}

static void start_fiber(block *b, int thread)
{
    fiber &f = b->fibers[thread];
    f.thread = thread;
    f.home = b;
    void **top = (void **)(b->stacks + (thread + 1) * stack_bytes - 64);
    *--top = NULL; /* where run_thread() would return */
    *--top = (void *)run_thread;
    for (int i = 0; i < saved_registers; ++i) *--top = NULL;
    f.stack = top;
}

/* Shared memory holds NaN. */
static void start(block *b, unsigned threads)
{
    b->fibers.assign(threads, fiber());
    b->warps.assign((threads + lanes - 1) / lanes, warp());
    b->loads.clear();
    b->left = (int)threads;
    b->all = meeting();
    std::fill(std::begin(b->named), std::end(b->named), meeting());
    std::fill(std::begin(b->groups), std::end(b->groups), meeting());
    std::fill(b->last, b->last + (b->bytes + piece_bytes - 1) / piece_bytes, written());
    memset(b->shared, 0xff, b->bytes);
    for (unsigned t = 0; t < threads; ++t) start_fiber(b, (int)t);
}

static bool ready(const fiber &f)
{
    const block *b = f.home;
    switch (f.state) {
    case at_barrier:
        return phase_ended(f.on, f.number);
    case at_named:
        return b->named[f.number].round != f.round;
    case at_warp:
        return b->warps[f.thread / lanes].round != f.round;
    case at_group:
        return b->groups[f.thread / group_threads].round != f.round;
    case at_block:
        return b->all.round != f.round;
    case ended:
        return false;
    default:
        return true;
    }
}

/* ---- running ---- */

struct turn {
    bool ran, paused;
};

static void run_warp(block *b, unsigned number, turn *t)
{
    const unsigned threads = (unsigned)b->fibers.size(), end = std::min((number + 1) * lanes, threads);
    for (unsigned i = number * lanes; i < end && !failed; ++i) {
        fiber &f = b->fibers[i];
        if (!ready(f)) continue;
        (f.state == pauses ? t->paused : t->ran) = true;
        resume(&f);
    }
}

/* Every ready thread of every block, once; in a random order a warp in four stays out. */
static turn take_turn(const blocks &all)
{
    turn t = {};
    for (block *b : all) {
        if (!b->left) continue;
        std::vector<unsigned> order(b->warps.size());
        for (size_t i = 0; i < order.size(); ++i) order[i] = (unsigned)i;
        for (size_t i = order.size(); chosen.seed && i > 1; --i) std::swap(order[i - 1], order[random_number() % i]);
        for (unsigned w : order) {
            if (chosen.seed && random_number() % 4 == 0)
                t.paused = true;
            else
                run_warp(b, w, &t);
        }
    }
    return t;
}

/* Lets one late copy of each block land; whether there was one. */
static bool land_late(const blocks &all)
{
    bool any = false;
    for (block *b : all) {
        if (b->loads.empty()) continue;
        const size_t i = random_number() % b->loads.size();
        const load l = b->loads[i];
        b->loads.erase(b->loads.begin() + i);
        here = b;
        land(l);
        any = true;
    }
    return any;
}

/* Arrivals that nobody waits for are allowed; they are told once a kernel. */
static void check_ends(const blocks &all)
{
    for (const block *b : all) {
        if (!b->loads.empty()) tell(NULL, "block %d ends before its copies land", b->number);
        for (const meeting &m : b->named)
            if (m.count && first_time((code)kernel_now))
                tell(NULL, "named barrier %td keeps %d arrivals at the end", &m - b->named, m.count);
    }
}

static bool any_left(const blocks &all)
{
    return std::any_of(all.begin(), all.end(), [](const block *b) { return b->left > 0; });
}

static bool run(const blocks &all, unsigned threads)
{
    constexpr int most_idle = 3000; /* turns in which threads only pause */
    int idle = 0;
    for (block *b : all) start(b, threads);
    while (any_left(all)) {
        const uint64_t before = progress;
        const turn t = take_turn(all);
        if (failed) {
            report(all, "failure");
            return false;
        }
        if (t.ran || progress != before || land_late(all)) {
            idle = 0;
        } else if (!t.paused || ++idle == most_idle) {
            report(all, "deadlock");
            return false;
        }
    }
    check_ends(all);
    return true;
}

static block *new_block()
{
    block *b = new block();
    b->shared = (uint8_t *)aligned_alloc(4096, most_shared);
    b->stacks = (uint8_t *)mmap(NULL, stack_bytes * most_threads, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!b->shared || b->stacks == MAP_FAILED) abort();
    return b;
}

/* Blocks `first` and the `count` - 1 after it; they are made once. */
static blocks blocks_from(unsigned first, unsigned count, size_t shared)
{
    static blocks made;
    while (made.size() < count) made.push_back(new_block());
    for (unsigned i = 0; i < count; ++i) {
        made[i]->number = (int)(first + i);
        made[i]->bytes = shared;
    }
    return blocks(made.begin(), made.begin() + count);
}

/* A kernel without dynamic shared memory has its own in static variables: one block at a time. */
cudaError_t launch(const void *kernel, const std::function<void()> &body, unsigned grid, unsigned threads,
                   size_t shared)
{
    static std::mutex one;
    const std::lock_guard<std::mutex> lock(one);
    static const bool watched = (watch_signals(), true);
    (void)watched;
    if (shared > slat_shared_most || threads > most_threads) return cudaErrorInvalidValue;
    grid_size = {grid, 1, 1};
    block_size = {threads, 1, 1};
    kernel_now = kernel;
    kernel_body = &body;
    failed = false;
    const unsigned together = shared && grid <= (unsigned)chosen.processors ? grid : 1;
    bool good = true;
    for (unsigned first = 0; first < grid && good; first += together)
        good = run(blocks_from(first, together, shared), threads);
    here = NULL;
    self = NULL;
    return good ? cudaSuccess : cudaErrorLaunchFailure;
}

} // namespace emulator

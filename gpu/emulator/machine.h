/* The emulator's own state: blocks, their fibers, and what they wait for. */
#ifndef SLAT_EMULATOR_MACHINE_H
#define SLAT_EMULATOR_MACHINE_H
#include "emulator.h"
#include <deque>
#include <vector>

namespace emulator
{

typedef void *code; /* an address in a kernel */

struct settings {
    bool late_loads, late_stores, late_products;
    unsigned seed;
    int processors;
};
extern const settings chosen;

enum waiting { runs, at_barrier, at_named, at_warp, at_group, at_block, pauses, ended };

constexpr int lanes = 32, group_threads = 128;
constexpr size_t most_threads = 1024, stack_bytes = 256 << 10;
constexpr size_t most_shared = 256 << 10, piece_bytes = 16;

/* A barrier of kernels, in the 64 bits that the hardware's has. */
struct barrier {
    uint16_t count, pending;
    int32_t bytes : 31;
    uint32_t phase : 1;
};
static_assert(sizeof(barrier) == sizeof(uint64_t), "kernels keep a barrier in 64 bits");

/* Threads that meet: the round ends when all have come. */
struct meeting {
    uint64_t round;
    int count, threads;
};

struct warp {
    uint64_t round;
    int count;
    collective kind;
    uint64_t values[2][lanes]; /* of this round and the one before, which some lanes still read */
};

struct load {
    CUtensorMap map;
    int dims; /* 0: `bytes` bytes at `from` */
    corner at;
    uint8_t *to;
    uint64_t *barrier;
    const void *from;
    uint32_t bytes;
};

struct store {
    CUtensorMap map;
    int dims; /* 0: `bytes` bytes of floats, added at `to` */
    corner at;
    const uint8_t *from;
    float *to;
    uint32_t bytes;
};

/* A product in flight, with the registers that it was given. */
struct flight {
    product what;
    uint32_t registers[4];
    code from;
};

struct block;

struct fiber {
    int thread;
    block *home;
    void *stack; /* its top, while others run */
    waiting state;
    uint64_t round;          /* what it waits for: the end of this one, */
    const barrier *on;       /* the phase of this barrier that has */
    int number;              /* this parity, or the named barrier of this number */
    code from;               /* where the kernel asked last */
    uint64_t fenced;         /* when its last proxy fence was */
    std::vector<int> pieces; /* those written since */
    std::vector<flight> products;
    std::deque<std::vector<flight>> product_groups;
    std::vector<store> stores;
    std::deque<std::vector<store>> store_groups;
};

/* The last write to 16 bytes of shared memory by plain stores; 0 after the writer's fence. */
struct written {
    uint64_t when;
    int thread; /* 1 more than it */
    code from;
};

struct block {
    int number;
    uint8_t *shared, *stacks;
    size_t bytes;
    int left; /* threads that have not ended */
    std::vector<fiber> fibers;
    std::vector<warp> warps;
    meeting all, named[16], groups[most_threads / group_threads];
    std::vector<load> loads; /* that have not landed */
    written last[most_shared / piece_bytes];
};

extern const void *kernel_now;
extern block *here;       /* the running block and */
extern fiber *self;       /* its running thread; NULL between launches */
extern uint64_t progress; /* counts whatever may let others go on */
extern bool failed;       /* the launch cannot go on */

/* The caller's caller, remembered for what is told of a deadlock. */
#define SLAT_CALLER (emulator::self->from = __builtin_return_address(0))

inline bool phase_ended(const barrier *b, int parity)
{
    return (int)b->phase != parity;
}

/* ---- emulator.cpp ---- */

void wait_for(waiting what);
void stop(); /* for ever */

/* ---- barriers.cpp ---- */

void meet_group();
void check_barrier(uint64_t *barrier, code from);
void bytes_landed(uint64_t *barrier, uint32_t bytes);
bool inside(const void *p, size_t bytes); /* shared memory */

/* Tells of asynchronous reads of these bytes that no proxy fence has let see them, once a place in the code. */
void check_fence(uint32_t address, uint32_t bytes, code from);

/* ---- copies.cpp ---- */

void land(const load &l);
CUresult encode_map(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t dims, void *data, const cuuint64_t *extents,
                    const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *steps, CUtensorMapInterleave,
                    CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* Where a byte of a tile lies in shared memory: 16-byte pieces of a row of 128 bytes exchanged. */
inline uint32_t swizzled(uint32_t address)
{
    return address ^ (address >> 7 & 7) << 4;
}

/* ---- runtime.cpp ---- */

/* Tells something of the running thread, and where in the kernel if `from` says so. */
__attribute__((format(printf, 2, 3))) void tell(code from, const char *format, ...);

/* Whether this is the first time that a place in the code is told of. */
bool first_time(code from);

/* Tells what every thread waits for. */
typedef std::vector<block *> blocks;
void report(const blocks &all, const char *what);
void watch_signals();

} // namespace emulator
#endif

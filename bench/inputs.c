/* A row's problem on the host, where index tensors are made and work is counted, and its copy on a device.
 *
 * The host's q, k, v and states are 8 wide where a device computes: nobody reads them. The device's own are filled
 * there, from random numbers that depend on the tensor and repeat after 128 * 65521 of them: gigabytes in
 * milliseconds. */
#include "bench.h"
#include "random.h"
#include <stdio.h>
#include <string.h>

enum { NARROW = 8, PERIOD_ROWS = 128, PERIOD_ROW = 65521 }; /* a prime: rows of a tensor repeat as late as they can */

problem *bench_host_problem(const problem_parameters *p, bool narrow, sentence *why)
{
    problem_parameters x = *p;
    if (narrow) x.d = x.dv = NARROW;
    problem *made = problem_new(&x, LAYOUT_PLAIN, memory_host(), why);
    if (!made || !narrow) return made;
    made->extents.d = p->d;
    made->extents.dv = p->dv ? p->dv : p->d;
    return made;
}

static bool fill(tensor *t, uint64_t seed)
{
    const memory *m = tensor_memory(t);
    const size_t size = tensor_type_size(t->type), bytes = (size_t)tensor_count(t) * size;
    tensor *numbers = tensor_new(memory_host(), t->type, 2, (const int64_t[]){PERIOD_ROWS, PERIOD_ROW});
    const size_t all = (size_t)PERIOD_ROWS * PERIOD_ROW * size, period = all < bytes ? all : bytes;
    void *to = (char *)t->dl.data + t->dl.byte_offset;
    const bool done = numbers && random_fill_normal(numbers, seed, 1) && m->upload(m, to, numbers->dl.data, period) &&
                      m->repeat(m, to, period, bytes);
    tensor_free(numbers);
    return done;
}

problem *bench_device_problem(const problem *host, layout kind, const memory *m, sentence *why)
{
    problem *copy = problem_create(host->op, m);
    bool good = copy != NULL;
    if (good) {
        *copy = *host;
        copy->memory = m;
        memset(copy->t, 0, sizeof copy->t);
    }
    for (int slot = 0; good && slot < PROBLEM_SLOTS; slot++) {
        if (!host->t[slot]) continue;
        good = problem_allocate(copy, slot, kind) &&
               (tensor_same_shape(copy->t[slot], host->t[slot]) ? tensor_copy(copy->t[slot], host->t[slot])
                                                                : fill(copy->t[slot], (uint64_t)slot + 1));
    }
    if (good) return copy;
    snprintf(why->text, sizeof why->text, "no memory on the device for the inputs");
    problem_free(copy);
    return NULL;
}

/* The GPU that the tests run on. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ZONE = 256, POISON = 0xFF }; /* a NaN in every floating type, -1 in an index */

static const memory *device;
static const cuda_driver *driver;

void gpu_begin(const char *suite)
{
    const char *reason, *names[GPU_BACKENDS];
    driver = cuda_driver_open(0, &reason);
    device = driver ? memory_cuda(&reason) : NULL;
    if (device && gpu_backends(names) > 0) return;
    printf("%s: skipped: %s\n0 passed, 0 failed\n", suite, device ? slat_error() : reason);
    exit(77);
}

const memory *gpu_memory(void)
{
    return device;
}
const cuda_driver *gpu_driver(void)
{
    return driver;
}

int32_t gpu_backends(const char *names[GPU_BACKENDS])
{
    int32_t count = 0, rank;
    const char *name;
    for (int32_t i = 0; count < GPU_BACKENDS && slat_backend(i, (DLDevice){kDLCUDA, 0}, &name, &rank) == SLAT_OK; i++) {
        if (rank > 0) names[count++] = name;
    }
    return count;
}

int gpu_brief(void)
{
    const char *asked = getenv("SLAT_TESTS_BRIEF");
    return asked ? atoi(asked) : 0;
}

static void need(bool there, const char *text)
{
    if (there) return;
    fprintf(stderr, "cannot go on: %s\n", text);
    exit(3);
}

static void *allocate(void *context, size_t bytes)
{
    gpu_room *room = context;
    need(gpu_room_end(room), "the device failed, or a call wrote behind its workspace");
    const memory *m = room->memory ? room->memory : device;
    const size_t from = gpu_brief() ? bytes : 0;
    unsigned char *poison = malloc(bytes + ZONE);
    room->data = m->allocate(m, bytes + ZONE);
    need(poison && room->data, "no memory for a workspace");
    memset(poison, POISON, bytes + ZONE);
    need(m->upload(m, room->data + from, poison, bytes + ZONE - from), "the device failed");
    free(poison);
    room->bytes = bytes;
    return room->data;
}

slat_exec gpu_exec(gpu_room *room, const char *backend, void *stream)
{
    return (slat_exec){.backend = backend, .stream = stream, .allocate = allocate, .allocator = room};
}

bool gpu_room_end(gpu_room *room)
{
    const memory *m = room->memory ? room->memory : device;
    const char *reason;
    if (!cuda_driver_open(m->device.device_id, &reason) || driver->synchronize()) return false;
    if (!room->data) return true;
    unsigned char zone[ZONE];
    bool right = m->download(m, zone, room->data + room->bytes, ZONE);
    for (int i = 0; i < ZONE; i++) right &= zone[i] == POISON;
    m->release(m, room->data);
    room->data = NULL;
    return right;
}

problem *gpu_problem(const problem *p, problem_pass pass, layout l)
{
    return gpu_problem_on(device, p, pass, l);
}

problem *gpu_problem_on(const memory *where, const problem *p, problem_pass pass, layout l)
{
    sentence why = {""};
    problem *copy = problem_copy(p, l, where, &why);
    need(copy != NULL, why.text);
    for (problem_pass n = PASS_FORWARD; n <= pass; n++) need(problem_allocate_outputs(copy, n, l, &why), why.text);
    return copy;
}

problem *gpu_host_problem(const problem_parameters *parameters, tensor_type type)
{
    problem_parameters p = *parameters;
    sentence why = {""};
    p.type = type;
    if (!problem_has_pass(p.op, PASS_BACKWARD)) p.pass = PASS_FORWARD;
    problem *made = problem_new(&p, LAYOUT_PLAIN, memory_host(), &why);
    need(made != NULL, why.text);
    return made;
}

void gpu_repeat(void *to, const void *from, size_t period, size_t bytes)
{
    need(device->upload(device, to, from, period < bytes ? period : bytes), "the device failed");
    need(device->repeat(device, to, period, bytes), "the device failed");
}

bool gpu_is_general(const char *backend)
{
    return !strcmp(backend, "cuda");
}

bool gpu_serves(const char *backend, const problem_parameters *parameters, tensor_type type)
{
    problem *given = gpu_host_problem(parameters, type), *p = gpu_problem(given, PASS_FORWARD, LAYOUT_PLAIN);
    slat_plan plan = {0};
    const slat_exec exec = {.backend = backend, .plan = &plan};
    const slat_status s = problem_call(p, PASS_FORWARD, &exec);
    need(s == SLAT_OK || (s == SLAT_UNSUPPORTED && !gpu_is_general(backend)), slat_error());
    problem_free(p);
    problem_free(given);
    return s == SLAT_OK;
}

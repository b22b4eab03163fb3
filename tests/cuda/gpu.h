/* The GPU that the tests run on. A program without one ends with exit status 77, which Meson reports as skipped. */
#ifndef SLAT_TESTS_CUDA_GPU_H
#define SLAT_TESTS_CUDA_GPU_H
#include "cuda_driver.h"
#include "problem.h"

/* Ends the program where there is no driver, no device, or no backend for it. */
void gpu_begin(const char *suite);
const memory *gpu_memory(void);
const cuda_driver *gpu_driver(void);

/* SLAT_TESTS_BRIEF: 0 where it is not set. 1: a row takes one layout of the four and one gradient alone, in turn;
 * workspace is left as the driver gives it, so that initcheck sees a read of what nobody wrote. 2: besides, a problem
 * takes one type of the three, in turn, masks are left out, and wrong indices are few. */
int gpu_brief(void);

/* Names of the device's backends, best first. */
enum { GPU_BACKENDS = 4 };
int32_t gpu_backends(const char *names[GPU_BACKENDS]);
/* The last of them serves everything; others may leave problems to it. */
bool gpu_is_general(const char *backend);
/* Whether the backend's plan takes the forward pass of the table's problem in a type. */
bool gpu_serves(const char *backend, const problem_parameters *parameters, tensor_type type);

/* Workspace for one call at a time, with a red zone behind it; filled with NaN before each call, unless brief. */
typedef struct {
    unsigned char *data;
    size_t bytes;
    const memory *memory; /* NULL: the first GPU's */
} gpu_room;

/* A slat_exec on a stream (NULL: the legacy default one) with workspace from the room. */
slat_exec gpu_exec(gpu_room *room, const char *backend, void *stream);
/* Waits for the device and frees the workspace. False: the device failed, or the red zone was written to. */
bool gpu_room_end(gpu_room *room);

/* The problem's inputs on the device; outputs of passes up to `pass` are made and poisoned. Never NULL. */
problem *gpu_problem(const problem *p, problem_pass pass, layout l);
problem *gpu_problem_on(const memory *, const problem *p, problem_pass pass, layout l);

/* Fills device memory with copies of `period` bytes, so that what it holds is known without the host having held it. */
void gpu_repeat(void *to, const void *from, size_t period, size_t bytes);

/* The case table's problem in a type, on the host. Never NULL. */
problem *gpu_host_problem(const problem_parameters *parameters, tensor_type type);
#endif

/* Google Benchmark behind a C header: the few calls that the bench needs. shim.cc is the only C++ here. */
#ifndef BENCH_SHIM_H
#define BENCH_SHIM_H
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shim_state shim_state; /* one run of one row */

/* Takes Google Benchmark's own flags out of argv; false where an argument is left that nobody knows (it says which). */
bool shim_initialize(int *argc, char **argv);
/* A line of the printed context and of the JSON file's "context". Before shim_run(). */
void shim_context(const char *key, const char *value);
/* A row with manual time, shown in `unit` ("ns", "us", "ms"). */
void shim_register(const char *name, const char *unit, void (*run)(void *row, shim_state *state), void *row);
void shim_run(void);
/* Whether --benchmark_filter takes the row of this name: 1, 0, or -1 where it is no regular expression. After
 * shim_initialize(). */
int shim_takes(const char *name);
/* The filter as it was given. */
const char *shim_filter(void);

/* Inside a row. The loop is `while (shim_next(state))`. */
bool shim_next(shim_state *state);
/* Once, after the loop: the row's time is `seconds` for each of its iterations. */
void shim_time(shim_state *state, double seconds);
void shim_counter(shim_state *state, const char *name, double value);
void shim_label(shim_state *state, const char *text);
/* The row has no result: why. Before or instead of the loop. */
void shim_skip(shim_state *state, const char *reason);

#ifdef __cplusplus
}
#endif
#endif

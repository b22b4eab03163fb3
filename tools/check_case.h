/* One case file replayed: forward, backward where the case has it, in one or in all layouts, and held against the
 * expected answers. */
#ifndef TOOLS_CHECK_CASE_H
#define TOOLS_CHECK_CASE_H
#include "problem.h"

typedef struct {
    const char *backend;   /* forced; NULL: the library's choice */
    const char *allowance; /* the forced backend's name, by the option or by SLAT_BACKEND: what it may refuse */
    int32_t threads;
    bool layouts;
    const memory *memory;
} check_options;

typedef enum { CHECK_PASSED, CHECK_FAILED, CHECK_SKIPPED } check_outcome;

typedef struct {
    check_outcome outcome;
    double score;              /* the worst multiple of a limit over all answers and layouts */
    char answer[PROBLEM_NAME]; /* where it is; "" before any was compared */
    layout kind;               /* likewise */
    char kernels[96];          /* "backend: kernel, backward kernel", of the plain layout */
    int skipped;               /* layouts that the backend may refuse, and did */
    sentence detail;           /* of a failure or a skip */
} check_result;

/* False: the file is no case, or not a whole one; the sentence says why. */
bool check_case(const safetensors *, const check_options *, check_result *, sentence *why);

#endif

/* The fuzzer: problems drawn at random, some of them spoiled, each handed to the library. Whatever is drawn, a call
 * answers with a status that its sentence explains and writes nothing, or with SLAT_OK and the right answer; it never
 * crashes. Numbers come from a seed, or from the bytes that a coverage-guided fuzzer proposes.
 */
#ifndef SLAT_TESTS_FUZZ_H
#define SLAT_TESTS_FUZZ_H
#include "call.h"
#include "problem.h"

enum { FUZZ_WHY = 800 }; /* bytes of a sentence */

typedef struct {
    uint64_t state;      /* of the generator, where data is NULL */
    const uint8_t *data; /* else the bytes that are left; after the last one all numbers are 0 */
    size_t size;
} fuzz_source;

fuzz_source fuzz_from_seed(uint64_t seed);
fuzz_source fuzz_from_bytes(const uint8_t *data, size_t size);
uint64_t fuzz_bits(fuzz_source *s);
int64_t fuzz_below(fuzz_source *s, int64_t bound); /* 0 .. bound - 1 */
bool fuzz_chance(fuzz_source *s, int32_t percent);
#define FUZZ_PICK(s, list) (list)[fuzz_below((s), (int64_t)(sizeof(list) / sizeof *(list)))]

/* fuzz_make.c: a right problem, small enough to be computed in about a millisecond. */
problem_parameters fuzz_parameters(fuzz_source *s);

/* fuzz_spoil.c: changes one thing about the problem as it would be handed over, and notes what. Contents are changed
 * before tensors: what a spoiled tensor reaches may be no memory. Values are spoiled so that the answer, where there is
 * one, can still be compared, or false is returned. */
bool fuzz_spoil_values(fuzz_source *s, problem *p, slat_exec *exec, char note[120]);
void fuzz_spoil_tensor(fuzz_source *s, problem *p, char note[120]);

typedef struct {
    int64_t right, refused,
        planned; /* computed and compared; refused; not called, for the caller lies about its memory */
} fuzz_count;

/* Draws one problem and judges what the library does. False: `why` says what is wrong. */
bool fuzz_one(fuzz_source *s, const char *backend, fuzz_count *count, char why[FUZZ_WHY]);

#endif

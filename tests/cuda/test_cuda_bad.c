/* Index tensors on a GPU are not read back: entries that are wrong are left out, and nothing is read or written out of
 * bounds. A spoiled layout must give what the layout without those entries gives; broken indptr, offsets and slots must
 * end as a call that touches its outputs alone. Fuzz: problems drawn at random against the definition. All of it on
 * every backend, as far as it computes them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "cases.h"
#include "gpu.h"
#include "harness.h"
#include "subject.h"

typedef struct {
    const char *backend;
    const case_problem *problem;
    int64_t first; /* of the drawn problems */
} row;

static tensor_type type_of(const row *r)
{
    return gpu_is_general(r->backend) ? TENSOR_F32 : TENSOR_BF16;
}

static bool computes(const row *r, problem *p, problem_pass pass, const char *what)
{
    gpu_room room = {0};
    const slat_exec exec = gpu_exec(&room, r->backend, NULL);
    const slat_status s = subject_call(p, pass, &exec, what);
    const bool right = gpu_room_end(&room);
    if (s == SLAT_UNSUPPORTED && !gpu_is_general(r->backend)) return false;
    return CHECK(s == SLAT_OK, "%s: %s", what, slat_error()) &&
           CHECK(right, "%s: the device failed, or workspace overran", what);
}

/* Every pass of p, held against the twin's by the definition; backward reads o and lse as forward wrote them. */
static void compare(const row *r, problem *p, problem *expected, problem_pass last, const char *what)
{
    static const slat_exec on_scalar = {.backend = "scalar"};
    for (problem_pass pass = PASS_FORWARD; pass <= last; pass++) {
        if (!computes(r, p, pass, what)) return;
        subject_outputs(expected, pass, LAYOUT_PLAIN);
        if (pass == PASS_BACKWARD && p->op != OP_LIGHTNING) {
            tensor_copy(expected->t[ROLE_O], p->t[ROLE_O]);
            tensor_copy(expected->t[ROLE_LSE], p->t[ROLE_LSE]);
        }
        CHECK(problem_call(expected, pass, &on_scalar) == SLAT_OK, "%s: %s", what, slat_error());
        subject_agree(p, expected, pass, what);
    }
}

static const case_problem *find(const char *id)
{
    for (int n = 0; n < CASE_PROBLEMS; n++)
        if (!strcmp(case_problems[n].id, id)) return &case_problems[n];
    fprintf(stderr, "the table has no %s\n", id);
    exit(3);
}

/* Spoils about a third of the entries, in two copies: `bad` keeps them, in `good` they are gone. An entry is spoiled by
 * a number out of range, or by the number of the entry before it. */
static void spoil(problem *bad, problem *good, uint64_t seed)
{
    const int64_t rows = tensor_count(bad->t[ROLE_INDPTR]), entries = tensor_count(bad->t[ROLE_INDICES]);
    static const double wrong[] = {-1, 1 << 20, 2147483647, -2147483647};
    fuzz_source s = fuzz_from_seed(seed);
    double *indptr = tensor_values(bad->t[ROLE_INDPTR]), *indices = tensor_values(bad->t[ROLE_INDICES]);
    double *bitmap_of = bad->t[ROLE_BITMAP_OF] ? tensor_values(bad->t[ROLE_BITMAP_OF]) : NULL;
    double *kept = malloc((size_t)(entries + 1) * sizeof *kept),
           *kept_bitmap = malloc((size_t)(entries + 1) * sizeof *kept_bitmap);
    double *kept_row = malloc((size_t)rows * sizeof *kept_row);
    int64_t count = 0;
    kept_row[0] = 0;
    for (int64_t r = 1; r < rows; r++) {
        double before = -1; /* the entry before, as it was */
        for (int64_t e = (int64_t)indptr[r - 1]; e < (int64_t)indptr[r]; e++) {
            const double own = indices[e];
            const bool again = before >= 0 && fuzz_chance(&s, 15);
            if (again)
                indices[e] = before;
            else if (e + 1 == (int64_t)indptr[r] && fuzz_chance(&s, 40))
                indices[e] = FUZZ_PICK(&s, wrong);
            else if (bitmap_of && fuzz_chance(&s, 15))
                bitmap_of[e] = FUZZ_PICK(&s, wrong) - 1;
            else {
                kept[count] = own;
                if (bitmap_of) kept_bitmap[count] = bitmap_of[e];
                count++;
            }
            before = indices[e] >= 0 && indices[e] < 1 << 19 ? indices[e] : -1;
        }
        kept_row[r] = (double)count;
    }
    tensor_write(bad->t[ROLE_INDICES], indices);
    if (bitmap_of) tensor_write(bad->t[ROLE_BITMAP_OF], bitmap_of);
    tensor_write(good->t[ROLE_INDPTR], kept_row);
    tensor_free(good->t[ROLE_INDICES]);
    good->t[ROLE_INDICES] = tensor_new(memory_host(), TENSOR_I32, 1, (int64_t[]){count});
    tensor_write(good->t[ROLE_INDICES], kept);
    if (bitmap_of) {
        tensor_free(good->t[ROLE_BITMAP_OF]);
        good->t[ROLE_BITMAP_OF] = tensor_new(memory_host(), TENSOR_I32, 1, (int64_t[]){count});
        tensor_write(good->t[ROLE_BITMAP_OF], kept_bitmap);
    }
    sentence why = {""};
    CHECK(problem_settle(good, &why), "%s", why.text);
    free(indptr), free(indices), free(bitmap_of), free(kept), free(kept_bitmap), free(kept_row);
}

static void left_out(const void *argument)
{
    const row *r = argument;
    const problem_parameters *of = &r->problem->p;
    for (uint64_t seed = 1; seed <= (gpu_brief() > 1 ? 1 : 6); seed++) {
        problem *bad = gpu_host_problem(of, type_of(r)), *good = gpu_host_problem(of, type_of(r));
        spoil(bad, good, seed);
        problem *p = gpu_problem(bad, bad->pass, LAYOUT_PLAIN), *expected = subject_twin(good);
        char what[40];
        snprintf(what, sizeof what, "spoiled, seed %d", (int)seed);
        compare(r, p, expected, bad->pass, what);
        problem_free(p);
        problem_free(expected);
        problem_free(bad);
        problem_free(good);
    }
}

/* Fills an index tensor with anything at all. */
static void scramble(tensor *t, fuzz_source *s)
{
    static const double far[] = {-2147483647, -1, 2147483647, 1000, 1 << 20};
    for (int64_t n = 0; t && n < tensor_count(t); n++)
        if (fuzz_chance(s, 30)) tensor_set(t, n, fuzz_chance(s, 50) ? FUZZ_PICK(s, far) : (double)fuzz_below(s, 40));
}

static void scrambled(const void *argument)
{
    static const problem_role indexes[] = {ROLE_INDPTR,    ROLE_INDICES, ROLE_BITMAP_OF, ROLE_T_INDPTR,
                                           ROLE_T_INDICES, ROLE_T_ENTRY, ROLE_OFFSETS,   ROLE_SLOT};
    const row *r = argument;
    for (uint64_t seed = 1; seed <= (gpu_brief() > 1 ? 1 : 10); seed++) {
        problem *given = gpu_host_problem(&r->problem->p, type_of(r));
        fuzz_source s = fuzz_from_seed(seed);
        for (size_t n = 0; n < sizeof indexes / sizeof *indexes; n++)
            if (fuzz_chance(&s, 60)) scramble(given->t[indexes[n]], &s);
        problem *p = gpu_problem(given, given->pass, LAYOUT_PADDED);
        for (problem_pass pass = PASS_FORWARD; pass <= given->pass; pass++)
            if (!computes(r, p, pass, "scrambled")) break;
        problem_free(p);
        problem_free(given);
    }
}

static void drawn(const void *argument)
{
    static const tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};
    const row *r = argument;
    const int64_t from = r->first;
    for (int64_t n = from; n < from + (gpu_brief() > 1 ? 10 : 100); n++) {
        fuzz_source s = fuzz_from_seed((uint64_t)n + 1);
        problem_parameters parameters = fuzz_parameters(&s);
        problem *given =
            gpu_host_problem(&parameters, parameters.type == TENSOR_F64 ? FUZZ_PICK(&s, types) : parameters.type);
        problem *expected = subject_twin(given), *p = gpu_problem(given, given->pass, (layout)fuzz_below(&s, LAYOUTS));
        char what[40];
        snprintf(what, sizeof what, "%s, seed %lld", problem_op_name(given->op), (long long)n + 1);
        compare(r, p, expected, given->pass, what);
        problem_free(given);
        problem_free(expected);
        problem_free(p);
    }
}

int main(int argc, char **argv)
{
    enum { DRAWS = 10000, ROWS = 11 + DRAWS / 100 };
    static const char *const layouts[] = {"bs-ragged", "bs-bitmaps", "bs-layout-a-head", "bs-d128"};
    static const char *const any[] = {"bs-ragged", "bs-bitmaps", "bs-transposed", "bs-transposed-bitmaps",
                                      "s2",        "s2-block-7", "step-slots"};
    static row rows[GPU_BACKENDS * ROWS];
    const char *names[GPU_BACKENDS];
    gpu_begin("cuda_bad");
    const int32_t backends = gpu_backends(names);
    row *r = rows;
    for (int32_t b = backends - 1; b >= 0; b--) { /* first the general one, which all others may leave work to */
        for (size_t n = 0; n < sizeof layouts / sizeof *layouts; n++) {
            *r = (row){names[b], find(layouts[n]), 0};
            harness_add(left_out, r++, "left out %s %s", layouts[n], names[b]);
        }
        for (size_t n = 0; n < sizeof any / sizeof *any; n++) {
            *r = (row){names[b], find(any[n]), 0};
            harness_add(scrambled, r++, "scrambled %s %s", any[n], names[b]);
        }
        for (int n = 0; n < DRAWS / 100; n++) {
            *r = (row){names[b], NULL, n * 100};
            harness_add(drawn, r++, "drawn %d %s", n, names[b]);
        }
    }
    return harness_main("cuda_bad", argc, argv);
}

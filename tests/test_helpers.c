/* The helpers that fill host memory, against brute force, known values and each other. */
#include <slat/slat.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "seen.h"

typedef struct {
    int64_t length;
    int32_t window, stride, dilation, causal;
} window_row;

/* Odd and even lengths, whole windows, strides up to the window, groups of unequal length. */
static const int64_t window_lengths[] = {2, 3, 7, 8, 13, 20, 31};

static void check_interval(const window_row *w, bool of_keys, int64_t at)
{
    int64_t first = -99, count = -99;
    const slat_status s =
        of_keys
            ? slat_neighborhood_keys(w->length, w->window, w->stride, w->dilation, w->causal, at, &first, &count)
            : slat_neighborhood_queries(w->length, w->window, w->stride, w->dilation, w->causal, at, &first, &count);
    if (!CHECK(s == SLAT_OK, "%s at %lld: %s", of_keys ? "keys" : "queries", (long long)at, slat_error())) return;
    int64_t seen = 0, next = first;
    for (int64_t y = 0; y < w->length; y++) {
        const bool shown =
            seen_in_window(w->length, w->window, w->stride, w->dilation, w->causal, of_keys ? at : y, of_keys ? y : at);
        if (!shown) continue;
        seen++;
        CHECK(y == next, "%s at %lld: %lld belongs to the interval, its next is %lld", of_keys ? "keys" : "queries",
              (long long)at, (long long)y, (long long)next);
        next += w->dilation;
    }
    CHECK(seen == count, "%s at %lld: count %lld, brute force %lld", of_keys ? "keys" : "queries", (long long)at,
          (long long)count, (long long)seen);
}

static void intervals_of_length(const void *argument)
{
    const int64_t length = *(const int64_t *)argument;
    window_row w = {.length = length};
    for (w.causal = 0; w.causal < 2; w.causal++) {
        for (w.dilation = 1; w.dilation * 2 <= length; w.dilation++) {
            for (w.window = 2; w.window * w.dilation <= length; w.window++) {
                for (w.stride = 1; w.stride <= w.window; w.stride++) {
                    for (int64_t x = 0; x < length; x++) {
                        check_interval(&w, true, x);
                        check_interval(&w, false, x);
                    }
                    if (harness_failures()) return;
                }
            }
        }
    }
}

/* The key sets that the rules print, of queries 0, 1, 2, ...; a digit is a key. */
static void printed_neighborhoods(const void *argument)
{
    (void)argument;
    static const struct {
        window_row w;
        const char *sets[8];
    } examples[] = {
        {{8, 3, 1, 1, 0}, {"012", "012", "123", "234", "345", "456", "567", "567"}},
        {{8, 4, 2, 1, 0}, {"0123", "0123", "1234", "1234", "3456", "3456", "4567", "4567"}},
        {{7, 2, 1, 3, 0}, {"03", "14", "25", "03", "14", "25", "36"}},
        {{8, 3, 2, 1, 1}, {"0", "01", "12", "123", "34", "345", "56", "567"}},
        {{7, 3, 2, 1, 1}, {"0", "01", "12", "123", "34", "345", "456"}},
    };
    for (size_t e = 0; e < sizeof examples / sizeof *examples; e++) {
        const window_row *w = &examples[e].w;
        for (int64_t x = 0; x < w->length; x++) {
            char set[9] = "";
            int64_t first = 0, count = 0;
            slat_neighborhood_keys(w->length, w->window, w->stride, w->dilation, w->causal, x, &first, &count);
            for (int64_t n = 0; n < count && n < 8; n++) set[n] = (char)('0' + first + n * w->dilation);
            CHECK(!strcmp(set, examples[e].sets[x]), "example %zu query %lld: %s, printed %s", e, (long long)x, set,
                  examples[e].sets[x]);
        }
    }
}

static void long_neighborhood(const void *argument)
{
    (void)argument;
    const int64_t length = INT64_C(1) << 40;
    int64_t first, count;
    CHECK(slat_neighborhood_keys(length, 4096, 1, 1, 1, length - 1, &first, &count) == SLAT_OK, "%s", slat_error());
    CHECK(first == length - 4096 && count == 4096, "%lld, %lld", (long long)first, (long long)count);
    CHECK(slat_neighborhood_queries(length, 4096, 1, 1, 1, 5, &first, &count) == SLAT_OK, "%s", slat_error());
    CHECK(first == 5 && count == 4096, "%lld, %lld", (long long)first, (long long)count);
}

static void bad_neighborhoods(const void *argument)
{
    (void)argument;
    static const struct {
        int64_t length;
        int32_t window, stride, dilation, causal;
        int64_t at;
        const char *names;
    } bad[] = {
        {8, 1, 1, 1, 0, 0, "window"},
        {8, 9, 1, 1, 0, 0, "window"},
        {8, 3, 4, 1, 0, 0, "stride"},
        {8, 3, -1, 1, 0, 0, "stride"},
        {8, 3, 1, 3, 0, 0, "dilation"},
        {8, 3, 1, -1, 0, 0, "dilation"},
        {8, 3, 1, 1, 2, 0, "causal"},
        {8, 3, 1, 1, -1, 0, "causal"},
        {0, 3, 1, 1, 0, 0, ""},
        {-8, 3, 1, 1, 0, 0, "length"},
        {8, 3, 1, 1, 0, 8, "8"},
        {8, 3, 1, 1, 0, -1, "-1"},
        {8, -3, 1, 1, 0, 0, "window"},
        {8, 0, 1, 1, 0, 0, "window"},
        {INT64_MAX / 2, INT32_MAX, 1, INT32_MAX, 0, -1, "-1"},
        {INT64_MAX, INT32_MAX, INT32_MAX, 1, 1, INT64_MAX - 1, "length"},
    };
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        for (int32_t keys = 0; keys < 2; keys++) {
            int64_t first = -7, count = -7;
            const slat_status s = (keys ? slat_neighborhood_keys : slat_neighborhood_queries)(
                bad[n].length, bad[n].window, bad[n].stride, bad[n].dilation, bad[n].causal, bad[n].at, &first, &count);
            CHECK(s == SLAT_INVALID, "%zu: %s", n, slat_status_name(s));
            CHECK(strstr(slat_error(), bad[n].names), "%zu: \"%s\" does not name %s", n, slat_error(), bad[n].names);
            CHECK(first == -7 && count == -7, "%zu: something was written", n);
        }
    }
    int64_t first = -7;
    CHECK(slat_neighborhood_keys(8, 3, 1, 1, 0, 0, NULL, &first) == SLAT_INVALID, "first NULL");
    CHECK(slat_neighborhood_keys(8, 3, 1, 1, 0, 0, &first, NULL) == SLAT_INVALID, "count NULL");
    CHECK(slat_neighborhood_queries(8, 3, 1, 1, 0, 0, NULL, &first) == SLAT_INVALID, "first NULL");
    CHECK(slat_neighborhood_queries(8, 3, 1, 1, 0, 0, &first, NULL) == SLAT_INVALID, "count NULL");
    CHECK(first == -7, "something was written");
}

static void offsets(const void *argument)
{
    (void)argument;
    for (int32_t hk = 1; hk <= 8; hk++) {
        for (int32_t group = 1; group <= 4; group *= 2) {
            for (int32_t stride = 1; stride <= 17; stride++) {
                for (int32_t variant = 0; variant < 12; variant++) {
                    const int32_t per_key_head = variant % 2, head_offset = variant / 2 % 3 * 5, hq = hk * group;
                    const int32_t dense = variant / 6 ? (hk + 1) / 2 : 0, heads = per_key_head ? hk : hq;
                    int32_t got[9] = {99, 99, 99, 99, 99, 99, 99, 99, 99};
                    const slat_status s = slat_sharded_offsets(got, hq, hk, stride, dense, head_offset, per_key_head);
                    CHECK(s == SLAT_OK, "%s", slat_error());
                    const int32_t step = stride / heads > 1 ? stride / heads : 1;
                    for (int32_t g = 0; g < hk; g++) {
                        const int32_t want = g >= hk - dense ? -1 : (g * step + head_offset) % stride;
                        CHECK(want < 0 ? got[g] < 0 : got[g] == want, "hq %d hk %d stride %d head %d: %d, rule %d", hq,
                              hk, stride, g, got[g], want);
                    }
                    CHECK(got[hk] == 99, "wrote past the last key head");
                }
            }
        }
    }
}

/* Four heads, stride 4: block row 7 sees {0,4,6,7} {3,6,7} {2,6,7} {1,5,6,7}, which comes from offsets 0 1 2 3. */
static void printed_offsets(const void *argument)
{
    (void)argument;
    int32_t got[4];
    CHECK(slat_sharded_offsets(got, 4, 4, 4, 0, 0, 0) == SLAT_OK, "%s", slat_error());
    static const char *const sets[4] = {"0467", "367", "267", "1567"};
    for (int32_t h = 0; h < 4; h++) {
        char set[9] = "";
        size_t n = 0;
        for (int32_t j = 0; j < 8; j++) {
            if (7 - j < 2 || (j + got[h]) % 4 == 0) set[n++] = (char)('0' + j);
        }
        CHECK(!strcmp(set, sets[h]), "head %d: %s, printed %s", h, set, sets[h]);
    }
}

/* By query heads, grouped heads leave columns that nobody reads; by key heads every column has a reader. */
static void covered_columns(const void *argument)
{
    (void)argument;
    int32_t by_key[4], by_query[4], read_by_key = 0, read_by_query = 0;
    CHECK(slat_sharded_offsets(by_key, 32, 4, 4, 0, 0, 1) == SLAT_OK, "%s", slat_error());
    CHECK(slat_sharded_offsets(by_query, 16, 4, 16, 0, 0, 0) == SLAT_OK, "%s", slat_error());
    for (int32_t g = 0; g < 4; g++) {
        read_by_key |= 1 << by_key[g];
        read_by_query |= 1 << by_query[g];
    }
    CHECK(read_by_key == 0xf, "columns %x", (unsigned)read_by_key);
    CHECK(read_by_query == 0xf, "columns %x of 16", (unsigned)read_by_query);
    CHECK(slat_sharded_offsets(by_key, 16, 4, 16, 0, 0, 1) == SLAT_OK, "%s", slat_error());
    CHECK(by_key[0] == 0 && by_key[1] == 4 && by_key[2] == 8 && by_key[3] == 12, "%d %d %d %d", by_key[0], by_key[1],
          by_key[2], by_key[3]);
}

static void bad_offsets(const void *argument)
{
    (void)argument;
    static const struct {
        int32_t hq, hk, stride, dense, head_offset, per_key_head;
        const char *names;
    } bad[] = {
        {4, 3, 4, 0, 0, 0, "hk"},
        {0, 0, 4, 0, 0, 0, "h"},
        {-4, 4, 4, 0, 0, 0, "hq"},
        {4, -4, 4, 0, 0, 0, "hk"},
        {4, 4, 0, 0, 0, 0, "stride"},
        {4, 4, -1, 0, 0, 0, "stride"},
        {4, 4, 4, -1, 0, 0, "dense_heads"},
        {4, 4, 4, 5, 0, 0, "dense_heads"},
        {4, 4, 4, 0, -1, 0, "head_offset"},
        {4, 4, 4, 0, 0, 2, "per_key_head"},
        {4, 4, 4, 0, 0, -1, "per_key_head"},
    };
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        int32_t got[4] = {99, 99, 99, 99};
        const slat_status s = slat_sharded_offsets(got, bad[n].hq, bad[n].hk, bad[n].stride, bad[n].dense,
                                                   bad[n].head_offset, bad[n].per_key_head);
        CHECK(s == SLAT_INVALID, "%zu: %s", n, slat_status_name(s));
        CHECK(strstr(slat_error(), bad[n].names), "%zu: \"%s\" does not name %s", n, slat_error(), bad[n].names);
        for (int32_t g = 0; g < 4; g++) CHECK(got[g] == 99, "%zu: something was written", n);
    }
    CHECK(slat_sharded_offsets(NULL, 4, 4, 4, 0, 0, 0) == SLAT_INVALID, "NULL");
    CHECK(strstr(slat_error(), "offsets"), "%s", slat_error());
    int32_t wide[2];
    CHECK(slat_sharded_offsets(wide, 2, 2, INT32_MAX, 0, INT32_MAX - 1, 0) == SLAT_OK, "%s", slat_error());
    const int64_t want = (INT32_MAX / 2 + (int64_t)INT32_MAX - 1) % INT32_MAX;
    CHECK(wide[0] == INT32_MAX - 1 && wide[1] == want, "%d %d", wide[0], wide[1]);
}

/* ALiBi's exponents as its authors' function gives them, times -1. */
static void slopes(const void *argument)
{
    (void)argument;
    static const struct {
        int32_t heads;
        double exponent[12];
    } known[] = {
        {1, {8}},
        {2, {4, 8}},
        {3, {4, 8, 2}},
        {6, {2, 4, 6, 8, 1, 3}},
        {8, {1, 2, 3, 4, 5, 6, 7, 8}},
        {9, {1, 2, 3, 4, 5, 6, 7, 8, .5}},
        {12, {1, 2, 3, 4, 5, 6, 7, 8, .5, 1.5, 2.5, 3.5}},
    };
    for (size_t n = 0; n < sizeof known / sizeof *known; n++) {
        float got[13];
        for (int32_t h = 0; h < 13; h++) got[h] = -7;
        CHECK(slat_lightning_slopes(got, known[n].heads) == SLAT_OK, "%s", slat_error());
        for (int32_t h = 0; h < known[n].heads; h++) {
            const double want = exp2(-known[n].exponent[h]);
            CHECK(fabs(got[h] - want) <= 1e-7 * want, "%d heads, head %d: %.9g, known %.9g", known[n].heads, h,
                  (double)got[h], want);
        }
        CHECK(got[known[n].heads] == -7, "wrote past the last head");
    }
    for (int32_t heads = 1; heads <= 130; heads++) {
        float got[130];
        CHECK(slat_lightning_slopes(got, heads) == SLAT_OK, "%s", slat_error());
        for (int32_t h = 0; h < heads; h++)
            CHECK(got[h] > 0 && got[h] < 1, "%d heads, head %d: %g", heads, h, (double)got[h]);
    }
    float one = -7;
    CHECK(slat_lightning_slopes(&one, 0) == SLAT_INVALID && strstr(slat_error(), "heads"), "%s", slat_error());
    CHECK(slat_lightning_slopes(&one, -1) == SLAT_INVALID && strstr(slat_error(), "-1"), "%s", slat_error());
    CHECK(slat_lightning_slopes(NULL, 4) == SLAT_INVALID && strstr(slat_error(), "slopes"), "%s", slat_error());
    CHECK(one == -7, "something was written");
}

static void names(const void *argument)
{
    (void)argument;
    CHECK(!strcmp(slat_version(), "0.1.0"), "%s", slat_version());
    static const char *const want[] = {"SLAT_OK",         "SLAT_INVALID", "SLAT_UNSUPPORTED", "SLAT_WORKSPACE",
                                       "SLAT_NO_BACKEND", "SLAT_DEVICE",  "SLAT_NO_MEMORY"};
    for (int32_t s = 0; s < 7; s++) {
        CHECK(!strcmp(slat_status_name((slat_status)s), want[s]), "%s, not %s", slat_status_name((slat_status)s),
              want[s]);
    }
    CHECK(!strcmp(slat_status_name((slat_status)7), "unknown status"), "%s", slat_status_name((slat_status)7));
}

static void backends(const void *argument)
{
    (void)argument;
    const DLDevice cpu = {kDLCPU, 0};
    const char *name = NULL;
    int32_t rank = -1, last = INT32_MAX, scalars = 0, i = 0;
    for (; slat_backend(i, cpu, &name, &rank) == SLAT_OK; i++) {
        CHECK(name && *name, "backend %d has no name", i);
        CHECK(rank >= 0 && rank <= last, "backend %d %s: rank %d after %d", i, name, rank, last);
        last = rank;
        if (!strcmp(name, "scalar")) {
            scalars++;
            CHECK(rank > 0, "scalar has rank %d", rank);
        }
    }
    CHECK(scalars == 1, "%d backends are named scalar", scalars);
    CHECK(slat_backend(i, cpu, &name, &rank) == SLAT_INVALID, "past the last");
    CHECK(slat_backend(-1, cpu, &name, &rank) == SLAT_INVALID, "before the first");
    CHECK(slat_backend(0, cpu, NULL, &rank) == SLAT_INVALID, "name NULL");
    CHECK(slat_backend(0, cpu, &name, NULL) == SLAT_INVALID, "rank NULL");
    const DLDevice pinned = {kDLCUDAHost, 0};
    CHECK(slat_backend(0, pinned, &name, &rank) == SLAT_OK, "pinned memory is the CPU's: %s", slat_error());
    const DLDevice none = {kDLMetal, 0};
    CHECK(slat_backend(0, none, &name, &rank) != SLAT_OK, "no backend serves Metal");
}

int main(int argc, char **argv)
{
    for (size_t n = 0; n < sizeof window_lengths / sizeof *window_lengths; n++) {
        harness_add(intervals_of_length, &window_lengths[n], "neighborhood intervals, length %lld",
                    (long long)window_lengths[n]);
    }
    harness_add(printed_neighborhoods, NULL, "the printed neighborhoods");
    harness_add(long_neighborhood, NULL, "a neighborhood of 2^40 places");
    harness_add(bad_neighborhoods, NULL, "neighborhoods that are refused");
    harness_add(offsets, NULL, "shard offsets, both builders");
    harness_add(printed_offsets, NULL, "the printed shards");
    harness_add(covered_columns, NULL, "which columns shards cover");
    harness_add(bad_offsets, NULL, "shard offsets that are refused");
    harness_add(slopes, NULL, "slopes of lightning");
    harness_add(names, NULL, "version and names of statuses");
    harness_add(backends, NULL, "the list of backends");
    return harness_main("helpers", argc, argv);
}

/* What the tests do with a problem. */
#include "subject.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "watch.h"

static void need(bool there, const char *text)
{
    if (there) return;
    fprintf(stderr, "cannot go on: %s\n", text);
    exit(3);
}

static int32_t find_backends(const char *names[SUBJECT_BACKENDS], bool partial)
{
    const DLDevice cpu = {kDLCPU, 0};
    int32_t count = 0, rank;
    const char *name;
    for (int32_t i = 0; count < SUBJECT_BACKENDS && slat_backend(i, cpu, &name, &rank) == SLAT_OK; i++) {
        if (rank > 0 && (partial || strcmp(name, "amx") != 0)) names[count++] = name;
    }
    return count;
}

int32_t subject_backends(const char *names[SUBJECT_BACKENDS])
{
    return find_backends(names, false);
}

int32_t subject_all_backends(const char *names[SUBJECT_BACKENDS])
{
    return find_backends(names, true);
}

static bool amx_may_refuse(const problem *p)
{
    const problem_extents *e = &p->extents;
    return e->type != TENSOR_BF16 || e->o_type != TENSOR_BF16 || p->scale < 0 ||
           (p->op != OP_BLOCK_SPARSE && p->op != OP_SHARDED) || e->tq[0] * (e->hq / e->hk) <= 16;
}

bool subject_may_refuse(const char *backend, const problem *p)
{
    if (strcmp(backend, "amx") == 0) return amx_may_refuse(p);
    return strcmp(backend, "scalar") != 0 && p->extents.type == TENSOR_F64;
}

problem *subject_new(const problem_parameters *parameters, layout l)
{
    sentence why = {""};
    problem *p = problem_new(parameters, l, memory_host(), &why);
    need(p != NULL, why.text);
    return p;
}

problem *subject_copy(const problem *p, layout l)
{
    sentence why = {""};
    problem *copy = problem_copy(p, l, memory_host(), &why);
    need(copy != NULL, why.text);
    return copy;
}

void subject_outputs(problem *p, problem_pass pass, layout l)
{
    sentence why = {""};
    need(problem_allocate_outputs(p, pass, l, &why), why.text);
}

static bool is_float(tensor_type type)
{
    return type == TENSOR_F64 || type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16;
}

static bool is_input(const problem *p, int slot)
{
    return p->t[slot] && !problem_slot_is_output(p, slot, PASS_FORWARD) &&
           !(problem_has_pass(p->op, PASS_BACKWARD) && problem_slot_is_output(p, slot, PASS_BACKWARD));
}

static void copy_descriptor(problem *to, const problem *from)
{
    switch (from->op) {
    case OP_BLOCK_SPARSE:
        to->block_sparse = from->block_sparse;
        break;
    case OP_NEIGHBORHOOD:
        to->neighborhood = from->neighborhood;
        break;
    case OP_SHARDED:
        to->sharded = from->sharded;
        break;
    case OP_LANDMARK:
        to->landmark = from->landmark;
        break;
    default:
        break;
    }
}

problem *subject_twin(const problem *p)
{
    problem *twin = problem_create(p->op, memory_host());
    need(twin != NULL, "no memory");
    twin->pass = p->pass;
    twin->scale = p->scale;
    twin->states_every = p->states_every;
    twin->parts = p->parts;
    copy_descriptor(twin, p);
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!is_input(p, slot)) continue;
        const tensor *from = p->t[slot];
        twin->t[slot] =
            tensor_new(memory_host(), is_float(from->type) ? TENSOR_F64 : from->type, from->dl.ndim, from->shape);
        need(twin->t[slot] && tensor_copy(twin->t[slot], from), "no memory");
    }
    sentence why = {""};
    need(problem_settle(twin, &why), why.text);
    return twin;
}

slat_status subject_call(problem *p, problem_pass pass, const slat_exec *exec, const char *what)
{
    tensor *written[PROBLEM_SLOTS] = {NULL};
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (p->t[slot] && problem_slot_is_output(p, slot, pass)) written[slot] = p->t[slot];
    }
    watch *w = watch_begin(p->t, PROBLEM_SLOTS);
    need(w != NULL, "no memory");
    const slat_status status = problem_call(p, pass, exec);
    sentence why = {""};
    const bool computes = status == SLAT_OK && !(exec && exec->plan);
    CHECK(watch_unchanged(w, written, computes ? PROBLEM_SLOTS : 0, &why), "%s: %s, but %s", what,
          slat_status_name(status), why.text);
    if (status != SLAT_OK)
        CHECK(strlen(slat_error()) > 8, "%s: %s with the sentence \"%s\"", what, slat_status_name(status),
              slat_error());
    watch_free(w);
    return status;
}

void subject_agree(const problem *p, const problem *expected, problem_pass pass, const char *what)
{
    int32_t answers = 0;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!p->t[slot] || !problem_slot_is_output(p, slot, pass)) continue;
        answers++;
        if (!CHECK(expected->t[slot], "%s: nothing to hold %s against", what, SLOT_NAME(slot))) continue;
        const agree_result r = agree_tensors(problem_rule(p, slot), p->t[slot], expected->t[slot]);
        CHECK(agree_ok(r), "%s: %s scores %.3g at %lld: got %.9g, expected %.9g", what, SLOT_NAME(slot), r.score,
              (long long)r.where, r.got, r.expected);
    }
    CHECK(answers, "%s: no answer", what);
}

bool subject_same(const problem *a, const problem *b, problem_pass pass)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!a->t[slot] || !problem_slot_is_output(a, slot, pass)) continue;
        if (!b->t[slot] || !tensor_same_shape(a->t[slot], b->t[slot])) return false;
        double *x = tensor_values(a->t[slot]), *y = tensor_values(b->t[slot]);
        need(x && y, "no memory");
        const int64_t count = tensor_count(a->t[slot]);
        bool same = true;
        for (int64_t n = 0; n < count; n++)
            same &= (x[n] == y[n] && signbit(x[n]) == signbit(y[n])) || (isnan(x[n]) && isnan(y[n]));
        free(x);
        free(y);
        if (!same) return false;
    }
    return true;
}

seen_mask subject_mask(const problem *p, subject_descriptors *storage)
{
    const problem_extents *e = &p->extents;
    seen_mask m = {.hq = e->hq, .hk = e->hk, .tq = 1, .tk = 1};
    for (int32_t n = 0; n < e->ndim; n++) {
        m.q_grid[n] = e->tq[n];
        m.k_grid[n] = e->tk[n];
        m.tq *= e->tq[n];
        m.tk *= e->tk[n];
    }
    if (p->op == OP_BLOCK_SPARSE) {
        storage->block_sparse = problem_block_sparse(p);
        m.block_sparse = &storage->block_sparse;
    }
    if (p->op == OP_NEIGHBORHOOD) m.neighborhood = &p->neighborhood;
    if (p->op == OP_LANDMARK) m.landmark = &p->landmark;
    if (p->op == OP_SHARDED) {
        storage->sharded = problem_sharded(p);
        m.sharded = &storage->sharded;
    }
    return m;
}

/* Whether any query of the key head sees key j. */
static bool seen_by_any(const seen_mask *m, int64_t b, int64_t key_head, int64_t j)
{
    const int64_t group = m->hq / m->hk;
    for (int64_t h = key_head * group; h < (key_head + 1) * group; h++) {
        for (int64_t i = m->tq - 1; i >= 0; i--) {
            if (seen(m, b, h, i, j)) return true;
        }
    }
    return false;
}

/* Elements are numbered row-major over [B, keys, Hk, width]. */
static void hide_row(tensor *t, const seen_mask *m, int64_t b, int64_t j, int64_t key_head)
{
    const int64_t width = tensor_row_length(t), row = (b * m->tk + j) * m->hk + key_head;
    for (int64_t c = 0; c < width; c++) tensor_set(t, row * width + c, NAN);
}

void subject_hide_unread(problem *p)
{
    subject_descriptors storage;
    const seen_mask m = subject_mask(p, &storage);
    const slat_block_sparse *blocks = m.block_sparse && m.block_sparse->indptr ? m.block_sparse : NULL;
    const int64_t tile = !blocks ? 256 : blocks->block_k ? blocks->block_k : blocks->block_q;
    bool *read = harness_memory(m.tk + 1);
    for (int64_t b = 0; b < p->extents.b; b++) {
        for (int64_t key_head = 0; key_head < m.hk; key_head++) {
            for (int64_t j = 0; j < m.tk; j++) {
                read[j] = seen_by_any(&m, b, key_head, j);
                const bool landmark = m.landmark && j % m.landmark->block == m.landmark->block - 1;
                if (!read[j] || landmark) hide_row(p->t[ROLE_V], &m, b, j, key_head);
            }
            for (int64_t j = 0; j < m.tk; j++) {
                const int64_t first = blocks ? j / tile * tile : j - tile, last = blocks ? first + tile - 1 : j + tile;
                bool near = false;
                for (int64_t y = first < 0 ? 0 : first; y <= last && y < m.tk; y++) near |= read[y];
                if (!near) hide_row(p->t[ROLE_K], &m, b, j, key_head);
            }
        }
    }
}

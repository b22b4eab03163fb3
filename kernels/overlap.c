/* Do two strided tensors share a byte?
 *
 * Both tensors' elements are sums of stride * index. Writing b's indices downwards from their ends turns "the same
 * byte" into one equation, sum a_k x_k = target with 0 <= x_k <= u_k and a_k > 0, where strides that both tensors have
 * fall into one term. Terms are searched largest first; strides that nest (as all real layouts do) leave two or three
 * candidates a term, so interleaved slices of one buffer are told apart exactly in a few steps.
 */
#include "check.h"

#define RANK 12 /* of tensors that are told apart; merge takes any rank */
#define TERMS (2 * RANK + 2)
#define WORK 20000

typedef struct {
    int64_t factor, bound;
} term;

typedef struct {
    term t[TERMS];
    int64_t tail[TERMS + 1]; /* the largest sum of the terms from k on */
    int32_t count, work;
} equation;

static void add(equation *e, int64_t factor, int64_t bound)
{
    if (!factor || !bound) return;
    int32_t k = 0;
    while (k < e->count && e->t[k].factor > factor) k++;
    if (k < e->count && e->t[k].factor == factor) {
        e->t[k].bound += bound;
        return;
    }
    for (int32_t j = e->count++; j > k; j--) e->t[j] = e->t[j - 1];
    e->t[k] = (term){factor, bound};
}

static int32_t search(equation *e, int32_t k, int64_t target)
{
    if (target < 0 || target > e->tail[k]) return 0;
    if (target == 0) return 1;
    if (++e->work > WORK) return 2;
    const int64_t factor = e->t[k].factor, rest = target - e->tail[k + 1];
    int64_t x = rest > 0 ? (rest + factor - 1) / factor : 0;
    const int64_t last = target / factor < e->t[k].bound ? target / factor : e->t[k].bound;
    for (; x <= last; x++) {
        const int32_t found = search(e, k + 1, target - x * factor);
        if (found) return found;
    }
    return 0;
}

static int32_t solve(equation *e, int64_t target)
{
    e->tail[e->count] = 0;
    for (int32_t k = e->count - 1; k >= 0; k--) e->tail[k] = e->tail[k + 1] + e->t[k].factor * e->t[k].bound;
    return search(e, 0, target);
}

static int64_t element(const DLTensor *t) { return t->dtype.bits / 8; }

static int32_t is_empty(const DLTensor *t)
{
    for (int32_t i = 0; i < t->ndim; i++)
        if (t->shape[i] == 0) return 1;
    return 0;
}

int32_t slat_span(const DLTensor *t, uintptr_t *first, uintptr_t *last)
{
    int64_t span = element(t) - 1;
    if (is_empty(t)) return 0;
    for (int32_t i = 0; i < t->ndim; i++) span += slat_stride(t, i) * element(t) * (t->shape[i] - 1);
    *first = (uintptr_t)slat_data(t);
    *last = *first + (uintptr_t)span;
    return 1;
}

static void add_tensor(equation *e, const DLTensor *t)
{
    add(e, 1, element(t) - 1);
    for (int32_t i = 0; i < t->ndim; i++) add(e, slat_stride(t, i) * element(t), t->shape[i] - 1);
}

int32_t slat_overlap(const DLTensor *a, const DLTensor *b)
{
    uintptr_t first_a, last_a, first_b, last_b;
    if (!slat_span(a, &first_a, &last_a) || !slat_span(b, &first_b, &last_b)) return 0;
    if (first_b > last_a || first_a > last_b) return 0;
    if (a->ndim > RANK || b->ndim > RANK) return 2;
    equation e = {.count = 0};
    add_tensor(&e, a);
    add_tensor(&e, b);
    return solve(&e, (int64_t)(last_b - first_a));
}

/* Each dimension steps over all that those behind it reach, as in every row-major layout. */
static int32_t is_nested(const DLTensor *t)
{
    int64_t reach = 0;
    for (int32_t i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] < 2) continue;
        const int64_t stride = slat_stride(t, i);
        if (stride <= reach) return 0;
        reach += stride * (t->shape[i] - 1);
    }
    return 1;
}

int32_t slat_overlaps_itself(const DLTensor *t)
{
    if (is_empty(t) || is_nested(t)) return 0;
    if (t->ndim > RANK) return 2;
    /* Two indices differ first (by the order of dimensions) in dimension i, there by 1 + x_i; elsewhere by any x. */
    for (int32_t i = 0; i < t->ndim; i++) {
        if (t->shape[i] < 2) continue;
        equation e = {.count = 0};
        int64_t target = -slat_stride(t, i);
        add(&e, slat_stride(t, i), t->shape[i] - 2);
        for (int32_t j = i + 1; j < t->ndim; j++) {
            add(&e, slat_stride(t, j), 2 * (t->shape[j] - 1));
            target += slat_stride(t, j) * (t->shape[j] - 1);
        }
        const int32_t found = solve(&e, target);
        if (found) return found;
    }
    return 0;
}

/* Softmax attention backward, without atomic sums and with the same bits for any number of threads.
 *
 * There are three schedules of the same sums. `By head`: a worker takes a key head and walks its tiles, and every step
 * adds to dq, dk and dv: five products. `By half`: two workers share a key head, one with the keys before the stop, one
 * with those behind it; whoever comes to a tile second adds both sums for its dq. `By part`, for yet fewer heads: rows'
 * tiles give dq, and ranges of keys, each walking all tiles that reach it, give dk and dv: seven products, but as many
 * items as one likes.
 */
#include "backward_schedule.h"
#include "cpu.h"

size_t slat_softmax_backward_bytes(const slat_cut *cut, const slat_run *run)
{
    int32_t workers;
    const backward f = begin(cut, run, &workers);
    return size_sum(size_product((size_t)workers, f.bench_bytes),
                    size_sum(half_bytes(&f), size_sum(sink_bytes(&f), met_bytes(&f))));
}

/* ---- sums of a range of keys ---- */

/* Points sums at the gradient itself or at the worker's memory, so that the range begins there. */
static slat_sums place_sums(const backward *f, const slat_key_sums *keep, const slat_view *grad, float *own,
                            int64_t columns, int64_t b, int64_t head)
{
    const int64_t ld = round_up(columns, VL);
    slat_sums sums = {NULL, {keep->grid.y * keep->grid.z * ld, keep->grid.z * ld, ld}};
    if (!grad->data) return sums;
    if (!in_place(f, grad, columns)) {
        sums.at = own - keep->first * ld;
        return sums;
    }
    sums.at = (float *)grad->data + slat_offset(grad, b, slat_at(0, 0, 0), head);
    for (int i = 0; i < 3; i++) sums.token[i] = grad->token[i];
    return sums;
}

static void store_sums(const backward *f, const slat_key_sums *keep, const slat_sums *sums, const slat_view *grad,
                       int64_t columns, int64_t b, int64_t head, float sign)
{
    if (!grad->data || (in_place(f, grad, columns) && sign > 0)) return;
    for (int64_t i = keep->first; i < keep->end; i++) {
        const slat_point at = key_at(keep->grid, i);
        unpack_row(row_to(grad, b, at, head), grad->type, sum_row(sums, at), sign, columns);
    }
}

/* ---- workers ---- */

static void set_head(const backward *f, bench *w, int64_t head)
{
    w->tile->b = head / f->p->hk;
    w->tile->key_head = (int32_t)(head % f->p->hk);
}

/* The first tile from `index` on that is to be run: all of them for dq's sake, else those that may see a kept key. */
static int64_t next_tile(const backward *f, const bench *w, int64_t index)
{
    const slat_cut *cut = f->cut;
    if (f->by == BY_PART && cut->walk->reaches)
        while (index < cut->tiles && !cut->walk->reaches(cut, index, w->sums.first, w->sums.end)) index++;
    return index;
}

/* Makes tile `index` the one to run, with `ahead` behind it. The former is that ahead, but for an item's first. */
static void look_ahead(const backward *f, bench *w, int64_t index, int64_t ahead)
{
    if (w->ahead->strips && w->index_ahead == index) {
        slat_tile *tile = w->ahead;
        w->ahead = w->tile;
        w->tile = tile;
    } else
        f->cut->walk->tile(f->cut, index, w->tile);
    w->ahead->strips = 0;
    if (ahead < 0 || ahead >= f->cut->tiles) return;
    w->ahead->b = w->tile->b, w->ahead->key_head = w->tile->key_head;
    f->cut->walk->tile(f->cut, ahead, w->ahead);
    w->index_ahead = ahead;
}

static void do_range(const backward *f, bench *w, int64_t item)
{
    const slat_problem *p = f->p;
    const int64_t head = item / f->ranges, range = item % f->ranges;
    slat_key_sums *sums = &w->sums;
    set_head(f, w, head);
    sums->grid = slat_key_grid(p);
    w->side = f->by == BY_HALF ? (int)range : BOTH;
    sums->first = slat_min(range * f->range, p->tk);
    sums->end = slat_min(sums->first + f->range, p->tk);
    const int64_t stop = w->side == BOTH ? 0 : stop_key(f, slat_stop(f->cut, w->tile));
    if (w->side == 0) sums->end = stop;
    if (w->side == 1) sums->first = stop, sums->end = p->tk;
    sums->cleared = sums->first;
    sums->k = place_sums(f, sums, &p->grad_k, w->sum_k, p->d, w->tile->b, w->tile->key_head);
    sums->v = place_sums(f, sums, &p->grad_v, w->sum_v, p->dv, w->tile->b, w->tile->key_head);
    for (int64_t i = next_tile(f, w, 0); i < f->cut->tiles;) {
        const int64_t ahead = next_tile(f, w, i + 1);
        look_ahead(f, w, i, ahead);
        run_tile(f, w, head * f->cut->tiles + i, f->by != BY_PART);
        i = ahead;
    }
    clear_sums_to(sums, sums->end, f->ld, f->ldv);
    store_sums(f, sums, &sums->k, &p->grad_k, p->d, w->tile->b, w->tile->key_head, f->sign);
    store_sums(f, sums, &sums->v, &p->grad_v, p->dv, w->tile->b, w->tile->key_head, 1);
}

/* dq alone, of a few tiles of one head. The last ones first: causal ones are the longest. */
static void do_tiles(const backward *f, bench *w, int64_t item)
{
    const int64_t runs = (f->cut->tiles + f->run - 1) / f->run, head = item / runs;
    const int64_t last = f->cut->tiles - 1 - item % runs * f->run, end = slat_max(last - f->run, -1);
    w->sums = (slat_key_sums){.first = 0, .end = 0};
    w->side = BOTH;
    set_head(f, w, head);
    for (int64_t i = last; i > end; i--) {
        look_ahead(f, w, i, i - 1 > end ? i - 1 : -1);
        run_tile(f, w, head * f->cut->tiles + i, 1);
    }
}

static void work(void *ctx, int32_t worker)
{
    backward *f = ctx;
    bench *w = (bench *)(f->benches + (size_t)worker * f->bench_bytes);
    lay_out(f, (char *)w);
    w->fetch.near = slat_fetches_near();
    w->tile = w->tiles;
    w->ahead = w->tiles + 1;
    tiles_begin();
    for (int64_t item; (item = slat_next_item(&f->items)) >= 0;) {
        const int64_t tiles = item - slat_heads(f->p) * f->ranges;
        w->ahead->strips = 0;
        if (tiles < 0) do_range(f, w, item);
        else do_tiles(f, w, tiles);
    }
    tiles_end();
}

/* grad_sink: the tiles' parts, in order. */
static void add_sinks(const backward *f)
{
    const slat_problem *p = f->p;
    const int64_t group = p->hq / p->hk;
    for (int32_t h = 0; h < p->hq; h++) {
        double sum = 0;
        for (int64_t b = 0; f->cut->tiles && b < p->b; b++)
            for (int64_t i = 0; i < f->cut->tiles; i++)
                sum += f->sink[((b * p->hk + h / group) * f->cut->tiles + i) * group + h % group];
        ((float *)p->grad_sink.data)[h * p->grad_sink.head] = (float)sum;
    }
}

void slat_softmax_backward(const slat_cut *cut, const slat_run *run)
{
    const slat_problem *p = cut->p;
    int32_t workers;
    backward f = begin(cut, run, &workers);
    f.benches = run->workspace;
    f.half = (float *)(f.benches + (size_t)workers * f.bench_bytes);
    f.sink = (double *)((char *)f.half + half_bytes(&f));
    f.met = (atomic_uchar *)((char *)f.sink + sink_bytes(&f));
    if (met_bytes(&f)) memset(f.met, NOBODY, met_bytes(&f));
    slat_parallel(run, workers, work, &f);
    if (p->grad_sink.data) add_sinks(&f);
}

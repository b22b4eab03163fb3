/* Lightning attention: which scans a pass is, and how they are shared among the multiprocessors.
 *
 * forward: a, b, c = q, k, v. dq: a, b, c = do, v, k, Z = S^T. In reverse, side by side: dv with a, b, c = k, q, do,
 * Z = dS / scale, which ends as dS0; dk with a, b, c = v, do, q, Z its transpose.
 */
#include "lightning.cuh"
#include "lightning_share.h"
#include "sm90.h"
#include "tensor_map.h"

namespace sm90
{

namespace
{

/* ---- segments: few heads share the tokens too ---- */

/* states [batches, heads, segments, size]: what each segment added comes at the next one's place. It becomes the state
 * before each segment. */
__global__ void __launch_bounds__(slat_block)
    lightning_join(const scan p, const split by, float *states, int64_t batches)
{
    if (by.workers && line(p, by).pays()) return;
    const int64_t size = (int64_t)p.depth * p.width, count = batches * by.heads * size;
    const int32_t chunks = (int32_t)((p.tokens + chunk_tokens - 1) / chunk_tokens);
    for (int64_t n = blockIdx.x * (int64_t)slat_block + threadIdx.x; n < count; n += (int64_t)gridDim.x * slat_block) {
        const int64_t h = n / size % by.heads, b = n / size / by.heads, d = n % size / p.width, c = n % p.width;
        const state_view &v = p.begin;
        const float slope = p.slopes[h * p.slope_stride];
        float *at = states + (n / size * by.segments) * size + n % size;
        float z =
            v.data ? v.data[b * v.batch + h * v.head + d * v.row + c * v.column] * p.begin_scale.of(n / size) : 0.0f;
        *at = z;
        for (int s = 0; s + 1 < by.segments; ++s) {
            const int64_t ragged = p.reverse && s == 0 ? chunks * (int64_t)chunk_tokens - p.tokens : 0;
            at += size;
            *at = z = z * expf(-slope * (float)(by.each * (int64_t)chunk_tokens - ragged)) + *at;
        }
    }
}

bool in_place(const scan &p)
{
    return p.begin.data && p.begin.data == p.end.data;
}

/* Where a state is updated in place, no block may end before another one of its head begins: none take turns. */
void launch(slat_session &session, const scans &jobs, share share)
{
    for (int i = 0; i < share.by.jobs; ++i)
        if (in_place(jobs.job[i])) {
            share.blocks /= share.by.turns;
            share.by.turns = 1;
        }
    const auto launch = session.problem.type == SLAT_F16 ? launch_scans_f16 : launch_scans_bf16;
    launch(session, jobs, share.by, share.blocks, jobs.job[0].depth, share.how.slabs);
}

/* Finds the state before each segment, where jobs then begin. */
void enqueue_segments(slat_session &session, scans &jobs, const share &whole)
{
    const slat_problem &p = session.problem;
    const scan &first = jobs.job[0];
    const int32_t segments = whole.by.segments;
    const int64_t size = (int64_t)first.depth * first.width, head = segments * size, heads = p.b * p.hq;
    scans parts = jobs;
    float *states[2];
    for (int i = 0; i < whole.by.jobs; ++i) {
        scan &part = parts.job[i];
        states[i] = (float *)session.take(heads * head, sizeof(float));
        part.begin.data = NULL;
        part.end = {states[i] ? states[i] + size : NULL, p.hq * head, head, size, part.width, 1};
        part.end_scale = {1, NULL};
        part.writes = part.every = 0;
    }
    share part = whole;
    part.blocks = whole.blocks / whole.by.turns / segments * (segments - 1);
    part.by.segments = segments - 1;
    part.by.turns = 1;
    launch(session, parts, part);
    for (int i = 0; i < whole.by.jobs; ++i) {
        session.launch(lightning_join, (heads * size + slat_block - 1) / slat_block, 0, jobs.job[i], whole.by,
                       states[i], p.b);
        jobs.job[i].begin = {states[i], p.hq * head, head, size, jobs.job[i].width, 1};
        jobs.job[i].begin_scale = {1, NULL};
    }
}

/* Launches the line where slopes may make it sooner: it and the other launches find out which of them work. */
void enqueue_line(slat_session &session, const scans &jobs, share &share)
{
    const slat_problem &p = session.problem;
    constexpr double fewest = 12; /* chunks of a part */
    if (parts_of(share, jobs.job[0], p.b, session.processors()) < fewest) return;
    for (int i = 0; i < share.by.jobs; ++i)
        if (!jobs.job[i].writes) return;
    offer_line(share, jobs.job[0], p.b, session.processors(), session.memory_rate());
    if (!share.by.workers) return;
    for (int i = 0; i < share.by.jobs; ++i)
        if (in_place(jobs.job[i])) share.by.limit = 0; /* no length does: an end would come before a beginning */
    (p.type == SLAT_F16 ? launch_line_f16 : launch_line_bf16)(session, jobs, share.by);
}

/* Computes `count` scans of equal extents. */
void enqueue_scans(slat_session &session, scans jobs, int count)
{
    const slat_problem &p = session.problem;
    share share = share_of(jobs.job[0], p.b, p.hq, count, session.processors());
    enqueue_line(session, jobs, share);
    if (share.by.segments > 1) enqueue_segments(session, jobs, share);
    launch(session, jobs, share);
}

/* ---- the scans of each pass ---- */

state_view state_of(const slat_state_view &s, bool transposed)
{
    return {(float *)s.data, s.batch, s.head, s.snapshot, transposed ? 1 : s.row, transposed ? s.row : 1};
}

/* depth of a and b, width of c and y. y may be absent. */
scan scan_of(slat_session &session, const slat_view &a, const slat_view &b, const slat_view &c, const slat_view &y,
             int32_t depth, int32_t width, bool reads_y = false)
{
    const slat_problem &p = session.problem;
    scan s = {};
    s.slopes = (const float *)p.decay.slopes.data;
    s.slope_stride = p.decay.slopes.head;
    s.tokens = p.tq;
    s.depth = depth, s.width = width;
    s.scale = {(float)p.scale, NULL};
    s.begin_scale = s.end_scale = {1, NULL};
    s.writes = y.data != NULL;
    if (y.data && !reads_y && (y.type == SLAT_F32 || width % 8)) s.rows = y;
    const auto map = [&](CUtensorMap *map, const slat_view &view, int32_t columns, int32_t tokens = box_tokens) {
        const slat_view v = session.mapped(view);
        if (view.data && !slat_map_sequence(map, &v, p.b, p.tq, p.hq, columns, tokens))
            session.refuse("backend 'cuda-sm90': strides that a bulk copy cannot follow");
    };
    map(&s.a, a, depth);
    map(&s.b, b, depth);
    map(&s.c, c, width);
    if (!s.rows.data) map(&s.y, y, width, reads_y ? box_tokens : warp_tokens);
    return s;
}

/* Chunks between the states that are given; 0: none, or not where chunks begin. */
int32_t chunks_between(const slat_problem &p)
{
    const int32_t every = p.decay.states_every;
    if (!p.decay.states.data) return 0;
    if (every >= p.tq) return (int32_t)((p.tq + chunk_tokens - 1) / chunk_tokens);
    return every % chunk_tokens ? 0 : every / chunk_tokens;
}

void enqueue_forward(slat_session &session)
{
    const slat_problem &p = session.problem;
    scan s = scan_of(session, p.q, p.k, p.v, p.o, p.d, p.dv);
    s.begin = state_of(p.decay.s0, false);
    s.end = state_of(p.decay.st, false);
    s.snapshots = state_of(p.decay.states, false);
    s.every = chunks_between(p);
    enqueue_scans(session, {{s}}, 1);
}

/* A scan in reverse, of a y that counts in `grad`'s units: so does its state. */
scan reverse_of(scan s, const slat_state_view &begin, bool transposed, const rounded &grad)
{
    s.reverse = 1;
    s.begin = state_of(begin, transposed);
    s.begin_scale = {1 / s.scale.all, grad.powers};
    s.scale.each = grad.units;
    s.end_scale = s.scale;
    return s;
}

void enqueue_backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_decay &a = p.decay;
    const rounded grad = p.grad_o.type == SLAT_F32 ? round_grad(session) : rounded{p.grad_o, NULL, NULL};
    if (p.grad_q.data) {
        scan s = scan_of(session, grad.view, p.v, p.k, p.grad_q, p.dv, p.d);
        s.begin = state_of(a.s0, true);
        s.scale.each = grad.units;
        enqueue_scans(session, {{s}}, 1);
    }
    scans jobs = {};
    int count = 0;
    if (p.grad_k.data)
        jobs.job[count++] =
            reverse_of(scan_of(session, p.v, grad.view, p.q, p.grad_k, p.dv, p.d), a.grad_st, true, grad);
    if (p.grad_v.data || a.grad_s0.data) {
        scan &s = jobs.job[count++];
        s = reverse_of(scan_of(session, p.k, p.q, grad.view, p.grad_v, p.d, p.dv), a.grad_st, false, grad);
        s.end = state_of(a.grad_s0, false);
    }
    if (count == 2 && p.d == p.dv)
        enqueue_scans(session, jobs, 2);
    else
        for (int i = 0; i < count; ++i) enqueue_scans(session, {{jobs.job[i]}}, 1);
    if (!a.grad_slopes.data) return;
    scan s = scan_of(session, p.q, p.k, p.v, grad.view, p.d, p.dv, true);
    if (p.grad_o.type == SLAT_F32) s.rows = p.grad_o;
    s.begin = state_of(a.s0, false), s.end = state_of(a.grad_st, false);
    enqueue_slopes(session, s);
}

slat_status unsupported_scan(const char *what)
{
    return slat_cuda_host->fail(SLAT_UNSUPPORTED, "backend 'cuda-sm90': %s", what);
}

} // namespace

} // namespace sm90

slat_status slat_sm90_lightning_check(const slat_problem &p)
{
    using sm90::unsupported_scan;
    if (p.type != SLAT_F16 && p.type != SLAT_BF16)
        return unsupported_scan("lightning of f32 tensors, expected f16 or bf16");
    if (!p.aligned || !p.strides16) return unsupported_scan("data or strides that are no multiples of 16 bytes");
    if (p.tq < 1 || p.b < 1) return unsupported_scan("an empty problem");
    if (p.tq > INT32_MAX - sm90::chunk_tokens) return unsupported_scan("more than 2^31 tokens");
    if (p.pass == SLAT_FORWARD && p.decay.states.data && !sm90::chunks_between(p))
        return unsupported_scan("states_every that is no multiple of 64");
    return SLAT_OK;
}

void slat_sm90_lightning(slat_session &session)
{
    if (session.problem.pass == SLAT_BACKWARD)
        sm90::enqueue_backward(session);
    else
        sm90::enqueue_forward(session);
}

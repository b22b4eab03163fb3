/* The backend `cuda-sm90`: kernels for Hopper's tensor cores and copy engine. What they do not compute is left to
 * `cuda`.
 */
#include "sm90.h"

namespace
{

struct entry {
    const char *name;
    slat_status (*check)(const slat_problem &);
    void (*enqueue)(slat_session &);
    const char *(*describe)(const slat_problem &) = NULL; /* its name, with what was chosen for the problem */
};

/* The first of the entries that serves the problem; or what the last one says. */
template <const entry &...entries> slat_status choose(const slat_problem &p, const entry *&chosen)
{
    slat_status status = SLAT_UNSUPPORTED;
    for (const entry *e : {&entries...}) {
        chosen = e;
        status = e->check(p);
        if (status != SLAT_UNSUPPORTED) break;
    }
    return status;
}

template <const entry &...entries> slat_status plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    const entry *e;
    SLAT_TRY(choose<entries...>(*p, e));
    plan->kernel = e->describe ? e->describe(*p) : e->name;
    slat_session session(p, run, true);
    e->enqueue(session);
    return session.finish(plan);
}

template <const entry &...entries> slat_status run(const slat_problem *p, const slat_run *run)
{
    const entry *e;
    SLAT_TRY(choose<entries...>(*p, e));
    slat_session session(p, run, false);
    e->enqueue(session);
    return session.finish(NULL);
}

template <const entry &...entries> constexpr slat_kernel kernel_of = {plan<entries...>, run<entries...>};

/* Machine code for 9.0 runs on 9.0 alone. */
int32_t rank(DLDevice device)
{
    int count = 0, major = 0, minor = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || device.device_id < 0 || device.device_id >= count ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.device_id) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device.device_id) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return major == 9 && minor == 0 ? 20 : 0;
}

constexpr entry block_sparse = {"block_sparse_sm90", slat_sm90_block_sparse_check, slat_sm90_block_sparse};

constexpr entry block_sparse_backward = {"block_sparse_backward_sm90", slat_sm90_block_sparse_backward_check,
                                         slat_sm90_block_sparse_backward};

constexpr entry neighborhood = {"neighborhood_sm90", slat_sm90_neighborhood_check, slat_sm90_neighborhood,
                                slat_sm90_neighborhood_name};

constexpr entry neighborhood_backward = {"neighborhood_backward_sm90", slat_sm90_neighborhood_backward_check,
                                         slat_sm90_neighborhood_backward};

constexpr entry sharded = {"sharded_sm90", slat_sm90_sharded_check, slat_sm90_sharded};

constexpr entry sharded_backward = {"sharded_backward_sm90", slat_sm90_sharded_backward_check,
                                    slat_sm90_sharded_backward};

constexpr entry landmark = {"landmark_sm90", slat_sm90_landmark_check, slat_sm90_landmark};

constexpr entry landmark_backward = {"landmark_backward_sm90", slat_sm90_landmark_backward_check,
                                     slat_sm90_landmark_backward};

constexpr entry block_sparse_decode = {"block_sparse_decode_sm90", slat_sm90_decode_check,
                                       slat_sm90_block_sparse_decode};

constexpr entry neighborhood_decode = {"neighborhood_decode_sm90", slat_sm90_decode_check,
                                       slat_sm90_neighborhood_decode};

constexpr entry sharded_decode = {"sharded_decode_sm90", slat_sm90_decode_check, slat_sm90_sharded_decode};

constexpr entry landmark_decode = {"landmark_decode_sm90", slat_sm90_decode_check, slat_sm90_landmark_decode};

constexpr entry lightning = {"lightning_sm90", slat_sm90_lightning_check, slat_sm90_lightning};

constexpr entry lightning_step = {"lightning_step_sm90", slat_sm90_lightning_step_check, slat_sm90_lightning_step};

constexpr slat_kernel none = {NULL, NULL};

} // namespace

const slat_backend_table slat_sm90_table = {
    SLAT_ABI,
    "cuda-sm90",
    kDLCUDA,
    rank,
    {
        {kernel_of<block_sparse_decode, block_sparse>, kernel_of<block_sparse_backward>}, /* block_sparse */
        {kernel_of<neighborhood_decode, neighborhood>, kernel_of<neighborhood_backward>}, /* neighborhood */
        {kernel_of<sharded_decode, sharded>, kernel_of<sharded_backward>},                /* sharded */
        {kernel_of<landmark_decode, landmark>, kernel_of<landmark_backward>},             /* landmark */
        {kernel_of<lightning>, kernel_of<lightning>},                                     /* lightning */
        {kernel_of<lightning_step>, none},                                                /* lightning_step */
        {none, none},                                                                     /* merge */
        {none, none},                                                                     /* transpose */
    },
};

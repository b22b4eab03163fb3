/* dQ of wide heads by query: Q and dO are left operands in shared memory, products and weights of a group follow one
 * another, and dQ leaves by plain stores.
 */
#ifndef SLAT_SM90_GRAD_QUERIES_WIDE_CUH
#define SLAT_SM90_GRAD_QUERIES_WIDE_CUH
#include "grad_wide.cuh"

namespace sm90
{

/* narrow: query_consumer. */
template <class T, int D, class narrow> struct wide_query_consumer : narrow {
    typedef typename narrow::room room;
    static constexpr bool long_blocks = narrow::long_blocks;

    wide_sums<T, D> sums;

    using narrow::narrow;

    /* S, then dP, of the keys in hand. */
    __device__ __forceinline__ void issue_products(float (&scores)[32], float (&grad_p)[32])
    {
        auto &s = this->s;
        const uint32_t own = this->group * group_rows * row_bytes;
        wide_products<T, D>(scores, shared_address(s.q[0]) + own, shared_address(s.k[this->keys % room::k_stages]));
        wide_products<T, D>(grad_p, shared_address(s.grad_o[0]) + own,
                            shared_address(s.v[this->keys % room::v_stages]));
    }

    __device__ __forceinline__ void take_keys(const work_item &item)
    {
        auto &s = this->s;
        const uint32_t k = shared_address(s.k[this->keys % room::k_stages]);
        float scores[32], grad_p[32];
        uint32_t weights[16];
        this->take_values(item);
        issue_products(scores, grad_p);
        wgmma_wait<1>();
        this->template differentiate<true>(item, scores, grad_p);
        pack_weights<T>(weights, scores);
        sums.add(weights, k);
        wgmma_wait<0>();
        __syncwarp();
        this->arrive(&s.k_empty[this->keys % room::k_stages]);
    }

    __device__ __forceinline__ void run()
    {
        auto &s = this->s;
        uint32_t parity = 0; /* of Q and dO */
        for (ring<room::items> items;; items.advance()) {
            barrier_wait(&s.item_full[items.slot], items.parity);
            const work_item item = s.item[items.slot];
            if (!item.work) break;
            sums.clear();
            if (item.tiles) {
                this->load_numbers(item);
                barrier_wait(&s.rows_full[0], parity);
                parity ^= 1;
                this->take_note();
                this->take_keys_in_hand();
#pragma unroll 1
                do {
                    if constexpr (long_blocks)
                        if (this->gathers) {
                            gather_block(*this, item, [&](float(&scores)[32], float(&grad_p)[32]) {
                                issue_products(scores, grad_p);
                            });
                            continue;
                        }
                    if (this->none)
                        this->pass_keys();
                    else
                        take_keys(item);
                } while (this->advance());
                barrier_arrive(&s.rows_empty[0]);
            }
            barrier_arrive(&s.item_empty[items.slot]);
            if (this->walk.writes)
                sums.store(this->p.grad_q, item, this->p.d, this->call.scale, this->row(),
                           [&](int row, slat_point &at) { return this->walk.query(this->p, item, row, at); });
        }
    }
};

} // namespace sm90
#endif

/* The consumers of a decode step: 16 rows a warp, and of each tile the slices of 16 keys that are its own. */
#ifndef SLAT_SM90_DECODE_CONSUME_CUH
#define SLAT_SM90_DECODE_CONSUME_CUH
#include "decode_room.cuh"

namespace sm90
{

/* What a consumer has to do, and where it is. */
template <int D> struct decode_place {
    int row_group, key_group,
        key_groups; /* its 16 rows; its first slice of 16 keys of a tile, and the way to the next */
    float scale;
    void *scratch;
    ring<decode_shape<D>::stages> k, v; /* v: where a walk does not want all values */
    int held[2];                        /* slots of the last tile, which are given back after its part */
};

/* Two rows of a thread's fragments: r0 = lane / 4 of the warp's 16 and that + 8. Logits count in base 2; sum is this
 * thread's share. */
template <class T, int D> struct decode_consumer {
    typedef decode_shape<D> shape;
    static constexpr int depth = shape::depth, slices = decode_tile / 16;

    const uint4 *q; /* this lane's part of the queries, `lanes` apart */
    float o[D / 8][4];
    float top[2], sum[2];
    decode_sight sight[2];

    /* Begins with nothing seen. */
    __device__ __forceinline__ void begin()
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            top[r] = -CUDART_INF_F;
            sum[r] = 0;
        }
#pragma unroll
        for (int i = 0; i < D / 8; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) o[i][j] = 0;
    }

    /* Puts a part of 16 channels of a row group's queries where its warps read it: channels 2 (lane % 4) and the next,
     * and that + 8, of rows lane / 4 and that + 8. */
    static __device__ __forceinline__ void put_queries(uint4 *to, const slat_problem &p, const decode_item &item,
                                                       int row_group, int part)
    {
        const int lane = threadIdx.x % lanes;
        uint32_t x[4];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int query, h;
            const bool present = decode_row_at(item, row_group * 16 + lane / 4 + 8 * r, query, h);
            const uint16_t *const row =
                (const uint16_t *)p.q.data + (present ? slat_offset(&p.q, item.b, decode_point(item, query), h) : 0);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int c = 16 * part + 8 * i + lane % 4 * 2;
                x[2 * i + r] = 0;
                if (present && c + 1 < p.d) x[2 * i + r] = *(const uint32_t *)(row + c);
                if (present && c + 1 == p.d) x[2 * i + r] = row[c];
            }
        }
        to[part * lanes + lane] = make_uint4(x[0], x[1], x[2], x[3]);
    }

    /* s (16 x 16 logits) = q K^T. */
    __device__ __forceinline__ void score(float (&s)[2][4], uint32_t k) const
    {
        const int lane = threadIdx.x % lanes;
        k += (lane % 8 + lane / 16 * 8) * shape::row_bytes + lane / 8 % 2 * 16;
        float odd[2][4]; /* two sums each: the products wait for one another */
#pragma unroll
        for (int j = 0; j < 4; ++j) s[0][j] = s[1][j] = odd[0][j] = odd[1][j] = 0;
#pragma unroll
        for (int i = 0; i < depth; ++i) {
            const uint4 four = q[i * lanes];
            const uint32_t a[4] = {four.x, four.y, four.z, four.w};
            uint32_t x[4];
            load_matrices(x, k + i * 32);
            multiply(T(), i % 2 ? odd[0] : s[0], a, x[0], x[1]);
            multiply(T(), i % 2 ? odd[1] : s[1], a, x[2], x[3]);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            s[0][j] += odd[0][j];
            s[1][j] += odd[1][j];
        }
    }

    /* The logits of a slice that the rows see, in base 2; the others are -inf, whatever they hold. landmarks: those
     * whose value is not read are left as well. */
    template <bool landmarks>
    __device__ __forceinline__ void hide(float (&s)[2][4], const decode_note &note, int slice, float scale) const
    {
        const int lane = threadIdx.x % lanes;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int at = slice * 16 + 8 * j + lane % 4 * 2;
            const int2 position = *(const int2 *)&note.position[at], until = *(const int2 *)&note.until[at];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const decode_sight &sees = sight[i / 2];
                const int32_t place = i % 2 ? position.y : position.x, last = i % 2 ? until.y : until.x;
                const bool seen = sees.low <= place && place <= sees.high && sees.at <= last;
                const bool kept = seen || (landmarks && last < 0);
                s[j][i] = kept ? s[j][i] * scale : -CUDART_INF_F;
            }
        }
    }

    /* Logits become weights relative to the new maximum; o follows it. */
    __device__ __forceinline__ void weigh(float (&s)[2][4])
    {
        float greatest[2] = {top[0], top[1]};
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) greatest[i / 2] = fmaxf(greatest[i / 2], s[j][i]);
        float base[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            greatest[r] = fmaxf(greatest[r], __shfl_xor_sync(~0u, greatest[r], 1));
            greatest[r] = fmaxf(greatest[r], __shfl_xor_sync(~0u, greatest[r], 2));
            base[r] = greatest[r] == -CUDART_INF_F ? 0.0f : greatest[r];
        }
        rise(greatest, base);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                s[j][i] = exp2_fast(s[j][i] - base[i / 2]);
                sum[i / 2] += s[j][i];
            }
    }

    /* Weights relative to `tops`, whose sums in this thread are `sums`, of logits that get `offset`. */
    __device__ __forceinline__ void weigh_relative(float (&s)[2][4], const float (&tops)[2], const float (&sums)[2],
                                                   const float (&offset)[2])
    {
        float greatest[2], base[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            greatest[r] = fmaxf(top[r], tops[r] + offset[r]);
            base[r] = greatest[r] == -CUDART_INF_F ? 0.0f : greatest[r];
        }
        rise(greatest, base);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float factor = exp2_fast(tops[r] + offset[r] - base[r]);
            sum[r] += sums[r] * factor;
#pragma unroll
            for (int i = 0; i < 4; ++i) s[i / 2][2 * r + i % 2] *= factor;
        }
    }

    /* Sums so far follow a new maximum. */
    __device__ __forceinline__ void rise(const float (&greatest)[2], const float (&base)[2])
    {
        if (!__any_sync(~0u, greatest[0] > top[0] || greatest[1] > top[1])) return;
        const float shrink[2] = {exp2_fast(top[0] - base[0]), exp2_fast(top[1] - base[1])};
#pragma unroll
        for (int i = 0; i < D / 8; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) o[i][j] *= shrink[j / 2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            sum[r] *= shrink[r];
            top[r] = greatest[r];
        }
    }

    /* o += weights V. */
    __device__ __forceinline__ void add(const float (&s)[2][4], uint32_t v)
    {
        const int lane = threadIdx.x % lanes;
        const uint32_t weights[4] = {pack(T(), s[0][0], s[0][1]), pack(T(), s[0][2], s[0][3]),
                                     pack(T(), s[1][0], s[1][1]), pack(T(), s[1][2], s[1][3])};
        v += lane % 16 * shape::row_bytes + lane / 16 * 16;
#pragma unroll
        for (int i = 0; i < depth; ++i) {
            uint32_t x[4];
            load_matrices_transposed(x, v + i * 32);
            multiply(T(), o[2 * i], weights, x[0], x[1]);
            multiply(T(), o[2 * i + 1], weights, x[2], x[3]);
        }
    }

    /* Adds a part of a list. */
    __device__ __forceinline__ bool run(decode_room<D> &s, decode_place<D> &at, decode_part part)
    {
        for (int64_t t = part.first; t < part.end; ++t, at.k.advance()) {
            const int slot = at.k.slot;
            barrier_wait(&s.k_full[slot], at.k.parity);
#pragma unroll 1
            for (int slice = at.key_group; slice < slices; slice += at.key_groups) {
                const uint32_t rows = slice * 16 * shape::row_bytes;
                float weights[2][4];
                score(weights, shared_address(s.k[slot]) + rows);
                hide<false>(weights, s.note[slot], slice, at.scale);
                weigh(weights);
                if (slice == at.key_group) barrier_wait(&s.v_full[slot], at.k.parity);
                add(weights, shared_address(s.v[slot]) + rows);
            }
            at.held[0] = at.held[1] = slot;
            if (t + 1 == part.end) continue;
            barrier_arrive(&s.k_empty[slot]);
            barrier_arrive(&s.v_empty[slot]);
        }
        return part.first < part.end;
    }

    /* Leaves the sums where all consumers find them. */
    __device__ __forceinline__ void leave(decode_room<D> &s, int consumer, const int (&held)[2])
    {
        const int lane = threadIdx.x % lanes;
        auto &to = s.sums(consumer, held[0], held[1]);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int row = lane / 4 + 8 * r;
            sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
            sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
            if (lane % 4 == 0) {
                s.top[consumer][row] = top[r];
                s.sum[consumer][row] = sum[r];
            }
#pragma unroll
            for (int i = 0; i < D / 8; ++i)
                *(float2 *)&to[row][8 * i + lane % 4 * 2] = make_float2(o[i][2 * r], o[i][2 * r + 1]);
        }
    }
};

} // namespace sm90
#endif

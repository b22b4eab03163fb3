/* Tensor core products of warp groups. */
#include "machine.h"

namespace emulator
{

static constexpr int depth = 16; /* elements that one product sums over */

/* Element k of row `index` of an operand in shared memory, by its descriptor's lower half (sm90::operand). */
static float operand_element(const flight &f, uint32_t descriptor, bool across, int index, int k)
{
    uint32_t address = (descriptor & 0x3fff) << 4;
    if (across)
        address += index / 64 * (descriptor >> 16 << 4) + k * 128 + index % 64 * 2;
    else
        address += index * 128 + k * 2;
    address = swizzled(address);
    if (here->last[address / piece_bytes].thread) check_fence(address, 2, f.from);
    uint16_t bits;
    memcpy(&bits, shared_read(address, sizeof bits), sizeof bits);
    return element(f.what.half, bits);
}

/* The two rows of the left operand that this thread's sums take, from the registers of four lanes. */
static void left_from_registers(const flight &f, float (&left)[2][depth])
{
    const int first = lane() & ~3;
    uint32_t registers[4][4]; /* [lane][register] */
    for (int pair = 0; pair < 2; ++pair) {
        const uint64_t both = f.registers[2 * pair] | (uint64_t)f.registers[2 * pair + 1] << 32;
        const uint64_t *all = exchange(both, operand_shared);
        for (int l = 0; l < 4; ++l) {
            registers[l][2 * pair] = (uint32_t)all[first + l];
            registers[l][2 * pair + 1] = (uint32_t)(all[first + l] >> 32);
        }
    }
    for (int r = 0; r < 2; ++r)
        for (int k = 0; k < depth; ++k) {
            const uint32_t two = registers[k % 8 / 2][k / 8 * 2 + r];
            left[r][k] = element(f.what.half, (uint16_t)(k % 2 ? two >> 16 : two));
        }
}

static void left_from_memory(const flight &f, float (&left)[2][depth])
{
    const int thread = self->thread % group_threads, row = thread / lanes * 16 + thread % lanes / 4;
    for (int r = 0; r < 2; ++r)
        for (int k = 0; k < depth; ++k)
            left[r][k] = operand_element(f, f.what.left, f.what.across_left, row + 8 * r, k);
}

/* This thread's share: 4 sums of every 8 columns. */
static void perform(const flight &f)
{
    const product &p = f.what;
    float left[2][depth];
    if (p.registers)
        left_from_registers(f, left);
    else
        left_from_memory(f, left);
    for (int i = 0; i < p.columns / 4; ++i) { /* pairs of sums in one column: i / 2 counts eights of columns */
        const int column = i / 2 * 8 + lane() % 4 * 2 + i % 2;
        float sum[2] = {0, 0};
        for (int k = 0; k < depth; ++k) {
            const float right = operand_element(f, p.right, p.across, column, k);
            for (int r = 0; r < 2; ++r) sum[r] += left[r][k] * right;
        }
        for (int r = 0; r < 2; ++r) {
            float &to = p.sums[i / 2 * 4 + 2 * r + i % 2];
            to = p.add ? to + sum[r] : sum[r];
        }
    }
}

void multiply(const product &p)
{
    flight f = {p, {}, SLAT_CALLER};
    if (p.registers) memcpy(f.registers, p.registers, sizeof f.registers);
    if (chosen.late_products)
        self->products.push_back(f);
    else
        perform(f);
}

void products_commit()
{
    self->product_groups.push_back(std::move(self->products));
    self->products.clear();
}

/* The whole warp group meets before, so that every product has been asked for, and after, when all have been done. */
void products_wait(int pending)
{
    const code from = SLAT_CALLER;
    bool performed = false;
    meet_group();
    for (; (int)self->product_groups.size() > pending; self->product_groups.pop_front())
        for (const flight &f : self->product_groups.front()) {
            perform(f);
            performed = true;
        }
    self->from = from;
    if (performed) meet_group();
}

} // namespace emulator

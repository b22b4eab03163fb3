"""What the measurements of peers share: slat-bench's layouts and masks, the count of visible pairs, and a check of
answers. Heads, queries and keys come as tensors; a rule says which pairs are visible.
"""
import statistics
import time

import torch


def shifted_right(x, n):
    """As of an unsigned number."""
    return (x >> n) & ((1 << 64 - n) - 1)


def as_signed(x):
    return x - (1 << 64) if x >> 63 else x


def splitmix64(x):
    x = x + as_signed(0x9E3779B97F4A7C15)
    x = (x ^ shifted_right(x, 30)) * as_signed(0xBF58476D1CE4E5B9)
    x = (x ^ shifted_right(x, 27)) * as_signed(0x94D049BB133111EB)
    return x ^ shifted_right(x, 31)


def random_layout(heads, blocks, density):
    """kept[head, query block, key block], causal"""
    h, i, j = (torch.arange(n) for n in (heads, blocks, blocks))
    h, i, j = h[:, None, None], i[None, :, None], j[None, None, :]
    drawn = shifted_right(splitmix64(((h * 65536 + i) * 65536 + j) + 1), 11).double() / 2.0**53 < density
    return (drawn | (i == j)) & (j <= i)


def blocks_rule(kept, block):
    return lambda b, h, q, k: kept[h, q // block, k // block] & (k <= q)


def window_rule(tokens, window):
    def visible(b, h, q, k):
        first = (q - window // 2).clamp(0, tokens - window)
        return (k >= first) & (k < first + window)
    return visible


def causal_rule():
    return lambda b, h, q, k: k <= q


def dense_mask(rule, tokens, h, rows):
    keys = torch.arange(tokens, device=rows.device)
    return rule(torch.tensor(0, device=rows.device), torch.tensor(h, device=rows.device), rows[:, None], keys[None, :])


def visible_pairs(rule, heads, tokens, device="cpu"):
    return sum(int(dense_mask(rule, tokens, h, torch.arange(r, r + 512, device=device)).sum())
               for h in range(heads) for r in range(0, tokens, 512))


def check(o, q, k, v, rule):
    """The answer's error on some rows of two heads, over the rows' RMS. Tensors are [B, H, T, D]."""
    heads, tokens, d = q.shape[1:]
    rows = torch.arange(0, tokens, tokens // 16, device=q.device)
    worst = 0.0
    for h in (0, heads - 1):
        s = q[0, h, rows].double() @ k[0, h].double().T / d**0.5
        s = s.masked_fill(~dense_mask(rule, tokens, h, rows), -torch.inf)
        want = s.softmax(-1) @ v[0, h].double()
        worst = max(worst, ((o[0, h, rows].double() - want).pow(2).mean() / want.pow(2).mean()).sqrt().item())
    return worst


def milliseconds(call, least=10, most=0.5, burst=8, rest=0.03):
    """The median of single calls on a GPU, each timed by events behind a fill of 256 MiB, so that the cache holds none of
    its inputs. The device is kept busy until a call is queued: its launch in Python does not count. After `burst` ms it
    rests, as slat-bench lets it, lest its clock falls."""
    filled = torch.empty(1 << 28, device="cuda", dtype=torch.uint8)
    times, busy = [], 0
    for _ in range(3):
        call()
    while len(times) < least and (len(times) < 5 or sum(times) < 1000 * most):
        if not times or busy > burst:
            torch.cuda.synchronize()
            time.sleep(rest)
            busy = 0
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(2_000_000)
        filled.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
        busy += times[-1]
    return statistics.median(times)

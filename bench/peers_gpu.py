#!/usr/bin/env python3
"""PyTorch's GPU attention on slat-bench's shapes, by slat-bench's protocol.

    python3 bench/peers_gpu.py [ids, default all]

Dense causal attention by cuDNN and by FlashAttention-2 (scaled_dot_product_attention), and FlexAttention compiled over
blocks of 128 tokens, in bf16, [B,H,T,D] (which they all take without a copy):
    bs-8k    B1 H32 T8192 D128, blocks of 128, density .3, causal   na1d-32k  B1 H32 T32768, a window of 2048
    na2d-128 B1 H32 128 x 128, a window of 32 x 32                  s2-8k     B4 H16 T8192, blocks of 64, local 8, stride 16
    dense-8k B1 H32 T8192                                           bs-8k-d64, dense-8k-d64
na2d-128 takes its tokens in tiles of 8 x 16, so that blocks are compact; putting them in that order is not timed.
Each row prints what slat-bench prints: `rate` in TFLOP/s over exactly the visible pairs (4 D flops a pair forward, 10 D
backward), `ceiling`, torch.matmul of 8192^3 in the same run, and `share`. 256 MiB are filled before each timed call, the
row's time is the median. An answer is first held against softmax attention in f64 on some rows.

FlexAttention's kernels are compiled in a process for each id, side by side; then each measures in its turn.
"""
import sys

import peers
import torch
import torch._functorch.config as functorch_config
import torch.multiprocessing as multiprocessing
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

BLOCK = 128
DENSE = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash2": SDPBackend.FLASH_ATTENTION}


def blocks(tokens, heads):
    return peers.blocks_rule(peers.random_layout(heads, tokens // BLOCK, 0.3).cuda(), BLOCK)


def window(tokens, heads):
    return peers.window_rule(tokens, 2048)


def grid(tokens, heads, side=128, span=32, tile=(8, 16)):
    """Tokens tile by tile."""
    def place(i):
        at, inside = i // BLOCK, i % BLOCK
        wide = side // tile[1]
        return at // wide * tile[0] + inside // tile[1], at % wide * tile[1] + inside % tile[1]

    along = peers.window_rule(side, span)

    def visible(b, h, q, k):
        (qx, qy), (kx, ky) = place(q), place(k)
        return along(b, h, qx, kx) & along(b, h, qy, ky)
    return visible


def shards(tokens, heads, block=64, local=8, stride=16):
    def visible(b, h, q, k):
        near = q // block - k // block < local
        return (k <= q) & (near | ((k // block + h) % stride == 0))
    return visible


# batch, heads, tokens, D, rule, heads that differ
FLEX = {
    "bs-8k": (1, 32, 8192, 128, blocks, 32),
    "bs-8k-d64": (1, 32, 8192, 64, blocks, 32),
    "na1d-32k": (1, 32, 32768, 128, window, 1),
    "na2d-128": (1, 32, 16384, 128, grid, 1),
    "s2-8k": (4, 16, 8192, 128, shards, 16),
}
SDPA = {"dense-8k": (1, 32, 8192, 128), "dense-8k-d64": (1, 32, 8192, 64)}


def make(batch, heads, tokens, d):
    torch.manual_seed(1)
    rows = [torch.randn(batch, heads, tokens, d, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    return [x.requires_grad_(i < 3) for i, x in enumerate(rows)]


def ceiling():
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / peers.milliseconds(lambda: torch.matmul(a, b)) * 1e-9


def report(name, direction, flops, ms, limit, error):
    rate = flops / ms * 1e-9
    print(f"{name}/{direction}: {ms:.3f} ms rate={rate:.1f} ceiling={limit:.1f} share={rate / limit:.3f} "
          f"error={error:.1e}", flush=True)


def rows(name, attend, shape, rule, pairs, limit):
    x = make(*shape)
    with torch.no_grad():
        error = peers.check(attend(x), *x[:3], rule)
        if not error < 2e-2:
            print(f"{name}: wrong, error {error:.1e}")
            return
        report(name, "forward", 4 * pairs * shape[3], peers.milliseconds(lambda: attend(x)), limit, error)
    o = attend(x)
    report(name, "backward", 10 * pairs * shape[3],
           peers.milliseconds(lambda: torch.autograd.grad(o, x[:3], x[3], retain_graph=True)), limit, error)


def sdpa_rows(name, limit):
    batch, heads, tokens, _ = shape = SDPA[name]
    pairs = batch * heads * tokens * (tokens + 1) // 2
    for peer, backend in DENSE.items():
        def attend(x):
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(*x[:3], is_causal=True)
        rows(f"{peer} {name}", attend, shape, peers.causal_rule(), pairs, limit)


def flex_process(name, compiled, turn):
    """Compiles one id's kernels, forward and backward, says so, and measures when it may."""
    *shape, make_rule, differ = FLEX[name]
    batch, heads, tokens, _ = shape
    rule = make_rule(tokens, heads)
    mask = create_block_mask(rule, None, differ if differ > 1 else None, tokens, tokens, device="cuda",
                             BLOCK_SIZE=BLOCK)
    pairs = batch * heads // differ * peers.visible_pairs(rule, differ, tokens, "cuda")
    functorch_config.donated_buffer = False  # a backward pass that is called again must find its buffers
    attention = torch.compile(flex_attention, dynamic=False)

    def attend(x):
        return attention(*x[:3], block_mask=mask)

    x = make(*shape)
    torch.autograd.grad(attend(x), x[:3], x[3])
    with torch.no_grad():
        attend(x)
    del x
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    compiled.release()
    turn.acquire()
    rows(f"flex {name}", attend, shape, rule, pairs, ceiling())


def main():
    names = sys.argv[1:] or [*SDPA, *FLEX]
    context = multiprocessing.get_context("spawn")
    compiled = context.Semaphore(0)
    turns = {name: context.Semaphore(0) for name in names if name in FLEX}
    workers = {name: context.Process(target=flex_process, args=(name, compiled, turn)) for name, turn in turns.items()}
    for worker in workers.values():
        worker.start()
    for _ in workers:
        compiled.acquire(timeout=300)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}", flush=True)
    limit = ceiling()
    for name in names:
        if name in SDPA:
            sdpa_rows(name, limit)
        else:
            turns[name].release()
            workers[name].join()


if __name__ == "__main__":
    main()

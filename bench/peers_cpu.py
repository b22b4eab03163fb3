#!/usr/bin/env python3
"""PyTorch's CPU attention on slat-bench's CPU shapes, by slat-bench's protocol.

    OMP_NUM_THREADS=16 python3 bench/peers_cpu.py [seconds a row, default 1]

Dense causal attention (scaled_dot_product_attention), forward and backward, and FlexAttention compiled over a block
mask, forward (it has no backward on a CPU; torch.compile wants a C++ compiler), in f32 and bf16:
    bs-cpu    B1 H8 T4096 D128, blocks of 64, density .1, causal: slat's random layout, block for block
    na1d-cpu  B1 H8 T8192 D128, a window of 512 that shifts at the borders
Each row prints what slat-bench prints: `rate` in TFLOP/s over exactly the visible pairs (4 D flops a pair forward, 10 D
backward), `ceiling`, torch.matmul of 2048^3 in the same type and run, and `share`. Every call is timed by itself, in
[B,T,H,D] and in [B,H,T,D] by turns; a row's time is the median in the slower layout. An answer is first held against
softmax attention in f64 on some rows.
"""
import concurrent.futures
import multiprocessing
import os
import statistics
import sys
import time

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # flex_compile_all() has processes enough
import peers
import torch
import torch._inductor.config as inductor_config
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

HEADS, D, BLOCK, WINDOW, DENSITY = 8, 128, 64, 512, 0.1
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0


def blocks(tokens):
    return peers.blocks_rule(peers.random_layout(HEADS, tokens // BLOCK, DENSITY), BLOCK)


def window(tokens):
    return peers.window_rule(tokens, WINDOW)


# name, tokens, rule, heads that differ
FLEX = (("flex bs-cpu", 4096, blocks, HEADS), ("flex na1d-cpu", 8192, window, 1))


def make(tokens, dtype, heads_first, grad):
    torch.manual_seed(1)
    shape = (1, HEADS, tokens, D) if heads_first else (1, tokens, HEADS, D)
    rows = [torch.randn(shape).to(dtype) for _ in range(4)]
    if not heads_first:
        rows = [x.transpose(1, 2) for x in rows]
    return [x.requires_grad_(grad and i < 3) for i, x in enumerate(rows)]


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def medians(calls):
    """Seconds of each of several calls, by turns."""
    for call in calls:
        call(), call()
    samples = [[] for _ in calls]
    start = time.perf_counter()
    while len(samples[0]) < 5 or time.perf_counter() - start < SECONDS:
        for call, to in zip(calls, samples):
            to.append(timed(call))
        if time.perf_counter() - start > 3 * SECONDS and len(samples[0]) >= 3:
            break
    return [statistics.median(x) for x in samples]


def ceiling(dtype):
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    with torch.no_grad():
        return 2 * 2048**3 / medians([lambda: torch.matmul(a, b)])[0] * 1e-12


def report(name, dtype, direction, flops, seconds, limit, error):
    rate = [flops / s * 1e-12 for s in seconds]
    print(f"{name}/{str(dtype)[6:]}/{direction}: rate={min(rate):.3f} ceiling={limit:.3f} "
          f"share={min(rate) / limit:.3f} rate_bthd={rate[0]:.3f} rate_bhtd={rate[1]:.3f} error={error:.1e}", flush=True)


def dense_rows(name, tokens, dtype, limit):
    pairs = HEADS * tokens * (tokens + 1) // 2

    def attend(x):
        return scaled_dot_product_attention(*x[:3], is_causal=True)

    inputs = [make(tokens, dtype, first, False) for first in (False, True)]
    with torch.no_grad():
        error = max(peers.check(attend(x), *x[:3], peers.causal_rule()) for x in inputs)
        seconds = medians([lambda x=x: attend(x) for x in inputs])
        report(name, dtype, "forward", 4 * pairs * D, seconds, limit, error)
    inputs = [make(tokens, dtype, first, True) for first in (False, True)]
    outputs = [attend(x) for x in inputs]
    calls = [lambda x=x, o=o: torch.autograd.grad(o, x[:3], x[3], retain_graph=True) for x, o in zip(inputs, outputs)]
    report(name, dtype, "backward", 10 * pairs * D, medians(calls), limit, error)


def flex_attention_of(tokens, rule, heads):
    """FlexAttention over the rule's blocks. Shapes and strides stay constants: symbolic ones would be slower."""
    mask = create_block_mask(rule, 1, heads, tokens, tokens, device="cpu", BLOCK_SIZE=BLOCK)
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda x: compiled(*x[:3], block_mask=mask)


def flex_compile(index, dtype, heads_first, threads):
    """One kernel into the compiler's cache on disk, in a process of its own."""
    torch.set_num_threads(2)
    inductor_config.cpp.threads = threads  # part of the kernel
    _, tokens, rule, heads = FLEX[index]
    with torch.no_grad():
        flex_attention_of(tokens, rule(tokens), heads)(make(tokens, dtype, heads_first, False))


def flex_compile_all(dtypes, threads):
    """Side by side, since a compiler takes half a minute for each. What fails here is said where it is measured."""
    jobs = [(i, dtype, first, threads) for i in range(len(FLEX)) for dtype in dtypes for first in (False, True)]
    with concurrent.futures.ProcessPoolExecutor(len(jobs), multiprocessing.get_context("spawn")) as pool:
        concurrent.futures.wait([pool.submit(flex_compile, *job) for job in jobs])


def flex_rows(name, tokens, rule, heads, dtype, limit):
    attend = flex_attention_of(tokens, rule, heads)
    inputs = [make(tokens, dtype, first, False) for first in (False, True)]
    with torch.no_grad():
        error = max(peers.check(attend(x), *x[:3], rule) for x in inputs)
        seconds = medians([lambda x=x: attend(x) for x in inputs])
    report(name, dtype, "forward", 4 * peers.visible_pairs(rule, HEADS, tokens) * D, seconds, limit, error)


def main():
    threads = int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    torch.set_num_threads(threads)
    inductor_config.cpp.threads = threads
    print(f"torch {torch.__version__}, {threads} threads, {torch.backends.cpu.get_cpu_capability()}", flush=True)
    dtypes = (torch.float32, torch.bfloat16)
    limits = {dtype: ceiling(dtype) for dtype in dtypes}
    for dtype in dtypes:
        for name, tokens in (("dense-4k", 4096), ("dense-8k", 8192)):
            dense_rows(name, tokens, dtype, limits[dtype])
    flex_compile_all(dtypes, threads)
    for dtype in dtypes:
        for name, tokens, rule, heads in FLEX:
            try:
                flex_rows(name, tokens, rule(tokens), heads, dtype, limits[dtype])
            except Exception as reason:  # no compiler on the machine, say
                print(f"{name}/{str(dtype)[6:]}/forward: not measured: {str(reason).splitlines()[0][:200]}", flush=True)


if __name__ == "__main__":
    main()

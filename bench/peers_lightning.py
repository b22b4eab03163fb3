#!/usr/bin/env python3
"""Flash Linear Attention's GPU kernels on slat-bench's lightning shapes, by slat-bench's protocol.

    FLA_CACHE_RESULTS=0 python3 bench/peers_lightning.py [ids, default all]

Needs PyTorch with a GPU, and fla-core. chunk_simple_gla with a decay per head (which chunk_lightning_attn calls), forward
and backward, and fused_recurrent_simple_gla for a step, in bf16, [B,T,H,D] (they copy what lies otherwise):
    la-8k    B8 H32 T8192 D128              la-64k   B1 H32 T65536 D128
    la-512k  B1 H32 T524288 D128, forward   la-step  B128 H32 D128, f32 state
Each row prints what slat-bench prints: `rate` in GB/s over the ideal bytes (forward: q k v read, o written; backward: q k
v do read, dq dk dv written; step: the state read and written), `ceiling`, a device copy of 2 GiB in the same run, and
`share`. 256 MiB are filled before each timed call, a row's time is the median. Answers are first held against sums in
f64.

Its kernels are tuned where they are first called, on the first shape: what they remember it by does not know the number
of tokens. All that tuning tries is compiled beforehand, by as many processes as there are processors, into the cache
that they share.
"""
import gc
import os
import subprocess
import sys

import peers
import torch
import triton
from fla.ops.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

HEADS, D, SCALE = 32, 128, 128**-0.5
SHAPES = {"la-8k": (8, 8192, True), "la-64k": (1, 65536, True), "la-512k": (1, 524288, False)}
STEP_ROWS = 128
Autotuner = triton.runtime.autotuner.Autotuner


def slopes():
    return torch.tensor([2.0 ** (-8 * (h + 1) / HEADS) for h in range(HEADS)], device="cuda")


def make(batch, tokens, count):
    return [torch.randn(batch, tokens, HEADS, D, device="cuda", dtype=torch.bfloat16) for _ in range(count)]


def forward(x):
    return chunk_simple_gla(*x[:3], g_gamma=-slopes(), scale=SCALE)[0]


def step(x, state):
    return fused_recurrent_simple_gla(*x[:3], g_gamma=-slopes(), scale=SCALE, initial_state=state,
                                      output_final_state=True)


def ceiling():
    a = torch.randint(0, 255, (1 << 31,), device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2 * a.numel() / peers.milliseconds(lambda: b.copy_(a)) * 1e-6


def relative(got, want):
    return ((got.double() - want).pow(2).mean() / want.pow(2).mean()).sqrt().item()


def definition(q, k, v):
    """Sums in f64 over all pairs."""
    i = torch.arange(q.shape[1], device="cuda")
    distance = (i[:, None] - i[None, :]).double()
    weight = torch.where(distance >= 0, torch.exp(-slopes().double()[:, None, None] * distance), 0.0)
    return SCALE * torch.einsum("bihd,bjhd,hij,bjhe->bihe", q, k, weight, v)


def check():
    x = make(2, 300, 4)
    inputs = [t.requires_grad_() for t in x[:3]]
    exact = [t.detach().double().requires_grad_() for t in x[:3]]
    o, want = forward(inputs), definition(*exact)
    errors = [relative(o, want)]
    grads = torch.autograd.grad(o, inputs, x[3])
    errors += [relative(*pair) for pair in zip(grads, torch.autograd.grad(want, exact, x[3].double()))]
    q, k, v = make(2, 1, 3)
    state = torch.randn(2, HEADS, D, D, device="cuda")
    o, after = step((q, k, v), state)
    lasts = torch.exp(-slopes().double())[None, :, None, None] * state.double()
    lasts = lasts + k[:, 0, :, :, None].double() * v[:, 0, :, None, :].double()
    errors += [relative(after, lasts),
               relative(o[:, 0], SCALE * torch.einsum("bhd,bhde->bhe", q[:, 0].double(), lasts))]
    print("errors of o dq dk dv, state and o of a step: " + " ".join(f"{e:.1e}" for e in errors), flush=True)
    if not max(errors) < 2e-2:
        sys.exit("an answer is wrong")


def try_once(milliseconds_of):
    """How tuning measures a variant: with calls of its own choice it takes 125 ms and more."""
    Autotuner.do_bench = property(lambda self: milliseconds_of, lambda self, value: None)


def compile_share(index, count):
    """Compiles every count-th variant of each kernel, on small problems."""
    try_once(lambda call, quantiles: (call(), [1.0, 1.0, 1.0])[1])
    for tuner in [x for x in gc.get_objects() if type(x) is Autotuner]:
        tuner.configs = tuner.configs[index % len(tuner.configs)::count]
    x = make(1, 256, 4)
    inputs = [t.requires_grad_() for t in x[:3]]
    torch.autograd.grad(forward(inputs), inputs, x[3])
    step(make(2, 1, 3), torch.randn(2, HEADS, D, D, device="cuda"))


def report(name, direction, bytes_moved, ms, limit):
    rate = bytes_moved / ms * 1e-6
    print(f"{name}/{direction}: {ms:.3f} ms rate={rate:.0f} ceiling={limit:.0f} share={rate / limit:.3f}", flush=True)


def main():
    if len(sys.argv) > 3 and sys.argv[1] == "--compile":
        return compile_share(int(sys.argv[2]), int(sys.argv[3]))
    processes = os.cpu_count()
    workers = [subprocess.Popen([sys.executable, __file__, "--compile", str(i), str(processes)])
               for i in range(processes)]
    print("compiled:", [w.wait() for w in workers].count(0), "of", processes, flush=True)
    print(f"torch {torch.__version__}, triton {triton.__version__}, {torch.cuda.get_device_name()}", flush=True)
    try_once(lambda call, quantiles: triton.testing.do_bench(call, warmup=2, rep=8, quantiles=quantiles))
    limit = ceiling()
    names = sys.argv[1:] or ["la-step", *SHAPES]
    for name in names:
        if name == "la-step":
            x, state = make(STEP_ROWS, 1, 3), torch.randn(STEP_ROWS, HEADS, D, D, device="cuda")
            report(name, "step", 8 * state.numel(), peers.milliseconds(lambda: step(x, state)), limit)
            continue
        batch, tokens, backward = SHAPES[name]
        x = make(batch, tokens, 4)
        size = 2 * x[0].numel()
        with torch.no_grad():
            report(name, "forward", 4 * size, peers.milliseconds(lambda: forward(x)), limit)
        if backward:
            inputs = [t.requires_grad_() for t in x[:3]]
            o = forward(inputs)
            report(name, "backward", 7 * size,
                   peers.milliseconds(lambda: torch.autograd.grad(o, inputs, x[3], retain_graph=True)), limit)
            del inputs, o
        del x
    check()


if __name__ == "__main__":
    main()

"""Tests of tools/python/slat.py: test_python.py [LIBRARY CASES INCLUDE]. The last line is `N passed, N failed`.

Structures and borrowing are tested with the standard library alone; NumPy, PyTorch, JAX, CuPy and a GPU add their part
where they are. What the kernels compute is the other tests' matter: here it is that arrays reach them, and gradients
PyTorch.
"""
import ctypes
import gc
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
LIBRARY, CASES, INCLUDE = (pathlib.Path(x).resolve() for x in sys.argv[1:4]) if len(sys.argv) > 3 else (
    None, HERE.parent / "cases", HERE.parents[1] / "include")
if LIBRARY:
    os.environ["SLAT_LIBRARY"] = str(LIBRARY)
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(HERE.parents[1] / "tools" / "python"))
import slat  # noqa: E402


def optional(name):
    try:
        return __import__(name)
    except ImportError:
        return None


numpy, torch, jax = optional("numpy"), optional("torch"), optional("jax")
cupy = optional("cupy") if torch and torch.cuda.is_available() else None
gpu = bool(torch and numpy and torch.cuda.is_available() and slat.backends(2))


# An array of the standard library alone, and its DLPack.

def api(name, result, *arguments):
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
new_capsule = api("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, DESTRUCTOR)
pointer_of = api("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
is_capsule = api("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
OLD, NEW = b"dltensor", b"dltensor_versioned"


class OldManaged(ctypes.Structure):
    _fields_ = [("tensor", slat.DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class NewManaged(ctypes.Structure):
    _fields_ = [("head", slat._Versioned), ("tensor", slat.DLTensor)]


class Space:
    """The namespace of Array: types, and `empty`."""
    float32, float64, int32 = (2, 32, ctypes.c_float), (2, 64, ctypes.c_double), (0, 32, ctypes.c_int32)

    @staticmethod
    def empty(shape, *, dtype, device):
        return Array(shape, [0] * math.prod(shape), dtype)


LENT = {}  # address of a managed tensor: its array, and what must outlive the capsule


@DESTRUCTOR
def release(capsule):
    name = next((name for name in (OLD, NEW) if is_capsule(capsule, name)), None)
    array, _, _ = LENT.pop(pointer_of(capsule, name))  # a capsule that was renamed fails here
    array.lent -= 1


class Array:
    """A row-major array. `lent` counts the capsules that nobody has let go."""
    device = "cpu"

    def __init__(self, shape, values, dtype=Space.float64, flags=0, version=1):
        self.shape, self.dtype, self.flags, self.version, self.lent = tuple(shape), dtype, flags, version, 0
        self.data = (dtype[2] * max(1, len(values)))(*values)

    def __array_namespace__(self):
        return Space

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, *, max_version=None):
        if max_version is not None and self.version == 0:
            raise TypeError("unexpected keyword argument 'max_version'")
        managed = NewManaged() if self.version else OldManaged()
        if self.version:
            managed.head.major, managed.head.flags = self.version, self.flags
        shape = (ctypes.c_int64 * max(1, len(self.shape)))(*self.shape)
        tensor = managed.tensor
        tensor.data, tensor.ndim, tensor.shape = ctypes.addressof(self.data), len(self.shape), shape
        tensor.device.device_type, tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = 1, *self.dtype[:2], 1
        self.lent += 1
        LENT[ctypes.addressof(managed)] = self, managed, shape
        return new_capsule(ctypes.addressof(managed), NEW if self.version else OLD, release)

    def list(self):
        return self.data[:math.prod(self.shape)]


class Tests(unittest.TestCase):
    def refuses(self, status, words, function, *arguments, **options):
        with self.assertRaises(slat.Error) as caught:
            function(*arguments, **options)
        self.assertEqual(caught.exception.status, status)
        self.assertIn(words, caught.exception.sentence)


class Plain(Tests):
    """With the standard library alone."""

    @unittest.skipUnless(shutil.which("cc") and not subprocess.run(
        ["cc", "-include", "dlpack/dlpack.h", "-fsyntax-only", "-x", "c", os.devnull], capture_output=True).returncode,
        "no C compiler that finds dlpack/dlpack.h")
    def test_structures_are_the_headers(self):
        structs = {"DLDevice": slat.DLDevice, "DLDataType": slat.DLDataType, "DLTensor": slat.DLTensor,
                   "slat_plan": slat.Plan, "slat_exec": slat.Exec, "slat_attention": slat.Attention,
                   "slat_lightning": slat.Lightning, "slat_block_sparse": slat.BlockSparse,
                   "slat_neighborhood": slat.Neighborhood, "slat_sharded": slat.Sharded, "slat_landmark": slat.Landmark}
        lines, expected = [], []
        for name, kind in structs.items():
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            expected.append(f"{name} {ctypes.sizeof(kind)}")
            for field, _ in kind._fields_:
                lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), '
                             f'sizeof((({name} *)0)->{field}));')
                expected.append(f"{name}.{field} {getattr(kind, field).offset} {getattr(kind, field).size}")
        for number, status in enumerate(slat._STATUS):
            lines.append(f'printf("%d {status}\\n", {status});')
            expected.append(f"{number} {status}")
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "sizes.c")
            head = ["#include <slat/slat.h>", "#include <stdio.h>", "int main(void) {"]
            source.write_text("\n".join([*head, *lines, "}\n"]))
            subprocess.run(["cc", "-I", str(INCLUDE), str(source), "-o", folder + "/sizes"], check=True)
            printed = subprocess.run([folder + "/sizes"], check=True, capture_output=True, text=True).stdout
        self.assertEqual(printed.splitlines(), expected)

    def test_every_entry_is_bound(self):
        text = "".join(path.read_text() for path in sorted(INCLUDE.glob("slat/*.h")))
        declared = {line.split("(")[0].split()[-1].lstrip("*")[5:] for line in text.splitlines()
                    if line.startswith("SLAT_API ")}
        self.assertEqual(declared, set(slat._ENTRIES) | {"version", "error", "status_name"})

    def test_version_and_backends(self):
        self.assertRegex(slat.version(), r"^0\.1\.\d+$")
        self.assertIn("scalar", dict(slat.backends()))
        self.assertEqual(slat.backends(99), [])

    def test_helpers(self):
        self.assertEqual(slat.lightning_slopes(2), [2.0**-4, 2.0**-8])
        self.assertEqual(slat.sharded_offsets(4, 4, 4), [0, 1, 2, 3])
        self.assertEqual(slat.sharded_offsets(8, 2, 8, dense_heads=1), [0, -1])
        self.assertEqual(slat.sharded_offsets(8, 2, 8, per_key_head=True, head_offset=1), [1, 5])
        self.assertEqual([list(slat.neighborhood_keys(8, 3, i)) for i in (0, 1, 2, 7)],
                         [[0, 1, 2], [0, 1, 2], [1, 2, 3], [5, 6, 7]])
        self.assertEqual(list(slat.neighborhood_keys(7, 2, 6, dilation=3)), [3, 6])
        self.assertEqual(list(slat.neighborhood_queries(7, 2, 3, dilation=3)), [0, 3, 6])
        self.assertEqual(list(slat.neighborhood_keys(8, 3, 3, stride=2, causal=True)), [1, 2, 3])
        for function, arguments in ((slat.lightning_slopes, (0,)), (slat.sharded_offsets, (4, 3, 2)),
                                    (slat.neighborhood_keys, (8, 9, 0))):
            self.refuses("SLAT_INVALID", "", function, *arguments)
        self.refuses("SLAT_INVALID", "32 bits", slat.sharded_offsets, 2**32 + 4, 4, 4)

    def test_landmark_by_hand(self):
        scores, t = [1, 2, 1, 3, 1, 4, 2, 5], 8
        q, k = Array((1, t, 1, 1), [1] * t), Array((1, t, 1, 1), [math.log(x) for x in scores])
        v = Array((1, t, 1, t), [float(i == j) for i in range(t) for j in range(t)])
        for version in (0, 1):
            q.version = k.version = v.version = version
            o, lse = slat.Landmark(4)(q, k, v)
            self.assertEqual((o.shape, lse.shape, lse.dtype), ((1, t, 1, t), (1, t, 1), Space.float64))
            for got, want in zip(o.list()[6 * t:7 * t], (.075, .15, .075, 0, .1, .4, .2, 0)):
                self.assertAlmostEqual(got, want, 12)
            self.assertEqual([x.lent for x in (q, k, v, o, lse)], [0] * 5)

    def test_masks_count_keys(self):
        t = 8
        zero = Array((1, t, 1, 2), [0] * 2 * t)
        layout = Array((1, 1, 2), [0, 1], Space.int32), Array((1,), [0], Space.int32)
        masks = [(slat.Neighborhood(3), lambda i: 3),
                 (slat.Neighborhood((3,), causal=(True,)), lambda i: min(i + 1, 3)),
                 (slat.BlockSparse(), lambda i: t), (slat.BlockSparse(causal=True), lambda i: i + 1),
                 (slat.BlockSparse(*layout, block_q=8, causal=True), lambda i: i + 1),
                 (slat.Sharded(2, 1, 9, Array((1,), [-1], Space.int32)), lambda i: i + 1),
                 (slat.Sharded(2, 1, 9, Array((1,), [1], Space.int32)), lambda i: i % 2 + 1)]
        for mask, seen in masks:
            with self.subTest(mask=type(mask).__name__):
                o, lse = mask(zero, zero, zero)
                for i, got in enumerate(lse.list()):
                    self.assertAlmostEqual(math.exp(got), seen(i), 9)
                self.assertEqual(mask(zero, zero, zero, lse=None)[1], None)

    def test_mask_holds_its_arrays(self):
        offsets = Array((1,), [0], Space.int32)
        mask = slat.Sharded(2, 1, 2, offsets)
        self.assertEqual(offsets.lent, 1)
        del mask
        self.assertEqual(offsets.lent, 0)

    def test_transpose(self):
        indptr, indices = Array((1, 1, 3), [0, 1, 3], Space.int32), Array((3,), [0, 0, 1], Space.int32)
        mask = slat.BlockSparse(indptr, indices, block_q=8)
        transposed = mask.transpose(16, 16)
        self.assertEqual([x.list() for x in transposed], [[0, 2, 3], [0, 1, 1], [0, 1, 2]])
        one = Array((1, 16, 1, 1), [1] * 16)
        o, lse = mask(one, one, one)
        with_layout = slat.BlockSparse(indptr, indices, block_q=8, transposed=transposed)
        self.assertEqual([x.list() for x in mask.backward(one, one, one, o, lse, one)[:3]],
                         [x.list() for x in with_layout.backward(one, one, one, o, lse, one)[:3]])
        self.refuses("SLAT_INVALID", "indptr: None", slat.BlockSparse().transpose, 16, 16)

    def test_lightning_by_hand(self):
        q, k, v = (Array((1, 3, 1, 1), x) for x in ([1, 2, 3], [1, 1, 2], [5, 7, 11]))
        slopes, s0 = Array((1,), [math.log(2)]), Array((1, 1, 1, 1), [4])
        after = [4 / 2 + 5, 7 / 2 + 7, 10.5 / 2 + 22]
        o, st, states = slat.lightning(q, k, v, slopes, s0, states_every=2)
        for got, want in zip(o.list() + st.list() + states.list(), [7, 21, 81.75, after[2], 4, after[1]]):
            self.assertAlmostEqual(got, want, 12)
        state, one = Array((2, 1, 1, 1), [-9, 4]), Array((1, 1, 1, 1), [1])
        out = slat.lightning_step(one, one, Array((1, 1, 1, 1), [5]), slopes, state, Array((1,), [1], Space.int32))
        for got, want in zip(out.list() + state.list(), [7, -9, 7]):
            self.assertAlmostEqual(got, want, 12)
        grads = slat.lightning_backward(q, k, v, slopes, q, s0=s0, states=states, states_every=2, grad_q=False)
        self.assertEqual([None if x is None else x.shape for x in grads],
                         [None, k.shape, v.shape, (1,), s0.shape])
        self.assertAlmostEqual(grads[4].list()[0], 1 / 2 + 4 / 4 + 9 / 8, 12)

    def test_merge_by_hand(self):
        o, lse = [Array((2, 1), x) for x in ([1, 2], [5, 4])], [Array((2,), [0, x]) for x in (0, -math.inf)]
        out, out_lse = slat.merge(o, lse)
        self.assertEqual(out.list(), [3, 2])
        self.assertAlmostEqual(out_lse.list()[0], math.log(2), 12)
        grad_o, grad_lse = slat.merge_backward(o, lse, out, out_lse, Array((2, 1), [1, 1]))
        self.assertEqual([x.list() for x in grad_o + grad_lse], [[.5, 1], [.5, 0], [-1, 0], [1, 0]])
        self.refuses("SLAT_INVALID", "lse: 1 parts", slat.merge, o, lse[:1])
        self.refuses("SLAT_INVALID", "0 parts", slat.merge, [], [])
        self.refuses("SLAT_INVALID", "o[1]: None", slat.merge, [o[0], None], lse)

    def test_outputs_given(self):
        x, dense = Array((1, 2, 1, 1), [1, 1]), slat.BlockSparse()
        o = Array((1, 2, 1, 1), [0, 0])
        self.assertIs(dense(x, x, x, o=o)[0], o)
        self.assertAlmostEqual(sum(o.list()), 2, 12)
        for flags, words in ((1, "o: read-only"), (2, "o: a copy")):
            self.refuses("SLAT_INVALID", words, dense, x, x, x, o=Array((1, 2, 1, 1), [0, 0], flags=flags))
        read_only = Array((1, 2, 1, 1), [1, 1], flags=1)
        self.assertAlmostEqual(sum(dense(read_only, read_only, read_only)[0].list()), 2, 12)
        self.refuses("SLAT_INVALID", "o: shares memory with q", dense, x, Array((1, 2, 1, 1), [1, 1]),
                     Array((1, 2, 1, 1), [1, 1]), o=x)
        self.assertEqual(x.lent, 0)

    def test_errors(self):
        x, dense = Array((1, 2, 1, 1), [1, 1]), slat.BlockSparse()
        flat, single = Array((2,), [1, 1]), Array((1, 2, 1, 1), [1, 1], Space.float32)
        self.refuses("SLAT_INVALID", "q: rank 1", dense, flat, flat, flat)
        self.refuses("SLAT_INVALID", "q: rank 1", slat.lightning, flat, flat, flat, flat)
        self.refuses("SLAT_INVALID", "v: dtype f32", dense, x, x, single)
        self.refuses("SLAT_INVALID", "k: None", dense, x, None, x)
        self.refuses("SLAT_INVALID", "v: list", dense, x, x, [1, 1])
        self.refuses("SLAT_INVALID", "DLPack 7.0", dense, x, x, Array((1, 2, 1, 1), [1, 1], version=7))
        self.refuses("SLAT_INVALID", "threads: -1", dense, x, x, x, threads=-1)
        self.refuses("SLAT_NO_BACKEND", "'abacus'", dense, x, x, x, backend="abacus")
        self.refuses("SLAT_INVALID", "block: 4294967296", slat.Landmark, 2**32)
        self.refuses("SLAT_INVALID", "stride: (1, 1)", slat.Neighborhood, (3, 3, 3), stride=(1, 1))
        self.refuses("SLAT_INVALID", "window: ()", slat.Neighborhood, ())
        self.assertRaises(TypeError, slat.Neighborhood, 3.0)
        gc.collect()  # the errors caught above hold their frames
        self.assertEqual(x.lent, 0)

    def test_plan(self):
        x, plan = Array((1, 2, 1, 1), [1, 1]), slat.Plan()
        o, _ = slat.BlockSparse()(x, x, x, backend="scalar", plan=plan)
        self.assertEqual(o.list(), [0, 0])
        self.assertRegex(str(plan), r"^scalar: \w+, \d+ bytes of workspace, 0 launches, deterministic$")

    def test_library_is_looked_up_safely(self):
        load = f"import sys; sys.path.insert(0, {os.path.dirname(slat.__file__)!r}); import slat; slat.library()"
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "libslat.so.0").write_text("no library")
            for named, words in (("libslat.so.0", "expected an absolute path"), (folder + "/libslat.so.0", folder)):
                done = subprocess.run([sys.executable, "-c", load], cwd=folder, capture_output=True, text=True,
                                      env={**os.environ, "SLAT_LIBRARY": named})
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, done.stderr)
            for copied in ("slat.py", "build/x/slat.py"):  # outside a source tree there are no build folders
                path = pathlib.Path(folder, copied)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(slat.__file__, path)
                where = subprocess.run([sys.executable, "-c", "import slat; print(slat._path())"], cwd=path.parent,
                                       capture_output=True, text=True, check=True,
                                       env={k: x for k, x in os.environ.items() if k != "SLAT_LIBRARY"})
                self.assertEqual(where.stdout.strip(), "libslat.so.0")


# Case files: every primitive and pass.

TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I32": "int32", "U8": "uint8"}
LIMITS = {"F64": (1e-12, 1e-11, 1e-12, 1e-9), "F32": (1e-5, 3e-5, 1e-5, 1e-4), "F16": (1e-3, 2e-3, 1e-4, 1e-2),
          "BF16": (5e-3, 1e-2, 1e-4, 3e-2)}  # of o and states, gradients, lse, sums over a head


class Case:
    """A case file: `meta`, the `type` of its inputs, its tensors as (type, shape, bytes)."""

    def __init__(self, path):
        data = path.read_bytes()
        length, = struct.unpack_from("<Q", data)
        entries = json.loads(data[8:8 + length])
        self.meta = entries.pop("__metadata__")
        body = data[8 + length:]
        self.entries = {name: (x["dtype"], x["shape"], body[slice(*x["data_offsets"])]) for name, x in entries.items()}
        self.type = self.entries.get("q", self.entries.get("o.0"))[0]
        self.op = self.meta["op"]

    def arrays(self, make):
        return {name: make(*entry) for name, entry in self.entries.items() if not name.startswith("expect.")}

    def numbers(self, name):
        numbers = tuple(int(x) for x in self.meta[name].split(","))
        return numbers[0] if len(numbers) == 1 else numbers

    def mask(self, a):
        if self.op == "block_sparse":
            return slat.BlockSparse(a.get("indptr"), a.get("indices"), block_q=self.numbers("block_q"),
                                    block_k=self.numbers("block_k"), causal=self.numbers("causal"),
                                    bitmap_of=a.get("bitmap_of"), bitmaps=a.get("bitmaps"))
        if self.op == "neighborhood":
            return slat.Neighborhood(self.numbers("window"), **{name: self.numbers(name) for name in
                                                               ("stride", "dilation", "causal", "q_start")})
        if self.op == "sharded":
            return slat.Sharded(*(self.numbers(name) for name in ("block", "local_blocks", "stride")), a["offsets"])
        return slat.Landmark(self.numbers("block"))

    def run(self, a):
        """{name: what slat answers}."""
        if self.op == "merge":
            o, lse = ([a[f"{name}.{i}"] for i in range(self.numbers("parts"))] for name in ("o", "lse"))
            results = slat.merge(o, lse)
            grads = slat.merge_backward(o, lse, *results, a["do"], a.get("dlse"))
            return dict(zip(("o", "lse"), results)) | {f"{name}.{i}": x for name, xs in zip(("do", "dlse"), grads)
                                                       for i, x in enumerate(xs)}
        qkv, scale, backward = (a["q"], a["k"], a["v"]), float(self.meta["scale"]), self.meta["pass"] == "backward"
        if self.op == "lightning_step":
            return {"o": slat.lightning_step(*qkv, a["slopes"], a["s0"], a.get("slot"), scale=scale), "st": a["s0"]}
        if self.op == "lightning":
            results = slat.lightning(*qkv, a["slopes"], a.get("s0"), scale=scale)
            grads = slat.lightning_backward(*qkv, a["slopes"], a["do"], a.get("dst"), a.get("s0"),
                                            scale=scale) if backward else ()
            return dict(zip(("o", "st", "dq", "dk", "dv", "dslopes", "ds0"), results + grads))
        mask = self.mask(a)
        results = mask(*qkv, a.get("sink"), scale=scale)
        grads = mask.backward(*qkv, *results, a["do"], a.get("dlse"), a.get("sink"), scale=scale) if backward else ()
        return dict(zip(("o", "lse", "dq", "dk", "dv", "dsink"), results + grads))


def rms(x):
    x = x[numpy.isfinite(x)]
    return math.sqrt(float((x * x).mean())) if x.size else 0.0


class Cases(unittest.TestCase):
    """The answers of tests/cases, through each framework's arrays."""

    def hold(self, case, name, got, expected, inputs):
        value, gradient, log, head = LIMITS[case.type]
        self.assertEqual(got.shape, expected.shape, name)
        finite = numpy.isfinite(expected)
        self.assertTrue((numpy.isfinite(got) == finite).all() and (got[~finite] == expected[~finite]).all(), name)
        error = numpy.where(finite, got - numpy.where(finite, expected, 0), 0)
        if name == "lse":
            bound = log * numpy.maximum(1, abs(numpy.where(finite, expected, 0)))
        elif name in ("dsink", "dslopes"):
            most = abs(expected).max()
            bound = (head + 1e-5) * most if name == "dsink" else head * abs(expected) + 1e-5 * most
        else:
            floor = 0.0 if name in ("o", "st", "ds0") else 1e-2 * rms(inputs["do"])
            if name in ("dq", "dk"):
                d, dv = inputs["q"].shape[-1], inputs["v"].shape[-1]
                scale = float(case.meta["scale"]) or (1.0 if case.op == "lightning" else d**-.5)
                floor *= rms(inputs["v"]) * rms(inputs["k" if name == "dq" else "q"]) * scale * math.sqrt(dv)
            limit = value if name in ("o", "st") else gradient
            self.assertLessEqual(rms(error), limit * max(rms(expected), floor), name)
            return
        self.assertTrue((abs(error) <= bound).all(), name)

    def replay(self, make, read, types, **run):
        paths = sorted(CASES.glob("*.safetensors"))
        count = 0
        for path in paths:
            case = Case(path)
            if case.type not in types:
                continue
            count += 1
            with self.subTest(case=path.stem):
                arrays = case.arrays(make)
                inputs = {name: read(x) for name, x in arrays.items()}
                answers = case.run(arrays)
                for name, entry in case.entries.items():
                    if name.startswith("expect."):
                        expected = numpy.frombuffer(entry[2], TYPES[entry[0]]).reshape(entry[1]).astype("float64")
                        self.hold(case, name[7:], read(answers[name[7:]]), expected, inputs)
        self.assertGreater(count, 10)

    @unittest.skipUnless(numpy, "no NumPy")
    def test_numpy(self):
        self.replay(lambda kind, shape, data: numpy.frombuffer(bytearray(data), TYPES[kind]).reshape(shape),
                    lambda x: x.astype("float64"), ("F64", "F32", "F16"))

    def tensors(self, device, types):
        self.replay(lambda kind, shape, data: torch.frombuffer(bytearray(data), dtype=getattr(torch, TYPES[kind]))
                    .reshape(shape).to(device), lambda x: x.cpu().double().numpy(), types)

    @unittest.skipUnless(torch and numpy, "no PyTorch")
    def test_torch(self):
        self.tensors("cpu", LIMITS)

    @unittest.skipUnless(gpu, "no GPU")
    def test_torch_gpu(self):
        self.tensors("cuda", ("F32", "F16", "BF16"))

    @unittest.skipUnless(jax and numpy, "no JAX")
    def test_jax(self):
        def make(kind, shape, data):
            with jax.default_device(jax.devices("cpu")[0]):
                return jax.numpy.asarray(numpy.frombuffer(data, jax.numpy.dtype(TYPES[kind])).reshape(shape))
        self.replay(make, lambda x: numpy.asarray(x).astype("float64"), ("BF16",))  # JAX compiles for every shape

    @unittest.skipUnless(gpu and cupy, "no CuPy")
    def test_cupy_gpu(self):
        self.replay(lambda kind, shape, data: cupy.asarray(numpy.frombuffer(data, TYPES[kind]).reshape(shape)),
                    lambda x: cupy.asnumpy(x).astype("float64"), ("F32", "F16"))


@unittest.skipUnless(numpy, "no NumPy")
class NumPy(Tests):
    @staticmethod
    def random(*shape, seed=0):
        return numpy.random.default_rng(seed).standard_normal(shape, dtype="float32")

    def test_strides(self):
        qkv = self.random(1, 40, 3, 2, 16)  # interleaved: token, (q k v), head
        q, k, v = (qkv[:, :, i] for i in range(3))
        mask = slat.Neighborhood(5, causal=True)
        o, lse = mask(q, k, v)
        packed = mask(*(numpy.ascontiguousarray(x) for x in (q, k, v)))
        self.assertTrue((o == packed[0]).all() and (lse == packed[1]).all())
        heads_first = numpy.zeros((1, 2, 40, 16), "float32")
        mask(q, k, v, o=heads_first.transpose(0, 2, 1, 3))
        self.assertTrue((heads_first.transpose(0, 2, 1, 3) == o).all())
        for bad, words in ((q[..., ::2], "stride 2 in dimension 3"), (q[:, ::-1], "stride -")):
            self.refuses("SLAT_INVALID", words, mask, bad, bad, bad)

    def test_arrays_it_cannot_take(self):
        x = self.random(1, 8, 1, 4)
        frozen = x.copy()
        frozen.setflags(write=False)
        mask = slat.Landmark(4)
        self.refuses("SLAT_INVALID", "o: ", mask, x, x, x, o=frozen)
        self.refuses("SLAT_INVALID", "q: dtype i32", mask, *[x.astype("int32")] * 3)
        self.refuses("SLAT_INVALID", "indptr: dtype i64",
                     slat.BlockSparse(numpy.zeros((1, 1, 2), "int64"), numpy.zeros(0, "int32"), block_q=8), x, x, x)
        if jax:
            self.refuses("SLAT_INVALID", "q: ndarray of bfloat16", mask, *[x.astype(jax.numpy.bfloat16)] * 3)

    def test_nothing_is_kept(self):
        x = self.random(1, 8, 1, 4)
        before = sys.getrefcount(x)
        for _ in range(3):
            o, lse = slat.Landmark(4)(x, x, x)
            slat.Landmark(4).backward(x, x, x, o, lse, x)
            self.assertRaises(slat.Error, slat.Landmark(4), x, x, x, o=x)
        self.assertEqual(sys.getrefcount(x), before)

    def test_threads(self):
        mask, wrong = slat.Neighborhood(5), []
        inputs = [self.random(1, 64, 2, 16, seed=i) for i in range(4)]
        expected = [mask(x, x, x)[0] for x in inputs]

        def work(i):
            for _ in range(50):
                if not (mask(*[inputs[i]] * 3, threads=1)[0] == expected[i]).all():
                    wrong.append(i)
                try:
                    slat.Landmark(4)(inputs[i], inputs[i], inputs[i], threads=-1 - i)
                    wrong.append("no error")
                except slat.Error as error:  # the sentence is this thread's own
                    wrong.extend([] if f"threads: {-1 - i}," in str(error) else [str(error)])
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        self.assertEqual(wrong, [])


@unittest.skipUnless(torch, "no PyTorch")
class Torch(unittest.TestCase):
    def leaf(self, *shape, dtype=None, device=None):
        return torch.randn(*shape, dtype=dtype or torch.float64, device=device).requires_grad_()

    def setUp(self):
        torch.manual_seed(0)

    def layout(self, device="cpu"):
        """(BlockSparse of 16 queries and keys in blocks of 8 with a bitmap, its mask as booleans [1, 1, 16, 16])."""
        index = {"dtype": torch.int32, "device": device}
        bits = torch.rand(8, 8, device=device) < .5
        bits[:, 0] = True
        packed = (bits.to(torch.uint8) << torch.arange(8, dtype=torch.uint8, device=device)).sum(1).to(torch.uint8)
        mask = slat.BlockSparse(torch.tensor([[[0, 1, 3]]], **index), torch.tensor([0, 0, 1], **index), block_q=8,
                                bitmap_of=torch.tensor([-1, 0, -1], **index), bitmaps=packed[None, :, None])
        seen = torch.zeros(16, 16, dtype=torch.bool, device=device)
        seen[:8, :8], seen[8:, 8:], seen[8:, :8] = True, True, bits
        return mask, seen[None, None]

    def test_gradcheck_of_masks(self):
        q, k, v = self.leaf(1, 7, 4, 3), self.leaf(1, 7, 2, 3), self.leaf(1, 7, 2, 2)
        sink, offsets = self.leaf(4), torch.tensor(slat.sharded_offsets(4, 2, 2), dtype=torch.int32)
        masks = [slat.Neighborhood(3, stride=2), slat.Neighborhood(3, causal=True, dilation=2), slat.BlockSparse(),
                 slat.BlockSparse(causal=True), slat.Sharded(2, 1, 2, offsets)]
        for mask in masks:
            with self.subTest(mask=type(mask).__name__):
                self.assertTrue(torch.autograd.gradcheck(mask, (q, k, v, sink)))
        self.assertTrue(torch.autograd.gradcheck(slat.Landmark(3), (q, k, v)))
        self.assertTrue(torch.autograd.gradcheck(lambda *x: slat.BlockSparse()(*x, scale=.3), (q, k, v)))
        grid = [self.leaf(1, 4, 5, 2, 3) for _ in range(3)]
        self.assertTrue(torch.autograd.gradcheck(slat.Neighborhood((3, 2), causal=(False, True)), grid))
        wide = [self.leaf(1, 16, 1, 3) for _ in range(3)]
        self.assertTrue(torch.autograd.gradcheck(self.layout()[0], wide))

    def test_gradcheck_of_lightning_and_merge(self):
        q, k, v = self.leaf(2, 7, 2, 4), self.leaf(2, 7, 2, 4), self.leaf(2, 7, 2, 3)
        slopes, s0 = torch.tensor([.1, .7], dtype=torch.float64, requires_grad=True), self.leaf(2, 2, 4, 3)
        check = torch.autograd.gradcheck
        self.assertTrue(check(slat.lightning, (q, k, v, slopes, s0)))
        self.assertTrue(check(lambda *x: slat.lightning(*x, states_every=3, scale=.5)[:2], (q, k, v, slopes, s0)))
        self.assertTrue(check(lambda q, s: slat.lightning(q, k.detach(), v.detach(), s), (q, slopes)))
        parts = [self.leaf(3, 4) for _ in range(3)] + [self.leaf(3) for _ in range(3)]
        self.assertTrue(check(lambda *x: slat.merge(x[:3], x[3:]), parts))

    def against_torch(self, mask, seen, dtype, limit, device="cpu"):
        """o and the three gradients, from [B, H, T, D] views, beside scaled_dot_product_attention in f32."""
        inputs = [torch.randn(2, h, 16, 32, device=device).to(dtype) for h in (4, 2, 2)]
        ours = [x.clone().requires_grad_() for x in inputs]
        theirs = [x.float().requires_grad_() for x in inputs]
        grad = torch.randn(2, 4, 16, 32, device=device).to(dtype)
        o = mask(*(x.transpose(1, 2) for x in ours))[0].transpose(1, 2)
        wide = [theirs[0], *(x.repeat_interleave(2, 1) for x in theirs[1:])]
        ref = torch.nn.functional.scaled_dot_product_attention(*wide, attn_mask=seen)
        o.backward(grad)
        ref.backward(grad.float())
        for x, y in zip([o] + [x.grad for x in ours], [ref] + [x.grad for x in theirs]):
            self.assertEqual(x.dtype, dtype)
            self.assertLess(((x.float() - y).norm() / y.norm()).item(), limit)

    def all_against_torch(self, dtype, limit, device="cpu"):
        i, j = torch.arange(16, device=device)[:, None], torch.arange(16, device=device)[None]
        offsets = torch.tensor([0, -1], dtype=torch.int32, device=device)
        shard = (j <= i) & ((i // 4 - j // 4 < 1) | (j // 4 % 2 == 0))
        heads = torch.stack([shard, shard, j <= i, j <= i])[None]
        for mask, seen in [(slat.BlockSparse(), None), (slat.BlockSparse(causal=True), j <= i), self.layout(device),
                           (slat.Neighborhood(5, causal=True), (j <= i) & (i - j < 5)),
                           (slat.Sharded(4, 1, 2, offsets), heads)]:
            with self.subTest(mask=type(mask).__name__, dtype=dtype):
                self.against_torch(mask, seen, dtype, limit, device)

    @unittest.skipUnless(torch and hasattr(torch.nn.functional, "scaled_dot_product_attention"), "PyTorch 1")
    def test_against_scaled_dot_product_attention(self):
        self.all_against_torch(torch.float32, 1e-5)
        self.all_against_torch(torch.bfloat16, 1e-2)
        self.all_against_torch(torch.float16, 2e-3)

    def test_gradients_of_any_layout(self):
        q = self.leaf(1, 8, 2, 4)
        slat.BlockSparse()(q, q, q)[0].sum().backward()  # grad_o is one number, expanded
        expanded, q.grad = q.grad, None
        o, _ = slat.BlockSparse()(q, q, q)
        o.backward(torch.ones_like(o))
        self.assertTrue(torch.equal(expanded, q.grad))
        q.grad = None
        slat.BlockSparse()(q, q, q)[1].sum().backward()  # only lse is used
        self.assertTrue(torch.isfinite(q.grad).all() and q.grad.abs().sum() > 0)

    def test_only_what_is_wanted(self):
        q, k, v = self.leaf(1, 8, 1, 4), self.leaf(1, 8, 1, 4).detach(), self.leaf(1, 8, 1, 4)
        o, lse = slat.Landmark(4)(q, k, v)
        o.sum().backward()
        self.assertTrue(q.grad is not None and k.grad is None and v.grad is not None)
        with torch.no_grad():
            self.assertFalse(slat.Landmark(4)(q, k, v)[0].requires_grad)
        with torch.inference_mode():
            self.assertFalse(slat.Landmark(4)(q, k, v)[0].requires_grad)
        self.assertIsNone(slat.Landmark(4)(q, k, v, lse=None)[1])
        o, st = slat.lightning(q, k, v, torch.zeros(1, dtype=torch.float64), st=None)
        self.assertTrue(o.requires_grad and st is None)
        _, _, states = slat.lightning(q, k, v, torch.zeros(1, dtype=torch.float64), states_every=4)
        self.assertFalse(states.requires_grad)

    def test_what_autograd_must_not_miss(self):
        q = self.leaf(1, 8, 1, 4)
        with self.assertRaisesRegex(slat.Error, "o: given"):
            slat.Landmark(4)(q, q, q, o=torch.empty(1, 8, 1, 4, dtype=torch.float64))
        with torch.no_grad(), self.assertRaisesRegex(slat.Error, "o: requires a gradient"):
            slat.Landmark(4)(q.detach(), q.detach(), q.detach(), o=q)
        weight, state = self.leaf(2), torch.zeros(1, 1, 4, 4, dtype=torch.float64)
        used = (state.sum() * weight).sum() + (state * weight[0]).sum()
        one = torch.ones(1, 1, 1, 4, dtype=torch.float64)
        slat.lightning_step(one, one, one, torch.zeros(1, dtype=torch.float64), state)
        self.assertRaisesRegex(RuntimeError, "modified by an inplace operation", used.backward)
        grad, = torch.autograd.grad(slat.Landmark(4)(q, q, q)[0].sum(), q, create_graph=True)
        self.assertRaises(RuntimeError, grad.sum().backward)

    def test_decoding_continues_a_prefill(self):
        x, slopes = torch.randn(2, 9, 3, 8), torch.tensor(slat.lightning_slopes(3))
        whole, last = slat.lightning(x, x, x, slopes)
        _, state = slat.lightning(x[:, :8], x[:, :8], x[:, :8], slopes)
        step = slat.lightning_step(x[:, 8:], x[:, 8:], x[:, 8:], slopes, state)
        torch.testing.assert_close(step, whole[:, 8:])
        torch.testing.assert_close(state, last)

    def test_threads(self):
        def work(i):
            q = self.leaf(1, 32, 2, 8)
            slat.Neighborhood(5)(q, q, q)[0].sum().backward()
            done[i] = torch.isfinite(q.grad).all()
        done = [False] * 4
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        self.assertTrue(all(done))

    @unittest.skipUnless(gpu, "no GPU")
    def test_gpu_against_scaled_dot_product_attention(self):
        self.all_against_torch(torch.float32, 1e-5, "cuda")
        self.all_against_torch(torch.bfloat16, 1e-2, "cuda")
        self.all_against_torch(torch.float16, 2e-3, "cuda")

    @unittest.skipUnless(gpu, "no GPU")
    def test_gpu_streams_and_graphs(self):
        q = torch.randn(1, 256, 4, 64, device="cuda", dtype=torch.bfloat16)
        mask, grad = slat.Neighborhood(32, causal=True), torch.randn_like(q)

        def both():
            o, lse = mask(q, q, q)
            return o, *mask.backward(q, q, q, o, lse, grad)[:3]
        expected = both()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            aside = both()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = both()
        q.copy_(torch.randn_like(q))
        graph.replay()
        fresh = both()
        for x, y in zip(expected, aside):
            torch.testing.assert_close(x, y)
        for x, y in zip(fresh, captured):
            torch.testing.assert_close(x, y)
        self.assertFalse(torch.equal(fresh[0], expected[0]))

    @unittest.skipUnless(gpu and jax and jax.default_backend() == "gpu", "no JAX on a GPU")
    def test_gpu_frameworks_without_a_stream(self):
        q = torch.randn(1, 64, 2, 16, device="cuda")
        torch.cuda.synchronize()
        array, mask, stream = jax.numpy.asarray(q.cpu().numpy()), slat.Neighborhood(5), torch.cuda.Stream()
        with self.assertRaisesRegex(slat.Error, "stream: None"):
            mask(array, array, array)
        o, lse = mask(array, array, array, stream=stream.cuda_stream)
        grads = mask.backward(array, array, array, o, lse, array, stream=stream.cuda_stream)
        stream.synchronize()
        ours = mask(q, q, q)
        for x, y in zip((o, lse, *grads[:3]), (*ours, *mask.backward(q, q, q, *ours, q)[:3])):
            torch.testing.assert_close(torch.from_dlpack(x), y)

    @unittest.skipUnless(gpu, "no GPU")
    def test_gpu_errors(self):
        q = torch.randn(1, 8, 1, 8, device="cuda")
        for words, arguments, options in (("k: device", (q, q.cpu(), q), {}), ("stream: 1", (q, q, q), {"stream": 1})):
            with self.assertRaisesRegex(slat.Error, words):
                slat.BlockSparse()(*arguments, **options)
        with self.assertRaisesRegex(slat.Error, "SLAT_UNSUPPORTED"):
            slat.BlockSparse()(q.double(), q.double(), q.double())


def main():
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(
        unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    failed = {str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors}
    failed |= {str(test) for test in result.unexpectedSuccesses}
    skipped = len(result.skipped)
    print(f"{result.testsRun - skipped - len(failed)} passed, {len(failed)} failed" +
          (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())

"""slat: sparse and linear attention on your tensors, forward and backward.

    import slat, torch
    q, k, v = (torch.randn(1, 1024, 8, 64, requires_grad=True) for _ in range(3))
    window = slat.Neighborhood(256, causal=True)
    o, lse = window(q, k, v)
    o.square().sum().backward()

Arrays of NumPy, PyTorch, CuPy, JAX and everything else with `__dlpack__` are read and written in place, never copied.
Their types are f32, f16, bf16 and, on a CPU, f64; index arrays are int32, bitmaps uint8. NumPy has no bf16: take
another framework's arrays for it. Shapes are logical, any layout is described by strides, and the last stride is 1.

- What a query sees is a mask: BlockSparse, Neighborhood, Sharded or Landmark. mask(q, k, v) is (o, lse), and
  mask.backward(...) gives the gradients. lightning, lightning_step, lightning_backward, merge and merge_backward are
  functions. include/slat/*.h says what each computes.
- Where PyTorch's autograd records, masks, lightning and merge take part in it; every other function carries none.
- An output is True (made by the inputs' framework, row-major), an array to write into, or None (not wanted).
- Every call also takes `backend` (its name, else the best), `threads` (CPU; 0: as OpenMP would), `deterministic`
  (backward; 1 required, 0 the kernel's default, -1 not needed) and `plan` (a Plan to fill; nothing is computed then).
- On a GPU a call is enqueued on the current stream of PyTorch or CuPy, whose allocator gives the workspace. Another
  framework does not tell its stream: the caller names one as `stream`, and keeps the order between the two.
- What fails raises slat.Error, and then no output was written.

Python 3.9 or newer. The library is the file that SLAT_LIBRARY names, else the newest build in this tree, else the
one that the system's loader finds.
"""
import ctypes
import functools
import operator
import os
import pathlib
import sys
from ctypes import POINTER, Structure, addressof, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

_INVALID = 1
_STATUS = ("SLAT_OK", "SLAT_INVALID", "SLAT_UNSUPPORTED", "SLAT_WORKSPACE", "SLAT_NO_BACKEND", "SLAT_DEVICE",
           "SLAT_NO_MEMORY")
_ALLOCATE = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_size_t)


class Error(Exception):
    """A failed call: `status` is the status's name, `sentence` says which argument, what it is, what it should be."""

    def __init__(self, status, sentence):
        self.status, self.sentence = _STATUS[status], sentence
        super().__init__(f"{self.status}: {sentence}")


# The structures of dlpack.h and include/slat/*.h. Pointers to tensors are plain addresses.

def _fields(*spec):
    """The fields of a structure, from names and their type in turn."""
    return [(name, kind) for names, kind in zip(spec[::2], spec[1::2]) for name in names.split()]


class _Struct(Structure):
    def __init__(self, **values):
        values = {name: operator.index(x) if hasattr(x, "__index__") else x for name, x in values.items()}
        super().__init__(**values)
        for name, x in values.items():  # ctypes cuts what is too wide
            held = getattr(self, name)
            if (isinstance(x, int) and held != x) or (isinstance(x, tuple) and tuple(held)[:len(x)] != x):
                raise Error(_INVALID, f"{name}: {x}, expected numbers that fit the field")


class DLDevice(Structure):
    _fields_ = _fields("device_type device_id", c_int32)


class DLDataType(Structure):
    _fields_ = _fields("code bits", c_uint8, "lanes", c_uint16)


class DLTensor(Structure):
    _fields_ = _fields("data", c_void_p, "device", DLDevice, "ndim", c_int32, "dtype", DLDataType,
                       "shape strides", POINTER(c_int64), "byte_offset", c_uint64)


class _Versioned(Structure):
    """What stands before the DLTensor in a DLManagedTensorVersioned."""
    _fields_ = _fields("major minor", c_uint32, "manager_ctx deleter", c_void_p, "flags", c_uint64)


class Plan(_Struct):
    """What a call would do. str() says it in words."""
    _fields_ = _fields("backend kernel", c_char_p, "workspace", c_size_t, "deterministic launches", c_int32)

    def __str__(self):
        names = [(name or b"none").decode() for name in (self.backend, self.kernel)]
        return f"{names[0]}: {names[1]}, {self.workspace} bytes of workspace, {self.launches} launches, " \
               f"{'deterministic' if self.deterministic else 'may vary from run to run'}"


class Exec(_Struct):
    _fields_ = _fields("stream", c_void_p, "backend", c_char_p, "threads deterministic", c_int32, "workspace", c_void_p,
                       "workspace_bytes", c_size_t, "allocate", _ALLOCATE, "allocator parallel pool plan", c_void_p,
                       "reserved", c_uint64 * 6)


class Attention(_Struct):
    _fields_ = _fields("q k v o lse grad_o grad_lse grad_q grad_k grad_v", c_void_p, "scale softcap", c_double,
                       "sink grad_sink bias grad_bias q_offsets k_offsets k_length pages", c_void_p,
                       "max_q max_k", c_int64, "k_scale v_scale", c_void_p, "reserved", c_uint64 * 8)


class Lightning(_Struct):
    _fields_ = _fields("q k v slopes gate s0 o st states", c_void_p, "states_every", c_int32, "slot offsets", c_void_p,
                       "max_t", c_int64, "scale", c_double,
                       "grad_o grad_st grad_q grad_k grad_v grad_s0 grad_slopes", c_void_p, "reserved", c_uint64 * 8)


# The library.

_KINDS = {"p": c_void_p, "i": c_int32, "l": c_int64, "d": DLDevice}
_ENTRIES = {f"{mask}_{name}": "ppp" for mask in ("block_sparse", "neighborhood", "sharded", "landmark")
            for name in ("forward", "backward")}
_ENTRIES |= {"block_sparse_transpose": "ppllppp", "lightning_forward": "pp", "lightning_backward": "pp",
             "lightning_step": "pp", "merge_forward": "pipppp", "merge_backward": "pipppppppp",
             "lightning_slopes": "pi", "sharded_offsets": "piiiiii", "neighborhood_keys": "liiiilpp",
             "neighborhood_queries": "liiiilpp", "backend": "idpp"}


def _path():
    """Where the library is; never in the current folder."""
    named = os.environ.get("SLAT_LIBRARY")
    if named and not os.path.isabs(named):
        raise OSError(f"SLAT_LIBRARY: {named}, expected an absolute path")
    here = pathlib.Path(__file__).resolve()
    folders = ("build", "build/gcc", "build/quickstart") if here.parts[-3:-1] == ("tools", "python") else ()
    built = [path for path in (here.parents[2] / folder / "libslat.so.0" for folder in folders) if path.is_file()]
    return named or str(max(built, key=os.path.getmtime, default="libslat.so.0"))


@functools.cache
def library():
    """The loaded library."""
    loaded = ctypes.CDLL(_path())
    for name in ("slat_version", "slat_error"):
        getattr(loaded, name).restype = c_char_p
    if not loaded.slat_version().startswith(b"0.1."):
        raise OSError(f"{_path()}: version {loaded.slat_version().decode()}, expected 0.1")
    for name, kinds in _ENTRIES.items():
        getattr(loaded, "slat_" + name).argtypes = [_KINDS[kind] for kind in kinds]
    return loaded


def _run(name, *arguments):
    entry = getattr(library(), "slat_" + name)
    for kind, x in zip(entry.argtypes, arguments):
        if kind is c_int32 and not -2**31 <= x < 2**31:
            raise Error(_INVALID, f"{name}: {x}, expected a number of 32 bits")
    status = entry(*arguments)
    if status:
        raise Error(status, library().slat_error().decode())


# Arrays of any framework.

_is_capsule = ctypes.PYFUNCTYPE(c_int32, ctypes.py_object, c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


def _torch(*arrays):
    """The module torch where one of the arrays is its tensor, else None."""
    torch = sys.modules.get("torch")
    return torch if torch and any(isinstance(x, torch.Tensor) for x in arrays) else None


def _space(like):
    """The module that makes arrays like this one."""
    if hasattr(like, "__array_namespace__"):
        return like.__array_namespace__()
    return _torch(like) or sys.modules[type(like).__module__.partition(".")[0]]


def _make(like, shape, dtype):
    """A new array beside `like`, row-major, its contents undefined."""
    try:
        return _space(like).empty(tuple(shape), dtype=dtype, device=getattr(like, "device", None))
    except TypeError:  # NumPy 1 and CuPy know one place only
        return _space(like).empty(tuple(shape), dtype=dtype)


def _output(want, like, shape=None, floats=False):
    """An output as the caller wants it. True makes one of like's shape and type, or of the type of lse and states;
    of nothing it makes nothing."""
    if want is not True:
        return None if want is False else want
    if like is None:
        return None
    space = _space(like) if floats else None
    dtype = like.dtype if not floats else space.float64 if like.dtype == space.float64 else space.float32
    return _make(like, like.shape if shape is None else shape, dtype)


def _on_gpu(array):
    return array.__dlpack_device__()[0] in (2, 13)


def _stream(array):
    """The stream that the framework of an array on a GPU works on; None where it does not tell."""
    if _torch(array):
        return _torch(array).cuda.current_stream(array.device).cuda_stream
    cupy = sys.modules.get("cupy")
    return cupy.cuda.get_current_stream().ptr if cupy and isinstance(array, cupy.ndarray) else None


def _export(name, array, stream):
    """array's DLPack capsule. It is borrowed, not consumed: its own destructor lets the array go."""
    try:
        array = array.detach() if _torch(array) else array
        if hasattr(array, "block_until_ready"):  # JAX computes behind the caller's back
            array.block_until_ready()
        options = {"stream": stream or 1} if _on_gpu(array) else {}
        try:
            return array.__dlpack__(max_version=(1, 0), **options)
        except TypeError:  # from before DLPack 1
            return array.__dlpack__(**options)
    except Exception as why:
        kind = f"{type(array).__name__} of {getattr(array, 'dtype', 'no dtype')}"
        raise Error(_INVALID, f"{name}: {kind}, expected an array that DLPack can share ({why})") from why


def _borrow(capsule):
    """(address of a capsule's DLTensor, flags: 1 read-only, 2 a copy)."""
    if not _is_capsule(capsule, b"dltensor_versioned"):
        return _pointer(capsule, b"dltensor"), 0
    address = _pointer(capsule, b"dltensor_versioned")
    head = _Versioned.from_address(address)
    if head.major != 1:
        raise Error(_INVALID, f"DLPack {head.major}.{head.minor}, expected 1")
    return address + ctypes.sizeof(_Versioned), head.flags


class _Call:
    """One call: its slat_exec, and everything that it borrows."""

    def __init__(self, like, *, backend=None, threads=0, deterministic=0, stream=None, plan=None):
        self.kept, self.written = [plan], []
        self.exec = Exec(backend=backend.encode() if backend else None, threads=threads, deterministic=deterministic,
                         plan=addressof(plan) if plan else None)
        if hasattr(like, "__dlpack_device__") and _on_gpu(like):
            self._enter(like, stream)

    def _enter(self, like, stream):
        """Puts the call on a stream, and has its workspace made by like's framework."""
        told, kept = _stream(like), self.kept
        if (told is None) == (stream is None):
            raise Error(_INVALID, f"stream: {stream}, expected one if, and only if, the arrays' framework tells none")
        stream = stream if told is None else told

        def allocate(_, size):  # holds no reference to the call, so that what it borrows ends with it
            try:
                kept.append(_export("workspace", _make(like, (size,), _space(like).uint8), stream))
                tensor = DLTensor.from_address(_borrow(kept[-1])[0])
                return tensor.data + tensor.byte_offset
            except Exception as why:
                kept.append(why)
                return None

        self.exec.stream, self.exec.allocate = stream, _ALLOCATE(allocate)

    def _address(self, name, array, output):
        capsule = _export(name, array, self.exec.stream)
        address, flags = _borrow(capsule)
        if output and flags:
            raise Error(_INVALID, f"{name}: {'read-only' if flags & 1 else 'a copy'}, expected an array to write into")
        if output and getattr(array, "requires_grad", False):
            raise Error(_INVALID, f"{name}: requires a gradient, expected an output that does not")
        self.kept.append(capsule)
        self.written += [array] if output else []
        return address

    def read(self, **arrays):
        """{name: address of the array's DLTensor}. All are required."""
        for name, array in arrays.items():
            if array is None:
                raise Error(_INVALID, f"{name}: None, expected an array")
        return self.optional(**arrays)

    def optional(self, **arrays):
        return {name: self._address(name, x, False) for name, x in arrays.items() if x is not None}

    def write(self, **arrays):
        return {name: self._address(name, x, True) for name, x in arrays.items() if x is not None}

    def __call__(self, name, *arguments):
        try:
            _run(name, byref(self.exec), *arguments)
        except Error as error:
            raise error from next((x for x in self.kept if isinstance(x, Exception)), None)
        for array in self.written:
            if _torch(array) and not array.is_inference():
                array[:0].zero_()  # tells autograd that it was written to


# PyTorch's autograd.

def _recording(*inputs):
    """Whether autograd records a call with these inputs."""
    torch = _torch(*inputs)
    return torch and torch.is_grad_enabled() and any(_torch(x) and x.requires_grad for x in inputs)


def _record(wants, forward, backward, *inputs):
    """forward(*inputs) with backward(inputs, outputs, gradients of the first two, which are wanted) as its gradient.

    wants: which of the first two outputs the caller wants; both are made."""
    for name, want in wants.items():
        if not isinstance(want, (bool, type(None))):
            raise Error(_INVALID, f"{name}: given, expected True or None where autograd records")
    outputs = _function().apply(forward, backward, *inputs)
    return (*(x if want else None for x, want in zip(outputs, wants.values())), *outputs[2:])


@functools.cache
def _function():
    import torch

    class Slat(torch.autograd.Function):
        @staticmethod
        def forward(ctx, forward, backward, *inputs):
            outputs = forward(*inputs)
            ctx.gradients, ctx.count = backward, len(inputs)
            ctx.save_for_backward(*inputs, *outputs)
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(*outputs[2:])
            return outputs

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad_o, grad_second, *_):
            inputs, outputs = ctx.saved_tensors[:ctx.count], ctx.saved_tensors[ctx.count:]
            grad_o = torch.zeros_like(outputs[0]) if grad_o is None else grad_o
            grads = [x if x is None or x.stride(-1) == 1 else x.contiguous() for x in (grad_o, grad_second)]
            return None, None, *ctx.gradients(inputs, outputs, grads, ctx.needs_input_grad[2:])

    return Slat


# Softmax attention.

class _Mask(_Struct):
    def __call__(self, q, k, v, sink=None, *, scale=0.0, o=True, lse=True, **run):
        """Attention: (o [B, Tq, Hq, Dv], lse [B, Tq, Hq]) from q [B, Tq, Hq, D], k [B, Tk, Hk, D], v [B, Tk, Hk, Dv].

        Hk divides Hq. sink [Hq]: a logit without a value that every row sees. scale 0: 1/sqrt(D). lse is the log of the
        softmax's sum, f32 (f64 for f64); o has q's type, or f32 where it is given so.
        """
        if _recording(q, k, v, sink):
            def backward(inputs, outputs, grads, want):
                wants = dict(zip(("grad_q", "grad_k", "grad_v", "grad_sink"), want))
                return self.backward(*inputs[:3], *outputs, *grads, inputs[3], scale=scale, **wants, **run)
            return _record({"o": o, "lse": lse}, lambda *x: self(*x, scale=scale, **run), backward, q, k, v, sink)
        call = _Call(q, **run)
        inputs = call.read(q=q, k=k, v=v) | call.optional(sink=sink)
        return self._compute(call, "forward", inputs, scale, o=_output(o, q, (*q.shape[:-1], *v.shape[-1:])),
                             lse=_output(lse, q, q.shape[:-1], floats=True))

    def backward(self, q, k, v, o, lse, grad_o, grad_lse=None, sink=None, *, scale=0.0, grad_q=True, grad_k=True,
                 grad_v=True, grad_sink=True, **run):
        """(grad_q, grad_k, grad_v, grad_sink), each shaped as what it is the gradient of; None: not computed.

        o and lse are as the call wrote them. grad_o has o's shape and type, grad_lse lse's; grad_lse None is 0.
        """
        call = _Call(q, **run)
        inputs = call.read(q=q, k=k, v=v, o=o, lse=lse, grad_o=grad_o) | call.optional(grad_lse=grad_lse, sink=sink)
        return self._compute(call, "backward", inputs, scale, grad_q=_output(grad_q, q), grad_k=_output(grad_k, k),
                             grad_v=_output(grad_v, v), grad_sink=_output(grad_sink, sink))

    def _compute(self, call, name, inputs, scale, **outputs):
        tensors = Attention(**inputs, **call.write(**outputs), scale=scale)
        call(f"{self._name}_{name}", byref(self), byref(tensors))
        return tuple(outputs.values())

    def _hold(self, **arrays):
        """Borrows index arrays for as long as the mask lives."""
        self.arrays = {name: x for name, x in arrays.items() if x is not None}
        self._kept = {name: _export(name, x, _stream(x) if _on_gpu(x) else None) for name, x in self.arrays.items()}
        for name, capsule in self._kept.items():
            setattr(self, name, _borrow(capsule)[0])


class BlockSparse(_Mask):
    """Key blocks listed in CSR for every query block; without indptr every key is seen (dense attention).

    indptr [Bm, Hm, ceil(Tq / block_q) + 1], Bm 1 or B, Hm 1, Hk or Hq; indices [nnz]: key blocks, ascending in a row.
    bitmap_of [nnz]: -1, the whole block, or an index into bitmaps [n, block_q, ceil(block_k / 8)], one bit a pair.
    causal: on top of the blocks, key j is seen only where j <= i + Tk - Tq. block_k 0: block_q. transposed: what
    transpose() returned, for many backward calls. All index arrays are compact.
    """
    _name = "block_sparse"
    _fields_ = _fields("block_q block_k causal", c_int32,
                       "indptr indices bitmap_of bitmaps t_indptr t_indices t_entry", c_void_p,
                       "reserved", c_uint64 * 4)

    def __init__(self, indptr=None, indices=None, *, block_q=64, block_k=0, causal=False, bitmap_of=None, bitmaps=None,
                 transposed=(None, None, None)):
        super().__init__(block_q=block_q, block_k=block_k, causal=causal)
        self._hold(indptr=indptr, indices=indices, bitmap_of=bitmap_of, bitmaps=bitmaps,
                   **dict(zip(("t_indptr", "t_indices", "t_entry"), transposed)))

    def transpose(self, tq, tk, **run):
        """The same layout by key block: (t_indptr [Bm, Hm, ceil(tk / block_k) + 1], t_indices [nnz], t_entry [nnz])."""
        indptr, indices = self.arrays.get("indptr"), self.arrays.get("indices")
        call = _Call(indptr, **run)
        call.read(indptr=indptr, indices=indices)
        columns = -(-tk // max(1, self.block_k or self.block_q))
        outputs = _output(True, indptr, (*indptr.shape[:-1], columns + 1)), *(_output(True, indices) for _ in range(2))
        written = call.write(t_indptr=outputs[0], t_indices=outputs[1], t_entry=outputs[2])
        call("block_sparse_transpose", byref(self), tq, tk, *written.values())
        return outputs


class Neighborhood(_Mask):
    """The window of keys around every query, on grids of one, two or three dimensions, by NATTEN's rules.

    q, k, v: [B, X, H, D], [B, X, Y, H, D] or [B, X, Y, Z, H, D]. window: keys a dimension, a number or one for each
    dimension; stride: queries that share a window; dilation: distance between neighbouring keys; causal: no later key;
    q_start: where in k's grid q's box begins. One number there serves every dimension.
    """
    _name = "neighborhood"
    _fields_ = _fields("ndim", c_int32, "window stride dilation causal", c_int32 * 3, "q_start", c_int64 * 3,
                       "reserved", c_uint64 * 4)

    def __init__(self, window, *, stride=1, dilation=1, causal=False, q_start=0):
        ndim = 1 if hasattr(window, "__index__") else len(window)
        given = {"window": window, "stride": stride, "dilation": dilation, "causal": causal, "q_start": q_start}
        for name, x in given.items():
            given[name] = tuple(map(operator.index, (x,) * ndim if hasattr(x, "__index__") else x))
            if len(given[name]) != ndim or not 1 <= ndim <= 3:
                raise Error(_INVALID, f"{name}: {x}, expected a number for each of 1 to 3 dimensions")
        super().__init__(ndim=ndim, **given)


class Sharded(_Mask):
    """S2-Attention: every head sees its local_blocks last blocks and its own shard, every stride-th block. Causal.

    offsets [Hk]: the shard of each key head, see sharded_offsets(); negative: the head sees everything.
    """
    _name = "sharded"
    _fields_ = _fields("block local_blocks stride", c_int32, "offsets", c_void_p, "reserved", c_uint64 * 4)

    def __init__(self, block, local_blocks, stride, offsets):
        super().__init__(block=block, local_blocks=local_blocks, stride=stride)
        self._hold(offsets=offsets)


class Landmark(_Mask):
    """Grouped softmax: the last token of every `block` tokens is the landmark through which it is attended. Causal."""
    _name = "landmark"
    _fields_ = _fields("block", c_int32, "reserved", c_uint64 * 4)

    def __init__(self, block):
        super().__init__(block=block)


# Lightning attention.

def _state_shape(q, v):
    """[B, H, D, Dv]; whatever q's rank is, so that the library may say what is wrong with it."""
    return (*q.shape[:1], *q.shape[2:4], *v.shape[-1:])


def _lightning(call, name, inputs, states_every, scale, **outputs):
    call(name, byref(Lightning(**inputs, **call.write(**outputs), states_every=states_every, scale=scale)))
    return tuple(outputs.values())


def lightning(q, k, v, slopes, s0=None, *, scale=0.0, states_every=0, o=True, st=True, **run):
    """Linear attention, causal, decaying by exp(-slope) a token: (o [B, T, H, Dv], st [B, H, D, Dv]).

    q, k [B, T, H, D], v [B, T, H, Dv], slopes [H], s0 and st the states before and after. scale 0: 1. states_every n
    adds a third result: states [B, H, ceil(T / n), D, Dv], before token 0, n, ..., which make backward faster.
    """
    if _recording(q, k, v, slopes, s0):
        def backward(inputs, outputs, grads, want):
            wants = dict(zip(("grad_q", "grad_k", "grad_v", "grad_slopes", "grad_s0"), want))
            return lightning_backward(*inputs[:4], *grads, inputs[4], *outputs[2:], states_every=states_every,
                                      scale=scale, **wants, **run)
        return _record({"o": o, "st": st}, lambda *x: lightning(*x, scale=scale, states_every=states_every, **run),
                       backward, q, k, v, slopes, s0)
    call = _Call(q, **run)
    inputs = call.read(q=q, k=k, v=v, slopes=slopes) | call.optional(s0=s0)
    state = _state_shape(q, v)
    outputs = {"o": _output(o, q, (*q.shape[:-1], *v.shape[-1:])), "st": _output(st, q, state, floats=True)}
    if states_every > 0:
        count = (-(-x // states_every) for x in q.shape[1:2])
        outputs["states"] = _output(True, q, (*state[:2], *count, *state[2:]), floats=True)
    return _lightning(call, "lightning_forward", inputs, states_every, scale, **outputs)


def lightning_backward(q, k, v, slopes, grad_o, grad_st=None, s0=None, states=None, *, states_every=0, scale=0.0,
                       grad_q=True, grad_k=True, grad_v=True, grad_slopes=True, grad_s0=True, **run):
    """(grad_q, grad_k, grad_v, grad_slopes, grad_s0), each shaped as what it is the gradient of; None: not computed.

    states and states_every as lightning() had them; grad_st None is 0.
    """
    call = _Call(q, **run)
    inputs = call.read(q=q, k=k, v=v, slopes=slopes, grad_o=grad_o)
    inputs |= call.optional(grad_st=grad_st, s0=s0, states=states)
    return _lightning(call, "lightning_backward", inputs, states_every, scale, grad_q=_output(grad_q, q),
                      grad_k=_output(grad_k, k), grad_v=_output(grad_v, v), grad_slopes=_output(grad_slopes, slopes),
                      grad_s0=_output(grad_s0, q, _state_shape(q, v), floats=True))


def lightning_step(q, k, v, slopes, st, slot=None, *, scale=0.0, o=True, **run):
    """One token of decoding: o [B, 1, H, Dv] from q [B, 1, H, D]; st [B, H, D, Dv] is updated in place.

    slot [B]: row b uses state slot[b] of st [slots, H, D, Dv]; -1 leaves the row out.
    """
    call = _Call(q, **run)
    inputs = call.read(q=q, k=k, v=v, slopes=slopes) | call.optional(slot=slot) | call.write(st=st)
    return _lightning(call, "lightning_step", inputs, 0, scale, o=_output(o, q, (*q.shape[:-1], *v.shape[-1:])))[0]


# Merging.

def _pointers(take, name, arrays):
    addresses = take(**{f"{name}[{i}]": x for i, x in enumerate(arrays)}).values()
    return (c_void_p * len(addresses))(*addresses)


def merge(o, lse, *, out=True, out_lse=True, **run):
    """Attention over all keys from that over parts of them: (out [..., Dv], out_lse [...]).

    o and lse are lists as long: results [..., Dv] and logs of sums [...], of one shape each.
    """
    n = len(o)
    if len(lse) != n or n == 0:
        raise Error(_INVALID, f"lse: {len(lse)} parts, expected as many as o's {n}, and at least 1")
    if _recording(*o, *lse):
        def backward(inputs, outputs, grads, want):
            grads = merge_backward(inputs[:n], inputs[n:], *outputs, *grads, **run)
            return [x if wanted else None for x, wanted in zip([*grads[0], *grads[1]], want)]
        return _record({"out": out, "out_lse": out_lse}, lambda *x: merge(x[:n], x[n:], **run), backward, *o, *lse)
    call = _Call(o[0], **run)
    parts = _pointers(call.read, "o", o), _pointers(call.read, "lse", lse)
    outputs = {"out": _output(out, o[0]), "out_lse": _output(out_lse, lse[0])}
    written = call.write(**outputs)
    call("merge_forward", n, *parts, written.get("out"), written.get("out_lse"))
    return tuple(outputs.values())


def merge_backward(o, lse, out, out_lse, grad_out, grad_out_lse=None, **run):
    """The gradients of the parts: (list of grad_o, list of grad_lse).

    out and out_lse are as merge() wrote them; grad_out_lse None is 0.
    """
    if len(lse) != len(o):
        raise Error(_INVALID, f"lse: {len(lse)} parts, expected as many as o's {len(o)}")
    call = _Call(out, **run)
    parts = _pointers(call.read, "o", o), _pointers(call.read, "lse", lse)
    results = call.read(out=out, out_lse=out_lse, grad_out=grad_out) | call.optional(grad_out_lse=grad_out_lse)
    grad_o, grad_lse = [_output(True, x) for x in o], [_output(True, x) for x in lse]
    call("merge_backward", len(o), *parts, *results.values(), *[None] * (4 - len(results)),
         _pointers(call.write, "grad_o", grad_o), _pointers(call.write, "grad_lse", grad_lse))
    return grad_o, grad_lse


# Helpers.

def version():
    """The library's version, such as "0.1.0"."""
    return library().slat_version().decode()


def backends(device_type=1, device_id=0):
    """[(name, rank), ...] of a device, best first; rank 0: not on this machine. Types are DLPack's: 1 CPU, 2 CUDA."""
    found, name, rank = [], c_char_p(), c_int32()
    while not library().slat_backend(len(found), DLDevice(device_type, device_id), byref(name), byref(rank)):
        found.append((name.value.decode(), rank.value))
    return found


def lightning_slopes(heads):
    """ALiBi's slopes, a list of `heads` numbers."""
    slopes = (c_float * max(0, heads))()
    _run("lightning_slopes", slopes, heads)
    return list(slopes)


def sharded_offsets(hq, hk, stride, *, dense_heads=0, head_offset=0, per_key_head=False):
    """Offsets for Sharded, a list of hk numbers: the published rule, or (per_key_head) one that misses no column."""
    offsets = (c_int32 * max(0, hk))()
    _run("sharded_offsets", offsets, hq, hk, stride, dense_heads, head_offset, per_key_head)
    return list(offsets)


def neighborhood_keys(length, window, query, *, stride=1, dilation=1, causal=False, _entry="neighborhood_keys"):
    """The keys that a query sees in one dimension, as a range."""
    first, count = c_int64(), c_int64()
    _run(_entry, length, window, stride, dilation, causal, query, byref(first), byref(count))
    return range(first.value, first.value + count.value * dilation, dilation)


def neighborhood_queries(length, window, key, **options):
    """The queries that see a key in one dimension, as a range; the options are those of neighborhood_keys()."""
    return neighborhood_keys(length, window, key, **options, _entry="neighborhood_queries")

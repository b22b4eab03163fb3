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

The library is the file that SLAT_LIBRARY names; else the newest build in this tree; else what the system's loader finds.
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
    """What a call would do: `backend`, `kernel`, bytes of `workspace`, whether it is `deterministic`, `launches`."""
    _fields_ = _fields("backend kernel", c_char_p, "workspace", c_size_t, "deterministic launches", c_int32)


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


def _floats(like):
    """The type of lse, sink, slopes and states beside `like`."""
    return _space(like).float64 if like.dtype == _space(like).float64 else _space(like).float32


def _output(want, like, shape, dtype=None):
    """An output as the caller wants it: True makes an array beside `like`, of its type where dtype is None."""
    if want is not True:
        return None if want is False else want
    options = {"dtype": dtype or like.dtype, "device": getattr(like, "device", None)}
    try:
        return _space(like).empty(tuple(shape), **options)
    except TypeError:  # NumPy 1 and CuPy know one place only
        return _space(like).empty(tuple(shape), dtype=options["dtype"])


def _export(name, array, stream):
    """array's DLPack capsule. It is borrowed, not consumed: its own destructor lets the array go."""
    array = array.detach() if _torch(array) else array
    if hasattr(array, "block_until_ready"):
        array.block_until_ready()
    try:
        options = {"stream": stream or 1} if array.__dlpack_device__()[0] in (2, 13) else {}
        try:
            return array.__dlpack__(max_version=(1, 0), **options)
        except TypeError:  # from before DLPack 1
            return array.__dlpack__(**options)
    except Exception as why:
        kind = f"{type(array).__name__} of {getattr(array, 'dtype', 'no dtype')}"
        raise Error(_INVALID, f"{name}: {kind}, expected an array that DLPack can share ({why})") from why


class _Call:
    """One call: its slat_exec, and everything that it borrows."""

    def __init__(self, like, *, backend=None, threads=0, deterministic=0, stream=None, plan=None):
        self.kept, self.written = [plan], []
        self.exec = Exec(backend=backend.encode() if backend else None, threads=threads, deterministic=deterministic,
                         plan=addressof(plan) if plan else None)
        self.told = True
        if getattr(like, "__dlpack_device__", lambda: (1, 0))()[0] not in (2, 13):
            return
        torch, cupy = _torch(like), type(like).__module__.startswith("cupy")
        if (torch or cupy) and stream is not None:
            raise Error(_INVALID, "stream: given, expected None: the framework's current stream is used")
        self.told = torch or cupy or stream is not None
        self.exec.stream = (torch.cuda.current_stream(like.device).cuda_stream if torch else
                            _space(like).cuda.get_current_stream().ptr if cupy else stream)
        kept, where = self.kept, self.exec.stream

        def allocate(_, size):  # holds no reference to the call: what it borrows ends with it
            try:
                kept.append(_output(True, like, (size,), _space(like).uint8))
                kept.append(_export("workspace", kept[-1], where))
                tensor = DLTensor.from_address(_borrow(kept[-1])[0])
                return tensor.data + tensor.byte_offset
            except Exception as why:  # out of memory
                kept.append(why)
                return None

        self.exec.allocate = _ALLOCATE(allocate)

    def one(self, name, array, output=False):
        """The address of array's DLTensor; None for None."""
        if array is None:
            return None
        capsule = _export(name, array, self.exec.stream)
        address, flags = _borrow(capsule)
        if output and flags & 3:
            raise Error(_INVALID, f"{name}: {'read-only' if flags & 1 else 'a copy'}, expected an array to write into")
        if output and getattr(array, "requires_grad", False):
            raise Error(_INVALID, f"{name}: requires a gradient, expected an output that does not")
        self.kept.append(capsule)
        if output:
            self.written.append(array)
        return address

    def read(self, **arrays):
        return {name: self.one(name, array) for name, array in arrays.items()}

    def write(self, **arrays):
        return {name: self.one(name, array, True) for name, array in arrays.items()}

    def __call__(self, name, *arguments):
        if not self.told:
            raise Error(_INVALID, "stream: None, expected a stream: the arrays' framework does not tell its own")
        _run(name, byref(self.exec), *arguments)
        for array in self.written:
            if _torch(array) and not array.is_inference():
                _torch(array).autograd.graph.increment_version(array)


def _borrow(capsule):
    """(address of a capsule's DLTensor, flags: 1 read-only, 2 a copy)."""
    if not _is_capsule(capsule, b"dltensor_versioned"):
        return _pointer(capsule, b"dltensor"), 0
    address = _pointer(capsule, b"dltensor_versioned")
    head = _Versioned.from_address(address)
    if head.major != 1:
        raise Error(_INVALID, f"DLPack {head.major}.{head.minor}, expected 1")
    return address + ctypes.sizeof(_Versioned), head.flags


# PyTorch's autograd.

def _recording(outputs, *inputs):
    """Whether autograd records this call. Then its outputs are made here, never given."""
    torch = _torch(*inputs)
    if not (torch and torch.is_grad_enabled() and any(_torch(x) and x.requires_grad for x in inputs)):
        return False
    for name, x in outputs.items():
        if _torch(x):
            raise Error(_INVALID, f"{name}: given, expected True where autograd records")
    return True


@functools.cache
def _function():
    import torch

    class Slat(torch.autograd.Function):
        @staticmethod
        def forward(ctx, forward, backward, *inputs):
            outputs = forward(*inputs)
            ctx.run, ctx.count = backward, len(inputs)
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
            return None, None, *ctx.run(inputs, outputs, grads, ctx.needs_input_grad[2:])

    return Slat.apply


# Softmax attention.

class _Mask(_Struct):
    def _hold(self, **arrays):
        """Takes index arrays into the structure for as long as it lives."""
        call = _Call(next((x for x in arrays.values() if x is not None), None))
        self._kept = call.kept, arrays
        for name, address in call.read(**arrays).items():
            setattr(self, name, address)

    def __call__(self, q, k, v, sink=None, *, scale=0.0, o=True, lse=True, **run):
        """Attention: (o [B, Tq, Hq, Dv], lse [B, Tq, Hq]) from q [B, Tq, Hq, D], k [B, Tk, Hk, D], v [B, Tk, Hk, Dv].

        Hk divides Hq. sink [Hq]: a logit without a value that every row sees. scale 0: 1/sqrt(D). lse is the log of the
        softmax's sum, f32 (f64 for f64); o has q's type, or f32 where it is given so.
        """
        if _recording({"o": o, "lse": lse}, q, k, v, sink):
            def backward(inputs, outputs, grads, want):
                return self.backward(*inputs[:3], *outputs, *grads, inputs[3], scale=scale, grad_q=want[0],
                                     grad_k=want[1], grad_v=want[2], grad_sink=want[3], **run)
            return _function()(lambda *inputs: self(*inputs, scale=scale, **run), backward, q, k, v, sink)
        call = _Call(q, **run)
        tensors = Attention(**call.read(q=q, k=k, v=v, sink=sink), scale=scale)
        o = _output(o, q, (*q.shape[:-1], *v.shape[-1:]))
        lse = _output(lse, q, q.shape[:-1], _floats(q))
        return self._call(call, "forward", tensors, o=o, lse=lse)

    def backward(self, q, k, v, o, lse, grad_o, grad_lse=None, sink=None, *, scale=0.0, grad_q=True, grad_k=True,
                 grad_v=True, grad_sink=True, **run):
        """(grad_q, grad_k, grad_v, grad_sink), each shaped as what it is the gradient of; None: not computed.

        o and lse are as the call wrote them. grad_o has o's shape and type, grad_lse lse's; grad_lse None is 0.
        """
        call = _Call(q, **run)
        tensors = Attention(**call.read(q=q, k=k, v=v, o=o, lse=lse, grad_o=grad_o, grad_lse=grad_lse, sink=sink),
                            scale=scale)
        return self._call(call, "backward", tensors, grad_q=_output(grad_q, q, q.shape),
                          grad_k=_output(grad_k, k, k.shape), grad_v=_output(grad_v, v, v.shape),
                          grad_sink=_output(grad_sink, sink, sink.shape) if sink is not None else None)

    def _call(self, call, name, tensors, **outputs):
        for field, address in call.write(**outputs).items():
            setattr(tensors, field, address)
        call(f"{self._name}_{name}", byref(self), byref(tensors))
        return tuple(outputs.values())


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
        t_indptr, t_indices, t_entry = transposed
        self._hold(indptr=indptr, indices=indices, bitmap_of=bitmap_of, bitmaps=bitmaps, t_indptr=t_indptr,
                   t_indices=t_indices, t_entry=t_entry)

    def transpose(self, tq, tk, **run):
        """The same layout by key block: (t_indptr [Bm, Hm, ceil(tk / block_k) + 1], t_indices [nnz], t_entry [nnz])."""
        indptr, indices = self._kept[1]["indptr"], self._kept[1]["indices"]
        if indptr is None or indices is None:
            raise Error(_INVALID, "indptr: NULL, expected a layout")
        columns = -(-tk // max(1, self.block_k or self.block_q))
        call = _Call(indptr, **run)
        outputs = [_output(True, indptr, (*indptr.shape[:-1], columns + 1))]
        outputs += [_output(True, indices, indices.shape) for _ in range(2)]
        written = call.write(t_indptr=outputs[0], t_indices=outputs[1], t_entry=outputs[2])
        call("block_sparse_transpose", byref(self), tq, tk, *written.values())
        return tuple(outputs)


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

def _lightning(call, name, tensors, states_every, scale, **outputs):
    call(name, byref(Lightning(**tensors, **call.write(**outputs), states_every=states_every, scale=scale)))
    return tuple(outputs.values())


def lightning(q, k, v, slopes, s0=None, *, scale=0.0, states_every=0, o=True, st=True, **run):
    """Linear attention, causal, decaying by exp(-slope) a token: (o [B, T, H, Dv], st [B, H, D, Dv]).

    q, k [B, T, H, D], v [B, T, H, Dv], slopes [H], s0 and st the states before and after. scale 0: 1. states_every n
    adds a third result: states [B, H, ceil(T / n), D, Dv], before token 0, n, ..., which make backward faster.
    """
    if _recording({"o": o, "st": st}, q, k, v, slopes, s0):
        def backward(inputs, outputs, grads, want):
            q, k, v, slopes, s0 = inputs
            wants = dict(zip(("grad_q", "grad_k", "grad_v", "grad_slopes", "grad_s0"), want))
            return lightning_backward(q, k, v, slopes, *grads, s0, *outputs[2:], states_every=states_every, scale=scale,
                                      **wants, **run)
        return _function()(lambda *x: lightning(*x, scale=scale, states_every=states_every, **run), backward, q, k, v,
                           slopes, s0)
    call = _Call(q, **run)
    tensors = call.read(q=q, k=k, v=v, slopes=slopes, s0=s0)
    (b, t, h, d), dv = (*q.shape, 0, 0, 0, 0)[:4], v.shape[-1:]
    outputs = {"o": _output(o, q, (*q.shape[:-1], *dv)), "st": _output(st, q, (b, h, d, *dv), _floats(q))}
    if states_every > 0:
        outputs["states"] = _output(True, q, (b, h, -(-t // states_every), d, *dv), _floats(q))
    return _lightning(call, "lightning_forward", tensors, states_every, scale, **outputs)


def lightning_backward(q, k, v, slopes, grad_o, grad_st=None, s0=None, states=None, *, states_every=0, scale=0.0,
                       grad_q=True, grad_k=True, grad_v=True, grad_slopes=True, grad_s0=True, **run):
    """(grad_q, grad_k, grad_v, grad_slopes, grad_s0), each shaped as what it is the gradient of; None: not computed.

    states and states_every as lightning() had them; grad_st None is 0.
    """
    call = _Call(q, **run)
    tensors = call.read(q=q, k=k, v=v, slopes=slopes, grad_o=grad_o, grad_st=grad_st, s0=s0, states=states)
    b, _, h, d = (*q.shape, 0, 0, 0, 0)[:4]
    return _lightning(call, "lightning_backward", tensors, states_every, scale, grad_q=_output(grad_q, q, q.shape),
                      grad_k=_output(grad_k, k, k.shape), grad_v=_output(grad_v, v, v.shape),
                      grad_slopes=_output(grad_slopes, slopes, slopes.shape),
                      grad_s0=_output(grad_s0, q, (b, h, d, *v.shape[-1:]), _floats(q)))


def lightning_step(q, k, v, slopes, st, slot=None, *, scale=0.0, o=True, **run):
    """One token of decoding: o [B, 1, H, Dv] from q [B, 1, H, D]; st [B, H, D, Dv] is updated in place.

    slot [B]: row b uses state slot[b] of st [slots, H, D, Dv]; -1 leaves the row out.
    """
    call = _Call(q, **run)
    tensors = call.read(q=q, k=k, v=v, slopes=slopes, slot=slot) | call.write(st=st)
    return _lightning(call, "lightning_step", tensors, 0, scale, o=_output(o, q, (*q.shape[:-1], *v.shape[-1:])))[0]


# Merging.

def _array(addresses):
    return (c_void_p * len(addresses))(*addresses)


def merge(o, lse, *, out=True, out_lse=True, **run):
    """Attention over all keys from that over parts of them: (out [..., Dv], out_lse [...]).

    o and lse are lists: results [..., Dv] and logs of sums [...] of one shape each.
    """
    n = len(o)
    if len(lse) != n or n == 0:
        raise Error(_INVALID, f"lse: {len(lse)} parts, expected as many as o's {n}, and at least 1")
    if _recording({"out": out, "out_lse": out_lse}, *o, *lse):
        def backward(inputs, outputs, grads, want):
            grad_o, grad_lse = merge_backward(inputs[:n], inputs[n:], *outputs, *grads, want=want, **run)
            return *grad_o, *grad_lse
        return _function()(lambda *x: merge(x[:n], x[n:], **run), backward, *o, *lse)
    call = _Call(o[0], **run)
    parts = [_array([call.one(f"{name}[{i}]", x) for i, x in enumerate(xs)]) for name, xs in (("o", o), ("lse", lse))]
    outputs = {"out": _output(out, o[0], o[0].shape), "out_lse": _output(out_lse, lse[0], lse[0].shape)}
    call("merge_forward", n, *parts, *call.write(**outputs).values())
    return tuple(outputs.values())


def merge_backward(o, lse, out, out_lse, grad_out, grad_out_lse=None, *, want=None, **run):
    """The gradients of the parts: (list of grad_o, list of grad_lse).

    out and out_lse are as merge() wrote them; grad_out_lse None is 0. want: for every o, then every lse, an output;
    None: all are made.
    """
    n = len(o)
    want = [True] * (2 * n) if want is None else list(want)
    if len(lse) != n or len(want) != 2 * n:
        raise Error(_INVALID, f"lse, want: {len(lse)} and {len(want)}, expected {n} and {2 * n}")
    call = _Call(out, **run)
    parts = [_array([call.one(f"{name}[{i}]", x) for i, x in enumerate(xs)]) for name, xs in (("o", o), ("lse", lse))]
    known = call.read(out=out, out_lse=out_lse, grad_out=grad_out, grad_out_lse=grad_out_lse)
    grads = [_output(x, like, like.shape) for x, like in zip(want, [*o, *lse])]
    written = [call.one(f"{'grad_o' if i < n else 'grad_lse'}[{i % n}]", x, True) for i, x in enumerate(grads)]
    call("merge_backward", n, *parts, *known.values(), _array(written[:n]), _array(written[n:]))
    return grads[:n], grads[n:]


# Helpers.

def version():
    """The library's version, such as "0.1.0"."""
    return library().slat_version().decode()


def backends(device_type=1, device_id=0):
    """[(name, rank), ...] of a device, best first; rank 0: not on this machine. Device types are DLPack's: 2 is CUDA."""
    found, name, rank = [], c_char_p(), c_int32()
    while True:
        try:
            _run("backend", len(found), DLDevice(device_type, device_id), byref(name), byref(rank))
        except Error:
            return found
        found.append((name.value.decode(), rank.value))


def lightning_slopes(heads):
    """ALiBi's slopes, a list of `heads` numbers."""
    slopes = (c_float * max(0, heads))()
    _run("lightning_slopes", slopes, heads)
    return list(slopes)


def sharded_offsets(hq, hk, stride, *, dense_heads=0, head_offset=0, per_key_head=False):
    """Offsets for Sharded, a list of hk numbers: the published rule, or, per_key_head, one that leaves no column out."""
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

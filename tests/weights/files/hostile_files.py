"""Files made to do harm: run something, fill the memory, never end, or read what is not there.

Each comes with what its one-line error says. A payload that ran would create `MARKER`.
"""

import json
import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.weights.files.handmade import file_bytes
from tests.weights.files.torch_files import (
    Call,
    Global,
    archive,
    dumps,
    legacy_file,
    storage,
    tensor,
    view,
    zip_file,
    zip_members,
)

MARKER = "it-ran"
COMMAND = f"touch {MARKER}"
CODE = f"open({MARKER!r}, 'w').close()"
ONES = np.ones(4, np.float32)

Files = Iterator[tuple[str, bytes, str]]
"""What the file is, its content, and a part of its error."""


def call(name: str, *args) -> Call:
    """Unpickles by calling something."""
    module, _, function = name.rpartition(".")
    return Call(Global(module, function), args)


def through_torch(name: str, *args) -> Call:
    """Unpickles by having PyTorch call something."""
    module, _, function = name.rpartition(".")
    tensor_class = Global("torch", "Tensor")
    return call(
        "torch._tensor._rebuild_from_type_v2", Global(module, function), tensor_class, args, {}
    )


SYSTEM = Global("os", "system")
# What is called, and with what.
CALLS = [
    *(call(f"{module}.system", COMMAND) for module in ("os", "posix", "nt")),
    call("os.popen", COMMAND),
    call("posix.execv", "/bin/touch", ["touch", MARKER]),
    call("subprocess.Popen", ["touch", MARKER]),
    call("pty.spawn", ["touch", MARKER]),
    *(call(f"builtins.{name}", CODE) for name in ("eval", "exec", "compile", "__import__", "open")),
    *(call(f"__builtin__.{name}", CODE) for name in ("exec", "execfile", "apply", "input")),
    call("runpy.run_path", MARKER),
    call("ctypes.CDLL", MARKER),
    call("builtins.getattr", call("collections.OrderedDict"), "update"),
    call("builtins.map", SYSTEM, [COMMAND]),
    call("functools.partial", SYSTEM, COMMAND),
    call("functools.reduce", SYSTEM, [COMMAND]),
    call("operator.attrgetter", "system"),
    call("operator.methodcaller", "system", COMMAND),
    call("copyreg.__newobj__", SYSTEM, COMMAND),
    call("torch.load", MARKER),
    call("torch.hub.load", MARKER, MARKER),
    call("torch.jit.load", MARKER),
    call("torch.storage._load_from_bytes", pickle.dumps(1)),
    call("numpy.load", MARKER, None, True),
    call("numpy.fromfile", "/etc/passwd"),
    call("numpy.testing._private.utils.runstring", CODE, {}),
    call("_pickle.loads", pickle.dumps(1)),
    call("torch._utils._rebuild_tensor_v2.__globals__.get", "sys"),
]
# The same, where the name is not that of what is called first.
OTHER_CALLS = [
    (through_torch("os.system", COMMAND), "os.system"),
    (through_torch("torch._tensor._rebuild_from_type_v2", SYSTEM), "_rebuild_from_type_v2"),
    (Call(Global("torch", "_utils._rebuild_tensor_v2"), ()), "torch._utils._rebuild_tensor_v2"),
    (Call(Global("torch", "os.system"), (COMMAND,)), "torch.os.system"),
    (Call(Global("os", "path.join"), ("a", "b")), "os.path.join"),
]


def refused(name: str) -> str:
    return f"refused: the file asks to call {name}; only tensors and plain values are read"


def running() -> Files:
    """Files that ask to run something."""
    named = [(f"{c.function.module}.{c.function.name}", c) for c in CALLS]
    for name, value in [*named, *((name, value) for value, name in OTHER_CALLS)]:
        content = {"state_dict": {"w": value}}
        yield f"{name} in a zip archive", zip_file(content), f"{name};"
        yield f"{name} in a legacy file", legacy_file(content), f"{name};"
        says = "refused: the file asks to call" if "torch" in value.function.module else f"{name};"
        yield f"{name} in .pdparams", dumps({"w": value}, 4), says
    chain = Call(call("builtins.getattr", Global("builtins", "__import__"), "__call__"), ("os",))
    yield "a chain of getattr", dumps(Call(chain, (COMMAND,)), 4), refused("builtins.getattr")
    result = Call(call("collections.OrderedDict"), (COMMAND,))
    yield "the result of a call", dumps(result, 4), refused("a value of type dict")
    for what, content in {
        "by protocol 0": b"cos\nsystem\n(S'touch it-ran'\ntR.",
        "as an instance": b"(S'touch it-ran'\nios\nsystem\n.",
        "as an object": b"(cos\nsystem\nS'touch it-ran'\no.",
        "as a class": b"\x80\x02cos\nsystem\nX\1\0\0\0x\x85\x81.",
        "as a class with keywords": b"\x80\x04cos\nsystem\n)}\x92.",
        "by a name on the stack": b"\x80\x04\x8c\2os\x8c\6system\x93\x8c\1x\x85R.",
        "by names in the memo": b"\x80\x04\x8c\2os\x94\x8c\6system\x9400h\0h\1\x93\x8c\1x\x85R.",
        "copied on the stack": b"\x80\x02cos\nsystem\n2X\1\0\0\0x\x85R.",
        "and forgotten": b"\x80\x02cos\nsystem\nX\1\0\0\0x\x85R0}.",
        "for a state": b"\x80\x02}cos\nsystem\nX\1\0\0\0x\x85Rb.",
        "for a key": b"\x80\x02}cos\nsystem\nX\1\0\0\0x\x85RK\1s.",
        "after the tensors": dumps({}) + b"cos\nsystem\n)R.",
    }.items():
        says = "what follows is no tensor" if "after" in what else refused("os.system")
        yield f"system {what}", content, says
    for name in ("__class__", "__reduce__", "__setstate__", "__call__", "build", "module", "made"):
        state = dumps({name: SYSTEM})[2:-1] + b"b"
        dictionary = b"\x80\x02ccollections\nOrderedDict\n)R" + state
        yield f"{name} for a dictionary", dictionary + b")R.", refused("a value of type dict")
        unknown = b"\x80\x02ca\nB\n)\x81" + state
        yield f"{name} for an object", unknown + b")R.", refused("an object of a.B")
    yield "an extension", b"\x80\x02\x82\1.", refused("what is registered as an extension")


def bombs() -> Files:
    """Files that would take all memory, or all time."""
    ordered = b"ccollections\nOrderedDict\n\x94"
    wide_text = b"X\0\4\0\0" + "😀".encode() * 256
    text_keys = b"".join(b"(" + b"h\0" * 7 + b"J%btN" % struct.pack("<I", i) for i in range(10**5))
    for what, content in {
        "lists": b"](" + b"]" * 2_000_000 + b"e.",
        "lists of one": b"](" + b"]Na" * 800_000 + b"e.",
        "dictionaries": b"](" + b"}" * 2_000_000 + b"e.",
        "sets": b"](" + b"\x8f" * 2_000_000 + b"e.",
        "tuples": b"](" + b"N\x85" * 1_500_000 + b"e.",
        "tuples in tuples": b"N" + b"\x85" * 3_000_000 + b".",
        "marks": b"(" * 2_000_000 + b".",
        "numbers": b"](" + b"J\xff\xff\xff\x7f" * 4_000_000 + b"e.",
        "memories": b"N" + b"\x94" * 2_000_000 + b".",
        "wide texts": b"](" + wide_text * 40_000 + b"e.",
        "small texts": b"](" + b"\x8c\1a" * 1_000_000 + b"e.",
        "names": b"](" + b"ca\nb\n" * 800_000 + b"e.",
        "uses of one name": b"ca\nb\n\x94](" + b"h\0" * 4_000_000 + b"e.",
        "copies as dictionaries": ordered
        + b"](%be\x85\x94" % (b"NN\x86" * 20_000)
        + b"h\0h\1R" * 100_000,
        "copies as tuples": b"cbuiltins\ntuple\n\x94](%be\x85\x94" % (b"N" * 50_000)
        + b"h\0h\1R" * 100_000,
        "keys of several texts": b"X\xf0\0\0\0%b\x940}(" % (b"a" * 240) + text_keys + b"u.",
    }.items():
        says = "the description of its tensors would take more than 96 MiB of memory"
        yield f"many {what}", b"\x80\x04" + content, says
    dtype = b"cnumpy\ndtype\n\x94"
    ids = b"(X\7\0\0\0storageca\n%b\n%bNK\1t\x94" % (b"b" * 4000, wide_text)
    tensors = b"ctorch._utils\n_rebuild_tensor_v3\n\x94(" + ids + b"QK\0))\x89}ctorch\nuint8\n"
    for what, content in {
        "storages": ids + b"](" + b"h\0Q" * 500_000,
        "long dtypes": dtype + wide_text + b"\x85\x94](" + b"h\0h\1R" * 300_000,
        "arguments": tensors + b"N" * 100_000 + b"t\x94](" + b"h\0h\2R" * 300_000,
    }.items():
        says = "a NumPy dtype without a name" if "dtype" in what else "would take more than 96 MiB"
        yield f"many {what}", archive({"a/data.pkl": b"\x80\4" + content}), says
    levels = b"".join(b"](" + b"h%c" % i * 10 + b"e\x94" for i in range(60))
    doubled = b"".join(b"h%c" % i * 2 + b"\x86\x940" for i in range(60))
    hashes = b"".join(
        b"\x8a\x10" + (i * (2**61 - 1)).to_bytes(16, "little") + b"N" for i in range(9, 50_000)
    )
    for what, content, says in [
        ("100,000 nested tuples", b"N" + b"\x85" * 100_000 + b".", "nested too deeply"),
        ("100,000 nested lists", b"]" * 100_000 + b"a" * 99_999 + b".", "nested too deeply"),
        ("a billion laughs", b"]Na\x94" + levels + b".", "nested too deeply"),
        ("a billion laughs as a key", b"N\x940" + doubled + b"}h<Ns.", "tuple as a dictionary key"),
        ("a deep key", b"}N" + b"\x85" * 200_000 + b"Ns.", "tuple as a dictionary key"),
        ("keys of one hash", b"}(" + hashes + b"u.", "a large int as a dictionary key"),
        ("a number of 2 GB", b"\x8b\xff\xff\xff\x7f\1", "an integer of 2147483647 bytes"),
        ("a number of 3,000 digits", b"L" + b"9" * 3000 + b"L\n.", "a malformed line: 999"),
        ("2^60 bytes", b"\x8e%b" % struct.pack("<Q", 1 << 60), "truncated: 1152921504606846976"),
        ("a text of 2^60", b"\x8d%b" % struct.pack("<Q", 1 << 60), "truncated: 1152921504606846"),
        ("4 GB of text", b"X\xff\xff\xff\xffabc", "truncated: 4294967295 bytes should follow"),
        ("an endless line", b"c" + b"a" * 1_000_000, "has no end"),
    ]:
        yield what, b"\x80\x04" + content, says
    large = "the header describes more than any checkpoint has"
    strings = b",".join(b'"%d":""' % i for i in range(400_000))
    for what, header, says in [
        ("many lists in JSON", b'{"a":[%b1]}' % (b"[]," * 1_000_000), large),
        ("many strings in JSON", b'{"a":{%b}}' % strings, large),
        ("wide text in JSON", b'{"a":"%b\xf0\x9f\x98\x80"}' % (b"a" * (12 << 20)), large),
        ("escaped wide text", b'{"a":"%b\\ud83d\\ude00"}' % (b"a" * (15 << 20)), "a: malformed"),
        ("a long key in JSON", b'{"%b":1}' % (b"a " * (7 << 20)), "malformed entry in the header"),
        ("a deep header", b'{"a":' + b"[" * 250_000, "its header is not JSON"),
        ("a large header", b'{"a":1}'.ljust(17 << 20), "expected at most 16777216"),
    ]:
        yield what, file_bytes(header), says


def broken() -> Files:
    """Files whose parts contradict each other."""
    whole = zip_file({"w": tensor("0", ONES)})
    for cut in (1, 22, 60, 99, 150, 300, 700, len(whole) - 100, len(whole) - 10):
        yield f"a zip archive without its last {cut} bytes", whole[:-cut], "truncated: "
    members = {f"a/{name}": data for name, data in zip_members({"w": tensor("0", ONES)}).items()}
    packed = zlib.compress(bytes(1 << 24))[2:-4]
    sizes = {"method": 8, "packed": len(packed), "size": 1 << 24}
    bomb = archive({**members, "a/data.pkl": packed}, sizes, sizes)
    yield "a zip bomb", bomb, "a/data.pkl: compressed in the zip archive"
    for what, entry, says in [
        ("another size", {"size": 1 << 20}, "malformed directory"),
        ("a size beyond the end", {"size": 1 << 30, "packed": 1 << 30}, "truncated: "),
        ("all of the file", {"size": 1100, "packed": 1100}, "overlaps what follows"),
        ("a key", {"flags": 1}, "encrypted"),
    ]:
        yield f"a member with {what}", archive(members, entry), says
    end = whole.rindex(b"PK\6\6") + 24
    counts = struct.pack("<2Q", 1 << 40, 1 << 40)
    forty = whole[:end] + counts + whole[end + 16 :]
    forty = forty[:-14] + b"\xff\xff\xff\xff" + forty[-10:]
    yield "2^40 members", forty, "a zip archive of 1099511627776 members"
    for offset, shape, strides in [
        (-1, (1,), (1,)),
        (2**63 - 1, (1,), (1,)),
        (0, (2**40, 2**40), (0, 0)),
        (0, (2**32, 2**32), (1, 1)),
        (0, (10**6,), (0,)),
        (0, (2, 2), (2**62, 2**62)),
        (0, (2, 2), (-1, 1)),
        (1, (4,), (1,)),
        (0, (1,) * 65, (1,) * 65),
    ]:
        value = {"w": view(storage("0", ONES), offset, shape, strides)}
        what = f"a view of {shape[:2]} at {offset} by {strides[:2]}"
        yield what, zip_file(value), "w: "
        yield f"{what} in a legacy file", legacy_file(value), "w: "
    for identity in (b"N", b")", b"(X\7\0\0\0storageNNNNt", b"(X\7\0\0\0storageca\nB\nN]Nt"):
        content = archive({"a/data.pkl": b"\x80\x02" + identity + b"Q."})
        yield f"a storage called {len(identity)}", content, "a malformed id of a storage"
    yield "a storage by a path", b"(P../../etc/passwd\n.", "a reference to something outside"
    complex_tensor = zip_file({"w": tensor("0", ONES, "ComplexDoubleStorage")})
    yield "complex numbers", complex_tensor, "w: dtype torch.ComplexDoubleStorage is not supported"
    yield "an array of objects", pickle.dumps({"w": np.array([Running()], object)}, 4), "eval;"
    for shape, order in [
        ((9,), b"\x89"),
        ((1,), b"\x89"),
        ((2**31, 2**31, 2**31), b"\x89"),
        ((-8,), b"\x89"),
        ((2**40, 0), b"\x88"),
        ((4, 4), b"\x88"),
    ]:
        content = array_of(shape, order, b"f4", bytes(32))
        yield f"32 bytes for an array of {shape} {order!r}", content, "w: "
    for kind in (b"O8", b"V4", b"f4,f4", b"(8,)f4", b"U1", b"m8", b"object"):
        yield f"an array of {kind!r}", array_of((8,), b"\x89", kind, bytes(32)), "w: NumPy dtype"
    fields = array_of((8,), b"\x89", b"V4", bytes(32)).replace(b"NNNJ", b"N(X\1\0\0\0at}J")
    yield "an array of records", fields, "a structured dtype"
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    other = {**entry, "data_offsets": [4, 12]}
    yield "overlapping tensors", file_bytes({"a": entry, "b": other}, bytes(12)), "overlap"
    yield "2^60 bytes of header", struct.pack("<Q", 1 << 60) + b'{"a":1}', "the header should have"
    objects = file_bytes({"a": {**entry, "dtype": "O8"}}, bytes(8))
    yield "objects in safetensors", objects, "dtype O8 is not supported"
    twice = json.dumps({"a": entry})[:-1] + f', "a": {json.dumps(entry)}}}'
    yield "a key twice", file_bytes(twice.encode(), bytes(8)), "the header has a key twice"


class Running:
    """Unpickles by running code."""

    def __reduce__(self):
        return eval, (CODE,)


def array_of(shape: tuple, order: bytes, kind: bytes, content: bytes) -> bytes:
    """A `.pdparams` file with one array, whether or not its parts agree."""
    return (
        b"\x80\x04}\x8c\1wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R(K\1"
        + pickle.dumps(shape, 2)[2:-1]
        + b"cnumpy\ndtype\n\x8c%c%b\x89\x88\x87R" % (len(kind), kind)
        + b"(K\3\x8c\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        + order
        + b"B%b%btbs." % (struct.pack("<I", len(content)), content)
    )


def write_all(folder: Path) -> dict[str, tuple[str, str]]:
    """Write every file; its name -> what it is, and a part of its error."""
    expected = {}
    for number, (what, content, says) in enumerate([*running(), *bombs(), *broken()]):
        (folder / f"{number}.ckpt").write_bytes(content)
        expected[f"{number}.ckpt"] = what, says
    return expected

"""Pickles that would run something, built by hand: none of them is ever loaded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

PLAIN = b"cposix\nsystem\n(S'true'\ntR."
SAFE = pickle.dumps({"a": [1, 2.0, "x"]}, protocol=4)


def call(module: str, name: str, *args: object) -> bytes:
    """A protocol 4 pickle that calls `module.name(*args)`."""
    body = b"\x80\x04" + _text(module) + _text(name) + b"\x93"
    return body + pickle.dumps(args, protocol=4)[11:-1].replace(b"\x94", b"") + b"R." if args else body + b")R."


def old(module: str, name: str, argument: str = "true") -> bytes:
    """The same in protocol 0."""
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


def _text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    """A tar archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def linked() -> bytes:
    """A tar archive with a link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("model.pkl")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return made.getvalue()


def wrong_sum(data: bytes) -> bytes:
    """A zip whose checksums are wrong, which some readers do not look at."""
    return data.replace(struct.pack("<I", zlib.crc32(PLAIN)), b"\0\0\0\0")


def flagged(data: bytes) -> bytes:
    """A zip that says that it is encrypted and is not."""
    raw = bytearray(data)
    raw[6] |= 1
    raw[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


def renamed(data: bytes) -> bytes:
    """A zip whose local header says another name than its directory."""
    return data.replace(b"model.pkl", b"readme.md", 1)


def object_array() -> bytes:
    """An `.npy` file whose content is a pickle."""
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return made.getvalue() + PLAIN


def joblib_array(raw: bytes = PLAIN) -> bytes:
    """A joblib pickle of an array whose bytes are `raw`, right behind the wrapper: any other unpickler runs them."""
    import joblib

    made = io.BytesIO()
    joblib.dump(np.frombuffer(b"\x01" * len(raw), dtype=np.uint8), made, protocol=2)
    before, after = made.getvalue().split(b"\x01" * len(raw))
    padding = before[before.rindex(b"ub") + 2 :]
    assert padding[0] == len(padding) - 1
    return before.removesuffix(padding).replace(b"K\x10", b"N") + raw + after


def torch_zip(content: bytes, extra: Mapping[str, bytes] | None = None) -> bytes:
    """A file laid out like PyTorch's."""
    return zipped(
        {"archive/data.pkl": content, "archive/version": b"3\n", "archive/data/0": b"\0" * 8, **(extra or {})}
    )


def deep(levels: int) -> bytes:
    """gzip in gzip in gzip."""
    data = SAFE
    for _ in range(levels):
        data = gzip.compress(data)
    return data


_FUNCTIONS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("builtins", "type"),
    ("builtins", "object.__reduce__"),
    ("numpy", "f2py.crackfortran.myeval"),
    ("numpy.f2py.crackfortran", "getlincoef"),
    ("numpy.testing._private.utils", "runstring"),
    ("torch.hub", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch._utils", "_import_dotted_name"),
    ("torch.utils.bottleneck.__main__", "run_cprofile"),
    ("pip", "main"),
    ("pip._internal", "main"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("importlib", "import_module"),
    ("runpy", "_run_code"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("joblib", "load"),
    ("cloudpickle.cloudpickle", "_make_function"),
    ("dill._dill", "_create_code"),
    ("types", "FunctionType"),
    ("types", "CodeType"),
    ("marshal", "loads"),
    ("ctypes", "CDLL"),
    ("socket", "create_connection"),
    ("webbrowser", "open"),
    ("urllib.request", "urlopen"),
    ("shutil", "rmtree"),
    ("pathlib", "Path"),
    ("logging.config", "fileConfig"),
    ("timeit", "timeit"),
    ("cProfile", "run"),
    ("pdb", "run"),
    ("doctest", "debug_script"),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("distutils.file_util", "write_file"),
    ("idlelib.run", "Executive.runcode"),
    ("ensurepip", "_run_pip"),
    ("pydoc", "pipepager"),
    ("venv", "create"),
    ("trace", "Trace.run"),
    ("sklearn.utils.validation", "joblib.load"),
    ("sklearn.datasets", "fetch_openml"),
    ("collections", "abc.sys.modules"),
    ("_codecs", "lookup"),
    ("code", "InteractiveInterpreter.runcode"),
    ("commands", "getoutput"),
]
_NESTED = pickle.dumps([b"x" * 10, PLAIN.replace(b"S'true'", b"Vtrue")], protocol=4)
_STATE = b"\x80\x04" + _text("collections") + _text("OrderedDict") + b"\x93"

BOMBS: dict[str, bytes] = {
    **{f"{module}.{name}": call(module, name, "true") for module, name in _FUNCTIONS},
    **{f"protocol 0 {module}.{name}": old(module, name) for module, name in _FUNCTIONS[:6]},
    "a module of Python 2": old("__builtin__", "eval"),
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ of a name that is no class": b"\x80\x04" + _text("os") + _text("system") + b"\x93)\x81.",
    "NEWOBJ of a function on the list": b"\x80\x04" + _text("_codecs") + _text("encode") + b"\x93)\x81.",
    "EXT1": b"\x80\x02\x82\x01)R.",
    "EXT2": b"\x80\x02\x83\x01\x00)R.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00)R.",
    "a persistent id": b"\x80\x02" + _text("os.system") + b"Q.",
    "a persistent id on a line": b"Pos.system\n.",
    "a name from the memo": b"\x80\x04"
    + _text("os")
    + b"\x94"
    + _text("system")
    + b"\x94h\x00h\x01\x93"
    + b"\x8c\x02id\x85R.",
    "a name made by another call": b"\x80\x04"
    + _text("os")
    + _text("builtins")
    + _text("str")
    + b"\x93"
    + _text("system")
    + b"\x85R\x93)R.",
    "a name hidden by POP": _text("x") + b"0" + PLAIN,
    "a call of a result": b"\x80\x04" + _text("collections") + _text("OrderedDict") + b"\x93)R)R.",
    "a name with a space": b"cos system\nx\n)R.",
    "a name behind a broken opcode": PLAIN[:-1] + b"\xff",
    "BUILD on a class": _STATE + b"N}" + _text("update") + _text("os") + _text("system") + b"\x93s\x86b.",
    "BUILD on a class, only names on the list": _STATE + b"N}" + _text("x") + b"Ks\x86b.".replace(b"Ks", b"K\x01s"),
    "_codecs.encode with another codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.",
    "_reconstructor with another base": b"ccopy_reg\n_reconstructor\n"
    b"(ccollections\nOrderedDict\nc__builtin__\ndict\n}tR.",
    "a class that may not be called": b"\x80\x04"
    + _text("joblib.numpy_pickle")
    + _text("NumpyArrayWrapper")
    + b"\x93)R.",
    "a pickle in a pickle": _NESTED,
    "a gzipped pickle in a pickle": pickle.dumps([gzip.compress(PLAIN)], protocol=4),
    "an appended pickle": SAFE + PLAIN,
    "an appended archive": SAFE + zipped({"archive/data.pkl": PLAIN}),
    "trailing bytes": SAFE + b"\0",
    "truncated": SAFE[:-3],
    "empty": b"",
    "an unknown opcode": b"\x80\x04\xfe.",
    "protocol 9": b"\x80\x09N.",
    "an empty stack": b"\x80\x04R.",
    "a buffer from outside": b"\x80\x05\x97.",
    "gzip": gzip.compress(PLAIN),
    "bzip2": bz2.compress(PLAIN),
    "xz": lzma.compress(PLAIN),
    "lzma": lzma.compress(PLAIN, lzma.FORMAT_ALONE),
    "zlib": zlib.compress(PLAIN),
    "compressed twice": gzip.compress(lzma.compress(PLAIN)),
    "the second stream of two": gzip.compress(SAFE) + gzip.compress(PLAIN),
    "bytes behind gzip": gzip.compress(SAFE) + b"x",
    "truncated gzip": gzip.compress(SAFE)[:-4],
    "too deep": deep(9),
    "7z": b"7z\xbc\xaf\x27\x1c" + PLAIN,
    "Zstandard": b"\x28\xb5\x2f\xfd" + PLAIN,
    "LZ4": b"\x04\x22\x4d\x18" + PLAIN,
    "zip": zipped({"model.pkl": PLAIN}),
    "zip, deflated": zipped({"model.pkl": PLAIN}, method=zipfile.ZIP_DEFLATED),
    "zip, under another name": zipped({"weights.bin": call("os", "system", "true")}),
    "zip, protocol 0 under another name": zipped({"weights.txt": PLAIN}),
    "zip in zip": zipped({"inner": zipped({"model.pkl": PLAIN})}),
    "zip with wrong checksums": wrong_sum(zipped({"model.pkl": PLAIN})),
    "zip with a false encryption flag": flagged(zipped({"model.pkl": PLAIN})),
    "zip with two names for one file": renamed(zipped({"model.pkl": SAFE})),
    "zip behind something": b"x" + zipped({"model.pkl": SAFE}),
    "zip before something": zipped({"model.pkl": SAFE}) + b"x",
    "two zips": zipped({"model.pkl": PLAIN}) + zipped({"model.pkl": SAFE}),
    "tar": tarred("model.pkl", PLAIN),
    "tar whose name is a pickle": tarred("cos\nsystem\n(S'true'\ntR.", b"x"),
    "tar with a link": linked(),
    "tar before something": tarred("model.pkl", SAFE) + b"x",
    "npy of objects": object_array(),
    "npz of objects": zipped({"a.npy": object_array()}),
    "npy with more than it says": object_array().replace(b"'|O'", b"'<i8'") + b"x" * 90,
    "joblib: an array that another unpickler executes": joblib_array(),
    "PyTorch": torch_zip(PLAIN),
    "PyTorch: a storage of another kind": torch_zip(b"\x80\x02X\x07\x00\x00\x00storageq\x00\x85Q."),
    "PyTorch: code": torch_zip(SAFE, {"archive/code/__torch__.py": b"import os"}),
    "PyTorch: a pickle beside it": torch_zip(SAFE, {"archive/extra": call("os", "system", "true")}),
    "no pickle at all": b"tree\nversion=v4\n",
}

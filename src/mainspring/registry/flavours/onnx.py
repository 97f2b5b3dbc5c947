"""ONNX: a graph of standard operators and its numbers, run by ONNX Runtime.

Refused are numbers kept outside the model, which would be read from a path that the model names, and operators of no
standard domain. Task and classes are read from the graph; where it does not say, the model's metadata may:
`mainspring.task` ("binary", "multiclass", "regression") and `mainspring.classes` (a JSON list).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from mainspring.core.errors import Corrupt, Invalid, Refused
from mainspring.registry.flavours import Scorer, Trait, imported, made_by
from mainspring.registry.model import Label

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NAME = "onnx"
FILE = "model.onnx"
PACKAGES = ("onnxruntime", "onnx", "numpy")
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_CLASSES = ("classlabels_int64s", "classlabels_ints", "classlabels_strings", "classlabels_string")
_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


class Graph:
    """A checked model: its bytes, what its metadata says and the classes its operators name."""

    def __init__(self, data: bytes) -> None:
        onnx = imported("onnx", "onnx")
        runtime = imported("onnxruntime", "onnx")
        try:
            proto = onnx.load_model_from_string(data)
        except Exception as reason:  # noqa: BLE001 - the error of protobuf is a class of a private module
            raise Corrupt(f"not an ONNX model: {type(reason).__name__}", where=FILE) from None
        _check(proto)
        self.data = data
        self.said = {entry.key: entry.value for entry in proto.metadata_props}
        self.named = _named_classes(proto)
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads give their core back
        try:
            self.session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as reason:  # noqa: BLE001 - its errors are classes of a private module
            raise Corrupt(f"ONNX Runtime can't read it: {str(reason)[:300]}", where=FILE) from None


def handles(model: object) -> bool:
    """Whether it is an ONNX model in memory."""
    return isinstance(model, Graph) or (made_by(model, "onnx") and type(model).__name__ == "ModelProto")


def recognises(data: bytes) -> bool:
    """Whether it starts like an ONNX model: the version of the format, then the producer or what it imports."""
    return len(data) > 16 and data[0] == 0x08 and 3 <= data[1] <= 32 and data[2] in (0x12, 0x3A, 0x42)


def trait(model: object) -> Trait:
    """Task and classes from metadata or the outputs; columns by name when there is one input for each."""
    graph = _graph(model)
    outputs = graph.session.get_outputs()
    task = graph.said.get("mainspring.task", "")
    classes = graph.said.get("mainspring.classes", "")
    named = cast("tuple[Label, ...]", tuple(json.loads(classes)) if classes else graph.named)
    width = _width(outputs)
    if not task:
        task = "regression" if width == 1 and not named else "multiclass" if len(named) > 2 or width > 2 else "binary"
    if task not in ("binary", "multiclass", "regression"):
        raise Invalid(f"the metadata says task {task!r}", where=NAME, hint="binary, multiclass or regression")
    if task != "regression" and not named:
        named = tuple(range(width if task == "multiclass" else 2))
    inputs = graph.session.get_inputs()
    names = tuple(entry.name for entry in inputs) if len(inputs) > 1 or _is_column(inputs[0]) else ()
    return Trait(task, named if task != "regression" else (), names, wants_frame=bool(names))


def dump(model: object) -> bytes:
    """The bytes of the model."""
    return _graph(model).data


def read(data: bytes) -> object:
    """A checked model from its bytes."""
    return Graph(data)


def scorer(model: object, trait: Trait) -> Scorer:
    """Score with a session of ONNX Runtime."""
    return _SessionScorer(_graph(model).session, trait)


class _SessionScorer:
    waits = False

    def __init__(self, session: Any, trait: Trait) -> None:
        self._session = session
        self._trait = trait
        self._inputs = [(entry.name, _dtype(entry)) for entry in session.get_inputs()]
        self._output = _score_output(session.get_outputs()).name

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One run of the session."""
        feed = self._frame(inputs) if self._trait.wants_frame else self._matrix(inputs)
        (answer,) = self._session.run([self._output], feed)
        return _scores(answer, self._trait)

    def _matrix(self, inputs: NDArray[np.float64] | pl.DataFrame) -> dict[str, object]:
        import numpy as np

        name, dtype = self._inputs[0]
        return {name: np.ascontiguousarray(inputs, dtype=dtype)}

    def _frame(self, inputs: NDArray[np.float64] | pl.DataFrame) -> dict[str, object]:
        frame = cast("pl.DataFrame", inputs)
        return {
            name: (frame[name].fill_null("") if dtype == "object" else frame[name])
            .to_numpy()
            .astype(dtype)
            .reshape(-1, 1)
            for name, dtype in self._inputs
        }


def _scores(answer: object, trait: Trait) -> NDArray[np.float64]:
    import numpy as np

    if isinstance(answer, list):  # a map for each row, from class to probability
        rows = cast("list[Mapping[Label, float]]", answer)
        found = np.array([[row[label] for label in trait.classes] for row in rows], dtype=np.float64)
    else:
        found = np.asarray(answer, dtype=np.float64)
    if trait.task == "binary" and found.ndim == 2 and found.shape[1] == 2:
        return found[:, 1]
    return found if trait.task == "multiclass" else found.reshape(len(found))


def _graph(model: object) -> Graph:
    return model if isinstance(model, Graph) else Graph(cast(bytes, model.SerializeToString()))  # type: ignore[attr-defined]


def _check(proto: Any) -> None:
    external = imported("onnx", "onnx").TensorProto.EXTERNAL
    for graph in _graphs(proto):
        for tensor in _tensors(graph):
            if tensor.data_location == external or tensor.external_data:
                hint = "save it with onnx.save_model(model, path, save_as_external_data=False)"
                raise Refused("the model reads numbers from another file", where=tensor.name[:100], hint=hint)
        for node in graph.node:
            if node.domain not in _DOMAINS:
                known = "only standard operators run here"
                raise Refused(
                    f"operator {node.op_type[:100]} is of domain {node.domain[:100]!r}", where=NAME, hint=known
                )


def _graphs(proto: Any) -> Iterator[Any]:
    """The graph, those inside its nodes, and functions; each has nodes."""
    waiting = [proto.graph, *proto.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += list(attribute.graphs)


def _tensors(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
    for name in ("initializer", "sparse_initializer"):
        for tensor in getattr(graph, name, ()):
            yield from (tensor.values, tensor.indices) if name.startswith("sparse") else (tensor,)


def _named_classes(proto: Any) -> tuple[Label, ...]:
    for node in reversed(proto.graph.node):
        for attribute in node.attribute:
            if attribute.name in _CLASSES:
                found = list(attribute.ints) or [text.decode() for text in attribute.strings]
                if found:
                    return tuple(found)
    return ()


def _score_output(outputs: Any) -> Any:
    """The output with the scores: the last that is not the label."""
    floats = [entry for entry in outputs if "float" in entry.type or "double" in entry.type]
    if not floats:
        raise Invalid("the model gives no numbers", where=NAME, hint="export it with its probabilities")
    return floats[-1]


def _width(outputs: Any) -> int:
    shape = _score_output(outputs).shape
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 1


def _is_column(entry: Any) -> bool:
    return len(entry.shape) == 1 or (len(entry.shape) == 2 and entry.shape[1] == 1)


def _dtype(entry: Any) -> str:
    if entry.type not in _TYPES:
        raise Invalid(f"input {entry.name} is a {entry.type}", where=NAME, hint="numbers, booleans or text")
    return _TYPES[entry.type]

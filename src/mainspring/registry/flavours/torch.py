"""PyTorch: weights as safetensors, and a declaration of the class they belong to. No pickle and no code in the file.

Layers of `torch.nn` and sequences of them are rebuilt from their settings. A class of one's own is imported from where
it is installed; the digest of its source is part of the declaration, so a class that has changed is refused unloaded.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mainspring.core.canonical import digest
from mainspring.core.errors import Corrupt, Invalid, Refused
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Scorer, Trait, imported
from mainspring.registry.model import Label

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NAME = "torch"
FILE = "model.safetensors"
PACKAGES = ("torch", "safetensors", "numpy")
_KEY = "mainspring"
_OWN = "torch.nn.modules."
_SEQUENCE = "torch.nn.modules.container:Sequential"
_MOST_HEADER = 100_000_000
_NOT_SETTINGS = ("self", "device", "dtype")


@dataclass(frozen=True, slots=True)
class Network:
    """A module of PyTorch as a model.

    Args:
        module: A `torch.nn.Module` of numbers to numbers: (rows, columns) to (rows,), (rows, 1) or (rows, classes).
        task: "binary", "multiclass" or "regression".
        classes: Labels in the order of the scores; empty for regression.
        gives: What the module gives: "logits" or "probabilities"; for regression the number itself.
        arguments: What a class of one's own was made with; found from attributes of the same names when absent.
    """

    module: Any
    task: str = "regression"
    classes: tuple[Label, ...] = ()
    gives: Literal["logits", "probabilities"] = "logits"
    arguments: Mapping[str, object] = field(default_factory=dict)


def handles(model: object) -> bool:
    """Whether it is a `Network`, or a bare module (which says too little to be kept)."""
    return isinstance(model, Network) or any(
        f"{kind.__module__}.{kind.__qualname__}" == "torch.nn.modules.module.Module" for kind in type(model).__mro__
    )


def recognises(data: bytes) -> bool:
    """Whether it is safetensors: the length of a JSON header, then the header."""
    return len(data) > 10 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def trait(model: object) -> Trait:
    """What the network was said to do."""
    network = _network(model)
    expected = {"regression": (0,), "binary": (2,)}.get(network.task, range(3, 100_000))
    if network.task not in ("binary", "multiclass", "regression") or len(network.classes) not in expected:
        what = f"task {network.task!r} with {len(network.classes)} classes"
        raise Invalid(what, where=NAME, hint='Network(module, task="binary", classes=(0, 1))')
    return Trait(task=network.task, classes=network.classes)


def dump(model: object) -> bytes:
    """Weights, and the declaration in the metadata of the file."""
    torch = imported("torch", "torch")
    network = _network(model)
    about = {
        "task": network.task,
        "classes": list(network.classes),
        "gives": network.gives,
        "network": _declared(network.module, network.arguments),
    }
    weights = dict(network.module.state_dict())
    strange = next((name for name, value in weights.items() if not isinstance(value, torch.Tensor)), "")
    if strange:
        raise Refused(f"the state {strange!r} is no tensor", where=NAME, hint="keep only tensors in the state")
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    return cast(bytes, imported("safetensors.torch", "torch").save(tensors, {_KEY: text}))


def read(data: bytes) -> object:
    """The network of a file, in the mode for answering."""
    imported("torch", "torch")
    try:
        about = json.loads(_header(data)["__metadata__"][_KEY])
        tensors = imported("safetensors.torch", "torch").load(data)
        declared, arguments = about["network"], about["network"].get("arguments", {})
        network = Network(_built(declared), about["task"], tuple(about["classes"]), about["gives"], arguments)
        network.module.load_state_dict(tensors)
    except (Refused, Corrupt, Invalid):
        raise
    except Exception as reason:  # noqa: BLE001 - the errors of safetensors and of any constructor
        raise Corrupt(f"not a packaged network: {type(reason).__name__}: {reason}"[:500], where=FILE) from None
    network.module.eval()
    return network


def scorer(model: object, trait: Trait) -> Scorer:
    """Score with the module."""
    network = _network(model)
    network.module.eval()
    return _NetworkScorer(network, imported("torch", "torch"))


class _NetworkScorer:
    def __init__(self, network: Network, torch: Any) -> None:
        self._network = network
        self._torch = torch
        kinds = [value.dtype for value in network.module.parameters() if value.is_floating_point()]
        self._dtype = kinds[0] if kinds else torch.float32

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One forward pass without gradients."""
        import numpy as np

        torch, network = self._torch, self._network
        with torch.inference_mode():
            rows = torch.from_numpy(np.array(inputs, dtype=np.float64)).to(self._dtype)
            answer = network.module(rows)
            if network.task == "regression":
                answer = answer.reshape(len(rows))
            elif answer.ndim == 2 and answer.shape[1] > 1:
                answer = torch.softmax(answer, dim=1) if network.gives == "logits" else answer
                answer = answer[:, 1] if network.task == "binary" else answer
            else:
                answer = torch.sigmoid(answer) if network.gives == "logits" else answer
                answer = answer.reshape(len(rows))
            return cast("NDArray[np.float64]", answer.to(torch.float64).numpy())


def _network(model: object) -> Network:
    if isinstance(model, Network):
        return model
    hint = 'register Network(module, task="binary", classes=(0, 1)) of mainspring.registry.flavours.torch'
    raise Invalid("a bare module does not say what its numbers mean", where=NAME, hint=hint)


def _header(data: bytes) -> dict[str, dict[str, str]]:
    size = int.from_bytes(data[:8], "little")
    if not recognises(data) or size > _MOST_HEADER:
        raise Corrupt("not safetensors", where=FILE, hint="register a Network")
    return cast("dict[str, dict[str, str]]", json.loads(data[8 : 8 + size]))


def _declared(module: Any, arguments: Mapping[str, object]) -> dict[str, object]:
    kind = type(module)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if name == _SEQUENCE:
        return {"class": name, "parts": [_declared(part, {}) for part in module]}
    declared: dict[str, object] = {"class": name, "arguments": dict(arguments) or _settings(module)}
    if not kind.__module__.startswith(_OWN):
        declared["source"] = _source(kind.__module__)
    return declared


def _settings(module: Any) -> dict[str, object]:
    """What a layer was made with, from its attributes. The round trip of packaging says whether that was right."""
    found: dict[str, object] = {}
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name in _NOT_SETTINGS or name.startswith("_") or parameter.kind in (parameter.VAR_KEYWORD,):
            continue
        value = getattr(module, name, parameter.default)
        if name == "bias" and not isinstance(value, (bool, str)):
            value = value is not None
        if value is parameter.empty or not _is_plain(value):
            hint = "Network(module, arguments={...}) with what its class was made with, plain values only"
            raise Invalid(f"a {type(module).__name__} does not say its {name!r}", where=NAME, hint=hint)
        found[name] = value
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _built(declared: Mapping[str, Any]) -> Any:
    """A module of the declared class. Its source is checked before anything of it is imported."""
    from mainspring.registry.pickles.allowed import use_of

    nn = imported("torch.nn", "torch")
    module, _, name = str(declared["class"]).partition(":")
    if declared["class"] == _SEQUENCE:
        return nn.Sequential(*map(_built, declared["parts"]))
    if module.startswith(_OWN):
        if use_of(module, name) is None:
            raise Refused(f"{name[:100]} is no layer that is rebuilt here", where=NAME, hint="use layers of torch.nn")
    elif _source(module) != declared.get("source"):
        hint = "install the version of the code that the model was registered with, or register it again"
        raise Refused(f"the class {name[:100]} has changed since the model was registered", where=module, hint=hint)
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise Refused(f"{name[:100]} is no torch.nn.Module", where=module)
    return found(**declared["arguments"])


def _source(module: str) -> str:
    """The digest of a module's source file."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if module == "__main__" or spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        hint = "put the class into a module that is installed here, or package a PythonFunction"
        raise Refused(f"the module {module[:100]!r} has no source here", where=NAME, hint=hint)
    return digest(Path(spec.origin).read_bytes())

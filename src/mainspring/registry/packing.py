"""Packages of model files that come from elsewhere, made in a process of their own.

Formats that are data run nobody's code, but the libraries that read them trust what they read: of a file in which bytes
were changed on their way, lengths and places in memory are wrong, and the process that reads it may crash, hang or ask
for all memory there is. So it is not the one that keeps models: what is read, asked and packed here is a child, with
limits on time and memory. Once a package is kept its bytes have a digest, and nothing is read that does not have it.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Corrupt, MainspringError
from mainspring.engines import Ask, Message, Outcome, OutcomeState, ProcessEngine, Task
from mainspring.engines.port import describe_exit
from mainspring.pipelines.worker import Watching
from mainspring.registry.importance import with_importance
from mainspring.registry.manifests import MANIFEST, Manifest
from mainspring.registry.model import Signature
from mainspring.registry.packages import EXAMPLE, Package, build, check_file, example_of, open_file

if TYPE_CHECKING:
    import polars as pl

ENTRY = "mainspring.registry.packing:pack_in_child"
SECONDS = 120.0
"""How long a small file may take, to read it twice and ask it the example."""
MEMORY = 4 * 1024**3
"""Bytes that reading a small file may take."""
_BYTES_A_SECOND = 1_000_000  # of large ones
_BYTES_A_BYTE = 16
_HINT = "save the model again, and copy the file whole"
_ROWS, _PACKED = "example.arrow", "package"


def packed(
    file: Path,
    example: pl.DataFrame,
    *,
    signature: Signature | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    importance: Mapping[str, float] | None = None,
    where: str = "",
) -> Package:
    """The package of the model in a file, which this process does not read.

    Args:
        file: Of a known format.
        example: Some rows of its inputs.
        signature: Its inputs and outputs; found from the example when absent.
        levels: For each encoded text column its levels, in the order of their codes.
        importance: How much each input matters; when absent, what the model or the example says.
        where: What errors call the file; "" = its path.
    Returns: The same as `build` and `with_importance` of the model that `open_file` reads.
    Raises:
        NotFound: There is no such file.
        Corrupt: It is damaged: its reader died, or took too long.
        Refused: It is a pickle, or holds types that are not trusted.
        Invalid: It is of no known format, or can't answer the example.
    """
    size = check_file(file)
    with tempfile.TemporaryDirectory(prefix="mainspring-packing-") as place:
        folder = Path(place)
        example.write_ipc(folder / _ROWS)
        payload: Message = {
            "file": str(file.absolute()),
            "folder": place,
            "signature": None if signature is None else signature.plain(),
            "levels": None if levels is None else {name: list(entries) for name, entries in levels.items()},
            "importance": None if importance is None else dict(importance),
            "memory": MEMORY + _BYTES_A_BYTE * size,
        }
        task = Task(entry=ENTRY, payload=payload, folder=folder)
        outcome = ProcessEngine().run(task, Watching(SECONDS + size / _BYTES_A_SECOND))
        if outcome.state is not OutcomeState.FINISHED:
            raise _failure(outcome, where or str(file))
        return _read(folder / _PACKED)


def pack_in_child(payload: Message, ask: Ask) -> Message:
    """Read the file, try the model, and leave its package in the folder."""
    import polars as pl

    most = int(str(payload["memory"]))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    folder = Path(str(payload["folder"]))
    rows = pl.read_ipc(folder / _ROWS)
    signature = None if payload["signature"] is None else Signature.of(payload["signature"])
    levels = cast("dict[str, list[str]] | None", payload["levels"])
    try:
        model = open_file(Path(str(payload["file"])))
        package = build(model, rows, signature=signature, levels=levels)
        package = with_importance(package, model, rows, cast("dict[str, float] | None", payload["importance"]))
    except MainspringError:
        raise
    except Exception as reason:
        said = f"{type(reason).__name__}: {reason}"[:300]
        raise Corrupt(f"the file can't be read: {said}", where=str(payload["file"]), hint=_HINT) from reason
    for name, data in {**package.files, MANIFEST: package.manifest.to_bytes()}.items():
        (folder / _PACKED / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / _PACKED / name).write_bytes(data)
    return {"digest": package.digest}


def _read(folder: Path) -> Package:
    manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    files = {name: (folder / name).read_bytes() for name in manifest.files}
    return Package(manifest, files, example_of(files[EXAMPLE]))


def _failure(outcome: Outcome, where: str) -> MainspringError:
    if outcome.state is OutcomeState.DIED:
        how = describe_exit(outcome.exit_code or 0)
        return Corrupt(f"the file of the model is damaged: its reader {how}", where=where, hint=_HINT)
    if outcome.state is OutcomeState.TIMED_OUT:
        what = f"the file of the model is damaged: its reader was not done after {outcome.seconds:.0f} s"
        return Corrupt(what, where=where, hint=_HINT)
    error = outcome.error
    if error is None:
        return Corrupt("the file of the model can't be read", where=where, hint=_HINT)
    return error

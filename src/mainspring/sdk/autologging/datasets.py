"""What a model was fitted on: shape, columns, label and a digest, of any array or frame, and some rows of it."""

from __future__ import annotations

from typing import Any

_MOST_CELLS = 5_000_000
_MOST_COLUMNS = 1000
_MOST_CLASSES = 50
EXAMPLE_ROWS = 5


def describe(inputs: Any, label: Any = None) -> dict[str, object]:
    """Rows, columns with types, a digest of the content, and what the label looks like.

    The digest is of all cells up to 5 million, beyond that of rows at even distances; `digest_of` says which.
    """
    columns = columns_of(inputs)
    rows = len(next(iter(columns.values()))) if columns else 0
    shown = {name: str(column.dtype) for name, column in list(columns.items())[:_MOST_COLUMNS]}
    found: dict[str, object] = {
        "kind": f"{type(inputs).__module__.partition('.')[0]}.{type(inputs).__name__}",
        "rows": rows,
        "columns": len(columns),
        "types": shown,
    }
    labels = {} if label is None else columns_of(label, "y")
    step = max(1, -(-rows * (len(columns) + len(labels)) // _MOST_CELLS))
    found["digest"] = _digest({**columns, **labels}, step)
    found["digest_of"] = "all rows" if step == 1 else f"every {step}th row"
    if labels:
        found["label"] = _label(next(iter(labels.values())))
    return found


def columns_of(inputs: Any, stem: str = "x") -> dict[str, Any]:
    """Columns of an array or frame by name, as arrays; those of an array without names are counted."""
    import numpy as np

    if hasattr(inputs, "collect"):
        inputs = inputs.collect()
    if hasattr(inputs, "toarray"):
        sparse = inputs.tocsc()
        return {f"{stem}{i}": sparse[:, [i]].toarray()[:, 0] for i in range(min(sparse.shape[1], _MOST_COLUMNS))}
    if hasattr(inputs, "columns") and hasattr(inputs, "to_numpy"):
        return {str(name): np.asarray(inputs[name]) for name in inputs.columns}
    array = np.asarray(inputs)
    if array.ndim < 2:
        return {stem: array.reshape(-1)}
    flat = array.reshape(len(array), -1)
    return {f"{stem}{i}": flat[:, i] for i in range(flat.shape[1])}


def example_of(inputs: Any) -> Any:
    """The first rows as a frame of Polars, the columns of a sparse or nameless array in their order."""
    import polars as pl

    if isinstance(inputs, pl.DataFrame):
        return inputs.head(EXAMPLE_ROWS)
    if hasattr(inputs, "iloc"):
        first = inputs.iloc[:EXAMPLE_ROWS]
        return pl.DataFrame({str(name): first[name].tolist() for name in first.columns}, strict=False)
    columns = columns_of(inputs[:EXAMPLE_ROWS])
    return pl.DataFrame({name: column.tolist() for name, column in columns.items()}, strict=False)


def _digest(columns: dict[str, Any], step: int) -> str:
    from blake3 import blake3

    hasher = blake3()
    for name, column in columns.items():
        taken = column[::step]
        hasher.update(f"{name}\0{taken.dtype}\0{len(column)}\0".encode())
        if taken.dtype.kind in "biufcMm":
            hasher.update(taken.tobytes())
        else:
            hasher.update("\0".join(map(str, taken.tolist())).encode())
    return hasher.hexdigest()[:32]


def _label(column: Any) -> dict[str, object]:
    import numpy as np

    values, counts = np.unique(column.astype(str) if column.dtype.kind == "O" else column, return_counts=True)
    if len(values) <= _MOST_CLASSES:
        return {"classes": dict(zip(map(str, values.tolist()), counts.tolist(), strict=True))}
    if column.dtype.kind not in "iuf":
        return {"distinct": len(values)}
    known = column[np.isfinite(column)]
    return {
        "mean": float(known.mean()),
        "std": float(known.std()),
        "min": float(known.min()),
        "max": float(known.max()),
    }

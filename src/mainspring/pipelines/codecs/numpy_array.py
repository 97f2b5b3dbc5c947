"""NumPy arrays and scalars as .npy; arrays of Python objects are refused."""

from __future__ import annotations

from pathlib import Path

from mainspring.core.errors import Invalid

NAME = "numpy"


def takes(value: object) -> bool:
    """Whether it is an array or a scalar of numpy."""
    kind = type(value)
    return kind.__module__ == "numpy" and hasattr(value, "dtype")


def write(value: object, path: Path) -> None:
    """Write the array.

    Raises:
        Invalid: It holds Python objects.
    """
    import numpy as np

    array = np.asarray(value)
    if array.dtype.hasobject:
        raise Invalid("an array of Python objects cannot be stored", hint="give it a dtype, such as float64 or str")
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read(path: Path) -> object:
    """The array; one without dimensions comes back as a scalar."""
    import numpy as np

    array = np.load(path, allow_pickle=False)
    return array[()] if array.ndim == 0 else array

"""LightGBM boosters as LightGBM's own text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import lightgbm

NAME = "lightgbm"


def takes(value: object) -> bool:
    """Whether it is a Booster."""
    kind = type(value)
    return kind.__module__ == "lightgbm.basic" and kind.__name__ == "Booster"


def write(value: object, path: Path) -> None:
    """Write the model's text, all its trees."""
    text = cast("lightgbm.Booster", value).model_to_string(num_iteration=-1)
    path.write_text(text, encoding="utf-8", newline="\n")


def read(path: Path) -> object:
    """The booster."""
    import lightgbm

    return lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))

"""Whether packages that are here do for a model that was made with others."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.core.errors import Invalid

NOT_PACKAGES = ("python", "platform")
"""What is on record of an environment beside packages."""


def conflict(recorded: Mapping[str, str], present: Mapping[str, str], *, main: str) -> str:
    """Why a model can't be served with the packages that are present; "" when it can.

    Args:
        recorded: Versions of the packages it was made with.
        present: Those that are here.
        main: The package of its format. It has to be of the same major and minor number: what a library keeps over
            those is no promise for fitted models. Others, such as numpy, only have to be there.

    >>> old = {"scikit-learn": "1.6.1", "numpy": "2.1.0"}
    >>> conflict(old, {"scikit-learn": "1.9.0", "numpy": "2.4.0"}, main="scikit-learn")
    'it was made with scikit-learn 1.6.1, here is 1.9.0'
    >>> conflict(old, {"scikit-learn": "1.6.0", "numpy": "2.4.0"}, main="scikit-learn")
    ''
    """
    wanted = pins_of(recorded)
    for name, version in wanted.items():
        if name not in present:
            return f"it was made with {name} {version}, here is none"
    if main in wanted and _line(wanted[main]) != _line(present[main]):
        return f"it was made with {main} {wanted[main]}, here is {present[main]}"
    return ""


def pins_of(recorded: Mapping[str, str]) -> dict[str, str]:
    """The packages of a recorded environment with their versions.

    Raises: Invalid: A name or version that is none, so that it is never taken for an option or address by an installer.
    """
    found = {name: version for name, version in recorded.items() if name not in NOT_PACKAGES}
    for name, version in found.items():
        if not _is_plain(name) or not _is_plain(version) or not version[0].isdigit():
            raise Invalid(f"{name[:60]}=={version[:60]} is no package", where="environment")
    return found


def lock_of(recorded: Mapping[str, str], beside: Mapping[str, str]) -> str:
    """The lines of a lock: the packages on record, and those that our side of the process takes."""
    return "".join(f"{name}=={version}\n" for name, version in sorted({**beside, **pins_of(recorded)}.items()))


def _is_plain(text: str) -> bool:
    return bool(text) and text[0].isalnum() and text.isascii() and all(c.isalnum() or c in "-_.+!" for c in text)


def _line(version: str) -> tuple[str, ...]:
    return tuple(version.split("."))[:2]

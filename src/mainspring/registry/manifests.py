"""What a model package says of itself: its manifest, and the seal that binds it to a model and a number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Corrupt, Invalid
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Trait
from mainspring.registry.model import Signature

MANIFEST = "manifest.json"
FORMAT = 1
"""Of the manifest; one that a release does not know is refused."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Which version a package is: the digest of its manifest, signed with the key of an instance."""

    model: str
    version: int
    digest: str
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a package and how it is read. Models that we did not package may have no signature.

    `notes` is what their own description says beyond that; plain JSON.
    """

    flavour: str
    trait: Trait
    signature: Signature | None
    environment: Mapping[str, str]
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Its canonical bytes."""
        return canonical_json(
            {
                "format": FORMAT,
                "flavour": self.flavour,
                "task": self.trait.task,
                "classes": list(self.trait.classes),
                "wants_frame": self.trait.wants_frame,
                "signature": None if self.signature is None else self.signature.plain(),
                "environment": dict(self.environment),
                "files": {name: {"digest": key, "size": size} for name, (key, size) in self.files.items()},
                **({"notes": dict(self.notes)} if self.notes else {}),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Back from its bytes.

        Raises:
            Corrupt: It is no manifest of a format this release knows.
        """
        try:
            plain = json.loads(data)
            if plain["format"] != FORMAT:
                raise Corrupt(f"manifest format {plain['format']!r}, expected {FORMAT}", where=MANIFEST)
            signature = None if plain["signature"] is None else Signature.of(plain["signature"])
            trait = Trait(
                task=str(plain["task"]),
                classes=tuple(plain["classes"]),
                trained_on=() if signature is None else signature.names,
                wants_frame=bool(plain["wants_frame"]),
            )
            files = {str(name): (str(e["digest"]), int(e["size"])) for name, e in plain["files"].items()}
            for name in files:
                _check_inside(name)
            environment, notes = dict(plain["environment"]), dict(plain.get("notes", {}))
            return cls(str(plain["flavour"]), trait, signature, environment, files, notes)
        except (KeyError, TypeError, ValueError, AttributeError, Invalid) as reason:
            raise Corrupt(f"not a manifest: {reason!r}", where=MANIFEST) from None


def _check_inside(name: str) -> None:
    parts = name.split("/")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise Corrupt(f"a file named {name!r} would lie outside of the package", where=MANIFEST)

"""The values of governance: a model card and the facts on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mainspring.core.values import dataclass


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """An input or output: name, type, and how many levels it knows (0: not a category)."""

    name: str
    dtype: str
    levels: int = 0


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A dataset version the model rests on.

    Args:
        ref: Its reference, `datasets/NAME/NUMBER`.
        role: "training" for the one drift is measured against, else "input".
        rows: Rows that passed its checks; None when the version is not known here.
        quarantined: Rows that did not.
        digest: Digest of the rows.
        profile: Digest of its profile.
        missing: Share of missing values by column, of those that have some.
        columns: How many columns.
    """

    ref: str
    role: str
    rows: int | None = None
    quarantined: int | None = None
    digest: str = ""
    profile: str = ""
    missing: Mapping[str, float] = field(default_factory=dict)
    columns: int = 0


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The run that trained the model; `params` as text, `code` the commit or digest it ran."""

    id: str
    experiment: str = ""
    status: str = ""
    seed: int | None = None
    code: str = ""
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A section that somebody else added, such as a verdict of a gate: plain JSON values."""

    section: str
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContent:
    """All that is on a card. Its canonical JSON is what the card's digest stands for.

    Args:
        model: Name of the model.
        version: Number of the version.
        model_digest: Digest of the package.
        signed_by: Key that signed it.
        registered_at: Epoch microseconds.
        registered_by: On whose behalf.
        task: "binary", "multiclass" or "regression".
        flavour: Format of the package.
        classes: Classes as text.
        size_bytes: Size of the package.
        purpose: What it is for, in the words of a person.
        limitations: What it must not be used for, in the words of a person.
        inputs: What it takes.
        outputs: What it gives.
        metrics: What was measured at training.
        datasets: What it was trained and tested on.
        run: The run that trained it.
        environment: Versions of the packages it needs.
        attachments: Sections added by others, in the order they came.
    """

    model: str
    version: int
    model_digest: str
    signed_by: str
    registered_at: int
    registered_by: str
    task: str
    flavour: str
    classes: tuple[str, ...] = ()
    size_bytes: int = 0
    purpose: str = ""
    limitations: str = ""
    inputs: tuple[FieldFacts, ...] = ()
    outputs: tuple[FieldFacts, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[DatasetFacts, ...] = ()
    run: RunFacts | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One revision of the card of a version.

    Args:
        content: What is on it.
        revision: From 1.
        digest: BLAKE3 of the content's canonical JSON, 64 hex digits.
        created_at: Epoch microseconds.
        actor: On whose behalf it was written.
    """

    content: CardContent
    revision: int
    digest: str
    created_at: int
    actor: str

    @property
    def ref(self) -> str:
        """Reference of the version it is about."""
        return f"models/{self.content.model}/{self.content.version}"

    def markdown(self) -> str:
        """The card as Markdown."""
        from mainspring.governance.rules import markdown

        return markdown(self.content)

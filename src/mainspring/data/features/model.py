"""Values of feature views: what one says, its versions, and what was made of it for lookups."""

from __future__ import annotations

from typing import Literal, get_args

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.expressions import Expression
from mainspring.core.values import dataclass
from mainspring.data.model import Column

MOST_FEATURES = 1_000
"""Features of one view."""
MOST_KEYS = 8
"""Columns that together say which entity a row is about."""
State = Literal["fresh", "expired", "missing"]
"""Of what was found for an entity: a value within its time to live, one beyond it, or none at all."""
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Feature:
    """One value of a feature view.

    Args:
        name: What it is called where it is used.
        expression: How it is computed from the columns of the dataset; "" is the column of that name.
    """

    name: str
    expression: str = ""

    def __post_init__(self) -> None:
        """Raises: Invalid: No name, or no expression."""
        if not self.name.strip() or len(self.name) > 200 or not self.name.isprintable():
            raise Invalid(f"{self.name[:60]!r} names no feature", where="features", hint="use 1 to 200 characters")
        if self.expression:
            Expression(self.expression)

    @classmethod
    def of(cls, text: str) -> Feature:
        """From "NAME" or "NAME=EXPRESSION".

        >>> Feature.of("late=delay > 15")
        Feature(name='late', expression='delay > 15')
        """
        name, _, expression = text.partition("=")
        return cls(name.strip(), expression.strip())

    @property
    def text(self) -> str:
        """As `of` reads it."""
        return f"{self.name}={self.expression}" if self.expression else self.name


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """What a feature view says.

    Args:
        dataset: Whose rows are its facts: a name, for the version that is newest when it is read, or "NAME/VERSION".
        entity: Columns that together say what a row is about.
        time: The column that says when that was so.
        features: The values.
        created: The column that says when it was known; "" is at once.
        ttl_s: So many seconds after its time a value is as good as none; 0 is never.
    Raises:
        Invalid: No entity, no time or no features, a name twice, or a time to live that is none.
    """

    dataset: str
    entity: tuple[str, ...]
    time: str
    features: tuple[Feature, ...]
    created: str = ""
    ttl_s: float = 0.0

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        for what, found, most in (("entity", self.entity, MOST_KEYS), ("features", self.features, MOST_FEATURES)):
            if not 1 <= len(found) <= most:
                raise Invalid(f"{len(found)} columns", where=what, hint=f"give 1 to {most}")
        if not self.time:
            raise Invalid("no column tells when a row was so", where="time", hint="--time COLUMN")
        if not 0 <= self.ttl_s < 1e10:
            raise Invalid(f"a time to live of {self.ttl_s} s", where="ttl_s", hint="use 0 or more; 0 is for ever")
        taken = [*self.entity, self.time, *names]
        for name in taken:
            if taken.count(name) > 1:
                hint = "name a feature otherwise, such as hour_of=hour"
                raise Invalid(f"{name!r} is there twice", where="features", hint=hint)

    @property
    def ttl(self) -> str:
        """How long a value holds, in words; "" is for ever."""
        days = self.ttl_s / 86_400
        return "" if not self.ttl_s else f"{days:g} days" if days >= 2 else f"{self.ttl_s:g} s"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its features."""
        return tuple(feature.name for feature in self.features)

    @property
    def expressions(self) -> dict[str, Expression]:
        """What each feature is computed by, of those that are not just a column."""
        return {one.name: Expression(one.expression) for one in self.features if one.expression}


@dataclass(frozen=True, slots=True)
class FeatureView:
    """An immutable version of a feature view.

    Attributes:
        name: Its name.
        number: From 1, without gaps.
        spec: What it says.
        keys: The columns of its entity with their types.
        columns: Its features with their types.
        digest: BLAKE3 of what it says.
        created_at: When it was added.
    """

    name: str
    number: int
    spec: ViewSpec
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    digest: str
    created_at: int

    @property
    def ref(self) -> str:
        """Its reference, such as `feature-views/carriers/2`."""
        return f"feature-views/{self.name}/{self.number}"

    def check_names(self, wanted: tuple[str, ...]) -> None:
        """Refuse names of features that it does not have.

        Raises: Invalid: One is none.
        """
        for name in wanted:
            if name not in self.spec.names:
                hint = did_you_mean(name, self.spec.names) or "it has " + ", ".join(self.spec.names[:20])
                raise Invalid(f"no feature {name!r}", where=self.ref, hint=hint)


@dataclass(frozen=True, slots=True)
class Materialization:
    """The newest values of a view by entity, made to be looked up.

    Attributes:
        id: Its id.
        view: Name of the view.
        number: Version of the view.
        dataset: Reference of the dataset version whose rows it was made from.
        as_of: What was known then is in it (wall clock, microseconds).
        entities: How many have a value.
        size_bytes: Of the file.
        made_at: When it was made.
    """

    id: str
    view: str
    number: int
    dataset: str
    as_of: int
    entities: int
    size_bytes: int
    made_at: int


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of an entity now.

    Attributes:
        state: "fresh", "expired" or "missing".
        values: By name; all of them missing where the state is not "fresh".
        at: When it was so (microseconds), None of an entity that is missing.
        age_s: How long ago that was, in seconds.
        materialization: Where it was looked up.
    """

    state: State
    values: dict[str, float | str | bool | None]
    at: int | None
    age_s: float | None
    materialization: str

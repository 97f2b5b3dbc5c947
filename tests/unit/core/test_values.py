"""Values behave as dataclasses of the standard library do, in everything a user of them can see."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import InitVar, field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import values

Make = Callable[..., Callable[[type], Any]]
BOTH: list[Make] = [dataclasses.dataclass, values.dataclass]
OPTIONS = [{"slots": slots, "kw_only": kw_only} for slots in (False, True) for kw_only in (False, True)]
T = TypeVar("T")


@values.dataclass(frozen=True, slots=True)
class Kept:
    name: str
    tags: tuple[str, ...] = ()
    note: str = field(default="", compare=False, repr=False)


def both(body: Callable[[Make], Any]) -> tuple[Any, Any]:
    return body(BOTH[0]), body(BOTH[1])


def said(does: Callable[[], object]) -> tuple[str, str]:
    """The kind and the words of what `does` returns or raises."""
    try:
        return "value", repr(does())
    except (TypeError, ValueError, AttributeError) as error:
        return type(error).__name__, str(error)


def point(make: Make, **options: Any) -> Any:
    @make(frozen=True, **options)
    class Point:
        """A point."""

        unit: ClassVar[str] = "m"
        x: int
        y: float = 0.0
        tags: list[str] = field(default_factory=list, compare=False)
        area: float = field(init=False, compare=False)
        secret: str = field(default="s", repr=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "area", self.x * self.y)

    return Point


@pytest.mark.parametrize("options", OPTIONS)
@given(xs=st.lists(st.tuples(st.integers(-2, 2), st.floats(allow_nan=True)), min_size=2, max_size=2))
def test_equality_hash_repr_and_state_are_those_of_the_standard_library(
    options: dict[str, bool], xs: list[tuple[int, float]]
) -> None:
    theirs, ours = both(lambda make: point(make, **options))
    made = [[kind(x=x, y=y, tags=["a"]) for x, y in xs] for kind in (theirs, ours)]
    for old, new in zip(*made, strict=True):
        assert repr(old) == repr(new)
        assert hash(old) == hash(new)
        assert dataclasses.asdict(old).keys() == dataclasses.asdict(new).keys()
        assert repr(dataclasses.astuple(old)) == repr(dataclasses.astuple(new))
        assert new == dataclasses.replace(new, tags=["b"])
        assert new.secret == old.secret
        assert msgspec.json.encode(old) == msgspec.json.encode(new)
    assert (made[0][0] == made[0][1]) == (made[1][0] == made[1][1])
    assert made[0][0] != made[1][0]


@pytest.mark.parametrize("options", OPTIONS)
def test_what_the_standard_library_refuses_is_refused_in_the_same_words(options: dict[str, bool]) -> None:
    theirs, ours = both(lambda make: point(make, **options))
    wrong: list[Callable[[Any], object]] = [
        lambda kind: kind(),
        lambda kind: kind(1, 2, 3, 4, 5, 6),
        lambda kind: kind(x=1, z=2),
        lambda kind: kind(x=1, area=2),
        lambda kind: setattr(kind(x=1), "x", 2),
        lambda kind: delattr(kind(x=1), "x"),
        lambda kind: dataclasses.replace(kind(x=1), area=3),
        lambda kind: kind(x=1) < kind(x=2),
    ]
    for does in wrong:
        old, new = said(lambda does=does: does(theirs)), said(lambda does=does: does(ours))  # type: ignore[misc]
        assert old[0] != "value"
        assert old == new


@pytest.mark.parametrize("options", OPTIONS)
def test_fields_signature_and_shape_are_those_of_the_standard_library(options: dict[str, bool]) -> None:
    theirs, ours = both(lambda make: point(make, **options))
    assert [repr(f) for f in dataclasses.fields(theirs)] == [repr(f) for f in dataclasses.fields(ours)]
    assert str(inspect.signature(theirs)) == str(inspect.signature(ours))
    assert theirs.__match_args__ == ours.__match_args__
    assert getattr(theirs, "__slots__", None) == getattr(ours, "__slots__", None)
    assert theirs.__init__.__qualname__ == ours.__init__.__qualname__
    assert ours.__doc__ == "A point."


def test_a_value_is_copied_pickled_and_read_from_json() -> None:
    kept = Kept("a", ("b",), note="n")
    again = [copy.copy(kept), copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))]
    again += [
        msgspec.json.decode(msgspec.json.encode(kept), type=Kept),
        msgspec.convert(dataclasses.asdict(kept), Kept),
    ]
    for one in again:
        assert one == kept
        assert one.note == "n"
    match kept:
        case Kept(name, tags):
            assert (name, tags) == ("a", ("b",))


def test_the_very_same_object_in_a_field_is_equal_to_itself() -> None:
    def alone(make: Make) -> Any:
        @make(frozen=True)
        class Alone:
            x: float

        return Alone

    nan = float("nan")
    for kind in both(alone):
        assert kind(nan) == kind(nan)
        assert kind(nan) != kind(float("nan"))


def test_methods_that_a_class_has_are_kept() -> None:
    def own(make: Make) -> Any:
        @make(frozen=True, slots=True)
        class Own:
            x: int
            y: int = 0

            def __eq__(self, other: object) -> bool:
                return isinstance(other, type(self)) and self.x == other.x

            def __repr__(self) -> str:
                return f"<{self.x}>"

        return Own

    for kind in both(own):
        assert kind(1, 2) == kind(1, 3)
        assert repr(kind(1)) == "<1>"
        assert hash(kind(1, 2)) == hash((1, 2))

    def hashed(make: Make) -> Any:
        @make(frozen=True)
        class Hashed:
            x: list[int]

            def __hash__(self) -> int:
                return 7

        return Hashed

    for kind in both(hashed):
        assert hash(kind([1])) == 7
        assert kind([1]) == kind([1])


def test_without_eq_a_value_is_equal_to_itself_alone() -> None:
    def single(make: Make) -> Any:
        @make(frozen=True, slots=True, eq=False)
        class Single:
            x: int

        return Single

    for kind in both(single):
        one = kind(1)
        assert one == one
        assert one != kind(1)
        assert len({one, kind(1)}) == 2


def test_fields_are_inherited_in_the_order_of_the_standard_library() -> None:
    def derived(make: Make) -> Any:
        @make(frozen=True, kw_only=True)
        class Fact:
            at: int
            by: str = "nobody"

        @make(frozen=True, kw_only=True)
        class Raised(Fact):
            by: str = "watch"
            why: str

        return Raised

    old, new = both(derived)
    assert repr(old(at=1, why="x")) == repr(new(at=1, why="x"))
    assert str(inspect.signature(old)) == str(inspect.signature(new))
    assert said(lambda: setattr(new(at=1, why="x"), "at", 2)) == said(lambda: setattr(old(at=1, why="x"), "at", 2))

    def slotted(make: Make) -> Any:
        @make(frozen=True, slots=True)
        class Low(Generic[T]):
            low: T

        @make(frozen=True, slots=True)
        class High(Low[T]):
            high: T

        return High

    old, new = both(slotted)
    assert old.__slots__ == new.__slots__ == ("high",)
    assert repr(old(1, 2)) == repr(new(1, 2))
    assert not hasattr(new(1, 2), "__dict__")


@pytest.mark.parametrize("below", BOTH)
@pytest.mark.parametrize("above", BOTH)
def test_frozen_and_open_classes_are_not_mixed(below: Make, above: Make) -> None:
    @below(frozen=True)
    class Low:
        x: int

    @above(frozen=True)
    class High(Low):
        y: int

    made: Any = vars()["High"](1, 2)
    assert repr(made).endswith("High(x=1, y=2)")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.x = 3
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):

        @above()
        class Opened(Low):
            y: int

    @below()
    class Open:
        x: int

    with pytest.raises(TypeError, match="cannot inherit frozen dataclass from a non-frozen one"):

        @above(frozen=True)
        class Closed(Open):
            y: int


def test_wrong_classes_are_refused() -> None:
    def after(make: Make) -> Any:
        @make(frozen=True)
        class After:
            x: int = 0
            y: int

        return After

    def mutable(make: Make) -> Any:
        @make(frozen=True)
        class Mutable:
            x: list[int] = []

        return Mutable

    for body in (after, mutable):
        old, new = (said(partial(body, make)) for make in BOTH)
        assert old[0] == new[0] != "value"
        assert old[1].partition(" argument")[0] == new[1].partition(" argument")[0]

    with pytest.raises(TypeError, match=r"First\.seed: a value has neither InitVar"):

        @values.dataclass(frozen=True)
        class First:
            x: int
            seed: InitVar[int] = 0

    with pytest.raises(TypeError, match=r"Second\.x: a value has neither InitVar nor field"):

        @values.dataclass(frozen=True)
        class Second:
            x: int = field(hash=False)


def test_classes_that_are_not_frozen_or_have_an_order_are_made_by_the_standard_library() -> None:
    @values.dataclass
    class Open:
        x: int

    @values.dataclass(frozen=True, order=True)
    class Rank:
        x: int

    opened = Open(1)
    opened.x = 2
    assert opened == Open(2)
    assert sorted([Rank(2), Rank(1)]) == [Rank(1), Rank(2)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rank(1).x = 2  # type: ignore[misc]


def test_a_value_that_holds_itself_is_shown() -> None:
    @values.dataclass(frozen=True)
    class Loop:
        inner: list[Any]

    loop = Loop([])
    loop.inner.append(loop)
    assert "..." in repr(loop)


def test_a_value_without_docstring_has_none_and_one_without_fields_can_be_made() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Nothing:
        pass

    assert Nothing.__doc__ is None
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    assert repr(Nothing()).endswith("Nothing()")

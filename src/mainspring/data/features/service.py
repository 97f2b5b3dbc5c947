"""The verbs of feature views: add, look up, history, materialize."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mainspring.core.caller import caller
from mainspring.core.canonical import canonical_json
from mainspring.core.canonical import digest as digest_of
from mainspring.core.clock import SECOND_US, Clock
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.core.ids import check_name, new_id
from mainspring.data import records
from mainspring.data.events import FeatureViewAdded, FeatureViewMaterialized
from mainspring.data.features.model import FeatureView, Found, Materialization, ViewSpec
from mainspring.data.model import Column
from mainspring.storage.keyed import KeyedFile, write_keyed

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data.model import DatasetVersion
    from mainspring.data.service import Data
    from mainspring.storage.ports import Journal, Tables

TIME, CREATED = "__time__", "__created__"
"""Names of the times in what `facts` gives, in microseconds."""
_TRIED = 100
_WHOLE = re.compile(r"[+-]?\d{1,19}")


class FeatureViews:
    """Keeps feature views as immutable versions, joins them to rows of the past, and makes what is looked up now.

    Args:
        tables: Where versions are named.
        journal: The event log.
        data: Has the rows.
        clock: Tells the time.
        folder: Where files for lookups are, one for each version of a view.
    """

    def __init__(self, *, tables: Tables, journal: Journal, data: Data, clock: Clock, folder: Path) -> None:
        self._tables, self._journal, self._data, self._clock = tables, journal, data, clock
        self._folder = folder

    def add(self, name: str, spec: ViewSpec) -> FeatureView:
        """Keep what a view says as its next version; what it says already gives the version it has.

        Raises:
            NotFound: There is no such dataset.
            Invalid: A column is not there, or an expression does not fit the columns or gives what no model takes.
        """
        check_name(name, "feature view")
        dataset = self._data.resolve(spec.dataset)
        frame = self._selected(spec, self._data.frame(dataset.dataset, dataset.number))
        schema = _tried(frame, f"feature-views/{name}")
        columns = [Column(one, str(schema[one])) for one in (*spec.entity, *spec.names)]
        split = len(spec.entity)
        digest = digest_of(canonical_json(asdict(spec)))
        made = FeatureView(name, 0, spec, tuple(columns[:split]), tuple(columns[split:]), digest, self._clock.now())
        with self._tables.write() as conn:
            before = records.find_view(conn, name)
            if before is not None and (before.digest, before.columns) == (digest, made.columns):
                return before
            stored = replace(made, number=before.number + 1 if before else 1)
            records.add_view(conn, stored)
            fact = FeatureViewAdded(subject=stored.ref, dataset=spec.dataset, features=spec.names, digest=digest)
            self._journal.append(conn, fact)
        return stored

    def get(self, name: str, number: int | None = None) -> FeatureView:
        """A version of a view, the newest by default.

        Raises:
            NotFound: No such view or version.
        """
        with self._tables.read() as conn:
            found = records.find_view(conn, name, number)
            if found is not None:
                return found
            newest = records.find_view(conn, name)
            known = [view.name for view in records.list_views(conn, limit=1000, after="")]
        if newest is not None:
            raise NotFound(
                f"{name} has no version {number}", where=f"feature-views/{name}", hint=f"1 to {newest.number}"
            )
        hint = did_you_mean(name, known) or f"mainspring features add {name} --dataset DATASET"
        raise NotFound(f"no feature view {name!r}", where="feature-views", hint=hint)

    def resolve(self, ref: str) -> FeatureView:
        """The version of a reference: `carriers` or `carriers/2`.

        Raises:
            Invalid: It is no such reference.
            NotFound: No such view or version.
        """
        name, slash, number = ref.removeprefix("feature-views/").partition("/")
        if slash and not number.isdecimal():
            raise Invalid(f"{ref[:100]!r} names no feature view", where="features", hint="write NAME or NAME/VERSION")
        return self.get(name, int(number) if slash else None)

    def views(self, *, limit: int = 100, after: str = "") -> list[FeatureView]:
        """The newest version of each view by name, at most `limit`, those after the name `after`."""
        with self._tables.read() as conn:
            return records.list_views(conn, limit=limit, after=after)

    def versions(self, name: str) -> list[FeatureView]:
        """All versions of a view, newest first.

        Raises:
            NotFound: No such view.
        """
        self.get(name)
        with self._tables.read() as conn:
            return records.list_view_versions(conn, name)

    def materializations(self, name: str, *, limit: int = 20) -> list[Materialization]:
        """What was made of a view for lookups, newest first."""
        with self._tables.read() as conn:
            return records.list_materializations(conn, name, limit=limit)

    def facts(self, view: FeatureView, dataset: DatasetVersion | None = None) -> pl.LazyFrame:
        """The rows of a view, lazily: its entity and features under their names, `TIME`, and `CREATED` if it has one.

        Args:
            view: Which one.
            dataset: The version whose rows they are; the one the view names by default.
        """
        dataset = dataset or self._data.resolve(view.spec.dataset)
        return self._selected(view.spec, self._data.frame(dataset.dataset, dataset.number))

    def dataset_of(self, view: FeatureView, number: int | None = None) -> DatasetVersion:
        """The dataset version that a view reads; that number of its dataset instead.

        Raises:
            NotFound: There is no such version.
        """
        found = self._data.resolve(view.spec.dataset)
        return found if number is None else self._data.get(found.dataset, number)

    def history(
        self, frame: pl.DataFrame, views: Sequence[str], *, on: str, dataset_version: int | None = None
    ) -> pl.DataFrame:
        """Add to each row what the views knew of its entity at its event time: the same rows in the same order.

        Args:
            frame: Rows with the entity columns of the views and the event time.
            views: References such as "carriers" or "carriers/2".
            on: Name of the event time column: times, dates, or whole microseconds. Without a zone it is UTC.
            dataset_version: Read the facts as of this version of the dataset; the newest by default.
        Raises:
            NotFound: No such view or dataset version.
            Invalid: A column is missing, or the name of a feature is taken.
        """
        for ref in views:
            view = self.resolve(ref)
            frame = self.join(frame, view, self.dataset_of(view, dataset_version), on=on)
        return frame

    def join(
        self, frame: pl.DataFrame, view: FeatureView, dataset: DatasetVersion, *, on: str, found_at: str = ""
    ) -> pl.DataFrame:
        """The same for one version of a view over one version of its dataset.

        Args:
            frame: The rows.
            view: Which version.
            dataset: Has the facts.
            on: Name of the event time column.
            found_at: Also add the time of the fact that was found, in microseconds, under this name.
        """
        import polars as pl

        from mainspring.data.features.join import micros_of, point_in_time_join

        for name in (on, *view.spec.entity):
            if name not in frame.columns:
                hint = did_you_mean(name, frame.columns) or "it has " + ", ".join(frame.columns[:20])
                raise Invalid(f"no column {name!r}", where="rows", hint=hint)
        if not (frame.schema[on].is_temporal() or frame.schema[on].is_integer()):
            raise Invalid(f"{on!r} is {frame.schema[on]}, which is no time", where="rows", hint="make it a time")
        keys = {name: f"__entity_{place}__" for place, name in enumerate(view.spec.entity)}
        right = self.facts(view, dataset).rename(keys).collect()
        right = right.with_columns(pl.col(TIME).alias(found_at)) if found_at else right
        made = [micros_of(pl.col(on), frame.schema[on]).alias(TIME)]
        made += [_like(pl.col(name), right.schema[key]).alias(key) for name, key in keys.items()]
        left = frame.with_columns(made)
        created = CREATED if view.spec.created else ""
        ttl_s = view.spec.ttl_s or None
        joined = point_in_time_join(left, right, on=TIME, by=list(keys.values()), created=created, ttl_s=ttl_s)
        return joined.drop(TIME, *keys.values())

    def materialize(
        self, name: str, number: int | None = None, *, as_of: int | None = None, dataset_version: int | None = None
    ) -> Materialization:
        """Make the newest value of every entity ready for lookups; who looks up sees the old ones until all are there.

        Args:
            name: The view.
            number: Its version, the newest by default.
            as_of: What was known then counts (microseconds); now by default.
            dataset_version: The version of the dataset, by default the one the view names or the newest.
        Raises:
            NotFound: No such view or dataset version.
            Invalid: The dataset does not fit the view any more.
        """
        from mainspring.data.features.latest import latest, pieces

        view = self.get(name, number)
        dataset = self.dataset_of(view, dataset_version)
        now = self._clock.now()
        as_of = now if as_of is None else as_of
        facts = self.facts(view, dataset)
        self._check_types(view, facts)
        created = CREATED if view.spec.created else ""
        newest = latest(pieces(facts, dataset.rows), on=TIME, by=view.spec.entity, created=created, as_of=as_of)
        made = Materialization(new_id(), view.name, view.number, dataset.ref, as_of, newest.height, 0, now)
        path = self.path(view)
        write_keyed(path, _about(view, made), _records(newest, len(view.keys)))
        made = replace(made, size_bytes=path.stat().st_size)
        with self._tables.write() as conn:
            records.add_materialization(conn, made)
            fact = FeatureViewMaterialized(
                subject=view.ref, materialization=made.id, dataset=dataset.ref, as_of=as_of, entities=made.entities
            )
            self._journal.append(conn, fact)
        return made

    def lookup(self, name: str, key: Sequence[str], number: int | None = None, *, at: int | None = None) -> Found:
        """What is known of an entity now, as a model server would find it.

        Args:
            name: The view.
            key: The values of the entity columns, as text.
            number: Version of the view, the newest by default.
            at: The moment that ages are counted to; now by default.
        Raises:
            NotFound: No such view, or it was not materialized.
            Invalid: The key does not fit.
        """
        view = self.get(name, number)
        file = self.file(view)
        found = file.get(_key_of(view, key))
        made = str(file.about["id"])
        nothing: dict[str, float | str | bool | None] = dict.fromkeys(view.spec.names)
        if found is None:
            return Found("missing", nothing, None, None, made)
        about, *values = found
        at_us = cast(int, about)
        age_us = (self._clock.now() if at is None else at) - at_us
        if view.spec.ttl_s and age_us >= round(view.spec.ttl_s * SECOND_US):
            return Found("expired", nothing, at_us, age_us / SECOND_US, made)
        named = zip(view.spec.names, cast("list[float | str | bool | None]", values), strict=True)
        return Found("fresh", dict(named), at_us, age_us / SECOND_US, made)

    def path(self, view: FeatureView) -> Path:
        """The file that a version is looked up in."""
        return self._folder / caller().project / view.name / f"{view.number}.keyed"

    def file(self, view: FeatureView) -> KeyedFile:
        """The same, open.

        Raises:
            NotFound: The version was not materialized.
        """
        try:
            return KeyedFile(self.path(view))
        except NotFound:
            hint = f"mainspring features materialize {view.name} --version {view.number}"
            raise NotFound("nothing was made of it for lookups yet", where=view.ref, hint=hint) from None

    def _selected(self, spec: ViewSpec, rows: pl.LazyFrame) -> pl.LazyFrame:
        import polars as pl

        from mainspring.data.features.join import micros_of

        there = rows.collect_schema()
        computed = spec.expressions
        wanted = [*spec.entity, spec.time, *filter(None, [spec.created])]
        wanted += [one for feature in spec.features for one in _names(feature.name, computed)]
        for name in wanted:
            if name not in there:
                hint = did_you_mean(name, there) or "it has " + ", ".join(list(there)[:20])
                raise Invalid(f"no column {name!r}", where=f"datasets/{spec.dataset}", hint=hint)
        times = {TIME: spec.time, **({CREATED: spec.created} if spec.created else {})}
        for name in times.values():
            if not (there[name].is_temporal() or there[name].is_integer()):
                raise Invalid(f"{name!r} is {there[name]}, which is no time", where=f"datasets/{spec.dataset}")
        values = [computed[name].polars() if name in computed else pl.col(name) for name in spec.names]
        return rows.select(
            *(pl.col(name) for name in spec.entity),
            *(micros_of(pl.col(name), there[name]).alias(made) for made, name in times.items()),
            *(value.alias(name) for name, value in zip(spec.names, values, strict=True)),
        ).pipe(_plain, spec)

    def _check_types(self, view: FeatureView, facts: pl.LazyFrame) -> None:
        there = _schema_of(facts, view.ref)
        for column in (*view.keys, *view.columns):
            if str(there[column.name]) != column.dtype:
                raise Invalid(
                    f"{column.name!r} was {column.dtype} and is {there[column.name]}",
                    where=view.ref,
                    hint=f"add it anew: mainspring features add {view.name}",
                )


def _names(name: str, computed: Mapping[str, object]) -> tuple[str, ...]:
    from mainspring.core.expressions import Expression

    found = computed.get(name)
    return found.names if isinstance(found, Expression) else (name,)


def _plain(frame: pl.LazyFrame, spec: ViewSpec) -> pl.LazyFrame:
    """Keys as whole numbers, texts or truths, and values as models take them; what is not finite is missing."""
    import polars as pl

    there = _schema_of(frame, "expressions")
    made = [_as_key(name, there[name]) for name in spec.entity]
    for name in spec.names:
        dtype, column = there[name], pl.col(name)
        if dtype.is_float() or dtype.is_decimal():
            number = column.cast(pl.Float64)
            made.append(pl.when(number.is_finite()).then(number).alias(name))
        elif dtype.is_integer():
            made.append(column.cast(pl.Int64, strict=False))
        elif isinstance(dtype, (pl.Categorical, pl.Enum)):
            made.append(column.cast(pl.String))
        elif dtype not in (pl.Boolean, pl.String):
            raise Invalid(
                f"{name!r} is {dtype}", where="features", hint="models take numbers, truths and texts: hour(time)"
            )
    return frame.with_columns(made)


def _as_key(name: str, dtype: pl.DataType) -> pl.Expr:
    import polars as pl

    if dtype.is_integer():
        return pl.col(name).cast(pl.Int64, strict=False)
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return pl.col(name).cast(pl.String)
    if dtype not in (pl.Boolean, pl.String):
        hint = "entities are texts, whole numbers or truths"
        raise Invalid(f"{name!r} is {dtype}", where="entity", hint=hint)
    return pl.col(name)


def _like(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return column.cast(dtype, strict=False)


def _schema_of(frame: pl.LazyFrame, where: str) -> pl.Schema:
    import polars as pl

    try:
        return frame.collect_schema()
    except pl.exceptions.PolarsError as reason:
        said = str(reason).splitlines()[0][:200]
        raise Invalid(f"an expression does not fit the columns: {said}", where=where, hint="see their types") from None


def _tried(frame: pl.LazyFrame, where: str) -> pl.Schema:
    """The types of columns that were computed for a few rows, so that what never could be is said at once."""
    import polars as pl

    try:
        return frame.head(_TRIED).collect().schema
    except pl.exceptions.PolarsError as reason:
        said = str(reason).splitlines()[0][:200]
        raise Invalid(f"an expression does not fit the columns: {said}", where=where, hint="see their types") from None


def _about(view: FeatureView, made: Materialization) -> dict[str, object]:
    """What a file for lookups says of itself; the model server goes by it."""
    return {
        "id": made.id,
        "view": view.name,
        "number": view.number,
        "dataset": made.dataset,
        "as_of": made.as_of,
        "ttl_us": round(view.spec.ttl_s * SECOND_US),
        "keys": list(view.spec.entity),
        "names": list(view.spec.names),
    }


def _records(newest: pl.DataFrame, keys: int) -> Iterator[tuple[Sequence[str | int | bool], object]]:
    return ((row[:keys], list(row[keys:])) for row in newest.iter_rows())


def _key_of(view: FeatureView, key: Sequence[str]) -> list[str | int | bool]:
    if len(key) != len(view.keys):
        names = " ".join(view.spec.entity)
        raise Invalid(f"{len(key)} values for the entity {names!r}", where=view.ref, hint=f"give {len(view.keys)}")
    return [_key_cell(text, column) for text, column in zip(key, view.keys, strict=True)]


def _key_cell(text: str, column: Column) -> str | int | bool:
    if column.dtype == "String":
        return text
    if column.dtype == "Boolean" and text in ("true", "false"):
        return text == "true"
    if column.dtype == "Int64" and _WHOLE.fullmatch(text):
        return int(text)
    raise Invalid(f"{text[:60]!r} is no {column.dtype}", where=column.name, hint="give it as the dataset has it")

"""The verbs of the data room: ingest, look up, read."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.canonical import digest as digest_of
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.core.ids import check_name, new_id
from mainspring.data import records
from mainspring.data.events import VersionAdded
from mainspring.data.model import Check, Column, Dataset, DatasetVersion

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data.sketch import Profile
    from mainspring.storage.ports import Blobs, Delta, Journal, Tables


class Data:
    """Keeps tables as immutable versions with schema, profile, checks and parents.

    Args:
        tables: Where versions are named.
        journal: The event log.
        delta: Where the rows are.
        blobs: Where profiles are.
        clock: Tells the time.
    """

    def __init__(self, *, tables: Tables, journal: Journal, delta: Delta, blobs: Blobs, clock: Clock) -> None:
        self._tables, self._journal, self._delta, self._blobs, self._clock = tables, journal, delta, blobs, clock

    def ingest(
        self,
        name: str,
        source: Path | str | pl.DataFrame | pl.LazyFrame | object,
        *,
        checks: Sequence[Check] = (),
        parents: Sequence[str] = (),
        key: str = "",
        time_column: str = "",
        personal: Sequence[str] = (),
        separate: Sequence[str] = (),
    ) -> DatasetVersion:
        """Keep a table as the next version of a dataset.

        The rows are durable before the version is named, so a version is whole or not there.

        Args:
            name: The dataset; it is made with its first version.
            source: A CSV or Parquet file, or a Polars or pandas frame. NaN is kept as null.
            checks: Rows that fail one are quarantined, with the reason.
            parents: References of what it was made from.
            key: With the same key the same version is given back, whatever the rows are.
            time_column: The column that tells the time; by default that of the version before, or of a parent, or the
                only one that is a time.
            personal: Columns that say who somebody is, or something about them. What was so stays so in later versions.
            separate: What numbered columns have in common, such as "sensor" of sensor_0, sensor_1, ..., that are no
                places of a vector though they look alike. They are watched each for itself, in later versions too.
        Raises:
            NotFound: There is no such file.
            Invalid: It is no table, a check does not fit it, or no row passes.
            Failed: The disk is full; nothing was stored.
        """
        from mainspring.data import rules
        from mainspring.data.sketch import learn_profile
        from mainspring.data.sources import read_source

        check_name(name, "dataset")
        if key and (known := self._keyed(name, key)) is not None:
            return known
        frame, came_from = read_source(source)
        good, bad = rules.split_rows(_plain(frame), checks)
        if good.height == 0:
            hint = f"the first fails: {bad[rules.REASON][0]}" if bad.height else ""
            raise Invalid(f"none of {frame.height} rows passes", where=f"datasets/{name}", hint=hint)
        timed = time_column or self._usual_time(name, parents, good) or _only_time(good)
        if timed and timed not in good.columns:
            raise Invalid(f"no column {timed!r}", where="time_column", hint=did_you_mean(timed, good.columns))
        personal = self._personal(name, personal, good.columns)
        apart = self._separate(name, separate, good.columns)
        profile = self._blobs.put(learn_profile(good, time_column=timed or None, separate=apart).to_bytes())
        version_id = new_id()
        if bad.height:
            self._delta.replace(_quarantine(name, version_id), bad, personal=personal)
        delta_version = self._delta.replace(_table(name), good, personal=personal)
        made = DatasetVersion(
            dataset=name,
            number=0,
            id=version_id,
            rows=good.height,
            quarantined=bad.height,
            columns=tuple(Column(e.name, str(e.dtype), e.null_count(), e.name in personal) for e in good),
            checks=tuple(check.text for check in checks),
            digest=_digest(good),
            profile=profile,
            parents=tuple(parents),
            created_at=self._clock.now(),
            delta_version=delta_version,
            source=came_from,
            time_column=timed,
        )
        return self._name_version(made, key)

    def get(self, name: str, version: int | None = None) -> DatasetVersion:
        """A version, the newest by default.

        Raises:
            NotFound: No such dataset or version.
        """
        with self._tables.read() as conn:
            found = records.find_version(conn, name, version)
            if found is not None:
                return found
            latest = records.find_version(conn, name)
            known = [dataset.name for dataset in records.list_datasets(conn, limit=1000, after="")]
        if latest is not None:
            raise NotFound(f"{name} has no version {version}", where=f"datasets/{name}", hint=f"1 to {latest.number}")
        hint = did_you_mean(name, known) or f"mainspring data ingest {name} FILE"
        raise NotFound(f"no dataset {name!r}", where="datasets", hint=hint)

    def _usual_time(self, name: str, parents: Sequence[str], frame: pl.DataFrame) -> str:
        """The time column of the version before or of the first parent whose time column is one here too, or ""."""
        with self._tables.read() as conn:  # a parent may be kept elsewhere
            known = [records.find_version(conn, *_parsed(ref)) for ref in (name, *parents) if _REF.fullmatch(ref)]
        times = [found.time_column for found in known if found is not None]
        return next((time for time in times if time and time in frame.columns and frame[time].dtype.is_temporal()), "")

    def resolve(self, ref: str) -> DatasetVersion:
        """The version of a reference: `datasets/flights/3`, `flights/3` or `flights`.

        Raises:
            Invalid: It is no such reference.
            NotFound: No such dataset or version.
        """
        if not _REF.fullmatch(ref):
            raise Invalid(f"{ref!r} names no dataset version", where="dataset", hint="write datasets/NAME/VERSION")
        return self.get(*_parsed(ref))

    def frame(self, name: str, version: int | None = None) -> pl.LazyFrame:
        """The rows of a version, lazily.

        Raises:
            NotFound: No such dataset or version.
        """
        return self._delta.scan(_table(name), self.get(name, version).delta_version)

    def quarantined(self, name: str, version: int | None = None) -> pl.DataFrame:
        """The rows that a version left out, each with its reason in `quarantine_reason`."""
        found = self.get(name, version)
        if found.quarantined:
            return self._delta.scan(_quarantine(name, found.id)).collect()
        return self.frame(name, found.number).head(0).collect()

    def profile(self, name: str, version: int | None = None) -> Profile:
        """The profile of a version: its grid, its sketch and those of its days."""
        from mainspring.data.sketch import Profile

        return Profile.from_bytes(self._blobs.get(self.get(name, version).profile))

    def datasets(self, *, limit: int = 100, after: str = "") -> list[Dataset]:
        """Datasets by name, at most `limit`, those after the name `after`."""
        with self._tables.read() as conn:
            return records.list_datasets(conn, limit=limit, after=after)

    def versions(self, name: str, *, limit: int = 100, before: int = 0) -> list[DatasetVersion]:
        """Versions of a dataset, newest first, at most `limit`, those below the number `before`.

        Raises:
            NotFound: No such dataset.
        """
        self.get(name)
        with self._tables.read() as conn:
            return records.list_versions(conn, name, limit=limit, before=before)

    def pinned(self) -> dict[str, list[int]]:
        """The versions of Delta tables that dataset versions of any project are, by table: they stay readable."""
        with self._tables.read() as conn:
            found = records.delta_versions(conn)
        return {f"{project}/datasets/{name}": versions for (project, name), versions in found.items()}

    def _personal(self, name: str, given: Sequence[str], columns: Sequence[str]) -> list[str]:
        """The personal columns: those that were given, and those that were personal before."""
        for column in given:
            if column not in columns:
                raise Invalid(f"no column {column!r}", where="personal", hint=did_you_mean(column, columns))
        with self._tables.read() as conn:
            before = records.find_version(conn, name)
        known = [column.name for column in before.columns if column.personal] if before else []
        return [column for column in columns if column in given or column in known]

    def _separate(self, name: str, given: Sequence[str], columns: Sequence[str]) -> list[str]:
        """What numbered columns that are no vector have in common: what was given, and what was known before."""
        from mainspring.data.sketch.deriving import common_name

        numbered = {found for column in columns if (found := common_name(column))}
        for entry in given:
            if entry not in numbered:
                hint = did_you_mean(entry, numbered) or "name what they have in common: sensor for sensor_0, sensor_1"
                raise Invalid(f"no numbered columns {entry!r}", where="separate", hint=hint)
        with self._tables.read() as conn:
            before = records.find_version(conn, name)
        known = self.profile(name, before.number).separate if before and numbered else ()
        return [entry for entry in dict.fromkeys([*given, *known]) if entry in numbered]

    def _keyed(self, name: str, key: str) -> DatasetVersion | None:
        with self._tables.read() as conn:
            return records.find_keyed(conn, name, key)

    def _name_version(self, made: DatasetVersion, key: str) -> DatasetVersion:
        with self._tables.write() as conn:
            records.hold_dataset(conn, made.dataset, now=made.created_at)
            if key and (known := records.find_keyed(conn, made.dataset, key)) is not None:
                return known
            stored = records.add_version(conn, made, key=key)
            fact = VersionAdded(
                subject=stored.ref,
                rows=stored.rows,
                quarantined=stored.quarantined,
                digest=stored.digest,
                parents=stored.parents,
                source=stored.source,
            )
            self._journal.append(conn, fact)
            return stored


def _table(name: str) -> str:
    return f"{caller().project}/datasets/{name}"


def _quarantine(name: str, version_id: str) -> str:
    """Its own table for each version: what was wrong then must not fit the types of what is wrong now."""
    return f"{caller().project}/quarantine/{name}/{version_id}"


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """NaN as null, and no column twice (a frame cannot have one)."""
    import polars as pl
    import polars.selectors as cs

    return (
        frame.with_columns(cs.float().fill_nan(None))
        if any(d in (pl.Float32, pl.Float64) for d in frame.dtypes)
        else frame
    )


_REF = re.compile(r"(?:datasets/)?([^/]*)(?:/(\d+))?")


def _parsed(ref: str) -> tuple[str, int | None]:
    """Name and number of a reference that `_REF` matches."""
    name, _, number = ref.removeprefix("datasets/").partition("/")
    return name, int(number) if number else None


def _only_time(frame: pl.DataFrame) -> str:
    times = [name for name, dtype in frame.schema.items() if dtype.is_temporal()]
    return times[0] if len(times) == 1 else ""


def _digest(frame: pl.DataFrame) -> str:
    """Parquet and not Arrow's own form: there, chunks and the bytes behind a null change the digest of equal rows."""
    held = io.BytesIO()
    frame.rechunk().write_parquet(held, compression="uncompressed", statistics=False, row_group_size=1 << 17)
    return digest_of(held.getvalue())

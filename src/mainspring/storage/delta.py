"""Delta tables on files and on S3, behind one commit: retried with backoff, exactly once by (app, batch).

Source: the Delta transaction protocol (https://github.com/delta-io/delta/blob/master/PROTOCOL.md), actions `add`
and `txn`. The library's own retry accepts a replayed `txn`, so a commit here is tried for one version only and the
last batch is read again before every try.
"""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mainspring.core.errors import Invalid, NotFound, Overloaded, Unavailable, did_you_mean
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.storage.files import no_room, sync_folder, write_through

if TYPE_CHECKING:
    import polars as pl
    from deltalake import CommitProperties, DeltaTable, Schema, WriterProperties
    from deltalake.transaction import AddAction
    from obstore.store import LocalStore, S3Store

    from mainspring.storage.s3 import S3Address

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UNREADABLE = re.compile(r"[%\[\]|^\\\x00-\x1f\x7f]")  # deltalake 1.6 reads another path, or panics
_KEEP = "interval 36500 days"
_CONFIGURATION: dict[str, str | None] = {
    "delta.logRetentionDuration": _KEEP,
    "delta.deletedFileRetentionDuration": _KEEP,
    "delta.enableExpiredLogCleanup": "false",
}
_GROWING: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.enableExpiredLogCleanup": "true",
    "delta.checkpointInterval": "10",
}
"""Of tables that are appended to, every second for years: to open one reads all that its log still holds, and a quarter
of a millisecond for each commit since the last checkpoint, which comes every hundred unless it is said."""
_PUBLIC = "delta.dataSkippingStatsColumns"
_NULLS_ONLY = {"min": False, "max": False, "distinct_count": False, "null_count": True}
_PATIENCE_S = 60.0
_MOMENT_S = 5.0
TARGET_BYTES = 32 << 20
"""Size of the files that `compact` makes, one at a time: what it holds in memory."""


class _Place(Protocol):
    def uri(self, table: str) -> str: ...
    def kind(self) -> type[DeltaTable]: ...
    def options(self) -> dict[str, str] | None: ...
    def lister(self) -> LocalStore | S3Store: ...
    def new_file(self, table: str) -> AbstractContextManager[_NewFile]: ...
    def ready(self, table: str) -> None: ...
    def settle(self, table: str, version: int) -> None: ...


@dataclass(slots=True)
class _NewFile:
    """A data file that is being written: fill `path`, then keep it under `name`, then commit it."""

    path: Path
    name: str
    keep: Callable[[], None]
    is_committed: bool = False


class DeltaTables:
    """Tables of rows with versions. Every version stays readable until `vacuum` is asked to keep fewer; of tables that
    `append` made, those of the last hour do."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._seen: dict[str, tuple[float, DeltaTable]] = {}

    def append(
        self, table: str, frame: pl.DataFrame, *, app: str, batch: int, personal: Sequence[str] = ()
    ) -> int | None:
        """Add rows exactly once by (app, batch); None for a replay."""
        from mainspring.storage.rows import storable

        if not app:
            raise Invalid("rows are appended without an app", where=table, hint="name who writes, with growing batches")

        def attempt(now: DeltaTable | None) -> int:
            held = {} if now is None else _columns(now)
            return self._write(now, table, storable(frame, held), _transaction(app, batch), personal)

        return self._commit(table, attempt, lambda now: _last_batch(now, app) >= batch, self._just_seen(table))

    def replace(
        self,
        table: str,
        frame: pl.DataFrame | pl.LazyFrame | Iterable[pl.DataFrame],
        *,
        app: str = "",
        batch: int = 0,
        personal: Sequence[str] = (),
    ) -> int:
        """A new version with just these rows, in their order: one file, written before the first try of the commit."""
        before = self._open(table)
        if before is None or not (app and _last_batch(before, app) >= batch):
            with no_room(table), _lazily(frame, table) as rows, self._place.new_file(table) as file:
                rows.sink_parquet(file.path, compression="zstd", statistics=_NULLS_ONLY if personal else True)
                actions = _added(file)
                file.keep()
                version = self._commit(
                    table,
                    lambda now: self._put(now, table, rows, actions, _transaction(app, batch)),
                    lambda now: bool(app) and _last_batch(now, app) >= batch,
                )
                file.is_committed = version is not None
            if version is not None:
                return version
        return self.version(table) or 0

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame:
        """The rows of a version, the newest by default, lazily."""
        import polars as pl

        opened = self._open(table, version)
        if opened is None:
            raise NotFound(
                f"there is no table {table!r}", where=table, hint=did_you_mean(table, self.names()) or "write it first"
            )
        return pl.scan_delta(opened, storage_options=self._place.options(), credential_provider=None)

    def version(self, table: str) -> int | None:
        """The newest version, None when there is no such table."""
        opened = self._open(table)
        return None if opened is None else opened.version()

    def batch(self, table: str, app: str) -> int:
        """The last batch that `app` committed to the table, -1 when none."""
        opened = self._open(table)
        if opened is None:
            return -1
        self._seen = {table: (time.monotonic(), opened)}
        return _last_batch(opened, app)

    def _just_seen(self, table: str) -> DeltaTable | None:
        """The table as `batch` found it a moment ago, once: to open it costs as much as a third of a small append.

        A commit is for exactly the version after it, so that one who looked too long ago fails, and looks again.
        """
        at, opened = self._seen.pop(table, (0.0, None))
        return opened if time.monotonic() - at < _MOMENT_S else None

    def compact(self, table: str) -> None:
        """Merge small files and write a checkpoint."""

        def attempt(now: DeltaTable | None) -> int:
            if now is None:
                raise NotFound(f"there is no table {table!r}", where=table, hint="write it first")
            now.optimize.compact(
                target_size=TARGET_BYTES, max_concurrent_tasks=1, writer_properties=_properties(_public_columns(now))
            )
            now.update_incremental()
            now.create_checkpoint()
            return now.version()

        self._commit(table, attempt, lambda _now: False)

    def small_files(self, table: str) -> int:
        """See `ports.DeltaUpkeep.small_files`."""
        import polars as pl

        opened = self._open(table)
        if opened is None:
            return 0
        sizes = pl.DataFrame(opened.get_add_actions(flatten=True))["size_bytes"]
        return int((sizes < TARGET_BYTES // 4).sum())

    def vacuum(
        self, table: str, *, older_than_h: int, keep: Sequence[int] = (), dry_run: bool = False
    ) -> tuple[int, int]:
        """See `ports.DeltaUpkeep.vacuum`."""
        opened = self._open(table)
        if opened is None:
            return 0, 0

        def run(dry: bool) -> list[str]:
            with _answering(table):
                return opened.vacuum(
                    older_than_h,
                    dry_run=dry,
                    enforce_retention_duration=False,
                    full=True,
                    keep_versions=sorted(set(keep)) or None,
                )

        there = _files(self._place.lister(), table)  # the library names files again that went in an earlier turn
        sizes = [there[name] for name in run(True) if name in there]
        if sizes and not dry_run:  # a vacuum adds two versions also when it finds nothing
            run(False)
        return len(sizes), sum(sizes)

    def names(self) -> list[str]:
        """Every table, sorted."""
        return sorted(_tables(self._place.lister(), ""))

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        from deltalake.exceptions import DeltaError, TableNotFoundError

        kind, uri = self._place.kind(), self._place.uri(table)
        with _answering(table):
            try:
                return kind(uri, version=version, storage_options=self._place.options())
            except TableNotFoundError:
                return None
            except DeltaError as reason:
                if version is None or "end version" not in str(reason):
                    raise
        newest = self.version(table)
        raise NotFound(
            f"table {table!r} has no version {version}", where=table, hint=f"use 0 to {newest}, or none for the newest"
        )

    def _commit(
        self,
        table: str,
        attempt: Callable[[DeltaTable | None], int],
        is_replay: Callable[[DeltaTable], bool],
        seen: DeltaTable | None = None,
    ) -> int | None:
        """Try until it is in: look at the newest version, stop at a replay, write for exactly the version after it.

        Args:
            seen: What was looked at for the first try already.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        deadline, pause = time.monotonic() + _PATIENCE_S, 0.01
        while True:
            now, seen = seen or self._open(table), None
            if now is not None and is_replay(now):
                return None
            try:
                with _answering(table):
                    self._place.ready(table)
                    version = attempt(now)
                self._place.settle(table, version)
                return version
            except CommitFailedError as reason:
                lost: DeltaError = reason
            except DeltaError as reason:
                if now is not None or self._open(table) is None:
                    raise
                lost = reason
            if time.monotonic() > deadline:
                raise Overloaded(
                    f"others kept writing to table {table!r}", where=table, hint="write fewer, larger batches"
                ) from lost
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter, not a secret
            pause = min(pause * 2, 1.0)

    def _write(
        self,
        now: DeltaTable | None,
        table: str,
        frame: pl.DataFrame,
        commit: CommitProperties,
        personal: Sequence[str],
    ) -> int:
        from deltalake import write_deltalake

        if not frame.columns:
            raise Invalid(
                "there is nothing to write: no columns", where=table, hint="give at least one column with values"
            )
        version = 0 if now is None else now.version() + 1
        public = _public_columns(now)
        configuration = dict(_GROWING)
        if now is None and personal:
            public = [name for name in frame.columns if name not in personal]
            configuration[_PUBLIC] = ",".join(f"`{name}`" for name in public)
        write_deltalake(
            self._place.uri(table) if now is None else now,
            frame,
            mode="error" if now is None else "append",
            schema_mode=None if now is None else "merge",
            configuration=configuration if now is None else None,
            storage_options=self._place.options(),
            writer_properties=_properties(public),
            commit_properties=commit,
        )
        return version

    def _put(
        self, now: DeltaTable | None, table: str, rows: pl.LazyFrame, actions: list[AddAction], commit: CommitProperties
    ) -> int:
        from deltalake.transaction import create_table_with_add_actions

        schema = _delta_schema(rows)
        if now is None:
            create_table_with_add_actions(
                self._place.uri(table),
                schema,
                actions,
                mode="error",
                configuration=_CONFIGURATION,
                storage_options=self._place.options(),
                commit_properties=commit,
            )
            return 0
        _allow_naive_times(now, schema)
        version = now.version() + 1
        now.create_write_transaction([*actions], "overwrite", schema, commit_properties=commit)
        return version


class FilePlace:
    """Tables in folders below one folder.

    Raises:
        Invalid: The path has a sign that the Delta library can't read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        if sign := _UNREADABLE.search(str(self._root)):
            hint = "use another data folder: mainspring --data DIR ..."
            raise Invalid(f"a path with {sign[0]!r} in it can't hold tables", where=str(self._root), hint=hint)
        with no_room(root):
            self._root.mkdir(parents=True, exist_ok=True)

    def uri(self, table: str) -> str:
        """The folder of a table, as an address: a path with a space or a bracket is none."""
        return (self._root / checked(table)).as_uri()

    def kind(self) -> type[DeltaTable]:
        """Tables that name their files by path again."""
        from mainspring.storage.plainpaths import PlainPaths

        return PlainPaths

    def options(self) -> None:
        """Nothing to say to files."""
        return

    def lister(self) -> LocalStore:
        """A store that lists folders."""
        from obstore.store import LocalStore

        return LocalStore(self._root)

    @contextmanager
    def new_file(self, table: str) -> Iterator[_NewFile]:
        """A data file in the table's folder, synced; taken away again when it was not committed."""
        folder = self._root / checked(table)
        folder.mkdir(parents=True, exist_ok=True)
        name = _data_name()
        file = _NewFile(folder / name, name, keep=lambda: _sync_file(folder / name))
        file.path.touch()
        write_through(file.path, wanted=False)  # it is written in many small parts, and synced once
        try:
            yield file
        finally:
            if not file.is_committed:
                file.path.unlink(missing_ok=True)

    def ready(self, table: str) -> None:
        """Have the kernel bring each file to disk before it gets its name: the library links its entries of the log
        without a sync, and after a power cut an entry must not stand there empty, or name data that is not."""
        folder = self._root / table
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "_delta_log"):  # what is made in them later takes after them
            if place.exists():
                write_through(place)

    def settle(self, table: str, version: int) -> None:
        """Bring a commit to disk, names and all."""
        folder = self._root / table
        entry = folder / "_delta_log" / f"{version:020}.json"
        for line in entry.read_text(encoding="utf-8").splitlines():
            added = json.loads(line).get("add")
            if added:
                _sync_file(folder / str(added["path"]))
        _sync_file(entry)
        sync_folder(entry.parent)
        sync_folder(folder)


class S3Place:
    """Tables below a prefix of a bucket."""

    def __init__(self, address: S3Address) -> None:
        self._address = address

    def uri(self, table: str) -> str:
        """The address of a table."""
        return f"{self._address.uri}/{checked(table)}"

    def kind(self) -> type[DeltaTable]:
        """Tables as the library makes them."""
        from deltalake import DeltaTable

        return DeltaTable

    def options(self) -> dict[str, str]:
        """Keys and endpoint, for deltalake and Polars."""
        return self._address.options()

    def lister(self) -> S3Store:
        """A store that lists prefixes."""
        return self._address.store()

    @contextmanager
    def new_file(self, table: str) -> Iterator[_NewFile]:
        """A data file that is written to a temporary folder first and then sent."""
        import obstore

        from mainspring.storage.s3 import answering

        name = _data_name()
        store, key = self._address.store(), f"{checked(table)}/{name}"
        with tempfile.TemporaryDirectory(prefix="mainspring-") as folder:
            path = Path(folder) / name

            def keep() -> None:
                with answering(self._address.uri):
                    obstore.put(store, key, path)

            file = _NewFile(path, name, keep)
            yield file
            if not file.is_committed:
                obstore.delete(store, key)

    def ready(self, table: str) -> None:
        """There is nothing to prepare."""

    def settle(self, table: str, version: int) -> None:
        """An object that was accepted is durable."""


def checked(table: str) -> str:
    """Return `table` when it may name a table: parts of letters, digits, `_`, `.` and `-` between slashes.

    Raises:
        Invalid: It may not.
    """
    parts = table.split("/")
    if len(parts) > 4 or not all(_PART.fullmatch(part) for part in parts):
        raise Invalid(f"{table[:80]!r} can't name a table", where="delta", hint="use names like datasets/flights")
    return table


def _transaction(app: str, batch: int) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(max_commit_retries=0, app_transactions=[Transaction(app, batch)] if app else None)


def _last_batch(table: DeltaTable, app: str) -> int:
    last = table.transaction_version(app)
    return -1 if last is None else int(last)


def _public_columns(table: DeltaTable | None) -> list[str] | None:
    """The columns that have statistics when some have none; None when all have. The table itself keeps the list."""
    listed = None if table is None else table.metadata().configuration.get(_PUBLIC)
    return None if listed is None else re.findall(r"`([^`]+)`", listed)


def _properties(public: list[str] | None) -> WriterProperties:
    """How files are written: with statistics of all columns, or of the public ones only."""
    from deltalake import ColumnProperties, WriterProperties

    if public is None:
        return WriterProperties(compression="ZSTD")
    return WriterProperties(
        compression="ZSTD",
        default_column_properties=ColumnProperties(statistics_enabled="NONE"),
        column_properties={name: ColumnProperties(statistics_enabled="CHUNK") for name in public},
    )


def _columns(table: DeltaTable) -> Mapping[str, pl.DataType]:
    import polars as pl

    return dict(pl.DataFrame(table.schema().to_arrow().empty_table()).schema)


@contextmanager
def _lazily(frame: pl.DataFrame | pl.LazyFrame | Iterable[pl.DataFrame], table: str) -> Iterator[pl.LazyFrame]:
    """The rows as a lazy frame of storable types; what can be walked once only goes through a temporary folder."""
    import polars as pl

    from mainspring.storage.rows import storable, storable_rows

    if isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        yield storable_rows(frame.lazy())
        return
    with tempfile.TemporaryDirectory(prefix="mainspring-") as folder:
        held: Mapping[str, pl.DataType] | None = None
        for number, part in enumerate(frame):
            kept = storable(part, held)
            held = held or dict(kept.schema)
            kept.select(list(held)).write_parquet(Path(folder) / f"{number:08}.parquet")
        if not held:
            raise Invalid("there is nothing to write: no columns", where=table, hint="give a frame with columns")
        yield pl.scan_parquet(Path(folder) / "*.parquet")


def _added(file: _NewFile) -> list[AddAction]:
    import polars as pl
    from deltalake.transaction import AddAction

    count = pl.scan_parquet(file.path, glob=False).select(pl.len()).collect().item()
    on_disk = file.path.stat()
    modified = on_disk.st_mtime_ns // 1_000_000
    return [AddAction(file.name, on_disk.st_size, {}, modified, True, json.dumps({"numRecords": count}))]


def _delta_schema(rows: pl.LazyFrame) -> Schema:
    from arro3.core import Table
    from deltalake import Schema

    return Schema.from_arrow(Table.from_arrow(rows.collect_schema().to_frame()).schema)


def _allow_naive_times(table: DeltaTable, schema: Schema) -> None:
    """A table made without naive times needs a feature switched on first, or no reader would open it again."""
    from deltalake import TableFeatures

    if "timestamp_ntz" in schema.to_json() and "timestampNtz" not in (table.protocol().reader_features or []):
        feature = TableFeatures.TimestampWithoutTimezone
        table.alter.add_feature(feature, allow_protocol_versions_increase=True)


def _data_name() -> str:
    return f"part-00000-{uuid.UUID(new_id())}-c000.zstd.parquet"


def _tables(store: LocalStore | S3Store, prefix: str) -> Iterator[str]:
    import obstore

    found = obstore.list_with_delimiter(store, prefix or None)["common_prefixes"]
    names = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in found]
    if "_delta_log" in names:
        yield prefix
        return
    for name in names:
        yield from _tables(store, f"{prefix}/{name}".lstrip("/"))


def _files(store: LocalStore | S3Store, table: str) -> dict[str, int]:
    """The files of a table with their sizes."""
    import obstore

    entries = (entry for batch in obstore.list(store, f"{checked(table)}/") for entry in batch)
    return {entry["path"].removeprefix(f"{table}/"): int(entry["size"]) for entry in entries}


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _answering(table: str) -> Iterator[None]:
    """Say plainly that the disk is full or that the store does not answer."""
    try:
        with no_room(table):
            yield
    except (OSError, Exception) as reason:
        if "error sending request" in str(reason) or "Server returned non-2xx" in str(reason):
            line = str(reason).split("\n", 1)[0][:200]
            hint = "check the address, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and that the bucket exists"
            raise Unavailable(f"the object store did not do it: {line}", where=table, hint=hint) from reason
        raise

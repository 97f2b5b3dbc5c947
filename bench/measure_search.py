"""A page of 100 runs out of many, each with 20 metrics, 8 params and 4 tags: by metric, param and tag, and by default.

The databases are filled by SQL, with what a search reads: runs, latest values, params and tags, but no other points.
Each search is asked for the first page, and once for a page from the middle. `python bench/measure_search.py explain`
shows how both databases go about it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa
from figure import Figure
from place import folder

from mainspring.core.clock import SystemClock
from mainspring.storage import open_tables
from mainspring.storage.ports import Tables
from mainspring.testing.postgres import NoPostgres, PostgresServer
from mainspring.tracking.columns import Columns
from mainspring.tracking.searching import Search

SIZES = (1_000, 10_000, 50_000, 100_000, 1_000_000)
POSTGRES_SIZES = (50_000, 1_000_000)
LIMITS_MS = {50_000: 30.0, 1_000_000: 100.0}
METRICS, PARAMS, TAGS = 20, 8, 4
REPEAT = 15
START = 1_700_000_000_000_000

SEARCHES: dict[str, tuple[str, Sequence[str], str]] = {
    "newest": ("", (), ""),
    "metric filter and order, same metric": ("metrics.m1 > 0.5", ("metrics.m1 DESC",), ""),
    "metric filter and order, another metric": ("metrics.m1 > 0.5", ("metrics.m2 DESC",), ""),
    "two metrics that let 1 % through, by a third": (
        "metrics.m1 > 0.9 AND metrics.m3 < 0.1",
        ("metrics.m2",),
        "",
    ),
    "a metric that lets 0.1 % through, newest": ("metrics.m1 > 0.999", (), ""),
    "a metric that lets 0.1 % through, by another": ("metrics.m1 > 0.999", ("metrics.m2 DESC",), ""),
    "the end of a metric that the filter leaves": ("metrics.m1 > 0.5", ("metrics.m1",), ""),
    "2 % of the runs, all at the end of the order": ("metrics.m1 > 0.98", ("metrics.m1x",), ""),
    "5 % of the runs, all at the end of the order": ("metrics.m1 > 0.95", ("metrics.m1x",), ""),
    "half of the runs, all at the end of the order": ("metrics.m1 > 0.5", ("metrics.m1x",), ""),
    "half of the runs, all at the end of the order, from the greatest": ("metrics.m1 < 0.5", ("metrics.m1x DESC",), ""),
    "90 % of the runs, all at the end of the order": ("metrics.m1 > 0.1", ("metrics.m1x",), ""),
    "two metrics that let a quarter through, at the end": (
        "metrics.m1 > 0.5 AND metrics.m3 < 0.5",
        ("metrics.m1x",),
        "",
    ),
    "either of two metric filters, at the end": (
        "metrics.m1 > 0.8 OR metrics.m1 > 0.7 AND metrics.m4 > 0.5",
        ("metrics.m1x",),
        "",
    ),
    "not a metric filter, at the end": ("NOT metrics.m1 <= 0.6", ("metrics.m1x",), ""),
    "a metric filter and a param, at the end": ("metrics.m1 > 0.5 AND params.p1 = '3'", ("metrics.m1x",), ""),
    "1 % of the runs, by another metric": ("metrics.m1 > 0.99", ("metrics.m2",), ""),
    "metric filter, order by end": ("metrics.m1 > 0.5", ("ended_at DESC",), ""),
    "metric filter, order by name": ("metrics.m1 > 0.5", ("name",), ""),
    "metric filter, order by status": ("metrics.m1 > 0.5", ("status",), ""),
    "a status that no run has, newest": ("status = 'running'", (), ""),
    "a param with 10 values, newest": ("params.p1 = '3'", (), ""),
    "a param with 10 values, by a metric": ("params.p1 = '3'", ("metrics.m2 DESC",), ""),
    "a param that one run has": ("params.p0 = '777'", (), ""),
    "a tag with 10 values, by a metric": ("tags.t1 = '3'", ("metrics.m2 DESC",), ""),
    "a tag that one run has": ("tags.t0 = '777'", (), ""),
    "order by a param": ("", ("params.p1",), ""),
    "metric filter, order by a param": ("metrics.m1 > 0.5", ("params.p1 DESC",), ""),
    "metric filter, order by a length of time": ("metrics.m1 > 0.5", ("duration",), ""),
    "some of the fields": ("metrics.m1 > 0.5", ("metrics.m2 DESC",), "metrics.m1, metrics.m2, params.p1"),
}


def measure() -> Iterator[Figure]:
    for size in SIZES:
        with folder() as root, filled("", root, size) as tables:
            yield from searched(tables, f"{size:,} runs", size)
    try:
        server = PostgresServer()
    except NoPostgres:
        return
    with ExitStack() as stack:
        stack.callback(server.stop)
        for size in POSTGRES_SIZES:
            url = server.url(server.make_database())
            with folder() as root, filled(url, root, size) as tables:
                yield from searched(tables, f"{size:,} runs, Postgres", size)


def searched(tables: Tables, what: str, size: int) -> Iterator[Figure]:
    """Milliseconds of each search."""
    search = Search(tables=tables, clock=SystemClock())
    for name, (text, order, fields) in SEARCHES.items():
        ask = asking(search, text, order, fields)
        limit = LIMITS_MS.get(size) if "metric" in name or name == "newest" else None
        yield Figure(f"{what}: {name}", median_ms(ask, REPEAT), "ms", limit)
    yield Figure(f"{what}: page 50, another metric", page_ms(search, 50), "ms", LIMITS_MS.get(size))


def asking(search: Search, text: str, order: Sequence[str], fields: str) -> Callable[[], object]:
    def ask() -> object:
        return search.runs(["0"], text, order_by=order, fields=fields, limit=100)

    return ask


def page_ms(search: Search, number: int) -> float:
    text, order, _ = SEARCHES["metric filter and order, another metric"]
    token = ""
    took = 0.0
    for _ in range(number):
        started = time.perf_counter()
        page = search.runs(["0"], text, order_by=order, limit=100, page_token=token)
        took = time.perf_counter() - started
        token = page.next_token
        if not token:
            break
    return 1000 * took


def median_ms(ask: Callable[[], object], repeat: int) -> float:
    ask()
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        ask()
        found.append(1000 * (time.perf_counter() - started))
        if sum(found) > 5000:
            break
    return statistics.median(found)


@contextmanager
def filled(url: str, root: Path, size: int) -> Iterator[Tables]:
    """Tables with one experiment of so many runs."""
    tables = open_tables(url, root)
    tables.migrate()
    try:
        fill(tables, size)
        while Columns(tables=tables).turn():
            pass
        yield tables
    finally:
        tables.close()


def fill(tables: Tables, size: int) -> None:
    """Runs with numbers from 1 to size; values are spread evenly between 0 and 1, each metric in its own order."""
    with tables.write() as conn:
        indexes = [index for table in ("metric_latest", "param", "tag") for index in _dropped(conn, table)]
        for statement in _statements(tables.dialect):
            conn.execute(sa.text(statement), {"size": size} if ":size" in statement else {})
        for index in indexes:
            conn.execute(sa.text(index))
    if tables.dialect == "postgresql":
        with tables.read() as conn:
            conn.execute(sa.text("SET default_transaction_read_only = off"))
            conn.execute(sa.text("VACUUM ANALYZE"))


def _dropped(conn: sa.Connection, table: str) -> list[str]:
    """Drop the indexes of a table, and give back what makes them."""
    if conn.dialect.name == "sqlite":
        found = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = :table"
    else:
        found = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = :table AND indexname NOT LIKE 'pk_%'"
            " AND schemaname = 'public'"
        )
    rows = conn.execute(sa.text(found), {"table": table}).all()
    for name, _ in rows:
        conn.execute(sa.text(f'DROP INDEX "{name}"'))
    return [made for _, made in rows]


def _statements(dialect: str) -> list[str]:
    numbers = "SELECT CAST(generate_series(1, :size) AS bigint) AS n"
    if dialect == "sqlite":
        numbers = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :size) SELECT n FROM s"
    runs = f"({numbers}) AS r"
    hexed = "printf('%032x', n)" if dialect == "sqlite" else "lpad(to_hex(n), 32, '0')"
    own = "OVERRIDING SYSTEM VALUE " if dialect == "postgresql" else ""
    keys = ", ".join(f"({number}, 'm{number}')" for number in range(1, METRICS)) + f", ({METRICS}, 'm1x')"
    value = "((r.n * (1000003 + 7919 * k.k)) % 999983) / 999983.0"
    return [
        f"INSERT INTO experiment (number, id, project, name, location, created_at, updated_at) {own}"
        f"VALUES (1, '0', 'default', 'Default', 'mlflow-artifacts:/0', {START}, {START})",
        f"INSERT INTO metric_key (number, experiment, name) {own}"
        f"SELECT k, 1, name FROM (VALUES {keys}) AS v{'(k, name)' if dialect != 'sqlite' else ''}".replace(
            "SELECT k, 1, name", "SELECT column1, 1, column2" if dialect == "sqlite" else "SELECT k, 1, name"
        ),
        "INSERT INTO run (number, id, project, experiment, name, parent, status, started_at, ended_at, created_by,"
        f" user_id) {own}SELECT n, {hexed}, 'default', 1, 'run-' || n, '', 'finished', {START} + n * 1000000,"
        f" {START} + n * 1000000 + 500000, 'owner', 'owner' FROM {runs}",
        "INSERT INTO metric_latest (run, key, step, at, sort, value)"
        f" SELECT r.n, k.k, 100, {START}, 0, CASE WHEN k.k = {METRICS} THEN {value.replace('k.k', '1')}"
        f" ELSE {value} END FROM {runs} CROSS JOIN {_series(METRICS, 1, dialect, 'k')}",
        *(
            f"INSERT INTO {table} (run, key, value) SELECT r.n, '{table[0]}' || k.k,"
            f" CASE k.k WHEN 0 THEN CAST(r.n AS text) ELSE CAST((r.n * (k.k + 6)) % 10 AS text) END"
            f" FROM {runs} CROSS JOIN {_series(count - 1, 0, dialect, 'k')}"
            for table, count in (("param", PARAMS), ("tag", TAGS))
        ),
    ]


def _series(last: int, first: int, dialect: str, name: str) -> str:
    if dialect == "postgresql":
        return f"(SELECT generate_series({first}, {last}) AS k) AS {name}"
    values = ", ".join(f"({number})" for number in range(first, last + 1))
    return f"(SELECT column1 AS k FROM (VALUES {values})) AS {name}"


def explain(size: int) -> None:
    """Print how SQLite goes about each search."""
    with folder() as root, filled(os.environ.get("BENCH_DB", ""), root, size) as tables:
        search = Search(tables=tables, clock=SystemClock())
        for name, (text, order, fields) in SEARCHES.items():
            seen: list[tuple[str, object]] = []
            with tables.read() as conn:
                engine = conn.engine
            sa.event.listen(engine, "before_cursor_execute", lambda *args, seen=seen: seen.append((args[2], args[3])))
            started = time.perf_counter()
            asking(search, text, order, fields)()
            print(f"== {name}: {1000 * (time.perf_counter() - started):.1f} ms")
            for statement, values in list(seen)[:6]:
                with tables.read() as conn:
                    plan = "EXPLAIN QUERY PLAN " if tables.dialect == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF) "
                    print("  --", " ".join(statement.split())[:300])
                    for row in conn.exec_driver_sql(plan + statement, values):  # type: ignore[arg-type]
                        print("    ", row[-1])


if __name__ == "__main__":
    explain(int(sys.argv[2]) if len(sys.argv) > 2 else 50_000)

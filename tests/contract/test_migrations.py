"""The steps lead from nothing to the schema that the rooms' records describe, on both databases."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mainspring.core.errors import Unavailable
from mainspring.storage import migrations, open_tables
from mainspring.storage.light import whole
from mainspring.storage.ports import Tables
from mainspring.testing.postgres import PostgresServer
from mainspring.testing.processes import apart
from mainspring.testing.schema import all_metadata, whole_schema

Database = Callable[[], Tables]
STEPS = sorted((migrations.FOLDER / "versions").glob("[0-9]*.py"))
ADDING = {"create_table", "create_index", "add_column", "execute", "f", "get_context"}


@pytest.fixture
def empty_sqlite(tmp_path: Path) -> Database:
    return partial(open_tables, "", tmp_path / "empty")


@pytest.fixture
def empty_postgres(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    name = postgres_server.make_database()
    yield partial(open_tables, postgres_server.url(name), tmp_path)
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest) -> Database:
    return cast(Database, request.getfixturevalue(f"empty_{request.param}"))


class Undone(Exception):
    """Ends a transaction whose changes are not wanted."""


def by_steps(conn: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    config.attributes["connection"] = whole(conn)
    command.upgrade(config, "head")


def described(conn: sa.Connection) -> list[tuple[object, ...]]:
    """Every table, column, index, constraint and trigger in the words of the database."""
    if conn.dialect.name == "sqlite":
        found = conn.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").all()
        return [(*row[:3], " ".join(str(row[3]).split())) for row in found]
    queries = (
        "SELECT table_name, column_name, ordinal_position, data_type, collation_name, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    )
    return sorted((tuple(row) for query in queries for row in conn.exec_driver_sql(query)), key=str)


def migrate(database: Database) -> None:
    tables = database()
    tables.migrate()
    tables.close()


def test_the_migrated_schema_is_the_one_that_the_records_describe(tables: Tables) -> None:
    with tables.read() as conn:
        context = MigrationContext.configure(whole(conn), opts={"compare_type": True})
        assert compare_metadata(context, all_metadata()) == []


def test_every_table_is_strict_on_sqlite(sqlite_tables: Tables) -> None:
    query = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict"
    with sqlite_tables.read() as conn:
        loose = set(conn.execute(sa.text(query)).scalars())
    assert {name for name in loose if not name.startswith("sqlite_")} == {"alembic_version"}


def test_partial_indexes_kept_their_condition(tables: Tables) -> None:
    with tables.read() as conn:
        for table in all_metadata().sorted_tables:
            wanted = {
                str(index.name)
                for index in table.indexes
                if index.dialect_options[tables.dialect].get("where") is not None
            }
            found = {
                str(index["name"])
                for index in sa.inspect(whole(conn)).get_indexes(table.name)
                if f"{tables.dialect}_where" in index.get("dialect_options", {})
            }
            assert found == wanted, table.name


def test_the_head_constant_names_the_newest_of_one_line_of_steps() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migrations.HEAD]
    assert [step.revision for step in script.walk_revisions()][::-1] == [f"{n:04d}" for n in range(1, len(STEPS) + 1)]


@pytest.mark.parametrize("step", STEPS, ids=lambda path: path.stem)
def test_a_step_only_adds(step: Path) -> None:
    parts = sorted((migrations.FOLDER / step.stem.partition("_")[2]).glob("*.py"))
    trees = [ast.parse(part.read_text()) for part in (step, *parts)]
    calls = [node.func for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    used = {
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "op"
    }
    assert used <= ADDING


def test_processes_may_migrate_the_same_empty_database_at_once(empty: Database) -> None:
    processes = [apart.Process(target=migrate, args=(empty,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    tables = empty()
    with tables.read() as conn:
        assert migrations.version(conn) == migrations.HEAD
        assert set(sa.inspect(whole(conn)).get_table_names()) >= {"event", "job"}
    tables.close()


def test_a_database_of_a_newer_release_is_refused(tables: Tables) -> None:
    with tables.write() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable, match="'9999'"):
        tables.migrate()


def test_a_failed_migration_leaves_nothing(empty: Database) -> None:
    tables = empty()
    with tables.write() as conn:
        conn.execute(sa.text("CREATE TABLE job (id TEXT)"))  # stands in the way of the first step
    with pytest.raises((sa.exc.DBAPIError, sqlite3.Error)):
        tables.migrate()
    with tables.read() as conn:
        assert sa.inspect(whole(conn)).get_table_names() == ["job"]
    tables.close()


def test_alembic_is_imported_neither_for_an_empty_database_nor_for_one_that_is_up_to_date(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mainspring.storage import open_tables;"
        f"t = open_tables('', Path({str(tmp_path)!r})); t.migrate(); t.close(); print('alembic' in sys.modules)"
    )
    printed = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
        for _ in range(2)
    ]
    assert printed == ["False", "False"]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_sql_of_the_whole_is_what_the_steps_write(dialect: str) -> None:
    again = "run scripts/new_migration.py"
    assert migrations.whole(dialect).read_text() == whole_schema(dialect), again


def test_the_steps_one_by_one_lead_to_the_schema_of_the_whole(empty: Database) -> None:
    tables = empty()
    with pytest.raises(Undone), tables.write() as conn:
        by_steps(conn)
        stepwise = described(conn)
        raise Undone
    tables.migrate()
    with tables.read() as conn:
        assert described(conn) == stepwise
    tables.close()


@pytest.mark.postgres
def test_a_postgres_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    tables = open_tables(f"postgresql://me:secret@/none?host={tmp_path}", tmp_path)
    with pytest.raises(Unavailable, match="no answer from Postgres") as caught:
        tables.migrate()
    assert "secret" not in str(caught.value)
    tables.close()

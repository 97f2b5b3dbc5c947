"""Write the next migration from what the rooms' records say and the newest migration does not.

    python scripts/new_migration.py "Add the colour of a lamp"
    python scripts/new_migration.py --replace "First schema"     # only while the newest step is in no release

Read what it wrote: a step may only add (tables, nullable columns or columns with a default, indexes). A long one is
written in parts, one module per room.
"""

from __future__ import annotations

import argparse
import ast
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mainspring.storage import migrations
from mainspring.storage.light import whole
from mainspring.storage.schema import APPEND_ONLY, append_only
from mainspring.storage.sqlite import SqliteTables
from mainspring.testing.schema import all_metadata, room_of, whole_schema

LONG = 100
VERSIONS = migrations.FOLDER / "versions"
_PART_HEAD = '''# ruff: noqa: E501  statements stand as they run
"""The tables of {room}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema

'''
_GUARD = """
    for statement in {name}[op.get_context().dialect.name]:
        op.execute(statement)
"""


def main() -> None:
    """Write the step, and name it in `HEAD`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("message", help="what the step adds, one sentence without a full stop")
    parser.add_argument("--replace", action="store_true", help="write the newest step anew; it must not be released")
    arguments = parser.parse_args()
    head = _newest()
    if arguments.replace and head:
        before = _steps()[head]
        old = next(VERSIONS.glob(f"{head}_*.py"))
        shutil.rmtree(_parts_of(old), ignore_errors=True)
        old.unlink()
        head = before
    path = _write(f"{int(head or 0) + 1:04d}", arguments.message)
    _set_head(path.name[:4])
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", path], check=True)
    if len(path.read_text().splitlines()) > LONG:
        _split(path)
    written = [path, *_parts_of(path).glob("*.py")]
    subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", "--fix", *written], check=True)
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", *written], check=True)
    for dialect in ("sqlite", "postgresql"):
        migrations.whole(dialect).write_text(whole_schema(dialect))
    print(f"{path}: read it, then run pytest tests/contract/test_migrations.py")


def _write(revision: str, message: str) -> Path:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        tables = SqliteTables(Path(folder) / "before.sqlite")
        with tables.write() as conn:
            config = _config(whole(conn))
            if _newest():
                command.upgrade(config, "head")
            config.attributes["metadata"] = all_metadata()
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            script = command.revision(config, message, autogenerate=True, rev_id=revision)
        tables.close()
    if script is None or isinstance(script, list):
        raise SystemExit("nothing was written")
    path = Path(script.path)
    path.write_text(_guarded(path.read_text()))
    return path


def _guarded(text: str) -> str:
    """Add the triggers of append-only tables that the step creates, and drop what only Alembic's author needs."""
    text = re.sub(r"(?m)^ *# ###.*\n", "", text)
    for table in APPEND_ONLY:
        if f'create_table("{table}"' in text.replace("'", '"').replace("(\n        ", "("):
            name = f"{table.upper()}_TRIGGERS"
            statements = {dialect: append_only(table, dialect) for dialect in ("sqlite", "postgresql")}
            text = text.replace("\n\ndef upgrade", f"\n{name} = {statements!r}\n\n\ndef upgrade", 1)
            text = text.rstrip() + "\n" + _GUARD.format(name=name)
    return text


def _parts_of(step: Path) -> Path:
    """Where the parts of a long step are: `first_schema/` for `0001_first_schema.py`."""
    return migrations.FOLDER / step.stem.partition("_")[2]


def _split(step: Path) -> None:
    """Turn a long step into a package, one module per room with one function per table, and a step that calls them."""
    text = step.read_text()
    nodes = ast.parse(text).body
    upgrade = next(node for node in nodes if isinstance(node, ast.FunctionDef))
    rooms: dict[str, dict[str, list[str]]] = {}
    for statement in upgrade.body:
        source = ast.get_source_segment(text, statement) or ""
        table = _table_of(statement)
        rooms.setdefault(room_of(table), {}).setdefault(table, []).append(source)
    triggers = {
        _table_of(node): f"{ast.get_source_segment(text, node)}\n\n" for node in nodes if isinstance(node, ast.Assign)
    }
    folder = _parts_of(step)
    folder.mkdir()
    (folder / "__init__.py").write_text(f'"""The parts of step {step.stem[:4]}: a module per room."""\n')
    for room, tables in rooms.items():
        constants = "".join(triggers.get(table, "") for table in tables)
        (folder / f"{room}.py").write_text(f"{_PART_HEAD.format(room=room)}{constants}{_functions(tables)}")
    head = text[text.index('"""') : text.index("import sqlalchemy")]
    facts = text[text.index("revision =") : text.index("depends_on")]
    calls = "".join(f"    {room}.upgrade()\n" for room in sorted(rooms))
    step.write_text(
        f"{head}from mainspring.storage.migrations.{folder.name} import {', '.join(sorted(rooms))}\n\n"
        f"{facts}depends_on = None\n\n\ndef upgrade() -> None:\n{calls}"
    )


def _functions(tables: dict[str, list[str]]) -> str:
    calls = "".join(f"    _{table}()\n" for table in tables)
    bodies = (f"\n\ndef _{table}() -> None:\n    " + "\n    ".join(body) for table, body in tables.items())
    return f"def upgrade() -> None:\n{calls}{''.join(bodies)}\n"


def _table_of(node: ast.stmt) -> str:
    """The table a statement of a step is about."""
    if isinstance(node, ast.Assign):  # the triggers of an append-only table
        return ast.unparse(node.targets[0]).removesuffix("_TRIGGERS").lower()
    if isinstance(node, ast.For):
        return ast.unparse(node.iter).partition("_TRIGGERS")[0].lower()
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        raise SystemExit(f"a step has a statement of an unknown kind: {ast.unparse(node)}")
    return str(ast.literal_eval(call.args[1 if call.func.attr == "create_index" else 0]))


def _config(conn: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    config.attributes["connection"] = conn
    return config


def _newest() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _steps() -> dict[str, str]:
    """Each step with the one before it."""
    walk = ScriptDirectory.from_config(_config()).walk_revisions()
    return {step.revision: str(step.down_revision or "") for step in walk}


def _set_head(revision: str) -> None:
    path = migrations.FOLDER / "__init__.py"
    path.write_text(re.sub(r'(?m)^HEAD = ".*"$', f'HEAD = "{revision}"', path.read_text()))


if __name__ == "__main__":
    main()

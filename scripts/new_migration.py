"""Write the next migration from what the rooms' records say and the newest migration does not.

    python scripts/new_migration.py "Add the colour of a lamp"
    python scripts/new_migration.py --replace "First schema"     # only while the newest step is in no release

Read what it wrote: a step may only add (tables, nullable columns or columns with a default, indexes).
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mainspring.storage import migrations
from mainspring.storage.schema import APPEND_ONLY, append_only
from mainspring.storage.sqlite import SqliteTables
from mainspring.testing.schema import all_metadata

VERSIONS = migrations.FOLDER / "versions"
_GUARD = """
    for statement in {name}[op.get_bind().dialect.name]:
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
        next(VERSIONS.glob(f"{head}_*.py")).unlink()
        head = before
    path = _write(f"{int(head or 0) + 1:04d}", arguments.message)
    _set_head(path.name[:4])
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", path], check=True)
    subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", "--fix", path], check=True)
    print(f"{path}: read it, then run pytest tests/contract/test_migrations.py")


def _write(revision: str, message: str) -> Path:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        tables = SqliteTables(Path(folder) / "before.sqlite")
        with tables.write() as conn:
            config = _config(conn)
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

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mainspring.core.errors import Invalid
from mainspring.core.settings import fill, load


def write(folder: Path, text: str) -> Path:
    (folder / "mainspring.toml").write_text(text)
    return folder


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, '[server]\nport = 7001\nhost = "127.0.0.2"\n[storage]\ndata = "here"\n')
    environ = {"MAINSPRING_SERVER_PORT": "7002", "MAINSPRING_SERVER_HOST": "127.0.0.3"}
    settings = load(tmp_path, environ=environ, flags={"server.port": 7003, "server.host": None})
    assert (settings.server.port, settings.server.host) == (7003, "127.0.0.3")
    assert settings.data_dir == tmp_path / "here"


def test_the_file_of_a_folder_above_counts_and_fixes_the_root(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path, '[project]\nname = "flights"\n')
    settings = load(inner, environ={})
    assert (settings.project.name, settings.root) == ("flights", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[server]\n\nprot = 7001\n",
            r"unknown setting 'prot'\nwhere: .*mainspring.toml, line 3\ntry: did you mean \"port\"\?",
        ),
        ("[sever]\nport = 1\n", r"unknown section 'sever'\nwhere: .*, line 1\ntry: did you mean \"server\"\?"),
        ("[server]\nport = '7001'\n", r"'7001' is not a whole number\nwhere: .*, line 2 \(server.port\)"),
        ("[server]\nport = 99999\n", r"port 99999 is out of range\nwhere: server.port"),
        ("[server\n", "not TOML"),
        ("server = 3\n", "server is a value"),
        ("[loop]\nenabled = 1\n", "1 is not true or false"),
        ('[project]\nname = "a b"\n', "can't name a project"),
        ('[storage]\ndb = "mysql://x"\n', "the database address starts with 'mysql'"),
        ('[serving]\ndurability = "maybe"\n', "unknown durability"),
    ],
)
def test_a_wrong_file_says_what_where_and_try(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(write(tmp_path, text), environ={})
    assert __import__("re").search(message, str(caught.value))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MAINSPRING_SERVER_PROT", "1", 'did you mean "MAINSPRING_SERVER_PORT"?'),
        ("MAINSPRING_SEVRER_PORT", "1", 'did you mean "MAINSPRING_SERVER_PORT"?'),
        ("MAINSPRING_DATA", "here", 'did you mean "MAINSPRING_STORAGE_DATA"?'),
        ("MAINSPRING_SERVER_PORT", "x", "is not a whole number"),
        ("MAINSPRING_LOOP_ENABLED", "maybe", "is not true or false"),
    ],
)
def test_a_wrong_variable_is_refused(tmp_path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(tmp_path, environ={name: value})
    assert message in str(caught.value)


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    others = {"MAINSPRING_URL": "http://127.0.0.1:1", "MAINSPRING_OFFLINE": "1", "MAINSPRING_WEBHOOK_SECRET": "x"}
    assert load(tmp_path, environ=others) == load(tmp_path, environ={})


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(Invalid, match=r"the data folder is a file\nwhere: .*mainspring\.toml\n"):
        load(tmp_path, environ={}, flags={"storage.data": "mainspring.toml"})


def test_the_tables_of_rooms_are_kept_as_read(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "[gate.promote]\nalpha = 0.05\n"), environ={"MAINSPRING_LOOP_DRY_RUN": "yes"})
    assert settings.tables == {"gate": {"promote": {"alpha": 0.05}}}
    assert settings.loop.dry_run


@dataclass(frozen=True)
class Lamp:
    watts: float
    lit: bool = False


def test_fill_makes_a_value_or_says_what_is_wrong() -> None:
    assert fill(Lamp, {"watts": 5}, where="lamp") == Lamp(5)
    with pytest.raises(Invalid, match="unknown setting 'wats'"):
        fill(Lamp, {"wats": 5}, where="lamp")
    with pytest.raises(Invalid, match="missing"):
        fill(Lamp, {}, where="lamp")
    with pytest.raises(Invalid, match="is not true or false"):
        fill(Lamp, {"watts": 5, "lit": 1}, where="lamp")


def test_a_child_started_with_the_environ_has_the_same_settings(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "[server]\nport = 7001\n"), environ={}, flags={"loop.dry_run": True})
    child = load(tmp_path, environ=settings.environ())
    assert (child.server, child.loop, child.data_dir) == (settings.server, settings.loop, settings.data_dir)

"""Configuration: which layer wins, what is refused and how it is said, where files and sockets lie."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core import paths, settings
from engram_core.errors import BadInput, ConfigError, UnknownField
from engram_core.paths import MAX_SOCKET_PATH

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(settings, "SYSTEM_FILE", str(tmp_path / "etc.toml"))
    (tmp_path / ".config/engram").mkdir(parents=True)
    yield tmp_path


def env_of(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), **more}


def user_file(home: Path, text: str) -> Path:
    path = home / ".config/engram/engram.toml"
    path.write_text(text)
    return path


def test_the_shipped_file_holds_every_setting_with_its_default() -> None:
    parsed = tomllib.loads((ROOT / "config/engram.toml").read_text())
    flat = {f"{section}.{name}": value for section, table in parsed.items() for name, value in table.items()}
    assert flat == {field.key: field.default for field in settings.FIELDS}


def test_every_default_is_allowed() -> None:
    for field in settings.FIELDS:
        assert settings.check(field.key, field.default, "default") == field.default


def test_each_layer_overrides_the_one_before(home: Path) -> None:
    project = home / "work"
    project.mkdir()

    def load(**env: str) -> settings.Settings:
        return settings.load(env=env_of(home, **env), cwd=str(project))

    assert (load().get("scope.agent"), load().origin("scope.agent")) == ("cli", "default")
    (home / "etc.toml").write_text('[scope]\nagent = "system"\nrun = "r"\n')
    assert (load().get("scope.agent"), load().origin("scope.agent")) == ("system", str(home / "etc.toml"))
    mine = user_file(home, '[scope]\nagent = "mine"\n')
    assert (load().get("scope.agent"), load().origin("scope.agent")) == ("mine", str(mine))
    (project / ".engram.toml").write_text('[scope]\nagent = "project"\n')
    assert load().get("scope.agent") == "project"
    assert load(ENGRAM_AGENT="env").origin("scope.agent") == "environment ENGRAM_AGENT"
    flagged = settings.load(env=env_of(home, ENGRAM_AGENT="env"), flags={"scope.agent": "flag", "scope.run": None})
    assert (flagged.get("scope.agent"), flagged.origin("scope.agent")) == ("flag", "flag")
    assert flagged.get("scope.run") == "r"
    assert list(load().files) == [str(home / "etc.toml"), str(mine), str(project / ".engram.toml")]


def test_a_named_file_replaces_the_users_and_must_exist(home: Path) -> None:
    user_file(home, "[packet]\nmax_tokens = 1\n")
    other = home / "other.toml"
    other.write_text("[packet]\nmax_tokens = 2\n")
    assert settings.load(env=env_of(home), config=str(other)).get("packet.max_tokens") == 2
    assert settings.load(env=env_of(home, ENGRAM_CONFIG=str(other))).get("packet.max_tokens") == 2
    with pytest.raises(ConfigError, match="no such configuration file"):
        settings.load(env=env_of(home), config=str(home / "absent.toml"))


@pytest.mark.parametrize(("text", "said"), [
    ("[packet]\nmax_tokens = 'many'\n", r"packet.max_tokens is 'many', but must be a whole number from 1 to 10000000"),
    ("[packet]\nmax_tokens = 0\n", "packet.max_tokens is 0"),
    ("[packet]\nmax_tokens = true\n", "packet.max_tokens is true"),
    ("[packet]\nmax_token = 5\n", r"unknown setting 'max_token' in \[packet\]; did you mean max_tokens\?"),
    ("[packe]\nmax_tokens = 5\n", r"unknown section \[packe\]; did you mean packet\?"),
    ("packet = 5\n", "packet is 5, but must be a section"),
    ("[store]\ndurability = 'ful'\n", "one of full, normal; did you mean full?"),
    ("[store]\nurl = 'oracle://db'\n", "store.url is 'oracle://db', but must be a path, sqlite:///path, postgresql"),
    ("[store]\nurl = 'mysql://a:secret@db/x'\n", r"store.url mysql://a:\*\*\*@db/x holds a password that others can"),
    ("[store]\nurl = 'relative.db'\n", "must be the absolute path of a file"),
    ("[daemon]\nsocket = 'relative.sock'\n", "must be an absolute path"),
    ("[scope]\nrun = ' '\n", "scope.run is ' ', but must be a non-empty text"),
    ("[redact]\nenabled = 1\n", "redact.enabled is 1, but must be true or false"),
    ("[redact.patterns]\nx = '('\n", r"redact.patterns.x is '\(', which is no regular expression"),
    ("[redact.patterns]\nx = 'a*'\n", "which matches the empty text"),
    ("[redact.patterns]\nx = '(a+)+b'\n", r"redact.patterns.x is '\(a\+\)\+b', which could search a text for ever"),
    ("[redact.patterns]\nx = 5\n", "a table of name = regular expression"),
    ("[packet\n", "is not TOML: .*line 1"),
])
def test_what_is_wrong_in_a_file_is_named(home: Path, text: str, said: str) -> None:
    path = user_file(home, text)
    with pytest.raises(ConfigError, match=said) as caught:
        settings.load(env=env_of(home))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"])
def test_a_place_that_depends_on_the_current_folder_is_refused(home: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"environment {name} is 'here', but must be an absolute path; .*unset it"):
        settings.load(env={**env_of(home), name: "here"})


def test_a_wrong_variable_is_named(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"environment ENGRAM_PACKET_MAX_TOKENS: packet.max_tokens is 'x'"):
        settings.load(env=env_of(home, ENGRAM_PACKET_MAX_TOKENS="x"))


def test_an_empty_variable_counts_as_unset(home: Path) -> None:
    assert settings.load(env=env_of(home, ENGRAM_AGENT="")).get("scope.agent") == "cli"


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_a_truth_value_can_be_spelled_as_people_do(home: Path, word: str) -> None:
    assert settings.load(env=env_of(home, ENGRAM_REDACT_ENABLED=word)).get("redact.enabled") is True


@given(st.integers())
def test_a_number_is_taken_as_it_is_or_refused(number: int) -> None:
    low, high = settings.field_of("daemon.max_connections").allowed
    env = {"HOME": "/nonexistent", "ENGRAM_DAEMON_MAX_CONNECTIONS": str(number)}
    if low <= number <= high:
        assert settings.load(env=env).get("daemon.max_connections") == number
    else:
        with pytest.raises(ConfigError):
            settings.load(env=env)


def test_a_file_that_others_can_write_is_refused(home: Path) -> None:
    path = user_file(home, "")
    path.chmod(0o606)
    with pytest.raises(ConfigError, match=r"can be written by others \(mode 0606\); run: chmod go-w"):
        settings.load(env=env_of(home))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(home: Path) -> None:
    path = user_file(home, "")
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        settings.load(env=env_of(home))


def test_what_is_no_text_file_is_refused(home: Path) -> None:
    path = user_file(home, "")
    path.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="is not UTF-8: byte 2"):
        settings.load(env=env_of(home))
    path.write_bytes(b"#" * (settings.MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        settings.load(env=env_of(home))
    path.unlink()
    os.mkfifo(path)  # would block a careless reader for ever
    with pytest.raises(ConfigError, match="is not a regular file"):
        settings.load(env=env_of(home))


def test_a_project_file_holds_a_scope_only(home: Path) -> None:
    (home / ".engram.toml").write_text("[store]\nurl = '/tmp/x.db'\n")
    with pytest.raises(ConfigError, match=r"a project's file holds \[scope\] only"):
        settings.load(env=env_of(home), cwd=str(home))


def test_the_nearest_project_counts_and_none_above_home(home: Path) -> None:
    mine = home / "home"
    deep = mine / "a/b/c"
    deep.mkdir(parents=True)
    (home / ".engram.toml").write_text("")
    assert settings.project_file(str(deep), {"HOME": str(mine)}) == ""
    for folder in (mine, mine / "a/b"):
        (folder / ".engram.toml").write_text("")
        assert settings.project_file(str(deep), {"HOME": str(mine)}) == str(folder / ".engram.toml")


# ---- paths


def found(env: dict[str, str], **flags: Any) -> tuple[str, str]:
    loaded = settings.load(env=env, flags={key.replace("_", ".", 1): value for key, value in flags.items()})
    database = settings.database_path(loaded, env)
    return database, settings.socket_path(env, loaded, database)


def test_default_paths_follow_the_home_and_xdg() -> None:
    assert found({"HOME": "/h"}) == ("/h/.local/share/engram/engram.db", "/h/.local/state/engram/run/engram.sock")
    env = {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_RUNTIME_DIR": "/h/r/", "XDG_STATE_HOME": "/s"}
    database, socket = found(env)
    assert database == "/d/engram/engram.db"
    assert socket.startswith("/h/r/engram/engram-")  # /h/.local/share would have the plain name
    assert settings.log_path(env) == "/s/engram/daemon.log"
    assert found({"HOME": "/h", "XDG_DATA_HOME": ""})[0] == "/h/.local/share/engram/engram.db"


@pytest.mark.parametrize(("url", "path"), [
    ("/x/y.db", "/x/y.db"), ("sqlite:///x/y.db", "/x/y.db"), ("sqlite:////x/y.db", "/x/y.db"),
    ("~/y.db", "/h/y.db"), ("/x/../y.db", "/y.db"),
])
def test_a_database_is_named_by_path_or_url(url: str, path: str) -> None:
    assert found({"HOME": "/h"}, store_url=url)[0] == path


def test_another_database_has_a_socket_of_its_own(tmp_path: Path) -> None:
    env = {"HOME": "/h", "XDG_RUNTIME_DIR": "/h/r"}
    one, two = (found(env, store_url=f"{tmp_path}/{name}.db")[1] for name in "ab")
    assert one != two
    assert one.startswith("/h/r/engram/engram-") and len(one) == len("/h/r/engram/engram-12345678.sock")
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    assert found(env, store_url=f"{tmp_path}/link.db")[1] == one
    assert found(env, store_url="/h/.local/share/engram/engram.db")[1] == "/h/r/engram/engram.sock"


def test_homes_that_share_a_folder_of_sockets_share_no_socket() -> None:
    login = pwd.getpwuid(os.geteuid()).pw_dir
    shared = {"XDG_RUNTIME_DIR": "/run/somebody"}
    assert found({"HOME": login, **shared})[1] == "/run/somebody/engram/engram.sock"
    others = [found({"HOME": home, **shared})[1] for home in ("/h", "/i")]
    others.append(found({"HOME": login, "XDG_DATA_HOME": "/d", **shared})[1])
    assert len(set(others)) == 3 and all(one.startswith("/run/somebody/engram/engram-") for one in others)


def test_a_long_socket_path_is_replaced_unless_it_was_asked_for() -> None:
    long = "/" + "x" * 150
    path = found({"HOME": long})[1]
    assert len(path) <= MAX_SOCKET_PATH and path.startswith(f"/tmp/engram-{os.geteuid()}/")
    assert path != found({"HOME": long + "y"})[1]
    with pytest.raises(BadInput, match=f"has 151 bytes, the system allows {MAX_SOCKET_PATH}"):
        found({"HOME": "/h", "ENGRAM_SOCKET": long})


def test_without_a_home_the_systems_answer_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    assert paths.home({"HOME": "/h"}) == "/h"
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert paths.home({}) == f"/var/tmp/engram-{os.geteuid()}"
    assert paths.login_name({}) == f"uid-{os.geteuid()}"


# ---- scope


def resolve(home: Path, given: dict[str, Any], cwd: str | None = "/") -> tuple[dict[str, str], dict[str, str]]:
    loaded = settings.load(env=env_of(home))
    return settings.resolve_scope(given, cwd=cwd, settings=loaded, env_user="ada")


def test_a_scope_is_completed_and_tells_from_where(home: Path) -> None:
    mine = user_file(home, '[scope]\nagent = "bot"\n')
    scope, sources = resolve(home, {"session_id": "s"})
    assert scope == {"tenant_id": "default", "user_id": "ada", "agent_id": "bot", "session_id": "s",
                     "run_id": "default"}
    assert sources == {"tenant_id": "built-in", "user_id": "login name", "agent_id": str(mine),
                       "session_id": "request", "run_id": "built-in"}


def test_a_changed_file_is_seen_without_a_reload(home: Path) -> None:
    loaded = settings.load(env=env_of(home))
    project = home / "p"
    project.mkdir()

    def agent() -> str:
        return settings.resolve_scope({}, cwd=str(project), settings=loaded, env_user="ada")[0]["agent_id"]

    assert agent() == "cli"
    user_file(home, '[scope]\nagent = "one"\n')
    assert agent() == "one"
    (project / ".engram.toml").write_text('[scope]\nagent = "two"\n')
    assert agent() == "two"
    (project / ".engram.toml").write_text('[scope]\nagent = "three"\n')
    assert agent() == "three"
    (project / ".engram.toml").unlink()
    assert agent() == "one"


def test_the_daemons_own_environment_names_nobody_elses_scope(home: Path) -> None:
    loaded = settings.load(env=env_of(home, ENGRAM_AGENT="who-started-it"))
    assert settings.resolve_scope({}, cwd="/", settings=loaded, env_user="ada")[0]["agent_id"] == "cli"


def test_without_a_folder_only_the_tenant_is_completed(home: Path) -> None:
    full = {"user_id": "u", "agent_id": "a", "session_id": "s", "run_id": "r"}
    assert resolve(home, full, cwd=None)[0] == {"tenant_id": "default", **full}
    with pytest.raises(BadInput, match=r"scope.run_id is missing"):
        resolve(home, {key: value for key, value in full.items() if key != "run_id"}, cwd=None)


def test_a_wrong_scope_is_named(home: Path) -> None:
    with pytest.raises(UnknownField, match=r"scope.user is not known; did you mean user_id\?"):
        resolve(home, {"user": "x"})
    for wrong in ("", " ", 5, []):
        with pytest.raises(BadInput, match=r"scope.user_id is .*, but must be a non-empty text"):
            resolve(home, {"user_id": wrong})


def test_loading_without_files_imports_next_to_nothing(tmp_path: Path) -> None:
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); import os; before = set(sys.modules)\n"
            "from engram_core import settings\n"
            "s = settings.load(env=os.environ, cwd='/'); d = settings.database_path(s, os.environ)\n"
            "settings.socket_path(os.environ, s, d)\n"
            "print(' '.join(sorted(m for m in set(sys.modules) - before if not m.startswith('engram'))))")
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], env={"HOME": str(tmp_path)}, text=True,
                         capture_output=True, check=True)
    assert set(run.stdout.split()) <= {"__future__", "_blake2"}

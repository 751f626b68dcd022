"""The command line on a data directory without a server: what it prints, and how it ends."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import CliRunner

from mlwright import __version__
from mlwright.app import cli as app
from mlwright.app.commands import options


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `mlwright …` in this process, through its real entry point, on an empty data directory."""
    monkeypatch.setenv("MLWRIGHT_DATA", str(tmp_path / "data"))

    def run(*arguments: str, text: str = "") -> Done:
        runner = CliRunner()
        with runner.isolation(input=text) as (out, err, _):
            monkeypatch.setattr(sys, "argv", ["mlwright", *arguments])
            try:
                app.main()
                code: Any = 0
            except SystemExit as end:
                code = end.code
            return Done(int(code or 0), out.getvalue().decode(), err.getvalue().decode())

    return run


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mlwright.dev/v1", "kind": "Project", "metadata": {"name": "vision"},
        "spec": {"description": "Pictures"},
    } | changes  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Writes manifests to a file and returns its name."""

    def write(*documents: Any) -> str:
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write


# --- resources ---------------------------------------------------------------------------------------------------


def test_a_project_from_file_to_deletion(run: Run, written: Callable[..., str]) -> None:
    file = written(manifest())
    assert run("diff", "-f", file).code == 1
    assert run("apply", "-f", file, "--dry-run") == Done(0, "project/vision created (dry run)\n", "")
    assert run("apply", "-f", file) == Done(0, "project/vision created\n", "")
    assert run("apply", "-f", file) == Done(0, "project/vision unchanged\n", "")
    assert run("diff", "-f", file) == Done(0, "", "")
    file = written(manifest(spec={"description": "Photos"}))
    changed = run("diff", "-f", file)
    assert changed.code == 1
    assert "-  description: Pictures\n+  description: Photos\n" in changed.out
    assert run("apply", "-f", file).out == "project/vision updated\n"
    table = run("get", "projects").out.splitlines()
    assert table[0].split() == ["NAME", "PROJECT", "GENERATION", "CREATED", "PHASE"]
    assert [line.split()[:3] for line in table[1:]] == [["default", "default", "1"], ["vision", "vision", "2"]]
    assert run("delete", "project", "vision") == Done(0, "project/vision deleted\n", "")
    missing = run("get", "project", "vision")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.startswith("error: there is no Project 'vision'")


def test_what_get_prints_can_be_applied(run: Run, tmp_path: Path) -> None:
    run("projects", "create", "vision")
    for output in ("yaml", "json"):
        text = run("get", "project", "vision", "-o", output).out
        assert run("apply", "-f", "-", text=text) == Done(0, "project/vision unchanged\n", "")
    (tmp_path / "x.json").write_text(text)
    assert run("delete", "-f", str(tmp_path / "x.json")).out == "project/vision deleted\n"
    assert [each["metadata"]["name"] for each in json.loads(run("get", "project", "-o", "json").out)] == ["default"]


def test_several_documents_and_labels(run: Run, written: Callable[..., str]) -> None:
    names = {"a": {"team": "x"}, "b": {"team": "y"}}
    file = written(*(manifest(metadata={"name": name, "labels": labels}) for name, labels in names.items()), None)
    assert run("apply", "-f", file).out == "project/a created\nproject/b created\n"
    found = json.loads(run("get", "project", "-l", "team in (y)", "-o", "json").out)
    assert [each["metadata"]["name"] for each in found] == ["b"]
    assert run("get", "project", "-l", "team in").code == 2


def test_explain(run: Run) -> None:
    found = run("explain", "project.spec").out
    assert "Project.spec  <ProjectSpec>" in found
    assert "description  <string>" in found
    assert json.loads(run("explain", "project.spec.description", "-o", "json").out)["default"] == ""


ERRORS: list[tuple[Any, int, str, str]] = [
    (manifest(spec={"descripton": "x"}), 2, "unknown field 'descripton'\n  at spec.descripton", "'description'?"),
    (manifest(spec={"description": 5}), 2, "Expected `str`, got `int`\n  at spec.description", ""),
    (manifest(kind="Projekt"), 2, "there is no kind 'Projekt'\n  at kind", "did you mean 'project'?"),
    (manifest(metadata={"name": "A B"}), 2, "'A B' cannot be a name\n  at metadata.name", "lower-case"),
    (["a list"], 2, "document 1 of", ""),
    (manifest(metadata={"name": "default", "resourceVersion": "1"}), 5, "changed since you read it", "read it again"),
]


@pytest.mark.parametrize(("document", "code", "message", "hint"), ERRORS)
def test_wrong_manifests_are_explained(
    run: Run, written: Callable[..., str], document: Any, code: int, message: str, hint: str
) -> None:
    done = run("apply", "-f", written(document))
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert message in done.err
    assert ("hint: " in done.err) is bool(hint)
    assert hint in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["apply", "-f", "/none/such"], 1, "there is no file /none/such"),
        (["apply"], 2, "Missing option"),
        (["get"], 2, "Missing argument"),
        (["get", "lamps"], 1, "there is no kind 'lamps'"),
        (["delete", "project"], 2, "name a KIND and a NAME"),
        (["delete", "project", "none"], 1, "there is no Project 'none'"),
        (["delete", "project", "default"], 5, "it stays"),
        (["explain", "project.spec.x"], 1, "has no field 'x'"),
        (["nonsense"], 2, "No such command"),
        (["projects", "create", "Not Good"], 2, "cannot be a name"),
        (["projects", "create", "default"], 5, "There is a project 'default' already"),
        (["users", "create", "x", "--password", "short"], 2, "at least 12"),
        (["users", "disable", "none"], 1, "no principal 'none'"),
        (["tokens", "create", "--expires", "soon"], 2, "'soon' is not a lifetime"),
        (["tokens", "revoke", "none"], 1, "no token 'none'"),
        (["roles", "grant", "none", "viewer"], 1, "no principal 'none'"),
        (["roles", "grant", "none", "king"], 2, "Invalid value"),
        (["status"], 1, ""),
        (["logs"], 1, "there is no log"),
        (["events", "--follow"], 1, "needs a running server"),
        (["--server", "x"], 2, "No such option"),
        (["events", "--server", "http://127.0.0.1:9"], 1, "no answer from http://127.0.0.1:9"),
    ],
)
def test_how_commands_fail(run: Run, arguments: list[str], code: int, message: str) -> None:
    done = run(*arguments)
    assert done.code == code, done
    assert message in done.err
    assert "Traceback" not in done.err


def test_yaml_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    assert run("apply", "-f", str(tmp_path / "x.yaml")).code == 2
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert run("apply", "-f", str(tmp_path / "x.yaml")).code == 2
    (tmp_path / "x.yaml").write_text("!!python/object/apply:os.system ['true']")
    assert run("apply", "-f", str(tmp_path / "x.yaml")).code == 2


# --- identity and events -----------------------------------------------------------------------------------------


def test_people_tokens_and_roles(run: Run) -> None:
    assert run("users", "create", "ada", "--admin", "--password", "a long password").code == 0
    assert run("users", "create", "bob", "--password-stdin", text="another password\n").code == 0
    assert run("users", "create", "bot", "--kind", "service").code == 0
    assert [each["name"] for each in json.loads(run("users", "list", "-o", "json").out)] == ["ada", "bob", "bot"]
    token = yaml.safe_load(run("tokens", "create", "--user", "bot", "--expires", "90d", "-o", "yaml").out)
    assert token["secret"].startswith("mlw_")
    listed = run("tokens", "list", "--user", "bot").out
    assert token["id"] in listed
    assert token["secret"] not in listed
    assert run("roles", "grant", "bot", "editor").out == "bot is editor in default\n"
    assert "bot" in run("roles", "list").out
    assert run("roles", "revoke", "bot").code == 0
    assert run("tokens", "revoke", token["id"]).code == 0
    last = run("users", "disable", "ada")
    assert (last.code, "last administrator" in last.err) == (5, True)


def test_the_log_of_events(run: Run, tmp_path: Path) -> None:
    run("projects", "create", "vision")
    lines = run("events").out.splitlines()
    assert [line.split()[3:6] for line in lines] == [
        ["system", "resource.created", "project/default"], ["local", "resource.created", "project/vision"]
    ]  # fmt: skip
    assert [each["seq"] for each in json.loads(run("events", "--from", "1", "-o", "json").out)] == [2]
    verified = json.loads(run("audit", "verify", "-o", "json").out)
    assert (verified["ok"], verified["events"]) == (True, 2)
    assert run("audit", "verify", "--expect", verified["head"]).code == 0
    assert run("audit", "verify", "--expect", "f" * 64).code == 1
    import sqlite3

    connection = sqlite3.connect(tmp_path / "data" / "mlwright.db")
    connection.execute("UPDATE events SET actor = 'nobody' WHERE seq = 2")
    connection.commit()
    connection.close()
    broken = run("audit", "verify")
    assert (broken.code, broken.err) == (1, "error: event 2 was changed\n")


def test_the_newest_events(run: Run) -> None:
    for name in "abcdefgh":
        run("projects", "create", name)
    newest = [each["seq"] for each in json.loads(run("events", "-o", "json").out)]
    for count, after in ((1, 0), (3, 0), (100, 0), (3, newest[-2]), (2, newest[-1])):
        found = json.loads(run("events", "--tail", str(count), "--from", str(after), "-o", "json").out)
        assert [each["seq"] for each in found] == [seq for seq in newest if seq > after][-count:]
    assert run("events", "--tail", "2").out.splitlines() == run("events").out.splitlines()[-2:]


def typed_on_a_terminal(arguments: list[str], text: bytes, data: Path) -> tuple[int, str]:
    """Run a command on a terminal of its own, and type each line when it is asked for. Returns code and output."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["MLWRIGHT_DATA"] = str(data)
        os.execv(sys.executable, [sys.executable, "-m", "mlwright", *arguments])
    shown = b""
    lines = text.splitlines(keepends=True)
    while True:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # Linux: the other end is closed
            break
        shown += piece
        if lines and shown.endswith(b": "):
            os.write(terminal, lines.pop(0))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_a_password_is_asked_for_on_a_terminal(tmp_path: Path) -> None:
    code, shown = typed_on_a_terminal(
        ["users", "create", "bob"], b"a long password\na long password\n", tmp_path / "data"
    )
    assert (code, "Repeat" in shown, "a long password" in shown) == (0, True, False)
    for verb, name in (("create", "bob"), ("create", "no/name"), ("password", "nobody")):
        code, shown = typed_on_a_terminal(["users", verb, name], b"", tmp_path / "data")
        assert (code != 0, "Password" in shown, "error: " in shown) == (True, False, True), shown


def test_where_nobody_can_type_a_password(tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "data")]
    made = [sys.executable, "-m", "mlwright", "users", "create", "ada", "--password-stdin", *data]
    subprocess.run(made, input="a long password\n", stdout=subprocess.DEVNULL, text=True, check=True)
    for words in (["create", "bob"], ["password", "ada"]):
        command = [sys.executable, "-m", "mlwright", "users", *words, *data]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: a password is needed, and there is no terminal to ask for it\n")
        assert "hint: set MLWRIGHT_PASSWORD, or pipe it in with --password-stdin" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "place", "hint"),
    [
        (["tokens", "create", "--user", "nobody"], 1, "--user", "mlwright users list"),
        (["roles", "grant", "nobody", "viewer"], 1, "PRINCIPAL", "mlwright users list"),
        (["users", "disable", "nobody"], 1, "NAME", "mlwright users list"),
        (["users", "password", "nobody", "--password", "a long password"], 1, "NAME", "mlwright users list"),
        (["users", "create", "x", "--password", "a long password", "--password-stdin"], 2, "--password-stdin", "leave"),
        (["audit", "verify", "--expect", "zzz"], 2, "--expect", "64 hexadecimal digits"),
        (["runs", "list", "--order-by", "metrics.loss DSC"], 2, "--order-by", "metrics.auc DESC"),
        (["runs", "list", "--filter", "metrics.loss >"], 2, "--filter", "metrics.auc > 0.7"),
        (["experiments", "list", "--filter", "x"], 2, "--filter", "name LIKE"),
        (["runs", "list", "--columns", "name,foo.bar"], 2, "--columns", "metrics.KEY"),
        (["export", "metrics", "--experiment", "nope", "-o", "x.csv"], 1, "--experiment", "mlwright experiments list"),
        (["export", "runs", "--filter", "x", "-o", "x.csv"], 2, "--filter", "metrics.auc > 0.7"),
        (["export", "runs", "-o", "x.xyz"], 2, "--output", ".parquet"),
    ],
)
def test_errors_say_where_and_what_helps(run: Run, arguments: list[str], code: int, place: str, hint: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert f"\n  at {place}\n\nhint: " in done.err
    assert hint in done.err.partition("hint: ")[2]


def test_a_manifest_that_is_refused_is_named(run: Run, written: Callable[..., str]) -> None:
    nameless = manifest()
    del nameless["apiVersion"]
    file = written(manifest(), nameless)
    for command in ("apply", "diff"):
        done = run(command, "-f", file)
        assert f"\n  at document 2 of {file}\n" in done.err
        assert "apiVersion: mlwright.dev/v1" in done.err


def test_a_database_that_does_not_answer_is_the_one_named(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    wrong = ["--database", "postgresql://nobody@127.0.0.1:1/none", "--artifacts", str(tmp_path / "files")]
    command = [sys.executable, "-m", "mlwright", "up", "--data", str(tmp_path / "data"), "--port", "0", *wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "\n  at --database\n" in done.stderr) == (1, True)


def test_the_version(run: Run) -> None:
    assert run("--version").out == f"mlwright {__version__}\n"
    assert json.loads(run("version", "-o", "json").out)["mlwright"] == __version__


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o nosort -F _mlwright_completion mlwright mlw\n"),
        ("zsh", "compdef _mlwright_completion mlwright mlw\n"),
        ("fish", "complete --no-files --command mlwright --command mlw "),
    ],
)
def test_both_names_are_completed(run: Run, shell: str, line: str) -> None:
    script = run("completion", shell).out
    assert "_MLWRIGHT_COMPLETE" in script
    assert line in script


def test_the_program_is_named_as_one_can_call_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "with space" / "mlwright"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert options.this_program() == f"'{program}'"
    monkeypatch.setenv("PATH", str(program.parent))
    assert options.this_program() == "mlwright"
    monkeypatch.setattr(sys, "argv", ["/x/mlwright/__main__.py"])
    assert options.this_program() == f"{sys.executable} -m mlwright"


def test_the_doctor_command(run: Run, tmp_path: Path) -> None:
    found = json.loads(run("doctor", "-o", "json").out)
    assert {"name", "health", "detail", "fix"} == set(found[0])
    assert "fix: it is made by: mlwright up" in run("doctor").out
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mlwright.db").write_bytes(b"no database")
    assert run("doctor").code == 1


def test_every_command_in_the_table_can_be_imported() -> None:
    from click import Command, Context

    context = Context(app.cli)
    for name in app.COMMANDS:
        command = app.cli.get_command(context, name)
        assert isinstance(command, Command)
        assert command.help or command.short_help, name


_SERVER_PARTS = frozenset({"sqlalchemy", "starlette", "uvicorn", "jinja2", "numpy", "yaml", "rich", "alembic"})


@pytest.mark.parametrize(
    ("arguments", "said", "unwanted"),
    [
        (["--help"], "Commands:", {*_SERVER_PARTS, "msgspec"}),
        (["--version"], "mlwright", {*_SERVER_PARTS, "msgspec"}),
        (["status"], "running", {*_SERVER_PARTS, "http.client"}),
        (["runs", "list", "--help"], "Usage:", _SERVER_PARTS),
    ],
)
def test_what_quick_commands_leave_alone(
    arguments: list[str], said: str, unwanted: frozenset[str], tmp_path: Path
) -> None:
    program = (
        "import sys; from mlwright.app import cli\ntry:\n    cli.main()\n"
        f"except SystemExit: pass\nprint(sorted(set({sorted(unwanted)}) & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "MLWRIGHT_DATA": str(tmp_path)}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert said in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("rnus", "'rnus'. Did you mean 'runs'?"), ("experiment", "Did you mean 'experiments'"), ("xyzzy", "'xyzzy'.\n")],
)
def test_a_command_that_does_not_exist_leads_to_the_nearest(run: Run, wrong: str, said: str) -> None:
    done = run(wrong)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "refers to itself"),
        ("a: &a [x, x]\n" + "".join(f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]\n" for n in range(1, 40)), "k0"),
        ("a: &k0 [x, x]\n" + "".join(f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]\n" for n in range(1, 40)), "too many values"),
        ("[" * 5_000, "is not YAML"),
        ("kind: Project\nmetadata: {name: x}\nspec: {description: 2026-01-31}", "put it in quotes: '2026-01-31'"),
        ("? !!binary aGk=\n: 1", "is no text"),
        (
            "kind: Endpoint\nmetadata: {name: x}\nspec: {model: m@a, limits: {perKeyPerSecond: .inf}}",
            "inf is no finite",
        ),
    ],
)
def test_manifests_that_json_cannot_say_are_refused(run: Run, text: str, said: str) -> None:
    done = run("apply", "-f", "-", text=text)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_database_can_be_named_where_no_server_runs(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    made = run("users", "create", "ada", "--admin", "--password", "correct horse battery", "--database", url)
    assert made.code == 0, made.err
    assert run("tokens", "create", "--user", "ada", "--database", url).out.startswith("id ")
    assert run("tokens", "create", "--user", "ada").code == 1, "the database of the directory is another one"
    both = run("users", "create", "bob", "--database", url, "--server", "http://127.0.0.1:1")
    assert (both.code, "leave out --server" in both.err) == (2, True)
    assert run("users", "create", "bob", "--kind", "agent", "--database", "mysql://x/y").code == 2


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False),
     ({"TERM": "dumb"}, False)],
)  # fmt: skip
def test_colours_are_for_terminals_that_want_them(environment: dict[str, str], coloured: bool, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}
    inner = [sys.executable, "-m", "mlwright"]
    data = ["--data", str(tmp_path / "data")]
    for command in (["doctor", *data], ["logs", *data]):
        controller, terminal = pty.openpty()
        subprocess.run(
            [*inner, *command],
            env={**kept, **environment},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            check=False,
        )
        os.close(terminal)
        assert (b"\x1b[" in os.read(controller, 10_000)) is coloured, command
        os.close(controller)

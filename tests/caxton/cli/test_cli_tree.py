from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from caxton.cli.main import main
from caxton.cli.reference import command_table, render_reference
from caxton.cli.table import COMMANDS, GROUPS, SECTIONS, find, nearest
from caxton.cli.tree import load_command, make_root

HEAVY = (
    "wasmtime", "opentelemetry", "faiss", "mcp", "starlette", "uvicorn", "ruamel", "watchdog",
    "lmdb", "minijinja", "jsonschema", "psutil", "sandbox", "actors", "transformers",
)  # fmt: skip


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("agent", "ls")])
def test_light_commands_import_nothing_heavy(words: tuple[str, ...], fake) -> None:
    """Help, version and lists import no engine, server, watcher or store."""
    code = (
        "import sys; from caxton.cli.main import main; "
        f"code = main({list(words)!r}); print(); print('loaded', *sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"CAXTON_URL": fake.url, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    line = next(one for one in done.stdout.splitlines() if one.startswith("loaded "))
    loaded = {name.partition(".")[0] for name in line.split()}
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_row_has_a_command_with_help_and_examples(row, run) -> None:
    """Each command of the table loads, has help of its own, and its examples name it."""
    command = load_command(row)
    assert command.help
    assert row.section in SECTIONS
    done = run(*row.path, "--help")
    assert done.code == 0
    assert "Examples:" in done.out
    for example in row.examples:
        words = example.split()
        assert words[0] == "caxton"
        assert any(tuple(words[1 : 1 + len(p)]) == p for p in (row.path, *row.also))


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_the_options_in_examples_exist(row) -> None:
    """Every option that an example uses is an option of the command or a global one."""
    known = {
        name for param in load_command(row).params for name in (*param.opts, *param.secondary_opts)
    }
    for example in row.examples:
        used = {word for word in example.split('"')[0].split() if word.startswith("-")}
        assert used <= known


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        (("agents", "list"), ("agent", "ls")),
        (("agent", "get"), ("agent", "show")),
        (("conversations", "ls"), ("conversation", "ls")),
        (("messages", "send"), ("message", "send")),
        (("send",), ("message", "send")),
        (("top",), ("monitor",)),
    ],
)
def test_aliases_name_the_same_command(alias: tuple[str, ...], path: tuple[str, ...], run) -> None:
    """Plural nouns and list, get, delete are other words for the same commands."""
    row = find(alias)
    assert row is not None
    assert row.path == path
    assert run(*alias, "--help").code == 0


def test_there_is_no_command_for_other_words() -> None:
    """Unknown paths, too short and too long ones name nothing."""
    assert find(("agent",)) is None
    assert find(("agent", "ls", "more")) is None
    assert find(("agent", "fly")) is None


def test_hidden_aliases_are_not_listed() -> None:
    """The tree lists singular nouns and the short verbs only."""
    root = make_root()
    ctx = click.Context(root)
    assert "agents" not in root.list_commands(ctx)
    assert set(GROUPS) <= set(root.list_commands(ctx))
    group = root.get_command(ctx, "agent")
    assert isinstance(group, click.Group)
    assert group.list_commands(ctx) == ["ls", "show", "validate", "drain", "stop", "start"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("agnet", "ls"), "did you mean `agent`?"),
        (("agent", "lst"), "did you mean `agent list`?"),
        (("montior",), "did you mean `monitor`?"),
        (("xyzzy",), "no such command `xyzzy`"),
    ],
)
def test_an_unknown_command_names_the_nearest(words: tuple[str, ...], hint: str, run) -> None:
    """A mistyped command is answered with the nearest one and exit code 2."""
    done = run(*words)
    assert done.code == 2
    assert hint in done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  why:  ")
    assert lines[2].startswith("  next: ")
    assert lines[2].endswith("(USAGE)")


def test_nearest_is_empty_when_nothing_is_near() -> None:
    """A word like no command has no nearest one."""
    assert nearest("qqqqqq") == ""
    assert nearest("shwo", "agent") == "show"


def test_a_usage_error_is_an_object_with_json(run) -> None:
    """With --json a wrong command line is a problem object, wherever the flag stands."""
    for words in (("--json", "agnet"), ("agent", "show", "--json"), ("frob", "--json")):
        done = run(*words)
        assert done.code == 2
        assert done.problem["code"] == "USAGE"
        assert done.out == ""


@pytest.mark.parametrize(
    "words",
    [("--url", "ftp://x", "status"), ("status", "--timeout", "9000"), ("--timeout", "soon")],
)
def test_wrong_global_values_are_usage_errors(words: tuple[str, ...], run) -> None:
    """A global option out of its range ends with 2 and says what is allowed."""
    done = run(*words)
    assert done.code == 2
    assert "allowed" in done.err


def test_unknown_options_are_usage_errors(run) -> None:
    """An unknown option, before or after the command, ends with 2."""
    assert run("--colour").code == 2
    assert run("agent", "--colour").code == 2
    assert run("agent", "ls", "--colour").code == 2


def test_nothing_given_shows_help_on_stderr(run) -> None:
    """Without a command the help is shown, on stderr, with exit code 2."""
    for words in ((), ("agent",)):
        done = run(*words)
        assert done.code == 2
        assert done.out == ""
        assert "Usage: caxton" in done.err


def test_version_is_data(run) -> None:
    """The version goes to stdout."""
    assert run("--version").out.startswith("caxton 0.")
    assert run("version").out.startswith("caxton 0.")
    assert run("version", "--json").json["node"] is None


def test_help_of_a_command_is_data(run) -> None:
    """``help`` prints the help of any command and of the tree, and knows what does not exist."""
    assert "caxton agent ls" in run("help", "agent", "ls").out
    assert "Run a node" in run("help").out
    assert "MESSAGE" not in run("help", "send", "more").out
    assert run("help", "frob").code == 2


def test_help_json_is_the_command_table(run) -> None:
    """``help --json`` has every command with its options and whether it only reads."""
    table = run("help", "--json").json
    names = {command["name"] for command in table["commands"]}
    assert names == {row.name for row in COMMANDS}
    by_name = {command["name"]: command for command in table["commands"]}
    assert by_name["agent ls"]["read_only"] is True
    assert by_name["message send"]["read_only"] is False
    assert {"--url", "--json"} <= {n for o in table["global_options"] for n in o["names"]}
    assert command_table() == table


def test_the_reference_has_every_command() -> None:
    """The generated reference has a section for each command and each of its options."""
    text = render_reference()
    for row in COMMANDS:
        assert f"### caxton {row.name}\n" in text
        for param in load_command(row).own_params:
            if isinstance(param, click.Option):
                assert f"`{param.opts[-1]}`" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, run) -> None:
    """Each shell gets its script on stdout."""
    done = run("completion", shell)
    assert done.code == 0
    assert "_CAXTON_COMPLETE" in done.out


def test_completion_offers_agent_names(fake, monkeypatch, run) -> None:
    """Agent names complete live, and silently not at all when no node answers."""
    from caxton.cli.commands.send import _complete_agent
    from caxton.cli.invocation import Invocation

    command = load_command(next(row for row in COMMANDS if row.path == ("message", "send")))
    option = next(p for p in command.params if p.name == "to")
    ctx = click.Context(command, obj=Invocation(url=fake.url))
    assert [one.value for one in _complete_agent(ctx, option, "gr")] == ["Greeter"]
    ctx = click.Context(command, obj=Invocation(data=Path("nowhere"), env={}))
    assert _complete_agent(ctx, option, "gr") == []


def test_ctrl_c_ends_with_130(monkeypatch, run) -> None:
    """An interrupt ends with 128 plus the number of SIGINT."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("caxton.cli.commands.version.read_announcement", interrupted)
    assert run("version").code == 130


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """Output that nobody reads any more ends without a word."""
    code = "import sys; from caxton.cli.main import main; sys.exit(main(['help', '--json']))"
    done = subprocess.run(
        f"{sys.executable} -c {code!r} 2>{tmp_path / 'err'} | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "1"
    assert (tmp_path / "err").read_text() == ""


def test_main_reads_the_process_arguments(monkeypatch, capsys) -> None:
    """Without arguments the entry point reads those of the process."""
    monkeypatch.setattr("sys.argv", ["caxton", "version", "-q"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("caxton ")

"""The command tree: groups that import a command's module only when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from caxton.cli.invocation import Duration, Invocation
from caxton.cli.output import FORMATS
from caxton.cli.table import COMMANDS, GROUPS, PLURALS, SECTIONS, CommandRow, find, nearest

__all__ = ["CaxtonCommand", "Root", "load_command", "make_root"]

Change = Callable[[Invocation, Any], None]


def _option(names: tuple[str, ...], change: Change, **kw: Any) -> click.Option:
    """A global option: it may stand anywhere on the line, and changes the invocation."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value not in (None, False):
            change(ctx.ensure_object(Invocation), value)
        return value

    return click.Option(names, callback=callback, expose_value=False, is_eager=True, **kw)


def _url(invocation: Invocation, value: str) -> None:
    if not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"{value} given, http://HOST:PORT allowed", param_hint="--url")
    invocation.url = value


def _data(invocation: Invocation, value: Path) -> None:
    invocation.data = value.expanduser()


def _format(invocation: Invocation, value: str) -> None:
    invocation.format = value


def _json(invocation: Invocation, _: bool) -> None:
    invocation.format = "json"


def _quiet(invocation: Invocation, value: bool) -> None:
    invocation.quiet = value


def _no_color(invocation: Invocation, value: bool) -> None:
    invocation.no_color = value


def _timeout(invocation: Invocation, value: float) -> None:
    invocation.timeout_s = value


def global_options() -> list[click.Parameter]:
    """The options that every command takes."""
    return [
        _option(("--url",), _url, help="Address of the node's API. [CAXTON_URL]"),
        _option(
            ("--data",),
            _data,
            type=click.Path(path_type=Path, readable=False),
            help="Data folder of the node, ./caxton-data when not given. [CAXTON_DATA]",
        ),
        _option(
            ("-o", "--output"),
            _format,
            type=click.Choice(FORMATS),
            help="Form of the data on stdout.",
        ),
        _option(("--json",), _json, is_flag=True, help="Short for -o json."),
        _option(("-q", "--quiet"), _quiet, is_flag=True, help="Only data and errors."),
        _option(("--no-color",), _no_color, is_flag=True, help="No colour. [NO_COLOR]"),
        _option(
            ("--timeout",),
            _timeout,
            type=Duration(0.1, 300.0),
            help="How long a call may take: 30, 30s, 1500ms, 2m.",
        ),
    ]


GLOBAL_NAMES: Final = "--url --data -o/--output --json -q/--quiet --no-color --timeout"


class CaxtonCommand(click.Command):
    """A command that takes the global options too."""

    row: CommandRow | None = None

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.own_params = list(self.params)
        taken = {name for param in self.params for name in param.opts}
        self.params += [one for one in global_options() if not taken & set(one.opts)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options in full, the global ones by name."""
        records = [
            record
            for param in (*self.own_params, self.get_help_option(ctx))
            if param is not None and (record := param.get_help_record(ctx)) is not None
        ]
        with formatter.section("Options"):
            formatter.write_dl(records)
        with formatter.section("Global options (see caxton --help)"):
            formatter.write_text(GLOBAL_NAMES)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples of the command table."""
        if self.row is not None:
            with formatter.section("Examples"):
                for example in self.row.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def load_command(row: CommandRow) -> CaxtonCommand:
    """Import a command's module and give its click command."""
    module, _, attribute = row.target.partition(":")
    command = getattr(importlib.import_module(f"caxton.cli.commands.{module}"), attribute)
    if not isinstance(command, CaxtonCommand):
        raise TypeError(f"{row.target} is no command")
    command.row = row
    command.short_help = row.summary
    return command


class _Group(click.Group):
    """A group whose commands come from the command table."""

    prefix: tuple[str, ...] = ()

    def _rows(self) -> list[CommandRow]:
        depth = len(self.prefix)
        return [row for row in COMMANDS if row.path[:depth] == self.prefix]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The words that may follow, without hidden aliases."""
        depth = len(self.prefix)
        paths = [path for row in self._rows() for path in (row.path, *row.also)]
        return list(dict.fromkeys(path[depth] for path in paths if path[:depth] == self.prefix))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command or group of this name."""
        path = (*self.prefix, cmd_name)
        row = find(path)
        if row is not None:
            return load_command(row)
        group = PLURALS.get(cmd_name, cmd_name)
        return make_group(group) if not self.prefix and group in GROUPS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` name; the nearest one is named when there is none."""
        word = args[0]
        command = self.get_command(ctx, word)
        if command is None:
            if word.startswith("-"):
                return super().resolve_command(ctx, args)
            near = nearest(word, *self.prefix)
            hint = f"; did you mean `{' '.join((*self.prefix, near))}`?" if near else ""
            raise click.UsageError(f"no such command `{' '.join((*self.prefix, word))}`{hint}", ctx)
        return word, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, aliases behind the summary."""
        for section in SECTIONS:
            records = [
                (row.name[len(" ".join(self.prefix)) :].strip(), _summary(row))
                for row in self._rows()
                if row.section == section
            ]
            if records:
                with formatter.section(section):
                    formatter.write_dl(records)


def _summary(row: CommandRow) -> str:
    also = ", ".join(" ".join(path) for path in row.also)
    return f"{row.summary} (also: {also})" if also else row.summary


def make_group(name: str) -> click.Group:
    """The group of this name."""
    group = _Group(
        name,
        help=GROUPS[name],
        params=global_options(),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.prefix = (name,)
    return group


class Root(_Group):
    """``caxton`` itself."""


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from caxton import __version__

        ctx.ensure_object(Invocation).output.text(f"caxton {__version__}")
        ctx.exit(0)


def make_root() -> Root:
    """The whole tree; no command's module is imported yet."""
    version = click.Option(
        ("--version",),
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_version,
        help="Show the version and exit.",
    )
    return Root(
        "caxton",
        help="A multi-agent server: drop agent files into a folder, run one command.",
        params=[*global_options(), version],
        no_args_is_help=True,
        epilog="Start with: caxton serve --agents examples/agents",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )

"""``caxton memory export`` and ``import``: what is remembered, from and to files."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast, get_args

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.memory_options import of_whom
from caxton.cli.tree import CaxtonCommand
from caxton.errors import ImportInvalid, StorageError
from caxton.memory.exchange import Form, ImportReader
from caxton.memory.requests import Strategy
from caxton.message import now_ms

if TYPE_CHECKING:
    from caxton.memory.answer_views import Imported
    from caxton.memory_client import AsyncMemoryClient

__all__ = ["export", "import_"]

FORMS: Final = get_args(Form)
STRATEGIES: Final = get_args(Strategy)
PIECE: Final = 256 * 1024
LONG_S: Final = 24 * 3_600.0
"""How long a whole file may take; each request has a time of its own."""
IN_MEMORY: Final = 16 * 1024 * 1024


@click.command(cls=CaxtonCommand)
@click.option(
    "--format", "form", type=click.Choice(FORMS),
    help="jsonl when not given, or json where FILE ends so.",
)  # fmt: skip
@click.option("--output", "target", default="-", metavar="FILE", help="Standard output otherwise.")
@click.option("--vectors", is_flag=True, help="With vectors, so that importing needs no model.")
@of_whom
@pass_invocation
def export(
    invocation: Invocation,
    form: str | None,
    target: str,
    vectors: bool,
    scope: str | None,
    agent: str | None,
) -> int:
    """Write what is remembered to a file: everything, one scope, or what an agent may read.

    The file is there once it is whole.
    """
    chosen = cast("Form", form or ("json" if target.endswith(".json") else "jsonl"))
    output = invocation.output
    reader = ImportReader(target, now_ms=0)

    async def work(memory: AsyncMemoryClient, write: Callable[[bytes], object]) -> None:
        pieces = memory.of(agent).export_file(
            chosen, memory_scope=scope, include_embeddings=vectors
        )
        async with aclosing(pieces):
            async for piece in pieces:
                write(piece)
                for _ in reader.feed(piece):
                    pass
                told(f"exporting: {reader.entities:,} entities, {reader.relations:,} relations")
        for _ in reader.close():
            pass

    with invocation.client() as client, output.progress("exporting") as told:
        if target == "-":
            client.memory(lambda m: work(m, output.raw), LONG_S)
        else:
            with _whole_file(Path(target)) as file:
                client.memory(lambda m: work(m, file.write), LONG_S)
    where = "" if target == "-" else f" to {target}"
    output.talk(f"exported {reader.entities:,} entities, {reader.relations:,} relations{where}")
    return exit_codes.OK


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place when it is whole; readable by its owner only.

    Raises:
        StorageError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(path)
    except OSError as error:
        raise StorageError(store=str(path), reason=error.strerror or str(error)) from error


@click.command(cls=CaxtonCommand)
@click.argument("file", metavar="FILE")
@click.option(
    "--strategy", type=click.Choice(STRATEGIES), default="update_existing", show_default=True,
    help="What happens to what is known.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only read it, and say what is in it.")
@of_whom
@pass_invocation
def import_(
    invocation: Invocation,
    file: str,
    strategy: str,
    dry_run: bool,
    scope: str | None,
    agent: str | None,
) -> int:
    """Take up an export (JSON or JSON Lines), or the file of the reference MCP memory server.

    FILE is read to its end before anything is taken up; - is standard input. Entities go into the
    scope they came from, or all into --scope; those of an MCP memory server into the workspace.
    """
    output = invocation.output
    with _opened(file) as source:
        name = "standard input" if file == "-" else file
        with output.progress("reading") as told:
            checked = ImportReader(name, now_ms=now_ms())
            for piece in iter(lambda: source.read(PIECE), b""):
                for _ in checked.feed(piece):
                    pass
                told(f"reading: {checked.entities:,} entities")
            for _ in checked.close():
                pass
        found = f"{checked.entities:,} entities, {checked.relations:,} relations"
        kind = " of an MCP memory server" if checked.foreign else ""
        if dry_run:
            _say_found(invocation, checked, f"reads well: {found}{kind}")
            return exit_codes.OK
        with invocation.client() as client, output.progress("importing") as told:

            def progress(entities: int, relations: int) -> None:
                told(
                    f"importing: {entities:,} of {checked.entities:,} entities, "
                    f"{relations:,} of {checked.relations:,} relations"
                )

            given: dict[str, Any] = {"memory_scope": scope, "merge_strategy": strategy}
            report = client.memory(
                lambda m: _import(m.of(agent), source, name, progress, given), LONG_S
            )
    _say(invocation, report)
    return exit_codes.OK


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """The file, or all of standard input.

    Raises:
        ImportInvalid: it cannot be read.
    """
    try:
        if file != "-":
            with Path(file).expanduser().open("rb") as source:
                yield source
            return
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
            for piece in iter(lambda: sys.stdin.buffer.read(PIECE), b""):
                spool.write(piece)
            spool.seek(0)
            yield cast("IO[bytes]", spool)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImportInvalid(source=file, place="its beginning", reason=reason) from error


async def _import(
    memory: AsyncMemoryClient,
    source: IO[bytes],
    name: str,
    progress: Callable[[int, int], None],
    given: dict[str, Any],
) -> Imported:
    from caxton.memory.import_file import Importer

    source.seek(0)
    reader = ImportReader(name, now_ms=now_ms())
    with Importer(memory, reader, progress=progress, **given) as importer:
        for piece in iter(lambda: source.read(PIECE), b""):
            await importer.feed(piece)
        return await importer.close()


def _say_found(invocation: Invocation, found: ImportReader, text: str) -> None:
    output = invocation.output
    if output.structured:
        output.value(
            {
                "entities": found.entities,
                "relations": found.relations,
                "mcp_memory_server": found.foreign,
                "model": found.model,
            }
        )
    else:
        output.text(text)


def _say(invocation: Invocation, report: Imported) -> None:
    output = invocation.output
    if output.structured:
        output.value(report)
        return
    for kind in ("entities", "relations"):
        counts = [(getattr(report, f"{kind}_{what}"), what) for what in _WHAT]
        told = ", ".join(f"{number:,} {what}" for number, what in counts if number) or "none"
        output.text(f"{kind + ':':<11}{told}")
    if report.embedded:
        output.talk(f"{report.embedded:,} entities got vectors of this node's model")
    for note in report.notes:
        output.talk(note, "warn")


_WHAT: Final = ("created", "updated", "skipped")

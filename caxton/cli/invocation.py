"""One run of the command line: its global options, and the node it talks to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from caxton.cli.output import FORMATS, Output
from caxton.errors import NodeUnreachable

if TYPE_CHECKING:
    from caxton.cli.node_client import NodeClient

    _SecondsType = click.ParamType[float]
else:
    # Before click 8.3 the type takes no argument.
    _SecondsType = click.ParamType

__all__ = ["Announcement", "Duration", "Invocation", "pass_invocation", "read_announcement"]

DEFAULT_DATA: Final = Path("caxton-data")
MAX_ANNOUNCEMENT: Final = 64 * 1024


class Announcement(msgspec.Struct, frozen=True):
    """``run/node.json``: what a node writes when it is ready and takes away when it stops."""

    pid: int
    url: str
    started_at: int | str = ""
    version: str = ""
    data: str = ""
    agents: str = ""
    log: str = ""


def read_announcement(data: Path) -> Announcement | None:
    """What the node of this data folder announced; None when there is nothing readable."""
    try:
        with (data / "run" / "node.json").open("rb") as file:
            return msgspec.json.decode(file.read(MAX_ANNOUNCEMENT), type=Announcement)
    except (OSError, msgspec.MsgspecError):
        return None


_UNITS: Final = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m)?")


class Duration(_SecondsType):
    """``30``, ``30s``, ``1500ms`` or ``2m``, as seconds within a range."""

    name = "duration"

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(str(value).strip())
        seconds = float(match[1]) * _UNITS[match[2] or ""] if match else -1.0
        if not self.low <= seconds <= self.high:
            self.fail(
                f"{value} given, {self.low:g} s to {self.high:g} s allowed (30, 30s, 1500ms, 2m)",
                param,
                ctx,
            )
        return seconds


@dataclass
class Invocation:
    """The global options of one command line, and what follows from them."""

    url: str | None = None
    data: Path | None = None
    format: str = "table"
    quiet: bool = False
    no_color: bool = False
    timeout_s: float | None = None
    """None: each command has its own default."""
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    words: list[str] = field(default_factory=list)
    """The command line, for errors that come before options are read."""

    @property
    def output(self) -> Output:
        """How this invocation writes."""
        chosen = self.format if self.format in FORMATS else "table"
        return Output(chosen, self.quiet, not self.no_color)

    @property
    def folder(self) -> Path:
        """The data folder: ``--data``, ``CAXTON_DATA``, or ``caxton-data`` here."""
        if self.data is not None:
            return self.data
        given = self.env.get("CAXTON_DATA")
        return Path(given).expanduser() if given else DEFAULT_DATA

    def address(self) -> str:
        """The node's base URL: ``--url``, the node of ``--data``, ``CAXTON_URL``, the node here.

        Raises:
            NodeUnreachable: no URL is given and no node has announced itself.
        """
        if self.url is not None:
            return self.url.rstrip("/")
        if self.data is None and self.env.get("CAXTON_URL"):
            return self.env["CAXTON_URL"].rstrip("/")
        announced = read_announcement(self.folder)
        if announced is None:
            raise NodeUnreachable(
                url="any known address",
                reason=f"no --url given, and no node runs on {self.folder}",
            )
        return announced.url.rstrip("/")

    def client(self, timeout_s: float = 10.0, patience_s: float = 0.0) -> NodeClient:
        """A client of the node.

        Args:
            timeout_s: seconds that a call may take unless ``--timeout`` says otherwise.
            patience_s: seconds in which a node that does not answer is asked again.

        Raises:
            NodeUnreachable: nobody says where the node is.
        """
        from caxton.cli.node_client import NodeClient

        return NodeClient(
            self.address(), timeout_s=self.timeout_s or timeout_s, patience_s=patience_s
        )


pass_invocation = click.make_pass_decorator(Invocation)

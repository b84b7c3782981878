"""What ``perf/actors.py`` measures, how much of it, and the marks it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "COLUMNS",
    "PEERS",
    "UVLOOP",
    "Mark",
    "Measurement",
    "own_plan",
    "peer_plan",
    "uvloop_plan",
]

COLUMNS = (
    "per_s", "cpu_us", "p50_us", "p99_us", "us", "bytes", "rss_bytes", "p50_ms", "p99_ms",
)  # fmt: skip
"""Figures that the table shows."""


@dataclass(frozen=True)
class Mark:
    """What a figure is held to. Rates and ratios are to be high, all else low."""

    field: str
    limit: float
    stretch: float | None = None

    def __str__(self) -> str:
        text = f"{'>=' if self._high else '<='} {self.limit:,.0f} {self._unit}".rstrip()
        return text if self.stretch is None else f"{text} [{self.stretch:,.0f}]"

    @property
    def _high(self) -> bool:
        return self.field in ("per_s", "ratio")

    @property
    def _unit(self) -> str:
        return {"per_s": "/s", "ratio": "times"}.get(self.field, self.field.rpartition("_")[2])

    def reached(self, value: float | None) -> str:
        """``NO``, ``yes`` or ``stretch``."""
        if value is None or not self._meets(value, self.limit):
            return "NO"
        far = self.stretch is not None and self._meets(value, self.stretch)
        return "stretch" if far else "yes"

    def _meets(self, value: float, limit: float) -> bool:
        return value >= limit if self._high else value <= limit


@dataclass(frozen=True)
class Measurement:
    """A function of a module of this folder, to be run in a process of its own."""

    what: str
    key: str
    """Name in the JSON."""
    name: str
    """Of the function."""
    arguments: dict[str, Any]
    mark: Mark | None = None
    who: str = "actors"
    module: str = "actors_measures"


def own_plan(quick: bool) -> list[Measurement]:
    """Our figures; the tells are first."""
    size = 0.2 if quick else 1.0
    many = 20_000 if quick else 100_000
    times = 100 if quick else 1_000
    kills = 2 if quick else 10
    plan = [
        Measurement("tells to 100 actors", "tells", "tells", {"count": int(1_000_000 * size)},
                    Mark("per_s", 500_000)),
        Measurement("tells from another thread", "tells_from_thread", "tells_from_thread",
                    {"count": int(500_000 * size)}),
        Measurement("ask, 1 outstanding", "ask_1", "ask",
                    {"count": int(50_000 * size), "outstanding": 1}),
        Measurement("ask, 1,000 outstanding", "ask_1000", "ask",
                    {"count": int(200_000 * size), "outstanding": 1_000},
                    Mark("per_s", 100_000, 200_000)),
        Measurement("ask with a timeout, 1,000 outstanding", "ask_1000_timeout", "ask",
                    {"count": int(200_000 * size), "outstanding": 1_000, "timeout": 5.0}),
        Measurement(f"{many:,} idle actors", "spawn", "spawn",
                    {"count": many, "supervised": False}),
        Measurement(f"{many:,} supervised actors", "spawn_supervised", "spawn",
                    {"count": many, "supervised": True}, Mark("us", 20, 10)),
        Measurement("bytes of a supervised actor", "bytes_supervised", "spawn_bytes",
                    {"count": many, "supervised": True}, Mark("bytes", 2_000, 1_300)),
    ]  # fmt: skip
    for batch in (1, 10, 100, 1_000):
        what = f"to another process, batches of {batch:,}"
        if batch == 1:
            what = "to another process, one by one"
        count = int((200_000 if batch < 100 else 500_000) * size)
        mark = Mark("per_s", 300_000) if batch == 100 else None
        plan.append(Measurement(what, f"remote_{batch}", "remote",
                                {"count": count, "batch": batch}, mark))  # fmt: skip
    return [
        *plan,
        Measurement("failed actor back in service", "restart", "restart",
                    {"times": times, "supervised": False}, Mark("p50_ms", 1)),
        Measurement("failed actor back, by its supervisor", "restart_supervised", "restart",
                    {"times": times, "supervised": True}, Mark("p50_ms", 1)),
        Measurement("killed process is ready again", "killed_process", "killed_process",
                    {"times": kills}),
        Measurement("killed process answers an ask again", "killed_answers", "killed_answers",
                    {"times": kills}, Mark("p50_ms", 1_000, 300)),
    ]  # fmt: skip


UVLOOP = ("pykka", "msgspec", "psutil", "setproctitle")
"""What the runtime's figures on uvloop need beside it."""


def uvloop_plan(quick: bool) -> list[Measurement]:
    """Our figures on uvloop's loop."""
    chosen = ("tells", "ask_1", "ask_1000", "remote_100")
    return [
        Measurement(one.what, f"{one.key}_uvloop", one.name, {**one.arguments, "loop": "uvloop"},
                    who="actors on uvloop")
        for one in own_plan(quick) if one.key in chosen
    ]  # fmt: skip


def peer_plan(quick: bool) -> list[Measurement]:
    """The peers that are always there; pykka's tells are first."""
    size = 0.25 if quick else 1.0
    pykka = {"who": "pykka ThreadingActor", "module": "actors_peers"}
    plain = {"who": "asyncio Task + Queue", "module": "actors_peers"}
    return [
        Measurement("tells to 100 actors", "pykka_tells", "pykka_tells",
                    {"count": int(400_000 * size)}, **pykka),
        Measurement("ask, 1 outstanding", "pykka_ask_1", "pykka_ask",
                    {"count": int(20_000 * size), "outstanding": 1}, **pykka),
        Measurement("ask, 1,000 outstanding", "pykka_ask_1000", "pykka_ask",
                    {"count": int(20_000 * size), "outstanding": 1_000}, **pykka),
        Measurement("1,000 idle actors", "pykka_spawn", "pykka_spawn", {"count": 1_000}, **pykka),
        Measurement("tells to 100 actors", "asyncio_tells", "asyncio_tells",
                    {"count": int(500_000 * size)}, **plain),
        Measurement("ask, 1,000 outstanding", "asyncio_ask_1000", "asyncio_ask",
                    {"count": int(200_000 * size), "outstanding": 1_000}, **plain),
        Measurement("20,000 idle actors", "asyncio_spawn", "asyncio_spawn",
                    {"count": 20_000}, **plain),
    ]  # fmt: skip


PEERS = [
    (Measurement("tells to 100 actors", "xoscar_tells", "xoscar_tells", {"count": 20_000},
                 who="xoscar", module="actors_peers"), "xoscar"),
    (Measurement("tells to 100 actors", "thespian_tells", "thespian_tells", {"count": 20_000},
                 who="Thespian (simple base)", module="actors_peers"), "thespian"),
    (Measurement("tells to 1 actor", "ray_tells", "ray_tells", {"count": 5_000},
                 who="Ray", module="actors_peers"), "ray"),
    (Measurement("tells to 100 actors", "autogen_tells", "autogen_tells", {"count": 5_000},
                 who="autogen-core", module="actors_peers"), "autogen_core"),
]  # fmt: skip
"""Peers that are no dependency, and the package that each is in."""

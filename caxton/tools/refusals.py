"""Why a tool got nothing, and which line lets it: for people who write tools and policies."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ruamel.yaml import YAML

from caxton.tools.needs import ADVICE, Need, needs_of
from caxton.tools.workbench import Outcome
from sandbox import Module
from sandbox.grant_events import GrantEvent

__all__ = ["explain"]

LIMITS: Final = {
    "out_of_fuel": "give it more with `fuel:` under `resources:` in policy.yaml, or --fuel",
    "timeout": "give it more with `wall_ms:` under `resources:` in policy.yaml, or --timeout",
    "message_too_large": "its arguments are larger than `message_bytes:` under `resources:`",
    "reply_too_large": "its result is larger than `stdout_bytes:` under `resources:`",
}
"""What can be done about a limit that was reached."""

_HOST: Final = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]]*\]|[^:/\s]+)(?::(?P<port>\d+))?")


def explain(outcome: Outcome, module: Module | None) -> list[str]:
    """Lines that say what stood in the way of a call that failed, and what to write where.

    Args:
        outcome: of the call.
        module: its module, for what it could have asked for; None when that does not matter.
    """
    lines = []
    if outcome.code in LIMITS:
        lines.append(f"a limit ended it: {LIMITS[outcome.code]}")
    for event in dict.fromkeys(outcome.refused):
        lines.append(f"it asked for {ADVICE[Need(event.kind)].about}: {event.what}: {event.reason}")
        lines += _how(event)
    if not outcome.ok and not outcome.refused and module is not None and not lines:
        needs = needs_of(module.imports)
        if Need.FOLDER in needs and not outcome.folders:
            advice = ADVICE[Need.FOLDER]
            lines.append(
                f"it can open files and has no folder; if it needs one: {advice.option} here, "
                f"`{_one_line(advice.policy)}` in policy.yaml"
            )
    return lines


def _how(event: GrantEvent) -> list[str]:
    """The three places where it could be granted, with its own name in them."""
    advice, value = ADVICE[Need(event.kind)], _value(event)
    told = []
    for place, text in (
        ("policy.yaml, under permissions", advice.policy),
        ("the agent file", advice.agent),
        ("here", advice.option),
    ):
        if text:
            filled = text
            for example in ("api.example.com", "API_KEY", "sales"):
                filled = filled.replace(example, value)
            told.append(f"  to grant it, in {place}: {_one_line(filled)}")
    return told


def _value(event: GrantEvent) -> str:
    """The name in an event: the host of a request, the first word of another."""
    if event.kind == "host":
        found = _HOST.search(event.what)
        if found is None:
            return event.what
        usual = {"https": "443", "http": "80"}.get(found["scheme"])
        port = found["port"]
        return found["host"] if port in (None, usual) else f"{found['host']}:{port}"
    return event.what.split(" ")[0]


def _one_line(text: str) -> str:
    """A few lines of YAML as one, in its flow form."""
    return _flow(YAML(typ="safe", pure=True).load(text)).removeprefix("{").removesuffix("}")


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return value if value.replace("_", "").isalnum() else json.dumps(value)

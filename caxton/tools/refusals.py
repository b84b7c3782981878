"""Why a tool got nothing, and which line lets it: for people who write tools and policies."""

from __future__ import annotations

from typing import Final

from caxton.tools.needs import ADVICE, Need, needs_of
from caxton.tools.workbench import Outcome
from sandbox import Module

__all__ = ["explain"]

LIMITS: Final = {
    "out_of_fuel": "give it more with `fuel:` under `resources:` in policy.yaml, or --fuel",
    "timeout": "give it more with `wall_ms:` under `resources:` in policy.yaml, or --timeout",
    "message_too_large": "its arguments are larger than `message_bytes:` under `resources:`",
    "reply_too_large": "its result is larger than `stdout_bytes:` under `resources:`",
}
"""What can be done about a limit that was reached."""


def explain(outcome: Outcome, module: Module | None) -> list[str]:
    """Lines that say what stood in the way of a call that failed, and what to write where.

    Args:
        outcome: of the call.
        module: its module, for what it could have asked for; None when that does not matter.
    """
    lines = []
    if outcome.code in LIMITS:
        lines.append(f"a limit ended it: {LIMITS[outcome.code]}")
    for event in outcome.refused:
        lines.append(f"refused: {event.kind} {event.what}: {event.reason}")
        lines += _how(Need(event.kind), event.what)
    if not outcome.refused and module is not None and outcome.code not in LIMITS:
        lines += [
            f"it can use {ADVICE[need].about} and was granted none: {ADVICE[need].option}"
            for need in needs_of(module.imports)
            if need is Need.FOLDER and not outcome.folders
        ]
    return lines

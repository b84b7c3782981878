"""What a supervisor tells of its children: OTP's ``which_children`` and ``count_children``."""

from __future__ import annotations

from collections.abc import Collection

from actors.supervision.procedure import Child
from actors.supervision.spec import ChildInfo

__all__ = ["count_of", "info_of"]


def info_of(child: Child) -> ChildInfo:
    """A child as its supervisor sees it now."""
    cell = child.cell
    return ChildInfo(
        id=child.id,
        ref=cell.ref if cell is not None else None,
        state=cell.state if cell is not None and child.state == "running" else child.state,
        restarts=cell.restarts if cell is not None else 0,
        kind="supervisor" if child.spec.actor.supervises else "worker",
        spec=child.spec,
    )


def count_of(children: Collection[Child]) -> dict[str, int]:
    """Numbers of ``specs``, ``active``, ``supervisors`` and ``workers``."""
    supervisors = sum(child.spec.actor.supervises for child in children)
    return {
        "specs": len(children),
        "active": sum(child.state == "running" for child in children),
        "supervisors": supervisors,
        "workers": len(children) - supervisors,
    }

"""The limits a policy sets: Caxton's own names, and what Wassette and policy-mcp write."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Final

from sandbox.errors import InvalidSetting
from sandbox.limits import MIB, Limits
from sandbox.policy_yaml import Value

__all__ = ["own_resources", "policy_mcp_resources"]

MOST_MEMORY: Final = 512 * MIB

_QUANTITY: Final = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)(?P<unit>Ki|Mi|Gi|k|M|G|)")
_UNITS: Final = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
}  # fmt: skip
_NAMES: Final = tuple(field.name for field in fields(Limits))
_SHORT: Final = {"memory": "memory_bytes"}


def own_resources(block: Value) -> dict[str, int]:
    """Fields of ``Limits`` out of a ``resources:`` block. Raises ``PolicyError``."""
    found: dict[str, int] = {}
    for key, value in block.mapping((*_NAMES, *_SHORT)).items():
        name = _SHORT.get(key, key)
        if name in found:
            raise value.error(f"sets {name}, which is set already")
        number = quantity(value) if name.endswith("_bytes") else value.integer()
        try:
            Limits(**{name: number})
        except InvalidSetting as error:
            raise value.error(f"is {number}; allowed: {error.allowed}") from None
        found[name] = number
    return found


def policy_mcp_resources(block: Value, warn: list[str]) -> dict[str, int]:
    """The same out of ``permissions.resources``: memory as a Kubernetes quantity or in MB.

    Shares of a processor and rates of input and output are not kept, which is said in ``warn``;
    fuel and wall clock are what bounds work here. Raises ``PolicyError``.
    """
    entries = block.mapping(("limits", "cpu", "memory", "io"))
    limits = entries["limits"].mapping(("cpu", "memory")) if "limits" in entries else {}
    warn.extend(
        f"line {value.line}: {value.name} is not kept; set fuel and wall_ms under resources"
        for value in (limits.get("cpu"), entries.get("cpu"), entries.get("io"))
        if value is not None and value.data is not None
    )
    memory = limits.get("memory")
    if memory is not None and memory.data is not None:
        wanted = quantity(memory)
    elif "memory" in entries and entries["memory"].data is not None:
        memory = entries["memory"]
        wanted = memory.integer() * MIB
    else:
        return {}
    if wanted > MOST_MEMORY:
        warn.append(
            f"line {memory.line}: memory is {wanted} bytes; {MOST_MEMORY} are the most and taken"
        )
        wanted = MOST_MEMORY
    try:
        Limits(memory_bytes=wanted)
    except InvalidSetting as error:
        raise memory.error(f"is {wanted} bytes; allowed: {error.allowed}") from None
    return {"memory_bytes": wanted}


def quantity(value: Value) -> int:
    """Bytes: a whole number, or a text such as ``64Mi``."""
    match = _QUANTITY.fullmatch(value.data) if isinstance(value.data, str) else None
    if match is None:
        raise value.error("must be bytes as a number or with Ki, Mi, Gi, k, M or G")
    return int(float(match["number"]) * _UNITS[match["unit"]])

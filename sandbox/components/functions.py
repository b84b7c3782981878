"""What a component exports: functions that can be called with JSON, and why others cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sandbox.components.schema import DIALECT, object_of, schema_of
from sandbox.components.types import Primitive, Result, Type, from_plain, to_plain

__all__ = ["MOST_FUNCTIONS", "Function", "functions_of", "is_fixed_world", "is_internal"]

MOST_FUNCTIONS: Final = 256
"""Most exported functions of a component."""

TOOL_NAME: Final = 64
"""Longest name of a tool, in characters, as most clients of tools demand."""

_STRING: Final = Primitive("string")

# What the builders for JavaScript and Python export for themselves.
_QJS_INIT: Final = ("shim", "script", "entry-path", "disable-gc")
_PYTHON_RUNTIME: Final = "exports"


@dataclass(frozen=True, slots=True)
class Function:
    """One exported function.

    ``interface`` is the exported interface it is in, as ``local:calc/math@1.0.0``, empty at the
    top. ``docs`` is its description, where the component carries one. ``refused`` says why it
    cannot be called with JSON; its types are not known then.
    """

    interface: str
    name: str
    params: tuple[tuple[str, Type], ...] = ()
    result: Type | None = None
    docs: str = ""
    refused: str = ""

    @property
    def export(self) -> str:
        """Its name among the exports: ``name``, or ``interface#name``."""
        return f"{self.interface}#{self.name}" if self.interface else self.name

    @property
    def tool_name(self) -> str:
        """Its name as a tool: letters, digits, ``_`` and ``-``, at most 64 characters."""
        interface = self.interface.partition("@")[0]
        whole = f"{interface}.{self.name}" if interface else self.name
        return re.sub(r"[^A-Za-z0-9_-]", "_", whole)[-TOOL_NAME:]

    @property
    def succeeds_as(self) -> Type | None:
        """The type of what it gives when it succeeds: ``T`` of ``result<T, E>``."""
        return self.result.ok if isinstance(self.result, Result) else self.result

    def arguments_schema(self) -> dict[str, Any]:
        """JSON Schema of its arguments, an object by the names of its parameters."""
        return {"$schema": DIALECT, **object_of(self.params)}

    def result_schema(self) -> dict[str, Any] | None:
        """JSON Schema of what it gives when it succeeds; None when it gives nothing."""
        kind = self.succeeds_as
        return None if kind is None else {"$schema": DIALECT, **schema_of(kind, result=True)}

    def __str__(self) -> str:
        if self.refused:
            return f"{self.export}: refused: {self.refused}"
        params = ", ".join(f"{name}: {kind}" for name, kind in self.params)
        return f"{self.export}: func({params})" + (f" -> {self.result}" if self.result else "")

    def to_text(self) -> str:
        """Its type as text, for the record of a compiled component."""
        if self.refused:
            plain: dict[str, object] = {"refused": self.refused}
        else:
            plain = {
                "params": [[name, to_plain(kind)] for name, kind in self.params],
                "result": to_plain(self.result),
            }
        if self.docs:
            plain["docs"] = self.docs
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_text(cls, export: str, text: str) -> Function:
        """Reads ``export`` and ``to_text``. Raises ``ValueError``."""
        interface, _, name = export.rpartition("#")
        try:
            plain = json.loads(text)
            docs, refused = str(plain.get("docs", "")), str(plain.get("refused", ""))
            if refused:
                return cls(interface, name, docs=docs, refused=refused)
            params = tuple((str(item), from_plain(kind)) for item, kind in plain["params"])
            result = None if plain["result"] is None else from_plain(plain["result"])
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{export!r} has no type: {error!r}") from None
        return cls(interface, name, params, result, docs)


def functions_of(exports: Iterable[tuple[str, str]]) -> tuple[Function, ...]:
    """The functions of a component by its recorded exports. Raises ``ValueError``."""
    return tuple(Function.from_text(name, text) for name, text in exports)


def is_fixed_world(functions: Iterable[Function]) -> bool:
    """Whether it has ``describe: func() -> string`` and
    ``call: func(input: string) -> result<string, string>``: world ``caxton:tool/tool``.
    """
    by_name = {item.export: item for item in functions}
    describe, call = by_name.get("describe"), by_name.get("call")
    return (
        describe is not None
        and call is not None
        and not (describe.refused or call.refused)
        and (describe.params, describe.result) == ((), _STRING)
        and call.params == (("input", _STRING),)
        and call.result == Result(_STRING, _STRING)
    )


def is_internal(interface: str, name: str, params: Iterable[str]) -> bool:
    """Whether a builder exports this for its own use, so that it is no tool."""
    if interface:
        return interface == _PYTHON_RUNTIME or interface.startswith("wasi:")
    return name == "init" and tuple(params) == _QJS_INIT

"""What a component imports and exports, told in the types of ``sandbox.components``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import wasmtime
from wasmtime import component as wc

from sandbox.components.docs import Docs
from sandbox.components.functions import MOST_FUNCTIONS, Function, is_internal
from sandbox.components.types import (
    MOST_DEPTH,
    MOST_TYPES,
    Enum,
    Flags,
    List,
    Option,
    Primitive,
    Record,
    Result,
    Tuple,
    Type,
    TypeRefused,
    Variant,
)
from sandbox.components.world import is_wasi, signature
from sandbox.errors import Reason, SandboxError
from sandbox.module import Export, Import

__all__ = ["exports_of", "imports_of"]

MOST_IMPORTS: Final = 2_000

TYPE_CHARS: Final = 50_000
"""Longest type of a function as text: it is in the header of each call."""

_PRIMITIVES: Final[dict[type, str]] = {
    wc.Bool: "bool",
    wc.S8: "s8",
    wc.U8: "u8",
    wc.S16: "s16",
    wc.U16: "u16",
    wc.S32: "s32",
    wc.U32: "u32",
    wc.S64: "s64",
    wc.U64: "u64",
    wc.F32: "f32",
    wc.F64: "f64",
    wc.Char: "char",
    wc.String: "string",
}

_REFUSED: Final[dict[type, str]] = {
    wc.OwnType: "own: a resource is a handle of one instance, and each call has its own",
    wc.BorrowType: "borrow: a resource is a handle of one instance, and each call has its own",
    wc.StreamType: "stream: a call has one result",
    wc.FutureType: "future: a call has one result",
    wc.ErrorContext: "error-context: there is no JSON for it",
}


class _Teller:
    """Tells one function's types, and how many there were."""

    def __init__(self) -> None:
        self._left = MOST_TYPES

    def type(self, kind: wc.ValType, depth: int = 0) -> Type:
        self._count(1)
        if depth > MOST_DEPTH:
            raise TypeRefused(f"a type nested deeper than {MOST_DEPTH}")
        name = _PRIMITIVES.get(type(kind))
        if name is not None:
            return Primitive(name)
        below = depth + 1
        match kind:
            case wc.ListType():
                return List(self.type(kind.element, below))
            case wc.OptionType():
                return Option(self.type(kind.payload, below))
            case wc.TupleType():
                return Tuple(tuple(self.type(item, below) for item in kind.elements))
            case wc.RecordType():
                return Record(tuple((name, self.type(item, below)) for name, item in kind.fields))
            case wc.VariantType():
                return Variant(tuple((name, self._maybe(item, below)) for name, item in kind.cases))
            case wc.ResultType():
                return Result(self._maybe(kind.ok, below), self._maybe(kind.err, below))
            case wc.EnumType():
                self._count(kind.names_count)
                return Enum(tuple(kind.names))
            case wc.FlagsType():
                names = tuple(kind.names)
                self._count(len(names))
                return Flags(names)
        raise TypeRefused(_REFUSED.get(type(kind), type(kind).__name__))

    def _maybe(self, kind: wc.ValType | None, depth: int) -> Type | None:
        if kind is None:
            self._count(1)
            return None
        return self.type(kind, depth)

    def _count(self, types: int) -> None:
        self._left -= types
        if self._left < 0:
            raise TypeRefused(f"more than {MOST_TYPES} types in one function")


def imports_of(component: wc.Component, engine: wasmtime.Engine) -> tuple[Import, ...]:
    """The functions and resources it imports, by interface; types alone are nothing to grant."""
    found = []
    for interface, name, item in _items(component.type.imports(engine), engine):
        if isinstance(item, wc.ValType):
            continue
        if isinstance(item, wc.FuncType):
            kind = "func" if is_wasi(interface) else _import_type(item)
        else:
            kind = type(item).__name__.removesuffix("Type").lower()
        found.append(Import(interface, name, kind))
        _bounded(len(found), MOST_IMPORTS, "imports")
    return tuple(found)


def exports_of(component: wc.Component, engine: wasmtime.Engine, data: bytes) -> tuple[Export, ...]:
    """The functions it exports, those that cannot be called with JSON with the reason."""
    docs = Docs(data)
    found: list[Export] = []
    for interface, name, item in _items(component.type.exports(engine), engine):
        if not isinstance(item, wc.FuncType):
            continue
        params = item.params
        if is_internal(interface, name, [each for each, _ in params]):
            continue
        told = _function(interface, name, params, item, docs.of(interface, name))
        text = told.to_text()
        if len(text) > TYPE_CHARS:
            told = Function(interface, name, refused=f"a type of {len(text)} characters of text")
            text = told.to_text()
        found.append(Export(told.export, text))
        _bounded(len(found), MOST_FUNCTIONS, "exported functions")
    return tuple(found)


def _function(
    interface: str, name: str, params: list[tuple[str, wc.ValType]], item: wc.FuncType, docs: str
) -> Function:
    if name.startswith("["):
        return Function(interface, name, docs=docs, refused=_name_refused(name))
    tell = _Teller()
    try:
        typed = tuple((each, tell.type(kind)) for each, kind in params)
        result = item.result
        return Function(interface, name, typed, None if result is None else tell.type(result), docs)
    except TypeRefused as error:
        return Function(interface, name, docs=docs, refused=error.why)


def _name_refused(name: str) -> str:
    if name.startswith("[async]"):
        return "an async function: a call has one result"
    return "a function of a resource, which is a handle of one instance; each call has its own"


def _import_type(item: wc.FuncType) -> str:
    tell = _Teller()
    try:
        result = item.result
        return signature(
            [tell.type(kind) for _, kind in item.params],
            None if result is None else tell.type(result),
        )
    except TypeRefused as error:
        return f"func with {error.why.partition(':')[0]}"


def _items(items: Mapping[str, Any], engine: wasmtime.Engine) -> Iterator[tuple[str, str, Any]]:
    """Interface, name and type of everything, one level into interfaces."""
    for name, extern in items.items():
        item = extern.ty
        if isinstance(item, wc.ComponentInstanceType):
            for below, part in item.exports(engine).items():
                yield name, below, part.ty
        else:
            yield "", name, item


def _bounded(given: int, limit: int, what: str) -> None:
    if given > limit:
        raise SandboxError(
            Reason.MODULE_TOO_LARGE,
            f"the component has more than {limit} {what}",
            given=given,
            limit=limit,
        )

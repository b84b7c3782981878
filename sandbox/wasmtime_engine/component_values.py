"""Values of a component's functions in the engine's own form.

The binding converts by the Python type of a value and picks the wrong case of some variants
(``variant { number(u32), yes(bool) }`` given True), and it converts a whole result before anyone
can ask how large it is. So this walks the C structures itself, by our own types: the only place
that uses the binding's private ``_ffi``, whose layout is that of wasmtime's ``component/val.h``.
"""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Any, Final

import wasmtime
from wasmtime import WasmtimeError, _ffi
from wasmtime import component as wc

from sandbox.call_errors import too_large
from sandbox.components.types import (
    Case,
    Enum,
    Flags,
    List,
    Option,
    Primitive,
    Record,
    Result,
    Tuple,
    Type,
    Variant,
)
from sandbox.components.values import MOST_VALUES
from sandbox.errors import Reason, SandboxError
from sandbox.limits import Limits

__all__ = ["call"]

_Val: Final = _ffi.wasmtime_component_val_t
_SIZE: Final = ctypes.sizeof(_Val)
_KIND_AT: Final = _Val.kind.offset
_OF_AT: Final = _Val.of.offset

_SCALARS: Final[dict[str, tuple[int, str]]] = {
    "bool": (_ffi.WASMTIME_COMPONENT_BOOL.value, "boolean"),
    "s8": (_ffi.WASMTIME_COMPONENT_S8.value, "s8"),
    "u8": (_ffi.WASMTIME_COMPONENT_U8.value, "u8"),
    "s16": (_ffi.WASMTIME_COMPONENT_S16.value, "s16"),
    "u16": (_ffi.WASMTIME_COMPONENT_U16.value, "u16"),
    "s32": (_ffi.WASMTIME_COMPONENT_S32.value, "s32"),
    "u32": (_ffi.WASMTIME_COMPONENT_U32.value, "u32"),
    "s64": (_ffi.WASMTIME_COMPONENT_S64.value, "s64"),
    "u64": (_ffi.WASMTIME_COMPONENT_U64.value, "u64"),
    "f32": (_ffi.WASMTIME_COMPONENT_F32.value, "f32"),
    "f64": (_ffi.WASMTIME_COMPONENT_F64.value, "f64"),
}
"""The kind of each number and the member of the union that holds it."""

_U8: Final = _ffi.WASMTIME_COMPONENT_U8.value


def call(
    store: wasmtime.Store,
    function: wc.Func,
    params: tuple[Type, ...],
    result: Type | None,
    given: tuple[Any, ...],
    limits: Limits,
) -> Any:
    """Call ``function`` with values that fit ``params``; gives a value of type ``result``.

    Raises ``WasmtimeError`` when the guest trapped, ``SandboxError`` (``reply_too_large``) when the
    result has more bytes than ``reply_bytes`` or more than 250,000 values.
    """
    arguments = (_Val * len(params))()
    space = _Val()
    try:
        for at, kind in enumerate(params):
            _lower(kind, given[at], arguments[at])
        failed = _ffi.wasmtime_component_func_call(
            byref(function._func),
            store._context(),
            arguments,
            len(params),
            None if result is None else byref(space),
            0 if result is None else 1,
        )
        if bool(failed):
            raise WasmtimeError._from_ptr(failed)
        return None if result is None else _Lifter(limits).lift(result, space)
    finally:
        # A structure that was not filled in is a bool, which owns nothing.
        for argument in arguments:
            _ffi.wasmtime_component_val_delete(byref(argument))
        _ffi.wasmtime_component_val_delete(byref(space))


def _lower(kind: Type, value: Any, into: Any) -> None:
    match kind:
        case Primitive(name) if name in _SCALARS:
            number, member = _SCALARS[name]
            setattr(into.of, member, value)
            into.kind = number
        case Primitive("char"):
            into.of.character = ord(value)
            into.kind = _ffi.WASMTIME_COMPONENT_CHAR
        case Primitive():
            into.of.string = _ffi.str_to_capi(value)
            into.kind = _ffi.WASMTIME_COMPONENT_STRING
        case List(item):
            _lower_list(item, value, into)
        case Tuple(items):
            parts = into.of.tuple
            _ffi.wasmtime_component_valtuple_new_uninit(byref(parts), len(items))
            _clear(parts.data, len(items) * _SIZE)
            into.kind = _ffi.WASMTIME_COMPONENT_TUPLE
            for at, item in enumerate(items):
                _lower(item, value[at], parts.data[at])
        case Record(fields):
            entries = into.of.record
            _ffi.wasmtime_component_valrecord_new_uninit(byref(entries), len(fields))
            size = ctypes.sizeof(_ffi.wasmtime_component_valrecord_entry_t)
            _clear(entries.data, len(fields) * size)
            into.kind = _ffi.WASMTIME_COMPONENT_RECORD
            for at, (name, item) in enumerate(fields):
                entries.data[at].name = _ffi.str_to_capi(name)
                _lower(item, value[at], entries.data[at].val)
        case Variant(cases):
            into.of.variant.discriminant = _ffi.str_to_capi(value.name)
            into.of.variant.val = _payload(dict(cases)[value.name], value)
            into.kind = _ffi.WASMTIME_COMPONENT_VARIANT
        case Result(ok, err):
            succeeded = value.name == "ok"
            into.of.result.is_ok = succeeded
            into.of.result.val = _payload(ok if succeeded else err, value)
            into.kind = _ffi.WASMTIME_COMPONENT_RESULT
        case Option(item):
            into.of.option = _payload(item if value.name == "some" else None, value)
            into.kind = _ffi.WASMTIME_COMPONENT_OPTION
        case Enum():
            into.of.enumeration = _ffi.str_to_capi(value)
            into.kind = _ffi.WASMTIME_COMPONENT_ENUM
        case Flags():
            flags = into.of.flags
            _ffi.wasmtime_component_valflags_new_uninit(byref(flags), len(value))
            for at, name in enumerate(value):
                flags.data[at] = _ffi.str_to_capi(name)
            into.kind = _ffi.WASMTIME_COMPONENT_FLAGS


def _lower_list(item: Type, value: list[Any] | bytes, into: Any) -> None:
    items, length = into.of.list, len(value)
    _ffi.wasmtime_component_vallist_new_uninit(byref(items), length)
    _clear(items.data, length * _SIZE)
    into.kind = _ffi.WASMTIME_COMPONENT_LIST
    if isinstance(value, bytes):
        # Whole columns at once: one structure a byte, each made in Python, takes seconds a MiB.
        rows = bytearray(length * _SIZE)
        rows[_KIND_AT::_SIZE] = bytes([_U8]) * length
        rows[_OF_AT::_SIZE] = value
        _copy(rows, items.data)
        return
    for at, each in enumerate(value):
        _lower(item, each, items.data[at])


def _payload(kind: Type | None, value: Case) -> Any:
    if kind is None:
        return None
    part = _Val()
    _lower(kind, value.value, part)
    return _ffi.wasmtime_component_val_new(byref(part))


def _clear(start: Any, length: int) -> None:
    """Bools that own nothing, so that a list that is only half made can be freed."""
    if length:
        ctypes.memset(start, 0, length)


def _copy(rows: bytearray, start: Any) -> None:
    if rows:
        ctypes.memmove(start, (ctypes.c_char * len(rows)).from_buffer(rows), len(rows))


class _Lifter:
    """Reads one result, up to its limits."""

    def __init__(self, limits: Limits) -> None:
        self._values = 0
        self._bytes = 0
        self._limits = limits

    def lift(self, kind: Type, value: Any) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise SandboxError(
                Reason.REPLY_TOO_LARGE,
                f"the result has more than {MOST_VALUES} values; return fewer, or a string",
                given=self._values,
                limit=MOST_VALUES,
            )
        match kind:
            case Primitive(name) if name in _SCALARS:
                return getattr(value.of, _SCALARS[name][1])
            case Primitive("char"):
                return chr(value.of.character)
            case Primitive():
                return self._text(value.of.string)
            case List(item):
                return self._list(item, value.of.list, is_bytes=kind.is_bytes)
            case Tuple(items):
                parts = value.of.tuple.data
                return tuple(self.lift(item, parts[at]) for at, item in enumerate(items))
            case Record(fields):
                entries = value.of.record.data
                pairs = enumerate(fields)
                return tuple(self.lift(item, entries[at].val) for at, (_, item) in pairs)
            case Variant(cases):
                name = self._text(value.of.variant.discriminant)
                return self._case(name, dict(cases)[name], value.of.variant.val)
            case Result(ok, err):
                if value.of.result.is_ok:
                    return self._case("ok", ok, value.of.result.val)
                return self._case("err", err, value.of.result.val)
            case Option(item):
                part = value.of.option
                return self._case("some", item, part) if part else Case("none")
            case Enum():
                return self._text(value.of.enumeration)
            case Flags():
                flags = value.of.flags
                return frozenset(self._text(flags.data[at]) for at in range(flags.size))

    def _case(self, name: str, kind: Type | None, part: Any) -> Case:
        return Case(name, None if kind is None else self.lift(kind, part.contents))

    def _list(self, item: Type, items: Any, *, is_bytes: bool) -> list[Any] | bytes:
        length = int(items.size)
        if not is_bytes:
            return [self.lift(item, items.data[at]) for at in range(length)]
        self._count(length)
        return ctypes.string_at(items.data, length * _SIZE)[_OF_AT::_SIZE] if length else b""

    def _text(self, text: Any) -> str:
        self._count(int(text.size))
        return _ffi.to_str(text)

    def _count(self, length: int) -> None:
        self._bytes += length
        limit = self._limits.reply_bytes
        if self._bytes > limit:
            raise too_large(Reason.REPLY_TOO_LARGE, "the result", self._bytes, "reply_bytes", limit)

"""Components as WebAssembly text, and types and values for them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sandbox.components.types import (
    PRIMITIVES,
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
    integer_range,
)

PADS = 20
"""More than the 16 flat parameters a function may have: beyond, its arguments are in memory."""

MEMORY = """
    (memory (export "memory") 2)
    (global $at (mut i32) (i32.const 8192))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $start i32)
      (local.set $start
        (i32.and (i32.add (global.get $at) (i32.const 15)) (i32.const -16)))
      (global.set $at (i32.add (local.get $start) (local.get 3)))
      (loop $more
        (if (i32.gt_u (global.get $at) (i32.mul (memory.size) (i32.const 65536)))
          (then
            (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
            (br $more))))
      (local.get $start))
"""


def component(functions: str, lifts: str, *, before: str = "", instantiate: str = "") -> str:
    """A component of one core module with memory and a growing allocator."""
    return f"""(component
      {before}
      (core module $m {functions})
      (core instance $i (instantiate $m {instantiate}))
      {lifts})"""


def lift(name: str, type_text: str, core: str = "") -> str:
    """An exported function of this type."""
    return f"""(func (export "{name}") {type_text}
      (canon lift (core func $i "{core or name}")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"""


def tool(call: str, *, imports: str = "", before: str = "", instantiate: str = "") -> str:
    """A ``caxton:tool/tool``: ``call`` is the code of ``call(ptr, len)``, giving an address.

    ``describe`` gives the three bytes ``{} ``. At 64 is the answer ok(the input); its length is
    stored when ``call`` begins.
    """
    functions = f"""
      {imports} {MEMORY}
      (data (i32.const 16) "{{}} ")
      (data (i32.const 32) "\\10\\00\\00\\00\\03\\00\\00\\00")
      (func (export "describe") (result i32) (i32.const 32))
      (func (export "call") (param $p i32) (param $n i32) (result i32)
        (i32.store (i32.const 64) (i32.const 0))
        (i32.store (i32.const 68) (local.get $p))
        (i32.store (i32.const 72) (local.get $n))
        {call})"""
    lifts = lift("describe", "(result string)") + lift(
        "call", '(param "input" string) (result (result string (error string)))'
    )
    return component(functions, lifts, before=before, instantiate=instantiate)


HOST_TYPES = {
    "log": '(param "level" u32) (param "msg" string)',
    "http": '(param "request" string) (result (result string (error string)))',
    "kv-get": '(param "key" string) (result (result (option string) (error string)))',
    "kv-put": '(param "key" string) (param "value" string) (result (result (error string)))',
    "kv-delete": '(param "key" string) (result (result bool (error string)))',
    "kv-list": '(param "prefix" string) (result (result (list string) (error string)))',
    "query": '(param "request" string) (result (result string (error string)))',
    "memory-search": '(param "request" string) (result (result string (error string)))',
    "now": "(result u64)",
}


def tool_with(name: str, core_type: str, call: str, *, extra: str = "") -> str:
    """A tool that imports one function of the host as ``$host`` and calls it from ``call``.

    Texts that the host returns need an allocator before the module is there, so the memory is in a
    module of its own, which the tool's module imports.
    """
    before = f"""
      (import "caxton:tool/host@0.1.0" (instance $host
        (export "{name}" (func {HOST_TYPES[name]}))))
      (core module $memory {MEMORY})
      (core instance $mem (instantiate $memory))
      (core func $lowered (canon lower (func $host "{name}")
        (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
      (core instance $given (export "f" (func $lowered)))
    """
    functions = f"""
      (import "mem" "memory" (memory 2))
      (import "host" "f" (func $host {core_type}))
      (data (i32.const 16) "{{}} ")
      (data (i32.const 32) "\\10\\00\\00\\00\\03\\00\\00\\00")
      {extra}
      (func (export "describe") (result i32) (i32.const 32))
      (func (export "call") (param $p i32) (param $n i32) (result i32)
        (i32.store (i32.const 64) (i32.const 0))
        (i32.store (i32.const 68) (local.get $p))
        (i32.store (i32.const 72) (local.get $n))
        {call})"""
    canon = '(memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))'
    return f"""(component
      {before}
      (core module $m {functions})
      (core instance $i (instantiate $m
        (with "mem" (instance $mem)) (with "host" (instance $given))))
      (func (export "describe") (result string)
        (canon lift (core func $i "describe") {canon}))
      (func (export "call") (param "input" string) (result (result string (error string)))
        (canon lift (core func $i "call") {canon})))"""


def echo(kind: Type) -> tuple[str, Type]:
    """A component whose ``echo`` gives its argument back, and the type of both.

    The type is a tuple so long that it is passed in memory in both directions, at one address.
    """
    whole = Tuple((kind, *[Primitive("u8")] * PADS))
    names = _Names()
    text = names.of(whole)
    functions = f'{MEMORY} (func (export "echo") (param i32) (result i32) (local.get 0))'
    lifts = names.text + lift("echo", f'(param "v" {text}) (result {text})')
    return component(functions, lifts), whole


class _Names:
    """Types as text; those that must have a name get one."""

    def __init__(self) -> None:
        self.text = ""
        self._made = 0

    def of(self, kind: Type) -> str:
        match kind:
            case Primitive(name):
                return name
            case List(item):
                return f"(list {self.of(item)})"
            case Option(item):
                return f"(option {self.of(item)})"
            case Tuple(items):
                return f"(tuple {' '.join(map(self.of, items))})"
            case Result(ok, err):
                left = "" if ok is None else self.of(ok)
                right = "" if err is None else f"(error {self.of(err)})"
                return f"(result {left} {right})"
            case Record(fields):
                parts = " ".join(f'(field "{name}" {self.of(item)})' for name, item in fields)
                return self._named(f"(record {parts})")
            case Variant(cases):
                parts = " ".join(
                    f'(case "{name}" {"" if item is None else self.of(item)})'
                    for name, item in cases
                )
                return self._named(f"(variant {parts})")
            case Enum(names):
                return self._named(f"(enum {' '.join(map(_quoted, names))})")
            case Flags(names):
                return self._named(f"(flags {' '.join(map(_quoted, names))})")

    def _named(self, text: str) -> str:
        self._made += 1
        number = self._made
        self.text += f'(type $d{number} {text}) (export $e{number} "t{number}" (type $d{number}))\n'
        return f"$e{number}"


def _quoted(name: str) -> str:
    return f'"{name}"'


_NAMES = [f"n{letter}" for letter in "abcdefgh"]


def _names(least: int = 1) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(_NAMES), min_size=least, max_size=4, unique=True).map(tuple)


def _pairs(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    return st.dictionaries(st.sampled_from(_NAMES), parts, min_size=1, max_size=4).map(
        lambda made: tuple(made.items())
    )


def _containers(parts: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    maybe = st.none() | parts
    return st.one_of(
        parts.map(List),
        parts.map(Option),
        st.lists(parts, min_size=1, max_size=4).map(lambda items: Tuple(tuple(items))),
        _pairs(parts).map(Record),
        _pairs(maybe).map(Variant),
        st.builds(Result, maybe, maybe),
    )


types: st.SearchStrategy[Type] = st.recursive(
    st.sampled_from(PRIMITIVES).map(Primitive) | _names().map(Enum) | _names().map(Flags),
    _containers,
    max_leaves=6,
)
"""Any type."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def values(kind: Type) -> st.SearchStrategy[Any]:
    """Values of a type, as an engine gives and takes them; floats are finite."""
    match kind:
        case Primitive("bool"):
            return st.booleans()
        case Primitive("string"):
            return texts
        case Primitive("char"):
            return st.characters(exclude_categories=["Cs"])
        case Primitive("f32"):
            return st.floats(width=32, allow_nan=False, allow_infinity=False)
        case Primitive("f64"):
            return st.floats(allow_nan=False, allow_infinity=False)
        case Primitive(name):
            low, high = integer_range(name) or (0, 0)
            return st.integers(low, high)
        case List(item):
            if kind.is_bytes:
                return st.binary(max_size=40)
            return st.lists(values(item), max_size=4)
        case Tuple(items):
            return st.tuples(*map(values, items))
        case Record(fields):
            return st.tuples(*(values(item) for _, item in fields))
        case Option(item):
            return st.just(Case("none")) | values(item).map(lambda some: Case("some", some))
        case Variant(cases):
            return st.one_of(*(_case(name, item) for name, item in cases))
        case Result(ok, err):
            return _case("ok", ok) | _case("err", err)
        case Enum(names):
            return st.sampled_from(names)
        case Flags(names):
            return st.frozensets(st.sampled_from(names))


def _case(name: str, kind: Type | None) -> st.SearchStrategy[Case]:
    if kind is None:
        return st.just(Case(name))
    return values(kind).map(lambda value: Case(name, value))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**65), 2**65),
        st.integers(-2, 300),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
        st.sampled_from([*_NAMES, "AAAA", "AA==", "AA=", "====", "AAAA\n", "some", "ok"]),
    ),
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.dictionaries(st.sampled_from([*_NAMES, "ok", "err", "some", "x"]), parts, max_size=3),
    ),
    max_leaves=8,
)
"""Any JSON, near enough to what types take that some of it fits."""

"""Prompts: what a model is told of a message. The only module that knows the template engine.

Templates are a small part of Jinja's language, rendered by minijinja. Its fuel counts instructions,
not what one of them does: ``{{ ('a'*100000)|replace('a', 'b'*100000) }}`` ran 67 s here and made
10 GB on no fuel worth the name. So a template is first checked token by token against the part in
which work is bounded by the sizes of the template and its values: ``if``, ``for`` (three deep) and
``raw``, the filters of ``FILTERS``, no multiplication, no calls but ``range``. A system prompt or a
body is never rendered.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from caxton.errors import PromptTemplateInvalid
from caxton.message import Performative

__all__ = [
    "TEMPLATES",
    "PromptTemplateInvalid",
    "check_template",
    "render",
    "variables",
]

MAX_TEMPLATE: Final = 16 * 1024
MAX_VALUE: Final = 256 * 1024
"""Characters of one value in a prompt; what is longer is cut, and says so."""
MAX_JSON: Final = 64 * 1024
"""Longest JSON content whose keys become variables."""
MAX_PROMPT: Final = 4 * 1024 * 1024
FUEL: Final = 5_000
"""Instructions: about a thousand turns of a loop."""
MAX_LOOPS: Final = 3
MAX_JOINS: Final = 16
"""Concatenations in one tag."""
MAX_FILTERS: Final = 8
"""Filters in one tag."""
NAME: Final = "user_prompt_template"

FILTERS: Final = frozenset(
    {
        "abs", "bool", "capitalize", "count", "d", "default", "first", "float", "int", "items",
        "join", "last", "length", "lines", "list", "lower", "max", "min", "reverse", "round",
        "sort", "string", "title", "tojson", "trim", "unique", "upper",
    }
)  # fmt: skip
STATEMENTS: Final = frozenset({"if", "elif", "else", "endif", "for", "endfor"})

_REMOVED: Final = (
    "replace", "indent", "format", "batch", "slice", "chain", "zip", "wordwrap", "pprint", "map",
    "groupby", "urlencode",
)  # fmt: skip

_QUERY: Final = "{{ request }}"

TEMPLATES: Final[Mapping[Performative, str]] = {
    Performative.REQUEST: "{{ request }}",
    Performative.QUERY_IF: (
        "{{ request }}\n\nIs this so? Answer yes or no first, then say why in short."
    ),
    Performative.QUERY_REF: _QUERY,
    Performative.CFP: (
        "A call for proposals:\n\n{{ request }}\n\n"
        "Propose in short what you would do and under which conditions. If you will not do it, "
        "begin with a line that says REFUSE."
    ),
    Performative.PROPOSE: (
        "{{ sender }} proposes:\n\n{{ request }}\n\nBegin with a line that says ACCEPT, REJECT, or "
        "PROPOSE when you propose something else instead; then say why, or what."
    ),
    Performative.ACCEPT_PROPOSAL: "Your proposal was accepted:\n\n{{ request }}\n\nCarry it out.",
    Performative.SUBSCRIBE: (
        "{{ sender }} wants to be told of:\n\n{{ request }}\n\nTell what is known now."
    ),
}
"""The user prompt of each performative, when an agent file has no template of its own."""

_OPEN = re.compile(r"\{\{|\{%|\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<number>\d[\w.]*)|(?P<end>[-+]?(?:\}\}|%\}))|(?P<space>\s+)|(?P<sign>.)""",
    re.DOTALL,
)


def _invalid(line: int, reason: str) -> PromptTemplateInvalid:
    return PromptTemplateInvalid(template=NAME, line=line, reason=reason)


def check_template(template: str) -> None:
    """Check that a template is within the allowed part of the language, and that it compiles.

    Raises:
        PromptTemplateInvalid: it is not; names the line.
    """
    if len(template) > MAX_TEMPLATE:
        raise _invalid(1, f"{len(template):,} characters; at most {MAX_TEMPLATE:,} allowed")
    at, loops = 0, 0
    while (start := _OPEN.search(template, at)) is not None:
        line = template.count("\n", 0, start.start()) + 1
        if start[0] == "{#":
            end = template.find("#}", start.end())
            at = end + 2 if end >= 0 else len(template)
            continue
        raw = _RAW.match(template, start.start())
        if raw is not None:
            at = raw.end()
            continue
        tokens, at = _tokens(template, start.end(), "}}" if start[0] == "{{" else "%}")
        word = _check_tag(tokens, line, statement=start[0] == "{%")
        loops += {"for": 1, "endfor": -1}.get(word, 0)
        if loops > MAX_LOOPS:
            raise _invalid(line, f"loops nest {loops} deep; at most {MAX_LOOPS} allowed")
    _compile(template)


def _tokens(template: str, at: int, closing: str) -> tuple[list[tuple[str, str]], int]:
    found: list[tuple[str, str]] = []
    depth = 0
    while (match := _TOKEN.match(template, at)) is not None:
        kind, text = str(match.lastgroup), match[0]
        if kind == "end" and text.endswith(closing) and depth <= 0:
            return found, match.end()
        if kind == "end":
            # Braces of a literal, or a sign before one: take one character.
            text, kind = text[0], "sign"
        at += len(text)
        depth += (text == "{") - (text == "}") if kind == "sign" else 0
        if kind != "space":
            found.append((kind, text))
    return found, len(template)


def _check_tag(tokens: Sequence[tuple[str, str]], line: int, *, statement: bool) -> str:
    """Check one tag; gives its statement."""
    tokens = [*tokens]
    if tokens and tokens[0][1] in "-+":
        tokens.pop(0)
    word = ""
    if statement:
        word = tokens.pop(0)[1] if tokens else ""
        if word not in STATEMENTS:
            raise _invalid(line, f"`{word}` is not available; if, for and raw are")
    joins = filters = 0
    for index, (kind, text) in enumerate(tokens):
        before = tokens[index - 1] if index else ("", "")
        follows = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        if kind == "word" and before[1] == "|":
            filters += 1
            if text not in FILTERS:
                raise _invalid(line, f"the filter `{text}` is not available")
        elif kind == "word" and follows == "(" and text not in ("range", "in", "not", "and", "or"):
            raise _invalid(line, f"`{text}(…)` is not available; range is")
        elif text == "recursive" or text == "*" or (text == "(" and before[1] in (")", "]")):
            raise _invalid(line, f"`{text}` is not available in a template")
        elif kind == "sign" and text in "~+":
            joins += 1
            if statement:
                raise _invalid(line, f"`{text}` is only available in {{{{ }}}}")
    if joins > MAX_JOINS or filters > MAX_FILTERS:
        raise _invalid(line, f"more than {MAX_JOINS} `~` or {MAX_FILTERS} filters in one tag")
    return word


# --- rendering -----------------------------------------------------------------------------------

_local = threading.local()


class _Budget:
    """Characters a rendering may still produce: the engine itself does not count them."""

    def __init__(self) -> None:
        self.left = 0

    def output(self, value: Any) -> Any:
        """The engine's finalizer: sees each value before it is written."""
        text = value if isinstance(value, str) else _text(value)
        self.left -= len(text)
        if self.left < 0:
            raise OverflowError
        return text


def _environment() -> Any:
    environment = getattr(_local, "environment", None)
    if environment is None:
        from minijinja import Environment

        budget = _local.budget = _Budget()
        environment = _local.environment = Environment(
            fuel=FUEL,
            debug=True,
            pycompat=False,
            undefined_behavior="strict",
            auto_escape_callback=lambda _name: False,
            finalizer=budget.output,
        )
        # The check keeps these out already; here is a second lock.
        for name in _REMOVED:
            environment.remove_filter(name)
        environment.remove_global("namespace")
        environment.add_filter("join", _join)
        environment.add_filter("tojson", _text)
        environment.add_filter("string", _text)
    return environment


def _text(value: Any) -> str:
    """A value as a model reads it: JSON for what is no text."""
    if isinstance(value, str):
        return value
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        text = str(value)
    return _cut(text)


def _join(values: Any, between: str = "") -> str:
    items = [item if isinstance(item, str) else _text(item) for item in values]
    size = sum(len(item) for item in items) + len(str(between)) * len(items)
    if size > MAX_VALUE:
        raise OverflowError
    return str(between).join(items)


@functools.lru_cache(maxsize=256)
def _compile(template: str) -> None:
    """Have the engine read it, once for the templates in use."""
    _run(template, None)


def _run(template: str, values: Mapping[str, Any] | None) -> str:
    from minijinja import TemplateError

    environment = _environment()
    _local.budget.left = MAX_PROMPT
    try:
        if values is None:
            environment.undeclared_variables_in_str(template)
            return ""
        return str(environment.render_str(template, NAME, **values))
    except TemplateError as error:
        kind = str(error.kind)
        reason = "it does too much work" if kind == "OutOfFuel" else _reason(error)
        raise _invalid(int(error.line or 1), reason) from error
    except OverflowError as error:
        raise _invalid(1, f"the prompt is over {MAX_PROMPT:,} characters") from error


def _reason(error: Any) -> str:
    """What the engine says, without its repetition of name and line."""
    text = str(error.detail or error.message).splitlines()
    return (text[0] if text else str(error.kind))[:70]


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render a checked template.

    Raises:
        PromptTemplateInvalid: a value it needs is not there, or it does too much.
    """
    return _run(template, values)


# --- variables -----------------------------------------------------------------------------------

_KEY = re.compile(r"[A-Za-z_]\w{0,63}")


def variables(
    request: str,
    *,
    sender: str,
    agent: str,
    performative: Performative,
    history: Sequence[tuple[str, str]],
    parameters: Mapping[str, Any],
    memory_context: str = "",
) -> dict[str, Any]:
    """The values a template sees.

    ``history`` is (name, text) of the earlier messages. Keys of a JSON content and of
    ``parameters`` come first, so that neither can stand in for the system's own names.
    """
    values: dict[str, Any] = {}
    if request[:1] == "{" and len(request) <= MAX_JSON:
        try:
            content = msgspec.json.decode(request.encode())
        except (msgspec.DecodeError, RecursionError):
            content = None
        if isinstance(content, dict):
            values.update(_named(content))
    values.update(_named(parameters))
    told = _cut("\n".join(f"{name}: {text}" for name, text in history))
    values.update(
        request=_cut(request),
        context=told,
        conversation_history=told,
        history=[{"name": name, "text": _cut(text)} for name, text in history],
        memory_context=memory_context,
        sender=sender,
        agent=agent,
        performative=performative.value,
    )
    return values


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _cut(value) if isinstance(value, str) else value
        for key, value in values.items()
        if _KEY.fullmatch(key)
    }


def _cut(text: str) -> str:
    if len(text) <= MAX_VALUE:
        return text
    return f"{text[:MAX_VALUE]}… [{len(text) - MAX_VALUE:,} characters more were cut]"

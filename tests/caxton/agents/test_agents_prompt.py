"""Prompts: the part of the template language that is allowed, and what templates see."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.agents.prompt import (
    MAX_VALUE,
    TEMPLATES,
    PromptTemplateInvalid,
    check_template,
    render,
    variables,
)
from caxton.message import Performative


def values(request: str = "hello", **parameters: Any) -> dict[str, Any]:
    return variables(
        request,
        sender="client",
        agent="Analyst",
        performative=Performative.REQUEST,
        history=[("client", "hi"), ("Analyst", "<b>yes</b>")],
        parameters=parameters,
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ request }}", "hello"),
        ("{{request}} to {{ agent }} by {{ sender }} ({{ performative }})",
         "hello to Analyst by client (request)"),
        ("{% for one in history %}{{ one.name }}:{{ one.text }};{% endfor %}",
         "client:hi;Analyst:<b>yes</b>;"),
        ("{{ conversation_history }}", "client: hi\nAnalyst: <b>yes</b>"),
        ("{% if tone is defined %}{{ tone }}{% else %}none{% endif %}", "dry"),
        ("{{ nope|default('-') }} {{ 'a'|upper ~ (1 + 1) }}", "- A2"),
        ("{{ [1, 'b']|join('/') }} {{ {'a': {'b': 1}} }} {{ {'k': 2}|tojson }}",
         '1/b {"a":{"b":1}} {"k":2}'),
        ("{% raw %}{{ a * b }}{% endraw %}{# {{ x * y }} #}", "{{ a * b }}"),
        ("{{ '}}' }}{{ \"%}\" }}", "}}%}"),
        ("{%- for n in range(3) -%}{{- n -}}{%- endfor -%}", "012"),
        ("{{ memory_context }}{{ context|length }}", "30"),
        ("plain { text } with 100% and # signs", "plain { text } with 100% and # signs"),
    ],
)  # fmt: skip
def test_templates_render(template: str, expected: str) -> None:
    """The allowed part of the language does what Jinja does, and escapes nothing."""
    check_template(template)
    assert render(template, values(tone="dry")) == expected


@pytest.mark.parametrize(
    ("template", "line", "reason"),
    [
        ("a\n{{ 2 * x }}", 2, "`*`"),
        ("{{ ('a'*100000)|replace('a', 'b'*100000) }}", 1, "`*`"),
        ("{{ x|replace('a', 'b') }}", 1, "`replace`"),
        ("{{ x | indent(99) }}", 1, "`indent`"),
        ("{% set x = 1 %}", 1, "`set`"),
        ("{% macro m() %}{% endmacro %}", 1, "`macro`"),
        ("{% include 'x' %}", 1, "`include`"),
        ("{%%}", 1, "``"),
        ("{{ namespace(a=1) }}", 1, "namespace"),
        ("{{ x.upper() }}", 1, "upper"),
        ("{{ (x)(1) }}", 1, "`(`"),
        ("{% for x in a recursive %}{% endfor %}", 1, "recursive"),
        ("{% for x in [a ~ a] %}{% endfor %}", 1, "only available in"),
        ("{{ " + " ~ ".join("x" * 20) + " }}", 1, "more than 16"),
        ("{{ x" + "|upper" * 9 + " }}", 1, "8 filters"),
        ("{% for a in b %}" * 4, 1, "loops nest 4"),
        ("{{ x", 1, "unexpected end"),
        ("\n\n{% if x %}", 3, "unexpected end"),
        ("{# x", 1, ""),
        ("{{ 'x }}", 1, ""),
        ("x" * 20_000, 1, "at most 16,384"),
    ],
)
def test_what_is_not_allowed_names_its_line(template: str, line: int, reason: str) -> None:
    """Outside the allowed part, or not to be compiled: one error with line and reason."""
    with pytest.raises(PromptTemplateInvalid) as refused:
        check_template(template)
    assert refused.value.fields["line"] == line
    assert reason in str(refused.value.fields["reason"])


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ nope }}", "nope"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", "work"),
        ("{% for a in range(500) %}{{ request }}{% endfor %}", "characters|work"),
        ("{{ range(99999)|join('aaaa') }}", "characters"),
        ("{{ 1 / 0 }}", "divide|calculate"),
        ("{{ range(10000000000) }}", "range"),
    ],
)
def test_work_is_bounded(template: str, reason: str) -> None:
    """What a template does with its values has limits of steps and of size, and ends soon."""
    check_template(template)
    started = time.monotonic()
    with pytest.raises(PromptTemplateInvalid, match=reason):
        render(template, values("x" * 50_000))
    assert time.monotonic() - started < 5


def test_a_template_in_a_message_is_text() -> None:
    """What a sender or an earlier message says is never rendered."""
    assert render("{{ request }}", values("{{ 7 + 7 }}")) == "{{ 7 + 7 }}"


def test_keys_of_json_and_parameters_are_variables() -> None:
    """They come below the system's own names, which they cannot replace."""
    found = values('{"column": "price", "request": "x", "bad key": 1}', column="c", tone="dry")
    assert found["column"] == "c"
    assert found["tone"] == "dry"
    assert found["request"].startswith('{"column"')
    assert "bad key" not in found
    assert "column" not in values('{"column": ')
    assert "a" not in values('{"a": "' + "x" * 70_000 + '"}')


def test_long_values_are_cut_and_say_so() -> None:
    """One value cannot fill a prompt without end."""
    found = values("y" * (MAX_VALUE + 5))
    assert found["request"].endswith("… [5 characters more were cut]")


@pytest.mark.parametrize("act", TEMPLATES)
def test_each_act_that_asks_has_a_template(act: Performative) -> None:
    """The shipped templates are allowed, and hold the message."""
    check_template(TEMPLATES[act])
    assert "hello" in render(TEMPLATES[act], values())


def test_values_that_json_does_not_know_are_shown() -> None:
    """Nothing a message holds makes rendering fail in another way."""
    assert render("{{ x }} {{ y }}", {"x": {1: 2}, "y": None}) == '{"1":2} null'


SNIPPETS = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", " if ", " for ", "endfor", "x", "in", "|", "upper", "'",
     '"', "(", ")", "{", "}", "~", "-", "raw", "range(9)", "history", "\n", "[", "]", ".", "1",
     "not"]
)  # fmt: skip


@given(st.lists(SNIPPETS, max_size=30))
def test_garbage_is_refused_or_renders(parts: list[str]) -> None:
    """Whatever the template, the outcome is a text or the one typed error."""
    template = "".join(parts)
    try:
        check_template(template)
        assert isinstance(render(template, values()), str)
    except PromptTemplateInvalid as error:
        fields = error.fields
    else:
        fields = {"line": 1}
    assert int(str(fields["line"])) >= 1

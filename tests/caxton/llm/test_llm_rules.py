"""The rules: choosing a tool, filling its arguments, saying what came of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.llm.provider import ChatMessage, Done, Request, ToolCall, fold
from caxton.llm.rules import NOTE, RulesProvider
from caxton.llm.tool_choice import choose_tool
from caxton.llm.tool_report import near_arguments, report
from caxton.tools.catalog import ToolCatalog, ToolSpec

CSV = ToolCatalog.builtin().get("csv_parser")
assert CSV is not None
FILE = "examples/data/sales.csv"


def tool(
    name: str, description: str, required: tuple[str, ...] = (), **properties: Any
) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name, description, schema, Path("x.wasm"), "0")


WEATHER = tool(
    "get_weather", "Weather of a city today", ("city",), city={"type": "string"},
    unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
)  # fmt: skip
MAIL = tool(
    "send_mail", "Send an email message to somebody", ("to_email", "text"),
    to_email={"type": "string"}, text={"type": "string"}, urgent={"type": "boolean"}, odd=True,
)  # fmt: skip
MATH = tool(
    "power", "Raise a number to a power", ("base", "exponent"),
    base={"type": "number"}, exponent={"type": "integer"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("question", "arguments"),
    [
        (f"mean of price in {FILE}", {"operation": "mean", "column": "price"}),
        (f"What is the average price in {FILE}?", {"operation": "mean", "column": "price"}),
        (f"total quantity per product in {FILE}",
         {"operation": "sum", "column": "quantity", "group_by": "product"}),
        (f"How many rows are in {FILE}?", {"operation": "count"}),
        (f"show the first 5 rows of {FILE}", {"operation": "head", "limit": 5}),
        (f"highest price by region in {FILE}",
         {"operation": "max", "column": "price", "group_by": "region"}),
        (f"describe {FILE}", {"operation": "describe"}),
        (f"distinct regions in {FILE}", {"operation": "unique", "column": "regions"}),
        (f'median of "unit price" in {FILE}', {"operation": "median", "column": "unit price"}),
        (f"group price by region in {FILE}",
         {"operation": "group", "column": "price", "group_by": "region"}),
        (f"prices by region, {FILE}", {"operation": "group", "group_by": "region"}),
        (f"{FILE}: sum of quantity", {"operation": "sum", "column": "quantity"}),
        (f"smallest price for each region of {FILE}",
         {"operation": "min", "column": "price", "group_by": "region"}),
        (f"mean of the column price in {FILE}, limit: 7",
         {"operation": "mean", "column": "price", "limit": 7}),
    ],
)  # fmt: skip
def test_questions_about_a_csv_file(question: str, arguments: dict[str, Any]) -> None:
    """Operation, column, group and path are found in a plain sentence."""
    choice = choose_tool(question, [WEATHER, CSV])
    assert choice is not None
    assert (choice.tool.name, choice.missing) == ("csv_parser", ())
    assert choice.arguments == {"path": FILE, **arguments}


@pytest.mark.parametrize(
    ("question", "name", "arguments"),
    [
        ("What is the weather in Berlin today, in fahrenheit?", "get_weather",
         {"city": "Berlin", "unit": "fahrenheit"}),
        ("weather for 'New York'", "get_weather", {"city": "New York"}),
        ('send a mail message to ann@example.com: "see you"', "send_mail",
         {"to_email": "ann@example.com", "text": "see you"}),
        ("please mail this email to bob@example.com", "send_mail",
         {"to_email": "bob@example.com", "text": "please mail this email to bob@example.com"}),
        ("raise number 2.5 to power 3", "power", {"base": 2.5, "exponent": 3}),
        ('{"path": "a.csv", "limit": 3}', "csv_parser", {"path": "a.csv", "limit": 3}),
    ],
)  # fmt: skip
def test_other_tools(question: str, name: str, arguments: dict[str, Any]) -> None:
    """Nothing here is made for one tool only."""
    choice = choose_tool(question, [WEATHER, MAIL, MATH, CSV])
    assert choice is not None
    assert (choice.tool.name, choice.arguments, choice.missing) == (name, arguments, ())


@pytest.mark.parametrize(
    "question",
    ["tell me a joke", "who are you?", "", "what is 2+2", '{"odd": 1}', "{broken json", "[1]"],
)
def test_no_tool_is_better_than_a_wrong_one(question: str) -> None:
    """What fits none is given to none."""
    assert choose_tool(question, [WEATHER, CSV]) is None
    assert choose_tool(question, []) is None


def test_what_is_missing_is_named() -> None:
    """A tool may fit while its arguments are not in the message."""
    choice = choose_tool("weather of the day, please, as the weather of today", [WEATHER])
    assert choice is not None
    assert choice.missing == ("city",)
    choice = choose_tool("raise number to power 1.5", [MATH])
    assert choice is not None
    assert choice.arguments == {"base": 1.5}


@given(st.text("abc.,/@'\"`{}[]:=12 \n", max_size=400))
def test_any_text_is_looked_at_quickly(text: str) -> None:
    """The same text gives the same choice, soon."""
    started = time.monotonic()
    assert choose_tool(text, [CSV, MAIL, MATH]) == choose_tool(text, [CSV, MAIL, MATH])
    assert time.monotonic() - started < 2


async def say(question: str, *more: ChatMessage, tools: tuple[ToolSpec, ...] = (CSV,)) -> Done:
    system = ChatMessage("system", "# Title\nBe kind.\n\nAnd brief.")
    request = Request(
        (system, ChatMessage("user", question), *more), tools, agent_name="Ann",
        agent_description="Helps.",
    )  # fmt: skip
    return await fold(RulesProvider().stream(request))


async def test_a_question_becomes_a_call_and_its_result_a_sentence() -> None:
    """The normal tool loop, and the note that this is no language model."""
    done = await say(f"mean of price in {FILE}")
    (call,) = done.tool_calls
    assert (done.text, done.finish_reason) == ("", "tool_calls")
    result = {"path": FILE, "operation": "mean", "column": "price", "value": 42.5, "count": 60,
              "missing": 0, "non_numeric": 0, "rows_total": 60}  # fmt: skip
    done = await say(
        "x",
        ChatMessage("assistant", "", (call,)),
        ChatMessage("tool", json.dumps(result), tool_call_id=call.id, name="csv_parser"),
    )
    assert done.text == f"The mean of price in {FILE} is 42.5 (60 values, 60 rows).\n\n{NOTE}"
    assert not done.failed
    assert "no language model" in NOTE
    assert "OPENAI_BASE_URL" in NOTE


@pytest.mark.parametrize("question", ["who are you?", "Hello!", "what can you do", "your name?"])
async def test_who_it_is_comes_from_its_file(question: str) -> None:
    """Name, description and prompt, without headings."""
    done = await say(question)
    assert done.text.startswith("I am Ann.\nHelps.\nMy instructions: Be kind. And brief.\n")
    assert "I can call: csv_parser" in done.text


async def test_an_agent_that_says_nothing_of_itself() -> None:
    """The name alone is enough."""
    request = Request((ChatMessage("user", "hi"),), question="hi")
    done = await fold(RulesProvider().stream(request))
    assert done.text == f"I am an agent.\n\n{NOTE}"


async def test_what_fits_nothing_gets_the_fixed_text() -> None:
    """Which says what is missing."""
    assert "No tool of Ann fits" in (await say("tell me a joke")).text
    assert "needs a language model" in (await say("tell me a joke", tools=())).text
    done = await say("weather today", tools=(WEATHER,))
    assert done.failed
    assert "`city`" in done.text


async def test_a_near_column_is_tried_before_giving_up() -> None:
    """`regions` becomes `region` when the tool says which columns there are."""
    call = ToolCall("c", "csv_parser", json.dumps({"path": FILE, "column": "Regions"}))
    error = {"error": {"message": "no column", "column": "Regions", "columns": ["date", "region"]}}
    result = ChatMessage("tool", json.dumps(error), tool_call_id="c", name="csv_parser")
    done = await say("x", ChatMessage("assistant", "", (call,)), result)
    assert json.loads(done.tool_calls[0].arguments) == {"path": FILE, "column": "region"}
    far = ToolCall("c", "csv_parser", json.dumps({"path": FILE, "column": "zzz"}))
    error["error"]["column"] = "zzz"
    result = ChatMessage("tool", json.dumps(error), tool_call_id="c", name="csv_parser")
    done = await say("x", ChatMessage("assistant", "", (far,)), result)
    assert done.failed
    assert "no column (columns: date, region)" in done.text


async def test_results_without_their_call_are_told_too() -> None:
    """Nothing but results: still an answer."""
    request = Request((ChatMessage("tool", '{"a": 1}'),))
    done = await fold(RulesProvider().stream(request))
    assert done.text == f'the tool says: {{"a": 1}}\n\n{NOTE}'
    await RulesProvider().aclose()


@pytest.mark.parametrize(
    ("content", "ok", "text"),
    [
        ("plain", True, "t says: plain"),
        ("error: no", False, "t says: error: no"),
        ("[1, 2]", True, "t says: [1, 2]"),
        ('{"error": "bad"}', False, "t could not answer: bad"),
        ('{"operation":"mean","column":"p","value":null,"count":0}', True,
         "There is no mean of p: no cell holds a number."),
        ('{"operation":"sum","value":7,"count":2,"rows_total":3,"missing":1,"non_numeric":0}', True,
         "The sum is 7 (2 values, 3 rows). Left out: 1 empty cells, 0 that are no numbers."),
        ('{"operation":"count","rows_total":3}', True, "There are 3 rows."),
        ('{"operation":"count","column":"p","count":2,"rows_total":3}', True,
         "p has 2 values in 3 rows."),
        ('{"operation":"head","columns":["a","b"],"rows":[["1",null]],"rows_total":9}', True,
         "The first rows (9 in all):\na | b\n1 | null"),
        ('{"path":"f","columns":[{"name":"a","type":"text"},{"name":"b"},"c"],"rows_total":2}',
         True,
         "f has 2 rows and these columns: a (text), b, c."),
        ('{"operation":"mean","column":"p","group_by":"r","groups":[{"group":"N","value":1.5},3]}',
         True, "The mean of p by r: N 1.5."),
        ('{"operation":"group","group_by":"r","groups":[{"group":"N","rows":4}]}', True,
         "The rows by r: N 4."),
        ('{"operation":"unique","column":"r","distinct":2,"values":[{"value":"N","count":4},"S"]}',
         True, "r has 2 distinct values: N (4), S (S)."),
    ],
)  # fmt: skip
def test_results_become_sentences(content: str, ok: bool, text: str) -> None:
    """Every shape of the shipped tool, and whatever another may say."""
    assert report("t", {}, content) == (ok, text)


def test_long_lists_are_cut() -> None:
    """A thousand groups are not an answer."""
    groups = [{"group": str(n), "rows": n} for n in range(30)]
    _, text = report("t", {}, json.dumps({"operation": "group", "group_by": "r", "groups": groups}))
    assert text.endswith("19 19; and 10 more.")
    assert len(report("t", {}, json.dumps({"a": "x" * 9_000}))[1]) < 4_100
    assert near_arguments({}, "no json") is None

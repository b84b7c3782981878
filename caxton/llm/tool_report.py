"""A tool's result as a sentence, made by rules."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["near_arguments", "report"]

MAX_ROWS: Final = 20
MAX_TEXT: Final = 4_000


def report(tool: str, arguments: Mapping[str, Any], content: str) -> tuple[bool, str]:
    """Whether the call went well, and a readable text of what it gave."""
    try:
        result = json.loads(content)
    except (ValueError, RecursionError):
        return not content.startswith("error:"), f"{tool} says: {content[:MAX_TEXT]}"
    if not isinstance(result, dict):
        return True, f"{tool} says: {_text(result)}"
    error = result.get("error")
    if error is not None:
        return False, f"{tool} could not answer: {_error(error)}"
    return True, _sentence(tool, arguments, result)


def _error(error: Any) -> str:
    if not isinstance(error, dict):
        return _text(error)
    text = str(error.get("message") or error)
    columns = error.get("columns")
    if isinstance(columns, list):
        text += f" (columns: {', '.join(map(str, columns[:MAX_ROWS]))})"
    return text


def _sentence(tool: str, arguments: Mapping[str, Any], result: dict[str, Any]) -> str:
    path = result.get("path") or arguments.get("path")
    where = f" in {path}" if path else ""
    operation = str(result.get("operation") or arguments.get("operation") or "result")
    column = result.get("column") or arguments.get("column")
    of = f" of {column}" if column else ""
    rows = result.get("rows_total")
    if isinstance(result.get("groups"), list):
        return _groups(result, operation, of, where)
    if isinstance(result.get("values"), list):
        values = [f"{_one(row, 'value')} ({_one(row, 'count')})" for row in result["values"]]
        total = result.get("distinct", len(values))
        return f"{column or 'It'}{where} has {total} distinct values: {_list(values)}."
    if "value" in result:
        if result["value"] is None:
            return f"There is no {operation}{of}{where}: no cell holds a number."
        counted = result.get("count")
        over = (
            f" ({counted} values, {rows} rows)" if counted is not None and rows is not None else ""
        )
        return f"The {operation}{of}{where} is {_text(result['value'])}{over}.{_left_out(result)}"
    if operation == "count" and rows is not None:
        if column and "count" in result:
            return f"{column}{where} has {result['count']} values in {rows} rows."
        return f"There are {rows} rows{where}."
    if operation == "head" and isinstance(result.get("rows"), list):
        names = result.get("columns") or ()
        lines = [" | ".join(map(_text, row)) for row in result["rows"][:MAX_ROWS]]
        return f"The first rows{where} ({rows} in all):\n" + "\n".join(
            [" | ".join(map(_text, names)), *lines]
        )
    if isinstance(result.get("columns"), list):
        described = [_column(one) for one in result["columns"]]
        return f"{path or 'The file'} has {rows} rows and these columns: {_list(described)}."
    return f"{tool} says: {_text(result)}"


def _groups(result: dict[str, Any], operation: str, of: str, where: str) -> str:
    shown = []
    for row in result["groups"]:
        if not isinstance(row, dict):
            continue
        value = row.get("value", row.get("mean", row.get("rows")))
        shown.append(f"{row.get('group')} {_text(value)}")
    what = "mean" if operation == "group" and of else "rows" if operation == "group" else operation
    by = f"The {what}{of} by {result.get('group_by')}{where}"
    return f"{by}: {_list(shown, '; ')}.{_left_out(result)}"


def _left_out(result: Mapping[str, Any]) -> str:
    missing, text = result.get("missing") or 0, result.get("non_numeric") or 0
    if not missing and not text:
        return ""
    return f" Left out: {missing} empty cells, {text} that are no numbers."


def _column(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    kind = one.get("type")
    return f"{one.get('name')} ({kind})" if kind else str(one.get("name"))


def _one(row: Any, key: str) -> str:
    return _text(row.get(key)) if isinstance(row, dict) else _text(row)


def _list(items: list[str], between: str = ", ") -> str:
    more = f"{between}and {len(items) - MAX_ROWS} more" if len(items) > MAX_ROWS else ""
    return between.join(items[:MAX_ROWS]) + more


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def near_arguments(arguments: Mapping[str, Any], content: str) -> dict[str, Any] | None:
    """The arguments with names put right that the tool says do not exist, when one is near."""
    try:
        error = json.loads(content)["error"]
        wrong, columns = error["column"], [str(one) for one in error["columns"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    lowered = {name.lower(): name for name in columns}
    near = difflib.get_close_matches(str(wrong).lower(), lowered, n=1, cutoff=0.7)
    if not near or wrong in columns:
        return None
    better = lowered[near[0]]
    return {name: better if value == wrong else value for name, value in arguments.items()}

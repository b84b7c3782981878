"""Checking the arguments of a tool call by the tool's JSON Schema, for a model to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from caxton.tools.catalog import ToolSpec

__all__ = ["wrong_arguments"]

SHOWN: Final = 5
"""Mistakes that are told at most."""
_REGEXES: Final = frozenset({"pattern", "patternProperties"})


def wrong_arguments(tool: ToolSpec, arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments by the tool's JSON Schema; empty when nothing is.

    References to other documents are not followed. Regular expressions of a tool that is not
    sandboxed are left to its server: one of them could keep this process busy for hours.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    schema = tool.input_schema if tool.sandboxed else _without_regexes(tool.input_schema)
    errors = []
    try:
        # A registry of our own: without one, remote references would be fetched.
        validator = Draft202012Validator(schema, registry=Registry())
        for error in validator.iter_errors(dict(arguments)):
            where = ".".join(map(str, error.absolute_path))
            errors.append(f"{where}: {error.message}" if where else error.message)
    except (SchemaError, Unresolvable, RecursionError, TypeError, ValueError) as error:
        return f"the schema of {tool.name} is not usable: {type(error).__name__}"[:1_000]
    return "; ".join(sorted(errors)[:SHOWN])[:1_000]


def _without_regexes(schema: Any) -> Any:
    """The schema without its regular expressions; a property may be called ``pattern``."""
    if isinstance(schema, dict):
        return {
            key: {name: _without_regexes(one) for name, one in value.items()}
            if key in ("properties", "$defs", "definitions") and isinstance(value, dict)
            else _without_regexes(value)
            for key, value in schema.items()
            if key not in _REGEXES
        }
    if isinstance(schema, list):
        return [_without_regexes(one) for one in schema]
    return schema

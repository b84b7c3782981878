"""A Caxton tool in Python: the days and weekdays between two dates."""

import json
from datetime import date, timedelta

import wit_world
from componentize_py_types import Err
from wit_world.imports import host

INPUT = {
    "type": "object",
    "properties": {
        "from": {"type": "string", "format": "date"},
        "to": {"type": "string", "format": "date"},
    },
    "required": ["from", "to"],
    "additionalProperties": False,
}


class WitWorld(wit_world.WitWorld):
    """World ``caxton:tool/tool``."""

    def describe(self) -> str:
        """What the tool is."""
        return json.dumps(
            {
                "name": "days_between",
                "description": "Days and weekdays from one date to another, the last excluded.",
                "inputSchema": INPUT,
            }
        )

    def call(self, input: str) -> str:  # noqa: A002 - the name in the world
        """Count."""
        given = json.loads(input)
        try:
            first, last = (date.fromisoformat(given[name]) for name in ("from", "to"))
        except (KeyError, TypeError, ValueError) as error:
            raise Err(json.dumps({"code": "bad_request", "message": str(error)})) from None
        days = (last - first).days
        step = 1 if days >= 0 else -1
        weekdays = sum((first + timedelta(days=step * at)).weekday() < 5 for at in range(abs(days)))
        host.log(1, f"{days} days")
        return json.dumps({"days": days, "weekdays": step * weekdays})

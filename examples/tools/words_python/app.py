"""words_python: a component of the world caxton:tool.

``describe`` tells a model what it is for, ``call`` gets the arguments as JSON and gives back the
result as JSON. What it raises as ``Err`` is an error.
"""

import json

import wit_world
from componentize_py_types import Err

DESCRIPTION = {
    "name": "words_python",
    "description": "Counts the words and the characters of a text.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string", "description": "The text to count in."}},
        "required": ["text"],
        "additionalProperties": False,
    },
}


class WitWorld(wit_world.WitWorld):
    """The tool."""

    def describe(self) -> str:
        """What it is, and its arguments."""
        return json.dumps(DESCRIPTION)

    def call(self, arguments: str) -> str:
        """Count."""
        text = json.loads(arguments).get("text")
        if not isinstance(text, str):
            raise Err("text is missing")
        return json.dumps({"words": len(text.split()), "characters": len(text)})

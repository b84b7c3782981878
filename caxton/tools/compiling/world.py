"""The world ``caxton:tool`` for compilers of components."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sandbox

__all__ = ["WORLD_FILE"]

WORLD_FILE: Final = Path(sandbox.__file__).parent / "components" / "wit" / "tool.wit"

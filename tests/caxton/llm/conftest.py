"""Makes ``stub_llm`` importable: the folder above holds names that would hide the packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if "stub_llm" not in sys.modules:
    _spec = importlib.util.spec_from_file_location(
        "stub_llm", Path(__file__).parents[2] / "stub_llm.py"
    )
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["stub_llm"] = _module
    _spec.loader.exec_module(_module)

"""Fixtures of the process tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest_process import start_node

__all__ = ["start_node"]

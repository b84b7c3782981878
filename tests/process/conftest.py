"""Fixtures of the process tests."""

from conftest_process import start_node

__all__ = ["start_node"]

"""What all tests share: the path of the shared strategies, and hypothesis without a clock."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

FOLDER = Path(__file__).resolve().parent
settings.register_profile(
    "caxton",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("caxton")


def _share(*names: str) -> None:
    """Make single modules of this folder importable; the folder itself would hide ``caxton``."""
    import importlib.util

    for name in names:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ImportError(name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


_share("strategies", "stub_llm")

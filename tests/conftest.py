"""What all tests share: compiled modules, hypothesis without a clock, what coverage sees of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
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


_share("strategies", "stub_llm", "measured_examples")


def pytest_configure(config: pytest.Config) -> None:
    """Coverage sees the first examples of property tests only."""
    config.pluginmanager.register(sys.modules["measured_examples"], "measured_examples")


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests that are not about compiling compile: each guest once, for all processes of a run
    of ``scripts/test``."""
    given = os.environ.get("CAXTON_TEST_MODULES")
    folder = Path(given) if given else tmp_path_factory.mktemp("artifacts")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    return folder

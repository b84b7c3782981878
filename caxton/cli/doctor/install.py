"""The installation: required packages, their versions, and whether they load."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from typing import Final

from caxton import __version__
from caxton.cli.doctor.check import Check, Surroundings, fail, ok, warn

__all__ = ["check_install", "fits", "requirements"]

NATIVE: Final = ("lmdb", "msgspec", "orjson", "psutil", "uuid_utils", "wasmtime", "minijinja")
"""Modules with compiled parts, which a wrong wheel breaks at import."""
OPTIONAL: Final = {
    "faiss": "vector memory: pip install 'caxton[memory]'",
    "onnxruntime": "embeddings: pip install 'caxton[memory]'",
    "uvloop": "a faster event loop: pip install 'caxton[fast]'",
}
AGAIN: Final = "install again: scripts/up, or pip install --force-reinstall caxton"

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?")
_NUMBERS: Final = re.compile(r"\d+")


def requirements() -> Mapping[str, str]:
    """What the installed distribution requires without extras: package to version range.

    Raises:
        importlib.metadata.PackageNotFoundError: Caxton runs from a folder, not installed.
    """
    found = {}
    for line in importlib.metadata.requires("caxton") or ():
        match = _REQUIREMENT.fullmatch(line.strip())
        if match and "extra" not in (match[3] or ""):
            found[match[1]] = match[2].strip()
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _NUMBERS.findall(version)[:3])


def fits(version: str, wanted: str) -> bool:
    """Whether ``version`` is inside ``wanted``, such as ``>=8.2,<9``; other signs are let pass."""
    given = _numbers(version)
    for part in filter(None, (piece.strip() for piece in wanted.split(","))):
        sign, bound = part.rstrip("0123456789.*abrc"), _numbers(part)
        cut = given[: len(bound)]
        if sign == ">=" and cut < bound:
            return False
        if sign == "<" and cut >= bound:
            return False
    return True


def check_install(_: Surroundings) -> Iterator[Check]:
    """Versions against the known good ranges, and wheels that do not load."""
    yield ok("caxton", __version__)
    try:
        wanted = requirements()
    except importlib.metadata.PackageNotFoundError:
        wanted = {}
        yield warn("packages", "caxton is not installed", "pip install -e .")
    wrong = 0
    for name, versions in sorted(wanted.items()):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong += 1
            yield fail(name, "not installed", AGAIN)
            continue
        if not fits(version, versions):
            wrong += 1
            yield warn(name, f"{version}, tested with {versions}", AGAIN)
    if wanted and not wrong:
        yield ok("packages", f"{len(wanted)} required ones in their tested versions")
    broken = 0
    for module in NATIVE:
        reason = load_failure(module)
        if reason:
            broken += 1
            yield fail(module, reason, AGAIN)
    if not broken:
        yield ok("native code", f"{len(NATIVE)} modules load")
    for module, what in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            yield ok(module, "not installed", f"optional, {what}")
        else:
            yield ok(module, "installed")


def load_failure(module: str) -> str:
    """Why a module does not load; empty when it does."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        return f"does not load: {error}"
    return ""

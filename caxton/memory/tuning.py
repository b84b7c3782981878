"""The settings of the memory that can be changed while it runs, and are kept over restarts."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from caxton.config import SETTINGS, Config
from caxton.errors import CaxtonError, ConfigInvalid, StorageError, ValidationError
from caxton.memory.config_view import MemoryConfig

__all__ = ["TUNABLE", "Changes", "Tuning", "check_changes"]

logger = logging.getLogger("caxton.memory")

_PREFIX: Final = "memory."
TUNABLE: Final = {
    one.key.removeprefix(_PREFIX): one
    for one in SETTINGS
    if one.key.removeprefix(_PREFIX)
    in (
        "vector_weight", "words_weight", "neighbour_weight", "recency_weight", "importance_weight",
        "half_life_days", "search_concurrency", "max_entities_per_agent",
    )
}  # fmt: skip
"""What can be changed, by its name under ``memory``; the rest is read when the process starts."""
_SHOWN: Final = (
    "backend",
    "database",
    "engine",
    "model",
    "model_sha256",
    "download",
    "threads",
    "cache_bytes",
)

Changes: TypeAlias = Mapping[str, float | None]
"""New values by name; None for that of the node's configuration."""


def check_changes(changes: Mapping[str, Any]) -> dict[str, float | None]:
    """Changes whose every value is in its range.

    Raises:
        ValidationError: a name is not one of ``TUNABLE``, or a value is out of its range.
    """
    checked: dict[str, float | None] = {}
    for name, value in changes.items():
        setting = TUNABLE.get(name)
        if setting is None:
            fixed = any(one.key == _PREFIX + name for one in SETTINGS)
            allowed = f"one of {', '.join(TUNABLE)}"
            if fixed:
                allowed += f"; `{_PREFIX}{name}` is set in the configuration, before a start"
            raise ValidationError(field=name[:100], value="a setting", allowed=allowed)
        if isinstance(value, str):
            raise ValidationError(field=name, value=value, allowed=setting.allowed)
        checked[name] = None if value is None else setting.parse(value, name)
    return checked


class Tuning:
    """What is set, over what the node's configuration says. Belongs to one event loop.

    Args:
        config: the node's settings.
        file: where what is set is kept; nowhere when None.
    """

    def __init__(self, config: Config, file: Path | None = None) -> None:
        self._given = config
        self._file = file
        self._set: dict[str, float] = self._read()
        self.config = self._with(self._set)
        """The settings in force."""

    def _read(self) -> dict[str, float]:
        if self._file is None:
            return {}
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            logger.error("what was set of the memory is not in force: %s", error)
            return {}
        try:
            known = check_changes(msgspec.json.decode(raw, type=dict[str, float | int]))
            found = {name: value for name, value in known.items() if value is not None}
            self._with(found)
        except (msgspec.MsgspecError, UnicodeDecodeError, CaxtonError) as error:
            logger.error(
                "what was set of the memory, in %s, is not in force: %s", self._file, error
            )
            return {}
        return found

    def _with(self, values: Mapping[str, float]) -> Config:
        fields = {TUNABLE[name].field: value for name, value in values.items()}
        try:
            return msgspec.structs.replace(self._given, **fields)
        except ConfigInvalid as error:
            name = str(error.fields["field"]).removeprefix(_PREFIX)
            raise ValidationError(
                field=name, value=values.get(name), allowed=str(error.fields["allowed"])
            ) from None

    def changed(self, changes: Mapping[str, Any]) -> dict[str, float]:
        """What would be set after ``changes``; nothing is.

        Raises:
            ValidationError: a value is out of its range, or does not fit the others.
        """
        values: dict[str, float | None] = {**self._set, **check_changes(changes)}
        found = {name: value for name, value in values.items() if value is not None}
        self._with(found)
        return found

    def keep(self, values: Mapping[str, float]) -> None:
        """Write down what ``changed`` gave; blocks for the disk.

        Raises:
            StorageError: it cannot be written; what was there stays.
        """
        if self._file is None:
            return
        beside = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as out:
                out.write(msgspec.json.encode(dict(values)))
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, self._file)
            folder = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(store="memory settings", reason=str(error)) from error

    def take(self, values: Mapping[str, float]) -> None:
        """Put in force what ``changed`` gave."""
        self._set = dict(values)
        self.config = self._with(self._set)

    def view(self, model: str, note: str) -> MemoryConfig:
        """The settings as they are in force, without secrets.

        Args:
            model: ``NAME@SHA256`` in use; empty without one.
            note: why there is none.
        """
        from caxton.memory.remote import shown_url

        config = self.config
        shown: dict[str, Any] = {name: getattr(config, f"memory_{name}") for name in _SHOWN}
        shown |= {"model_in_use": model, "note": note}
        shown["durability"] = config.durability
        if config.memory_backend == "embedded":
            shown["path"] = str(config.data / "memory")
        else:
            shown["url"] = shown_url(config.memory_url)
            shown["timeout_ms"] = config.memory_timeout_ms
        return MemoryConfig(
            settings={name: getattr(config, one.field) for name, one in TUNABLE.items()},
            changed=tuple(sorted(self._set)),
            allowed={name: one.allowed for name, one in TUNABLE.items()},
            fixed=shown,
        )

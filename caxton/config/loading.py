"""Where values come from: flags, environment variables, a file, defaults, in this order."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caxton.config.config import Config
from caxton.config.profiles import profiled
from caxton.config.table import BY_KEY, SETTINGS
from caxton.errors import ConfigInvalid, ValidationError

__all__ = ["Loaded", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each of its values came from."""

    config: Config
    origins: Mapping[str, str]
    """Setting key to ``flag``, the environment variable, ``FILE:key`` or ``default``."""


def _flatten(table: Mapping[str, object], path: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            for inner, leaf in value.items():
                found[f"{name}.{inner}"] = leaf
        else:
            found[name] = value
    for key in found:
        if key not in BY_KEY:
            near = difflib.get_close_matches(key, BY_KEY, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise ConfigInvalid(
                field=key,
                value="an unknown setting",
                allowed=f"{hint}one of the settings in docs/reference/settings.md",
                origin=str(path),
            )
    return found


def _read(path: Path) -> dict[str, object]:
    try:
        data = path.read_bytes()
        if len(data) > 1_048_576:
            raise ConfigInvalid(
                field="file", value=f"{len(data)} bytes", allowed="at most 1 MiB", origin=str(path)
            )
        return _flatten(tomllib.loads(data.decode()), path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigInvalid(
            field="file", value=str(error), allowed="a readable TOML file", origin=str(path)
        ) from error


def load(
    file: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Read the configuration of a node.

    ``file`` must exist when given; without it ``caxton.toml`` in the working folder is read if it
    is there. ``flags`` maps setting keys to values; ``None`` values are not given.

    Raises:
        ConfigInvalid: it names the setting, where the value came from, and what is allowed.
    """
    env = os.environ if env is None else env
    default_file = Path("caxton.toml")
    path = file if file is not None else (default_file if default_file.is_file() else None)
    from_file = {} if path is None else _read(path)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    profile = "standard"
    preset: Mapping[str, Any] = {}
    for setting in SETTINGS:
        variable = next((v for v in (setting.variable, *setting.env) if env.get(v)), None)
        flag = (flags or {}).get(setting.key)
        if flag is not None:
            raw, origin = flag, "flag"
        elif variable is not None:
            raw, origin = env[variable], variable
        elif setting.key in from_file:
            raw, origin = from_file[setting.key], f"{path}:{setting.key}"
        elif setting.key in preset:
            raw, origin = preset[setting.key], f"profile {profile}"
        else:
            origins[setting.key] = "default"
            continue
        try:
            values[setting.field] = setting.parse(raw, setting.key)
        except ValidationError as error:
            raise ConfigInvalid(
                field=setting.key,
                value="***" if setting.secret else raw,
                allowed=str(error.fields["allowed"]),
                origin=origin,
            ) from None
        origins[setting.key] = origin
        if setting.key == "profile":
            # The first row: what it sets stands for the defaults of the others.
            profile = values["profile"]
            preset = profiled(profile)
    return Loaded(_checked(values, origins), origins)


def _checked(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    try:
        return Config(**values)
    except ConfigInvalid as error:
        # Each value is right by itself, so it is one that does not fit the others.
        error.fields["origin"] = origins.get(str(error.fields["field"]), "default")
        raise

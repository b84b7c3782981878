"""A model as the ``onnx`` engine loads it: made once of its folder, kept in a cache.

A prepared model is a folder whose name begins with that of the model. It is written beside its
place and renamed, by one process at a time; ``model.json`` has the hashes of its files, which are
checked when it is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from caxton.memory.backend import ModelInfo
from caxton.memory.embedding.graph import (
    GRAPH_FILE,
    GRAPH_VERSION,
    WEIGHTS_FILE,
    BertShape,
    write_graph,
)
from caxton.memory.embedding.model_folder import ModelFolder, UnfitModel, file_sha256

__all__ = ["PreparedModel", "find_prepared", "prepare"]

TOKENIZER_FILE: Final = "tokenizer.json"
_ABOUT: Final = "model.json"
_FILES: Final = (GRAPH_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
_LOCK_SECONDS: Final = 300.0
_LOCK_PAUSE: Final = 0.1


class _About(msgspec.Struct, frozen=True):
    name: str
    dimension: int
    sha256: str
    """Of the weights it was made of."""
    max_tokens: int
    files: dict[str, str]
    """SHA-256 of each."""
    graph: int = GRAPH_VERSION


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A folder with a graph and a tokenizer that were found to be whole."""

    path: Path
    model: ModelInfo
    max_tokens: int

    @property
    def graph(self) -> Path:
        """The ONNX file; the weights lie beside it."""
        return self.path / GRAPH_FILE

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file."""
        return self.path / TOKENIZER_FILE

    @classmethod
    def read(cls, path: Path) -> PreparedModel:
        """The model in ``path``, after a look at all of its files.

        Raises:
            UnfitModel: it is none, of another version, or damaged.
            OSError: it cannot be read.
        """
        about = _about(path)
        if about is None:
            raise UnfitModel(f"{path} has no prepared model of this version")
        for name in _FILES:
            if not (path / name).is_file() or file_sha256(path / name) != about.files.get(name):
                raise UnfitModel(f"{path / name} is damaged")
        return cls(path, ModelInfo(about.name, about.dimension, about.sha256), about.max_tokens)


def _about(path: Path) -> _About | None:
    try:
        about = msgspec.json.decode((path / _ABOUT).read_bytes(), type=_About)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return about if about.graph == GRAPH_VERSION else None


def is_prepared(path: Path) -> bool:
    """Whether ``path`` says that it is a prepared model, of whatever version."""
    return (path / _ABOUT).is_file() and (path / GRAPH_FILE).is_file()


def find_prepared(
    root: Path, name: str, sha256: str = "", on_damage: Callable[[str], None] | None = None
) -> PreparedModel | None:
    """The newest whole model of ``root`` that is called ``name``.

    Args:
        sha256: its weights' hash; any when empty.
        on_damage: is told of one that is damaged.
    """
    found = [path for path in root.glob(f"{_slug(name)}-*") if path.is_dir()]
    for path in sorted(found, key=lambda one: one.stat().st_mtime, reverse=True):
        about = _about(path)
        if about is None or about.name != name or sha256 not in ("", about.sha256):
            continue
        try:
            return PreparedModel.read(path)
        except (UnfitModel, OSError) as error:
            if on_damage is not None:
                on_damage(str(error))
    return None


def prepare(source: ModelFolder, name: str, root: Path, sha256: str) -> PreparedModel:
    """Make the graph of a model and keep it in ``root``; quick when it is there already.

    Args:
        sha256: of its weights, as they are.

    Raises:
        UnfitModel: no graph can be made of it.
        OSError: it cannot be read or written, or another process takes too long to do so.
    """
    root.mkdir(parents=True, exist_ok=True)
    target = root / f"{_slug(name)}-{_fingerprint(source, sha256)}"
    with _locked(root):
        with contextlib.suppress(UnfitModel):
            return PreparedModel.read(target)
        for left in root.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        try:
            _write(source, name, new, sha256)
            if target.exists():
                shutil.rmtree(target)
            new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _flush(root)
        return PreparedModel.read(target)


def _write(source: ModelFolder, name: str, folder: Path, sha256: str) -> None:
    from safetensors import SafetensorError, safe_open

    shape = BertShape.of(source.config)
    try:
        with safe_open(source.safetensors, framework="numpy") as file:
            # Some were saved as part of a larger model, whose names begin with that of this part.
            names = {key.removeprefix("bert."): key for key in file.keys()}  # noqa: SIM118

            def tensor(wanted: str) -> Any:
                return file.get_tensor(names[wanted])

            write_graph(tensor, shape, source.pooling, folder)
    except (SafetensorError, TypeError) as error:
        raise UnfitModel(f"{source.safetensors} does not read: {error}") from error
    shutil.copyfile(source.tokenizer, folder / TOKENIZER_FILE)
    about = _About(
        name=name,
        dimension=shape.hidden,
        sha256=sha256,
        max_tokens=min(source.max_tokens, shape.positions),
        files={one: file_sha256(folder / one) for one in _FILES},
    )
    (folder / _ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2))
    folder.chmod(0o755)
    for one in (*_FILES, _ABOUT):
        (folder / one).chmod(0o644)
        _flush(folder / one)
    _flush(folder)


def _fingerprint(source: ModelFolder, sha256: str) -> str:
    parts = [
        sha256,
        file_sha256(source.tokenizer),
        msgspec.json.encode(source.config, order="sorted").decode(),
        source.pooling,
        str(source.max_tokens),
    ]
    short = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return f"{short}-g{GRAPH_VERSION}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[-80:] or "model"


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"another process has made a model in {root} for {_LOCK_SECONDS:.0f} s"
                    ) from None
                time.sleep(_LOCK_PAUSE)
        yield
    finally:
        os.close(handle)

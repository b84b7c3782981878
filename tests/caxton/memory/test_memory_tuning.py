"""Settings of the memory that are changed while it runs, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_embedder import FakeEmbedder
from memory_services import AGENTS
from model_backend import Kept, ModelBackend

from caxton import Config
from caxton.errors import MemoryFull, NotAuthorized, StorageError, ValidationError
from caxton.memory.auditing import audited
from caxton.memory.client import Memory
from caxton.memory.embedder import Embedder
from caxton.memory.host import MemoryHost
from caxton.memory.requests import Configure
from caxton.memory.tuning import TUNABLE, Tuning


async def _model(config: Config, *, download: bool) -> Embedder:
    return FakeEmbedder()


def host(folder: Path, kept: Kept, **settings: object) -> MemoryHost:
    config = Config(data=folder, shards=0, **settings)
    made = MemoryHost(
        config, AGENTS.get, lambda *_: None, backend=lambda _: ModelBackend(kept), model=_model
    )
    made.start()
    return made


async def test_what_is_set_is_in_force_at_once_and_after_a_restart(tmp_path: Path) -> None:
    """Weights and limits; None gives the configuration's value back."""
    kept = Kept()
    first = host(tmp_path, kept, memory_recency_weight=0.25)
    memory = Memory(first.answer)
    await memory.store("Ada", "person", ["wrote programs"])
    found = await memory.config()
    assert found.settings["vector_weight"] == 0.7
    assert found.settings["recency_weight"] == 0.25
    assert found.changed == ()
    assert set(found.settings) == set(found.allowed) == set(TUNABLE)
    assert found.fixed["backend"] == "embedded"
    assert found.fixed["model_in_use"].startswith("fake@")
    assert (await memory.search("programs")).semantic
    changed = await memory.configure(
        vector_weight=0.0, words_weight=1.0, recency_weight=0.5, max_entities_per_agent=1
    )
    assert changed.settings["recency_weight"] == 0.5
    assert changed.changed == (
        "max_entities_per_agent", "recency_weight", "vector_weight", "words_weight",
    )  # fmt: skip
    assert not (await memory.search("programs")).semantic
    await memory.of("own").store("One", "note")
    with pytest.raises(MemoryFull):
        await memory.of("own").store("Two", "note")
    await first.close()

    second = host(tmp_path, kept, memory_recency_weight=0.25)
    memory = Memory(second.answer)
    assert await memory.config() == changed
    assert not (await memory.search("programs")).semantic
    with pytest.raises(MemoryFull):
        await memory.of("own").store("Two", "note")
    back = await memory.configure(**dict.fromkeys(changed.changed))
    assert back.changed == ()
    assert back.settings["recency_weight"] == 0.25
    assert (await memory.search("programs")).semantic
    await memory.of("own").store("Two", "note")
    await second.close()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"vector_weight": 1.5}, "vector_weight"),
        ({"vector_weight": -0.1}, "vector_weight"),
        ({"words_weight": True}, "words_weight"),
        ({"words_weight": "0.5"}, "words_weight"),
        ({"half_life_days": 0}, "half_life_days"),
        ({"half_life_days": float("nan")}, "half_life_days"),
        ({"search_concurrency": 0}, "search_concurrency"),
        ({"search_concurrency": 2.5}, "search_concurrency"),
        ({"max_entities_per_agent": -1}, "max_entities_per_agent"),
        ({"vector_weight": 0, "words_weight": 0}, "words_weight"),
        ({"recency_weight": 0.5, "backend": "qdrant"}, "backend"),
        ({"nothing": 1}, "nothing"),
    ],
)
def test_a_bad_value_changes_nothing(
    tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    """It is named, with what is allowed."""
    tuning = Tuning(Config(data=tmp_path), tmp_path / "settings.json")
    with pytest.raises(ValidationError) as caught:
        tuning.changed(changes)
    assert caught.value.fields["field"] == field
    assert caught.value.fields["allowed"]
    assert tuning.config == Config(data=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"\xff", b'{"vector_weight": 7}', b'{"other": 1}', b'{"vector_weight": "x"}',
     b'{"vector_weight": 0, "words_weight": 0}'],
)  # fmt: skip
def test_a_file_that_does_not_read_is_not_in_force(
    tmp_path: Path, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The memory starts as configured, and the log says why."""
    file = tmp_path / "settings.json"
    file.write_bytes(raw)
    assert Tuning(Config(), file).config == Config()
    assert str(file) in caplog.text


def test_what_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    """The disk refuses."""
    (tmp_path / "memory").write_text("a file in the way")
    tuning = Tuning(Config(), tmp_path / "memory" / "settings.json")
    with pytest.raises(StorageError, match="memory settings"):
        tuning.keep(tuning.changed({"recency_weight": 0.5}))


async def test_agents_may_not(tmp_path: Path) -> None:
    """Neither see nor change."""
    made = host(tmp_path, Kept())
    memory = Memory(made.answer)
    for request in (Configure(), Configure(changes={"recency_weight": 0.5})):
        with pytest.raises(NotAuthorized):
            await memory.of("wide").ask(request)
    assert (await memory.config()).changed == ()
    await made.close()


def test_no_secret_is_shown() -> None:
    """Neither a password nor one in a URL."""
    config = Config(
        memory_backend="neo4j", memory_url="bolt://me:hidden@host:7687", memory_password="hidden"
    )
    view = Tuning(config).view("", "")
    assert "hidden" not in repr(view)
    assert view.fixed["url"] == "bolt://host:7687"


async def test_a_change_is_in_the_audit_trail_before_it_is_made(tmp_path: Path) -> None:
    """What only looks, or is refused, is not; one that cannot be noted is not made."""
    made = host(tmp_path, Kept())
    noted: list[tuple[str, str, str]] = []

    async def audit(kind: str, subject: str, detail: str) -> None:
        if detail.startswith("half_life"):
            raise StorageError(store="registry", reason="full")
        noted.append((kind, subject, detail))

    memory = audited(Memory(made.answer), audit)
    await memory.config()
    with pytest.raises(ValidationError):
        await memory.configure(recency_weight=3)
    assert noted == []
    await memory.configure(recency_weight=0.5, words_weight=None)
    assert noted == [
        ("memory.configured", "memory", "recency_weight=0.5, words_weight=as configured")
    ]
    with pytest.raises(StorageError):
        await memory.configure(half_life_days=2)
    assert (await memory.config()).changed == ("recency_weight",)
    await made.close()

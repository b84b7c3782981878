"""Texts of all callers in batches: right vectors, bounded, the urgent first, none lost or mixed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from fake_engine import DEADLINE_S, MODEL, FakeEngine, vector

from caxton.errors import EmbeddingUnavailable, QueueFull
from caxton.memory.embedding.batching import BatchingEmbedder
from caxton.memory.embedding.engine import TEXT_CHARACTERS, Engine, EngineFailed, clean
from caxton.memory.embedding.engine_thread import by_budget
from caxton.memory.embedding.waiting import Limits

Open = Callable[..., BatchingEmbedder]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def opened(engine: FakeEngine) -> AsyncIterator[Open]:
    """Opens embedders on ``engine``, and closes them."""
    made: list[BatchingEmbedder] = []

    def opens(cache_bytes: int = 0, **limits: Any) -> BatchingEmbedder:
        made.append(
            BatchingEmbedder(
                MODEL, lambda: engine, limits=Limits(**limits), cache_bytes=cache_bytes
            )
        )
        return made[-1]

    yield opens
    engine.release()
    for embedder in made:
        await embedder.close()


async def until(condition: Callable[[], bool]) -> None:
    """Until it holds, or the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


def test_batches_are_of_like_length_and_within_their_budget() -> None:
    """Short ones first; what is longer than the budget is alone; each text is in one batch."""
    lengths = [3, 90, 4, 300, 3, 40, 45, 4]
    batches = by_budget(lengths, 100)
    assert batches == [[0, 4, 2, 7], [5, 6], [1], [3]]
    many = by_budget([1] * 200, 256)
    assert [len(batch) for batch in many] == [64, 64, 64, 8]
    assert by_budget([], 100) == []


async def test_each_text_gets_its_vector_in_order(opened: Open) -> None:
    """Also when it comes twice, is empty, or comes with others of other lengths."""
    texts = ["b" * 30, "", "a", "b" * 30, "ccc", *(f"text {n}" * (n % 7) for n in range(300))]
    found = await opened().embed(texts)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.stack([vector(text) for text in texts]))
    assert (await opened().embed([])).shape == (0, MODEL.dimension)


async def test_texts_of_many_callers_share_batches(opened: Open, engine: FakeEngine) -> None:
    """While one batch runs the next one fills; a text that waits already is made once."""
    embedder = opened()
    engine.hold()
    first = asyncio.create_task(embedder.embed(["first"]))
    await engine.held()
    others = [asyncio.create_task(embedder.embed([f"t{n % 5}"])) for n in range(10)]
    await until(lambda: embedder.stats.waiting == 6)
    engine.release()
    found = await asyncio.gather(*others)
    assert engine.batches == [["first"], [f"t{n}" for n in range(5)]]
    assert all(np.array_equal(one[0], vector(f"t{n % 5}")) for n, one in enumerate(found))
    await first


async def test_the_urgent_pass_a_bulk_load_and_do_not_starve_it(
    opened: Open, engine: FakeEngine
) -> None:
    """A query waits for the batch that runs, not for the import; which gets its turn after some."""
    embedder = opened(batch_tokens=20, urgent_in_a_row=3, round_texts=1)
    engine.hold()
    bulk = asyncio.create_task(embedder.embed([f"bulk text {n:02d}" for n in range(8)]))
    await engine.held()
    queries = [asyncio.create_task(embedder.embed([f"q{n}"])) for n in range(5)]
    await until(lambda: embedder.stats.waiting == 13)
    engine.release()
    await asyncio.gather(bulk, *queries)
    order = ["bulk" if "bulk" in batch[0] else batch[0] for batch in engine.batches]
    assert order[:7] == ["bulk", "q0", "q1", "q2", "bulk", "q3", "q4"]
    assert order[7:] == ["bulk"] * 6


async def test_a_query_hastens_a_text_that_waits_in_a_bulk_load(
    opened: Open, engine: FakeEngine
) -> None:
    """The text moves to the urgent lane and is made once, for both."""
    embedder = opened(batch_tokens=4)
    engine.hold()
    before = asyncio.create_task(embedder.embed(["zz"]))
    await engine.held()
    bulk = asyncio.create_task(embedder.embed([f"{n:03d}" for n in range(9)]))
    await until(lambda: embedder.stats.waiting == 10)
    query = asyncio.create_task(embedder.embed(["008"]))
    await asyncio.sleep(0)
    engine.release()
    assert np.array_equal((await query)[0], vector("008"))
    assert np.array_equal((await bulk)[8], vector("008"))
    await before
    assert engine.batches[1] == ["008"]
    assert sum(batch.count("008") for batch in engine.batches) == 1


async def test_what_is_cancelled_is_dropped_and_gives_its_room_back(
    opened: Open, engine: FakeEngine
) -> None:
    """Unless somebody else waits for it too."""
    embedder = opened(batch_tokens=8)
    engine.hold()
    first = asyncio.create_task(embedder.embed(["first"]))
    await engine.held()
    gone = asyncio.create_task(embedder.embed(["shared", *(f"gone{n}" for n in range(20))]))
    stays = asyncio.create_task(embedder.embed(["shared"]))
    await until(lambda: embedder.stats.waiting == 22)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert embedder.stats.waiting == 2
    assert embedder.stats.waiting_characters == len("first") + len("shared")
    assert embedder.stats.dropped == 20
    engine.release()
    assert np.array_equal((await stays)[0], vector("shared"))
    await first
    assert engine.batches == [["first"], ["shared"]]


async def test_texts_of_a_plan_are_dropped_too(opened: Open, engine: FakeEngine) -> None:
    """An import that ends in its middle costs no more than the batch that runs."""
    embedder = opened(batch_tokens=12)
    engine.hold()
    bulk = asyncio.create_task(embedder.embed([f"text {n:02d}" for n in range(30)]))
    await engine.held()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await bulk
    engine.release()
    assert np.array_equal((await embedder.embed(["after"]))[0], vector("after"))
    await until(lambda: embedder.stats.waiting == 0)
    assert [batch for batch in engine.batches if "text 00" not in batch] == [["after"]]


async def test_a_full_line_refuses_and_takes_nothing(opened: Open, engine: FakeEngine) -> None:
    """By texts and by characters; what waits goes on, and there is room again behind it."""
    embedder = opened(texts=6, characters=100, part_texts=3)
    engine.hold()
    large = asyncio.create_task(embedder.embed([f"large {n}" for n in range(9)]))
    await engine.held()
    some = asyncio.create_task(embedder.embed(["a", "b"]))
    await until(lambda: embedder.stats.waiting == 5)
    with pytest.raises(QueueFull) as many:
        await embedder.embed(["c", "d"])
    assert many.value.detail == "the line of texts to embed holds 5, at most 6 may wait there"
    with pytest.raises(QueueFull) as long:
        await embedder.embed(["x" * 90])
    assert "characters" in long.value.detail
    assert embedder.stats.waiting == 5
    assert embedder.stats.refused == 2
    engine.release()
    assert np.array_equal(await large, np.stack([vector(f"large {n}") for n in range(9)]))
    await some
    # Alone, a call that is larger than the line is taken all the same.
    assert len(await embedder.embed(["y" * 300])) == 1


async def test_one_bad_text_costs_only_who_sent_it(opened: Open, engine: FakeEngine) -> None:
    """In either lane, at the tokenizer and at the model."""
    embedder = opened()
    for size in (2, 20):
        engine.hold()
        first = asyncio.create_task(embedder.embed([f"first {size}"]))
        await engine.held()
        good = [f"good {size} {n}" for n in range(size)]
        calls = [
            asyncio.create_task(embedder.embed([*good, f"{bad} {size}"]))
            for bad in ("poison", "unreadable")
        ]
        fine = asyncio.create_task(embedder.embed(good))
        await until(lambda: embedder.stats.waiting == size + 3)  # noqa: B023
        engine.release()
        for call, said in zip(calls, ("poisoned", "cannot read it"), strict=True):
            with pytest.raises(EmbeddingUnavailable, match=said):
                await call
        assert np.array_equal(await fine, np.stack([vector(text) for text in good]))
        await first
    assert embedder.stats.failed == 4


async def test_nobody_waits_for_ever(opened: Open, engine: FakeEngine) -> None:
    """An engine that does not answer ends the wait, and the texts of the call."""
    embedder = opened(wait_seconds=0.01)
    engine.hold()
    with pytest.raises(EmbeddingUnavailable, match=r"no batch ended within 0\.01 s"):
        await embedder.embed(["slow", "slower"])
    assert embedder.stats.waiting <= 2
    engine.release()
    await until(lambda: embedder.stats.waiting == 0)
    assert len(await opened().embed(["other"])) == 1


async def test_a_slow_engine_is_waited_for(
    opened: Open, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that came before may take longer than the deadline, as long as batches end."""
    embedder = opened()
    waited = 0
    wait = asyncio.wait

    async def passes(futures: Any, timeout: float) -> Any:
        nonlocal waited
        waited += 1
        if waited < 4:
            embedder._thread.batches += 1
            return set(), futures
        engine.release()
        return await wait(futures, timeout=DEADLINE_S)

    monkeypatch.setattr("caxton.memory.embedding.batching.asyncio.wait", passes)
    engine.hold()
    assert np.array_equal((await embedder.embed(["slow"]))[0], vector("slow"))
    assert waited == 4
    monkeypatch.undo()


async def test_an_engine_that_does_not_load_is_tried_again_later() -> None:
    """All who wait hear why; nothing is tried for half a minute; then it works."""
    now, tries, engine = [0.0], 0, FakeEngine()

    def make() -> Engine:
        nonlocal tries
        tries += 1
        if tries < 2:
            raise EngineFailed("no memory")
        return engine

    embedder = BatchingEmbedder(MODEL, make, clock=lambda: now[0])
    calls = [asyncio.create_task(embedder.embed([f"t{n}"] * size)) for n, size in enumerate((1, 9))]
    for call in calls:
        with pytest.raises(EmbeddingUnavailable, match="no memory"):
            await call
    with pytest.raises(EmbeddingUnavailable, match="no memory"):
        await embedder.load()
    assert tries == 1
    assert not embedder.stats.loaded
    now[0] = 31.0
    await embedder.load()
    assert embedder.stats.loaded
    assert np.array_equal((await embedder.embed(["now"]))[0], vector("now"))
    assert tries == 2
    await embedder.close()


async def test_a_fault_of_ours_reaches_who_waits(
    opened: Open, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that an engine raises leaves a caller waiting."""

    def broken(_: Any) -> Any:
        raise ZeroDivisionError("oops")

    embedder = opened()
    monkeypatch.setattr(engine, "run", broken)
    with pytest.raises(EmbeddingUnavailable, match="ZeroDivisionError"):
        await embedder.embed(["text"])
    monkeypatch.undo()
    assert np.array_equal((await embedder.embed(["text"]))[0], vector("text"))


async def test_closing_ends_all_waits(opened: Open, engine: FakeEngine) -> None:
    """Who waits is told; the engine is closed when its batch has ended; closing twice is fine."""
    embedder = opened()
    engine.hold()
    running = asyncio.create_task(embedder.embed(["running"]))
    await engine.held()
    waiting = asyncio.create_task(embedder.embed([f"w{n}" for n in range(20)]))
    await until(lambda: embedder.stats.waiting == 21)
    closing = asyncio.create_task(embedder.close())
    for call in (running, waiting):
        with pytest.raises(EmbeddingUnavailable, match="closed"):
            await call
    assert not engine.closed
    engine.release()
    await closing
    await embedder.close()
    assert engine.closed
    for refused in (embedder.embed(["late"]), embedder.load()):
        with pytest.raises(EmbeddingUnavailable, match="closed"):
            await refused


async def test_texts_that_came_before_cost_nothing(opened: Open, engine: FakeEngine) -> None:
    """They come from the cache, unchanged by what the caller does with its vectors."""
    embedder = opened(cache_bytes=1_000_000)
    first = await embedder.embed(["one", "two"])
    first[:] = 0
    assert np.array_equal(
        await embedder.embed(["two", "one"]), np.stack([vector("two"), vector("one")])
    )
    await embedder.embed(["one", "three"])
    assert engine.batches == [["one", "two"], ["three"]]
    stats = embedder.stats
    assert (stats.texts, stats.cached, stats.embedded) == (6, 3, 3)
    assert (stats.batches, stats.cache_entries) == (2, 3)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("word " * 4_000, TEXT_CHARACTERS - 5),
        ("x" * 20_000, TEXT_CHARACTERS),
        ("a " + "x" * 20_000, TEXT_CHARACTERS),
        (" " * 20_000, TEXT_CHARACTERS - 1),
        ("b" * TEXT_CHARACTERS, TEXT_CHARACTERS),
    ],
)
def test_endless_texts_are_cut_between_words(text: str, kept: int) -> None:
    """Where there is a place for it near the end; elsewhere anywhere."""
    assert clean(text) == text[:kept]


async def test_texts_are_made_fit(opened: Open, engine: FakeEngine) -> None:
    """Endless ones are cut between words; half a surrogate pair is replaced."""
    word = "word "
    await opened(batch_tokens=10).embed([word * 10_000, "x" * 20_000, "a\ud800b"])
    sizes = sorted(len(text) for batch in engine.batches for text in batch)
    assert sizes == [3, TEXT_CHARACTERS - 5, TEXT_CHARACTERS]
    assert ["a?b"] in engine.batches


async def test_many_callers_at_once_get_what_is_theirs(opened: Open) -> None:
    """Of all sizes, some cancelled, by seed."""
    made = np.random.default_rng(7)
    embedder = opened(cache_bytes=50_000, batch_tokens=40, part_texts=16, texts=100_000)
    wanted, calls = [], []
    for _ in range(150):
        texts = [f"t{made.integers(60)}" * made.integers(1, 4) for _ in range(made.integers(1, 40))]
        wanted.append(texts)
        calls.append(asyncio.create_task(embedder.embed(texts)))
        if made.random() < 0.3:
            await asyncio.sleep(0)
            calls[made.integers(len(calls))].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    kept = 0
    for texts, vectors in zip(wanted, found, strict=True):
        if isinstance(vectors, asyncio.CancelledError):
            continue
        assert np.array_equal(vectors, np.stack([vector(text) for text in texts]))
        kept += 1
    assert kept >= 75
    await until(lambda: embedder.stats.waiting == 0)
    assert embedder.stats.waiting_characters == 0

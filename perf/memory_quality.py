"""Claim: words and meaning together find more than either, with weights that were not fitted to the
questions they are judged by.

Questions with known answers are split in halves by a fixed draw. The weight of the cosine that does
best on the first half is told; the table shows the second half, with the words' weight being the
rest. Data is not part of the repository:

``--pairs FILE``: lines of ``QUESTION<TAB>TEXT``; a text without a question is only in the way.
``--locomo FILE``: ``locomo10.json`` of the LoCoMo benchmark: which turns of a conversation answer a
question. Each conversation is searched alone; the first half is conversations, not questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, scratch, show

from caxton.memory.backend import Candidate, CandidateQuery, PutEntity, Selection
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.embedding.opening import EmbeddingSettings, open_embedder
from caxton.memory.fusion import fuse
from caxton.memory.model import Entity, Observation, Scope, embedding_text
from caxton.memory.requests import Weights

SEED = 6
STEPS = 20
DEPTH = 100
"""Candidates of each way to search."""
BATCH = 256
NO_EVIDENCE = 5
"""Category of LoCoMo's questions that have no answer."""


@dataclass(frozen=True)
class Question:
    """What is asked, where, and what answers it."""

    text: str
    scope: str
    answers: frozenset[str]
    tuning: bool


@dataclass
class Corpus:
    """Texts by scope and name, and questions."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)


def read_pairs(path: Path) -> Corpus:
    """Of ``QUESTION<TAB>TEXT``."""
    rng = random.Random(SEED)
    corpus = Corpus({"pairs": {}})
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        question, _, text = line.partition("\t")
        corpus.texts["pairs"][f"t{number}"] = text
        if question.strip():
            answers = frozenset({f"t{number}"})
            corpus.questions.append(Question(question, "pairs", answers, rng.random() < 0.5))
    return corpus


def read_locomo(path: Path) -> Corpus:
    """Of the benchmark's own file."""
    corpus = Corpus()
    samples: list[dict[str, Any]] = json.loads(path.read_bytes())
    for number, sample in enumerate(samples):
        scope = f"c{number}"
        turns = corpus.texts.setdefault(scope, {})
        talk = sample["conversation"]
        for key, session in talk.items():
            if key.startswith("session_") and isinstance(session, list):
                when = talk.get(f"{key}_date_time", "")
                for turn in session:
                    seen = turn.get("blip_caption", "")
                    turns[turn["dia_id"]] = f"{when} {turn['speaker']}: {turn['text']} {seen}"
        for asked in sample["qa"]:
            answers = frozenset(asked.get("evidence", ())) & frozenset(turns)
            if answers and asked.get("category") != NO_EVIDENCE:
                tuning = number < len(samples) // 2
                corpus.questions.append(Question(asked["question"], scope, answers, tuning))
    return corpus


Found = list[tuple[Question, list[Candidate]]]


async def search(corpus: Corpus, root: Path) -> Found:
    """Candidates of every question."""
    embedder = await open_embedder(EmbeddingSettings())
    backend = EmbeddedBackend(root, disk=False)
    await backend.start(embedder.model)
    for scope, texts in corpus.texts.items():
        entities = [
            Entity(Scope.of_agent(scope), name, "text", (Observation(text, 0),))
            for name, text in texts.items()
        ]
        for start in range(0, len(entities), BATCH):
            chunk = entities[start : start + BATCH]
            # The name means nothing here; in a memory it does.
            vectors = await embedder.embed(
                [one.observations[0].text or embedding_text(one) for one in chunk]
            )
            await backend.write(
                [PutEntity(one, vectors[at : at + 1]) for at, one in enumerate(chunk)]
            )
    found: Found = []
    for question in corpus.questions:
        vector = await embedder.embed([question.text])
        selection = Selection(scopes=(Scope.of_agent(question.scope),))
        asked = CandidateQuery(selection, DEPTH, text=question.text, vector=vector)
        found.append((question, await backend.candidates(asked)))
    await backend.close()
    await embedder.close()
    return found


def score(found: Iterable[tuple[Question, list[Candidate]]], vector: float) -> dict[str, float]:
    """Recall of evidence at 5, 10 and 20, and the mean reciprocal rank of the first."""
    weights = Weights(vector=vector, words=1.0 - vector)
    totals = dict.fromkeys(("R@5", "R@10", "R@20", "MRR"), 0.0)
    count = 0
    for question, candidates in found:
        ranked = fuse(candidates, weights, semantic=True, now_ms=0, half_life_days=1.0)
        names = [one.entity.entity_name for one in ranked]
        for depth in (5, 10, 20):
            hits = len(question.answers.intersection(names[:depth]))
            totals[f"R@{depth}"] += hits / len(question.answers)
        first = next((at for at, one in enumerate(names, 1) if one in question.answers), 0)
        totals["MRR"] += 1 / first if first else 0.0
        count += 1
    return {name: total / max(1, count) for name, total in totals.items()}


def main() -> int:
    """Choose on one half, show the other."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--locomo", type=Path)
    given: argparse.Namespace = parser.parse_args()
    if (given.pairs is None) == (given.locomo is None):
        parser.error("name one file: --pairs or --locomo")
    corpus = read_pairs(given.pairs) if given.pairs else read_locomo(given.locomo)
    root = scratch("quality")
    try:
        found = asyncio.run(search(corpus, root))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    tuning = [one for one in found if one[0].tuning]
    held = [one for one in found if not one[0].tuning]
    steps = [step / STEPS for step in range(STEPS + 1)]
    chosen = max(steps, key=lambda weight: score(tuning, weight)["MRR"])
    own = Weights()
    rows: list[dict[str, Any]] = []
    for what, weight in (
        ("words only", 0.0), ("meaning only", 1.0), ("the node's own", own.vector),
        ("best on the first half", chosen),
    ):  # fmt: skip
        row = {name: f"{value:.3f}" for name, value in score(held, weight).items()}
        rows.append({"ranking": what, "weight of cosine": f"{weight:.2f}", **row})
    texts = sum(len(one) for one in corpus.texts.values())
    halves = f"weight chosen on {len(tuning):,} questions, shown on {len(held):,} others"
    show("which texts answer a question", rows, given, claims=[f"{texts:,} texts; {halves}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())

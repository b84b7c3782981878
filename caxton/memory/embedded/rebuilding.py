"""The index from the store: all of it, or what changed since a snapshot; and whether both agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.index import Index, IndexModel
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.postings import word_marks
from caxton.memory.embedded.progress import Changed
from caxton.memory.embedded.roster import Rows
from caxton.memory.embedded.vector_index import FLAT_BELOW

__all__ = ["built", "differences", "replay", "same_entities"]

REPLAYED: Final = 1_000
"""Entities that are read at a time."""

Vectors = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float16]]


def built(moment: Moment, model: IndexModel, *, flat_below: int = FLAT_BELOW) -> Index:
    """An index of everything that the store has at a moment.

    Raises:
        StorageCorrupt, ValueError: the store does not read.
    """
    index = Index(model, flat_below=flat_below)
    facts = moment.facts()
    rows = Rows(facts.eid, facts.scope, facts.type, facts.valid_from, facts.valid_to)
    with index.lock.alone():
        index.roster.put(rows)
        if model.number:
            for eids, counts, vectors in _vectors(moment, model.number):
                owners = index.roster.owners(eids)
                known = owners >= 0
                if not known.all():
                    vectors = vectors[np.repeat(known, counts)]
                index.vectors.put(owners[known], counts[known], vectors)
        for eids, lengths, terms in moment.term_blocks():
            owners = index.roster.owners(eids)
            known = owners >= 0
            if not known.all():
                terms = terms[np.repeat(known, lengths)]
            index.words.put(owners[known], lengths[known], terms)
        index.seq = moment.last_seq
    index.care()
    return index


def _vectors(moment: Moment, model: int) -> Iterator[Vectors]:
    """Whole entities: those that a block cuts in two are put together again."""
    kept_eids = np.zeros(0, dtype=np.uint64)
    kept: NDArray[np.float16] | None = None
    for eids, vectors in moment.vector_blocks(model):
        if kept is not None:
            eids, vectors = np.concatenate((kept_eids, eids)), np.concatenate((kept, vectors))
        cut = int(np.searchsorted(eids, eids[-1]))
        kept_eids, kept = eids[cut:], vectors[cut:]
        if cut:
            yield _grouped(eids[:cut], vectors[:cut])
    if kept is not None and len(kept_eids):
        yield _grouped(kept_eids, kept)


def _grouped(eids: NDArray[np.uint64], vectors: NDArray[np.float16]) -> Vectors:
    different, counts = np.unique(eids, return_counts=True)
    return different, counts.astype(np.int64), vectors


def replay(index: Index, moment: Moment) -> int:
    """Take up what changed since ``index.seq``; how many entities did.

    Raises:
        LookupError: the store does not tell any more what changed since then.
    """
    last = moment.last_seq
    if not index.seq <= last or moment.first_seq > index.seq + 1:
        raise LookupError(f"the store tells changes {moment.first_seq} to {last}")
    eids = sorted({eid for _, changed in moment.changes_after(index.seq) for eid in changed})
    for start in range(0, len(eids), REPLAYED):
        index.apply(index.seq, _changed(moment, eids[start : start + REPLAYED]))
    index.apply(last, ())
    return len(eids)


def _changed(moment: Moment, eids: list[int]) -> Iterator[Changed]:
    facts = moment.facts_of(eids)
    there = facts.eid.tolist()
    for eid in set(eids) - set(there):
        yield Changed(eid, 0, 0, deleted=True)
    for at, eid in enumerate(there):
        yield Changed(
            eid=eid,
            scope=int(facts.scope[at]),
            type=int(facts.type[at]),
            parts=int(facts.parts[at]),
            model=int(facts.model[at]),
            vectors=moment.vectors_of(eid) if facts.parts[at] else None,
            terms=moment.terms_of(eid).tobytes(),
            valid_from=int(facts.valid_from[at]),
            valid_to=int(facts.valid_to[at]),
        )


def same_entities(index: Index, moment: Moment) -> str:
    """What differs between the entities of the index and those of the store; empty when nothing.

    The store must be at ``index.seq``. The caller holds the index's lock.
    """
    facts, rows = moment.facts(), index.roster.rows()
    if not np.array_equal(rows.eid, facts.eid):
        return f"the index has {len(rows.eid)} entities, the store {len(facts.eid)}, or others"
    for name in ("scope", "type", "valid_from", "valid_to"):
        if not np.array_equal(getattr(rows, name), getattr(facts, name)):
            return f"the index has another {name} of an entity than the store"
    parts = np.where(facts.model == index.model.number, facts.parts, 0)
    if not index.model.number:
        parts = np.zeros_like(parts)
    if not np.array_equal(index.vectors.counts_of(index.roster.owners(facts.eid)), parts):
        return "an entity has more or fewer vectors in the index than in the store"
    if int(parts.sum()) != len(index.vectors):
        return f"the index has {len(index.vectors)} vectors, the store {int(parts.sum())}"
    if len(index.words) != len(facts.eid):
        return f"the index has {len(index.words)} texts, the store {len(facts.eid)} entities"
    return ""


def differences(index: Index, moment: Moment) -> str:
    """As ``same_entities``, and all vectors and words are compared too."""
    found = same_entities(index, moment)
    if not found and index.model.number:
        found = _other_vectors(index, moment)
    return found or _other_words(index, moment)


def _other_vectors(index: Index, moment: Moment) -> str:
    for eids, _, vectors in _vectors(moment, index.model.number):
        places = index.vectors.places_of(index.roster.owners(eids))
        agree = index.vectors.agree(places, vectors)
        if not agree.all():
            owner = index.vectors.owners_of(places[~agree][:1])
            return f"entity {index.roster.eids(owner)[0]} has another vector than in the store"
    return ""


def _other_words(index: Index, moment: Moment) -> str:
    owners, lengths, marks = index.words.prints()
    seen = 0
    for eids, counts, terms in moment.term_blocks():
        at = np.searchsorted(owners, index.roster.owners(eids))
        sums = np.zeros(len(eids), dtype=np.float64)
        text = np.repeat(np.arange(len(eids)), counts)
        sums += np.bincount(text, weights=word_marks(terms), minlength=len(eids))
        differ = (lengths[at] != counts) | (marks[at] != sums)
        if differ.any():
            return f"entity {eids[differ][0]} has other words in the index than in the store"
        seen += len(eids)
    return "" if seen == len(owners) else f"the index has {len(owners)} texts, the store {seen}"

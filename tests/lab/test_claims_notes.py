"""notes.yaml and claims.yaml: each claim is said by a sentence of the notes, and no sentence is forgotten."""

from pathlib import Path

import pytest
from twinlab.claims import catalog

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"
CLAIMS = catalog.load(LOADTEST / "claims.yaml")
SENTENCES = catalog.read_yaml(LOADTEST / "notes.yaml")["sentences"]
KEYS = {"note", "line", "to", "says", "rows", "why_none", "slip"}


def ids_of(sentence):
    return [str(each) for each in sentence.get("rows", ())]


def stands_in(quote, sentence):
    first = sentence["line"]
    return quote.note == sentence["note"] and first <= quote.line <= sentence.get("to", first)


def name_of(sentence):
    return f"{sentence['note']}:{sentence['line']} {sentence['says'][:40]}"


def test_a_sentence_has_claims_or_a_reason_why_it_has_none():
    known = {str(claim.id) for claim in CLAIMS}
    for sentence in SENTENCES:
        assert {"note", "line", "says"} <= set(sentence) <= KEYS, name_of(sentence)
        assert bool(ids_of(sentence)) != bool(sentence.get("why_none")), name_of(sentence)
        assert set(ids_of(sentence)) <= known, name_of(sentence)


def test_sentences_stand_in_the_order_of_the_notes():
    places = [(sentence["note"], sentence["line"]) for sentence in SENTENCES]
    assert places == sorted(places)
    assert {note for note, _ in places} == set(catalog.read_yaml(LOADTEST / "claims.yaml")["notes"])
    assert all(sentence.get("to", sentence["line"] + 1) > sentence["line"] for sentence in SENTENCES)


def test_each_claim_is_said_by_a_sentence():
    said = {each for sentence in SENTENCES for each in ids_of(sentence)}
    assert [str(claim.id) for claim in CLAIMS if str(claim.id) not in said] == []


def test_the_documents_say_how_many_there_are():
    waiting = sum(bool(claim.still_open) for claim in CLAIMS)
    first, page = ((LOADTEST / name).read_text() for name in ("../README.md", "README.md"))
    assert f"[{len(CLAIMS)} such things](loadtest/claims.yaml)" in first
    assert f"make {len(CLAIMS)} statements ([claims.yaml]" in page
    assert f"{waiting} statements are *not measured*" in page and f"| judges {len(CLAIMS) - waiting} statements |" in page


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.id))
def test_a_quote_is_of_a_sentence_that_names_its_claim(claim):
    assert claim.quotes
    for quote in claim.quotes:
        assert any(stands_in(quote, sentence) and str(claim.id) in ids_of(sentence) for sentence in SENTENCES), quote


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.id))
def test_the_notes_of_a_claim_are_those_that_it_quotes(claim):
    assert list(claim.notes) == sorted({quote.note for quote in claim.quotes})

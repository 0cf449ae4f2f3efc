"""Ids of claims: numbers, and letters where a statement was split."""

import pytest
from twinlab.base.errors import LabError
from twinlab.claims import catalog, command
from twinlab.claims.claim_id import ClaimId

LIST = "claims:\n" + "".join(
    f"- {{id: {each}, section: a, notes: [], claim: c, judged_by: [{{role: supports, says: x, demo: y, fact: z}}]}}\n"
    for each in ("2b", "10", "2a", "1", "12c", "12a"))


@pytest.fixture
def claims(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(LIST)
    return catalog.load(path)


def names(claims):
    return [str(claim.id) for claim in claims]


def test_claims_come_by_number_then_by_letter(claims):
    assert names(claims) == ["1", "2a", "2b", "10", "12a", "12c"]


@pytest.mark.parametrize("asked, found", [
    (["12"], ["12a", "12c"]), (["12a"], ["12a"]), (["12c", "2", "12"], ["2a", "2b", "12a", "12c"]), (["1"], ["1"]),
    ([], ["1", "2a", "2b", "10", "12a", "12c"])])
def test_a_number_chooses_all_its_letters(claims, asked, found):
    assert names(catalog.choose(claims, [ClaimId.parse(each) for each in asked])) == found


@pytest.mark.parametrize("asked, unknown", [("12b", "12b"), ("1a", "1a"), ("3", "3")])
def test_a_claim_that_there_is_not_is_named(claims, asked, unknown):
    with pytest.raises(LabError, match=f"there is no claim {unknown};"):
        catalog.choose(claims, [ClaimId.parse("2"), ClaimId.parse(asked)])


def test_an_id_is_written_as_it_was_read():
    """A number stays one: files of runs whose ids are numbers are written as they were."""
    assert [ClaimId.parse(each).plain for each in (7, "7", "7a", "12b")] == [7, 7, "7a", "12b"]


def test_a_run_says_for_which_claims_it_was_started():
    assert command.chosen_ids({"ids": [12, "12a"]}) == [ClaimId(12), ClaimId(12, "a")]
    options = command.default_options(ids=[ClaimId(12), ClaimId(12, "a")])
    assert command.settings_of(options)["ids"] == [12, "12a"]


@pytest.mark.parametrize("text", ["0", "a", "a1", "1A", "1ab", "-1", "1 ", "1.0", "", "x12", "١", "123456"])
def test_what_is_no_id_is_told(text):
    with pytest.raises(ValueError, match="is no id of a claim"):
        ClaimId.parse(text)


def test_an_id_that_is_none_is_a_mistake_of_the_list(tmp_path):
    (tmp_path / "c.yaml").write_text(LIST.replace("12c", "12cc"))
    with pytest.raises(LabError, match="'12cc' is no id of a claim"):
        catalog.load(tmp_path / "c.yaml")

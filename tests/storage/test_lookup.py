"""Finding a study by what a person types."""

import pytest

from autopeft.errors import StudyError
from autopeft.storage.lookup import find_study

IDS = ("abcd11111111", "abcd22222222", "0123456789ab", "fedcba987654")


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("latest", "abcd11111111"),
        ("abcd22222222", "abcd22222222"),
        ("abcd2", "abcd22222222"),
        (" ABCD1 ", "abcd11111111"),
        ("0123", "0123456789ab"),
    ],
)
def test_a_study_is_found_by_id_by_its_start_or_as_the_latest(reference, found):
    """Capitals and blanks around do not matter."""
    assert find_study(reference, IDS) == found


def test_fewer_than_four_digits_are_refused():
    """Even when only one study fits: the next search could change that."""
    with pytest.raises(StudyError, match=r"'fed' is too short.*at least 4.*near are fedcba987654"):
        find_study("fed", IDS)


def test_a_start_that_fits_two_studies_is_refused_with_both():
    """More digits tell them apart."""
    with pytest.raises(
        StudyError, match="'abcd' fits 2 studies, abcd11111111, abcd22222222: write more digits"
    ):
        find_study("abcd", IDS)


def test_a_mistyped_id_is_answered_with_near_ones():
    """Two digits are exchanged."""
    with pytest.raises(StudyError, match=r"no study 'fecdba987654'.*near are fedcba987654"):
        find_study("fecdba987654", IDS)


def test_an_id_like_no_other_is_answered_with_the_latest():
    """Three are enough to see what ids look like."""
    with pytest.raises(StudyError, match="the latest are abcd11111111, abcd22222222, 0123456789ab"):
        find_study("zzzzzzzz", IDS)

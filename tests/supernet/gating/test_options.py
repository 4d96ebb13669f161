"""Options of the differentiable searches."""

import pytest

from autopeft.errors import OptionError
from autopeft.supernet.gating.options import BipeftOptions, S3petOptions


def test_what_is_not_given_is_as_usual():
    assert S3petOptions.parse({}) == S3petOptions(order=1, temperature=1.0, rate=0.1, steps=0)
    assert BipeftOptions.parse({}) == BipeftOptions(rate=0.01, prune_steps=100, similarity=0.85)


def test_what_is_given_is_read():
    given = {"order": "2", "temperature": "0.5", "rate": "1e-2", "steps": "40"}
    assert S3petOptions.parse(given | {"structure": "random"}) == S3petOptions(
        order=2, temperature=0.5, rate=0.01, steps=40, structure="random"
    )
    assert BipeftOptions.parse({"prune_steps": "7", "similarity": ".9"}) == BipeftOptions(
        prune_steps=7, similarity=0.9
    )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (S3petOptions, {"depth": "2"}, "s3pet has no option 'depth': it has order, temperature"),
        (S3petOptions, {"order": "3"}, "the option order of s3pet must be 1 or 2, not 3"),
        (S3petOptions, {"order": "first"}, "order of s3pet must be a whole number from 1 on"),
        (S3petOptions, {"rate": "0"}, "rate of s3pet must be a number above 0, not '0'"),
        (S3petOptions, {"rate": "nan"}, "rate of s3pet must be a number above 0, not 'nan'"),
        (S3petOptions, {"temperature": "inf"}, "temperature of s3pet must be a number above 0"),
        (S3petOptions, {"steps": "-1"}, "steps of s3pet must be a whole number from 0 on"),
        (S3petOptions, {"structure": "best"}, "structure of s3pet must be 'found' or 'random'"),
        (BipeftOptions, {"order": "1"}, "bipeft has no option 'order': it has rate, prune_steps"),
        (BipeftOptions, {"prune_steps": "0"}, "prune_steps of bipeft must be a whole number from"),
        (BipeftOptions, {"similarity": "1.5"}, "similarity of bipeft must be at most 1, not 1.5"),
        (BipeftOptions, {"structure": ""}, "structure of bipeft must be 'found' or 'random'"),
    ],
)
def test_what_cannot_be_is_refused(kind, options, message):
    with pytest.raises(OptionError, match=message):
        kind.parse(options)

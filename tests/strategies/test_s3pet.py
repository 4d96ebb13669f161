"""S3PET's strategy."""

import pytest

from autopeft.errors import OptionError
from autopeft.strategies.s3pet import Options, S3petStrategy
from tests.builders import a_study
from tests.contracts.known_optimum import KnownOptimumContract, StructuresOfTable
from tests.contracts.planted_optimum import PlantedOptimumContract
from tests.contracts.strategy import StrategyContract, drive, proposals
from tests.strategies.structures import FakeStructures


class TestS3petStrategy(StrategyContract):
    """It keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return lambda study: S3petStrategy(study, FakeStructures(study))


class TestS3petStrategyWithAProblem(StrategyContract):
    """It keeps it where nothing was found out."""

    @pytest.fixture
    def build(self):
        return lambda study: S3petStrategy(study, FakeStructures(study, problem="it diverged"))


class TestS3petStrategyOnATable(KnownOptimumContract):
    """By chances that are partly wrong it comes near to a structure that fills the budget.

    One that leaves some of the budget it cannot find: every structure of its own is filled up.
    """

    SEEDS = 8
    MARGIN = 1.2
    BUDGET = "242"

    @pytest.fixture
    def build(self):
        return lambda study: S3petStrategy(study, StructuresOfTable(study=study))


class TestTheSearchOfS3petStrategy(PlantedOptimumContract):
    """With a real model, gates and data."""

    NAME = "s3pet"
    STRATEGY = S3petStrategy


def test_the_structure_that_was_found_is_proposed_first():
    study = a_study()
    structures = FakeStructures(study)

    first = S3petStrategy(study, structures).ask()

    assert (first.configuration,) == structures.found()


def test_the_control_searches_nothing():
    study = a_study(options={"structure": "random"})
    structures = FakeStructures(study)

    asked = proposals(drive(S3petStrategy(study, structures), 4))

    assert structures.prepared == 0
    assert structures.found()[0] not in {proposal.configuration for proposal in asked}


def test_an_option_that_there_is_none_of_is_refused():
    study = a_study(options={"depth": "3"})

    with pytest.raises(OptionError, match="s3pet has no option 'depth'"):
        S3petStrategy(study, FakeStructures(study))


def test_options_are_read_at_the_door():
    assert Options.parse({"steps": "9"}).steps == 9

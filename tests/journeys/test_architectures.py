"""Searches and trainings on tiny models: each kind of architecture, space and configuration."""

import json
import sys

import pytest

from autopeft.cli.app import main
from autopeft.search_spaces.written.named import names
from autopeft.search_spaces.written.reading import known_spaces
from tests.kinds import continued, save_model, write_json, write_pictures
from tests.models import opinions, write_rows

pytestmark = pytest.mark.slow

KINDS = {
    **{family: ("classification", "text") for family in ("bert", "deberta-v2", "modernbert")},
}

"""The documented example of a space is one."""

import re
from pathlib import Path

from autopeft.search_spaces.written.reading import parse_space
from autopeft.search_spaces.written.records import TIES
from tests.builders import BERT_BASE

PAGE = (Path(__file__).parents[3] / "docs" / "spaces-yaml.md").read_text("utf-8")


def test_the_worked_example_can_be_laid_over_a_backbone():
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    space = parse_space(example, "example.yaml").on(BERT_BASE)

    assert space.name == "ours"
    assert set(space.methods) == {"lora", "serial_adapter", "deep_prompt", "bitfit", "gate"}
    assert space.size == (4**12 + 6) * (3**6 + 3**12) * 2**2


def test_every_tie_is_documented():
    assert all(f"| `{tie}`" in PAGE for tie in TIES)

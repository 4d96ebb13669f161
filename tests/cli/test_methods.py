"""The command `autopeft methods`, and methods of another package through the installed program."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.cli.methods import description
from autopeft.errors import OptionError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.catalog.opaque import REFUSED
from tests.models import opinions, save_tiny, write_rows

ROOT = Path(__file__).parents[2]
MAIN = "from autopeft.cli.app import main; main()"


def run(*words):
    """Run the program in this process; what the user may mend is raised."""
    return CliRunner().invoke(app, ["methods", *words], catch_exceptions=False).stdout


def test_the_table_has_every_method_once_under_its_family():
    lines = run().splitlines()
    first = [line.split()[0] for line in lines if line.strip()]

    assert all(first.count(name) == 1 for name in METHODS)
    for family in {method.family for method in METHODS.values()}:
        assert family in first


def test_the_table_names_what_is_known_and_not_offered():
    text = run()

    assert "known and not offered" in text
    assert all(name in text for name in REFUSED)


def test_json_has_everything_of_every_method():
    documents = {document["name"]: document for document in json.loads(run("--json"))}

    assert list(documents) == list(METHODS)
    assert documents["lora"]["comes_from"] == "native"
    assert documents["lora"]["slice"] is True
    assert documents["lora"]["peft"] == "LoraConfig"
    assert documents["oft"]["comes_from"] == "peft"
    assert documents["serial_adapter"]["merges"] is False
    assert documents["serial_adapter"]["peft"] is None
    assert "Uᵀ D" in documents["lora"]["description"]


def test_one_method_is_shown_whole():
    text = run("lora")

    assert "y = x Wᵀ + b + s · (x Dᵀ) U" in text
    assert "Count: rank · (inputs + outputs)" in text
    assert "arXiv 2106.09685" in text
    assert "0.001, searched from 0.0001 to 0.01" in text
    assert json.loads(run("lora", "--json"))["name"] == "lora"


def test_why_it_cannot_be_merged_is_said():
    assert f"no: {METHODS['serial_adapter'].merge}" in run("serial_adapter")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_source_that_tells_what_it_costs(name):
    """`autopeft methods NAME` shows the docstring: it must hold the count, and not another's."""
    text = description(METHODS[name])

    assert "count" in text.lower(), text


@pytest.mark.parametrize("name", [method.name for method in METHODS.values() if not method.merges])
def test_what_cannot_be_merged_says_why(name):
    assert METHODS[name].merge


def test_an_unknown_method_is_refused():
    with pytest.raises(OptionError, match="there is no method 'lara': autopeft methods lists them"):
        run("lara")


def test_a_known_method_that_is_not_offered_is_refused_with_the_reason():
    with pytest.raises(OptionError, match="lily is not offered: Lily routes by the mean"):
        run("lily")


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """Install the example package into a folder of its own, and run the program with it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples/plugin", folder / "source")  # building leaves traces
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", folder / "site", source],
        check=True, capture_output=True,
    )  # fmt: skip

    def program(*words, plug=True):
        words = words if words[0] == "-c" else ("-m", "autopeft", *words)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AUTOPEFT_")}
        path = {"PYTHONPATH": str(folder / "site")} if plug else {}
        return subprocess.run(
            [sys.executable, *words], cwd=folder, capture_output=True, text=True,
            env=kept | path | {"XDG_DATA_HOME": str(folder), "HF_HUB_OFFLINE": "1"}, check=False,
        )  # fmt: skip

    return program


@pytest.mark.slow
def test_a_method_of_an_installed_package_is_shown(plugged):
    done = plugged("methods", "group_gain")

    assert done.returncode == 0, done.stderr
    assert "plug-in autopeft-gain" in done.stdout
    assert "y = (x Wᵀ + b) ⊙ (1 + g)" in done.stdout
    assert plugged("methods", "group_gain", plug=False).returncode == 2


@pytest.mark.slow
def test_a_space_of_an_installed_package_is_listed_and_the_doctor_is_content(plugged):
    assert "gains" in plugged("spaces").stdout
    doctor = plugged("doctor")
    assert doctor.returncode == 0
    assert "group_gain, the space gains" in doctor.stdout


@pytest.mark.slow
def test_the_example_trains_merges_and_goes_away_again(plugged, tmp_path):
    """The module itself, in a process that has the package."""
    code = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.models import padded_inputs, table, tiny
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import METHODS, slots_of
for family in ("bert", "gpt2"):
    small = tiny(Path(sys.argv[2]) / family, family)
    slots = slots_of(small.backbone)
    sizes = {s.name: 3 for s in slots if s.method == "group_gain" and s.place != "attention.qkv"}
    configuration = table(slots, 2, sizes)
    inputs, generator = padded_inputs(family), torch.Generator().manual_seed(0)
    with torch.no_grad():
        before = small.model(**inputs).last_hidden_state
    with injected(small.model, small.backbone, slots, configuration, {}, generator) as injection:
        assert injection.count() == configuration.parameters(slots) == 6 * len(sizes)
        assert torch.equal(small.model(**inputs).last_hidden_state, before)
        for value in injection.state().values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
        shaken = small.model(**inputs).last_hidden_state
        shaken.square().sum().backward()
        assert all(p.grad.abs().max() > 0 for p in injection.named().values())
        injection.merge()
    with torch.no_grad():
        merged = small.model(**inputs).last_hidden_state
    torch.testing.assert_close(merged, shaken, rtol=1e-4, atol=1e-4)
    assert (merged - before).abs().max() > 1e-3
print("well")
"""
    done = plugged("-c", code, str(ROOT), str(tmp_path))

    assert done.stdout.strip() == "well", done.stderr


@pytest.mark.slow
def test_a_broken_plug_in_is_named_by_the_doctor_and_stops_nothing(plugged, tmp_path):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[autopeft.methods]\noffer = no_such_module:METHOD\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[1:] = %r; {MAIN}"
    reason = "the plug-in 'offer' of the package 'broken' is left out: loading no_such_module"

    doctor = plugged("-c", code % ["doctor", "--json"])
    listed = plugged("-c", code % ["methods"])

    assert doctor.returncode == 2
    [problem] = [row for row in json.loads(doctor.stdout) if row["state"] == "problem"]
    assert problem["detail"].startswith(reason)
    assert listed.returncode == 0
    assert reason in listed.stderr
    assert "group_gain" in listed.stdout


@pytest.mark.slow
def test_the_space_of_an_installed_package_is_searched_and_its_plan_needs_it(plugged, tmp_path):
    """Without the package the plan is refused with what to do."""
    model = save_tiny(tmp_path / "model", "bert")
    data = write_rows(tmp_path / "data.csv", opinions(60)).train
    searched = plugged(
        "search", "--model", model, "--data", data, "--space", "gains", "--budget", "20%",
        "--epochs", "1", "--trials", "8", "--finals", "0", "--strategy", "random", "--threads", "1",
        "--store", f"sqlite:///{tmp_path / 'store.db'}", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert searched.returncode == 0, searched.stderr
    trials = json.loads(searched.stdout)["trials"]
    assert {trial["state"] for trial in trials} == {"complete"}

    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    plan["slots"][0]["method"] = "group_gain"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    refused = plugged("train", tmp_path / "plan.json", plug=False)
    assert refused.returncode == 2
    assert "there is no method 'group_gain' here: install the package" in refused.stderr

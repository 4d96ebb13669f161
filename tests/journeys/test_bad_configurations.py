"""Spaces, plans, configurations, models and data that do not fit are refused in one sentence.

Each is met as a user meets it: by the program, which ends with 2, says what was wrong, what is
allowed and what to do, and leaves nothing behind.
"""

import copy
import json
import shutil
import struct
import sys
import zlib

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from transformers import AutoConfig, AutoModel

from autopeft.cli.app import main
from autopeft.storage.sql import SqlStore
from tests.kinds import continued, save_model, tagged, write_json, write_pictures
from tests.models import opinions, save_tiny, save_weights, tokenizer_of, write_rows


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Save each tiny model once."""
    folder, known = tmp_path_factory.mktemp("models"), {}

    def model(family, kind="classification"):
        if (family, kind) not in known:
            known[family, kind] = save_model(folder / f"{family}-{kind}", kind, family)
        return known[family, kind]

    return model


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("data") / "data.csv", opinions(60)).train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    write_pictures(folder, 24)
    return folder


@pytest.fixture
def copied(models, tmp_path):
    """Return a copy of a tiny model to break."""

    def copy_of(family):
        return shutil.copytree(models(family), tmp_path / "model")

    return copy_of


def search(model, data, *more):
    """Return a search that would take a moment."""
    budget = () if "--budget" in more else ("--budget", "50%")
    return [
        "search", "--model", model, "--data", data, "--epochs", "1", "--trials", "4", "--finals",
        "0", "--strategy", "random", "--threads", "1", "--store", "sqlite:///store.db", "--out",
        "out", *budget, *more,
    ]  # fmt: skip


GROUP = "groups:\n  - {slots: [%s], sizes: [%s]}\n"
TWO = GROUP + "  - {slots: [%s], sizes: [%s]}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GROUP % ("lora@attention.query", "0, -1"), "line 2: 'sizes' must be a list of whole"),
        (GROUP % ("lora@attention.query", "0, true"), "not [0, True]"),
        (GROUP % ("lora@attention.query", "0, 1.5"), "not [0, 1.5]"),
        (GROUP % ("lora@attention.query", "0"), "with one above 0"),
        (GROUP % ("lora@attention.query", "100000"), "lora@attention.query takes 0 to 32 here"),
        (GROUP % ("bitfit@block", "0, 7"), "bitfit@block takes 0 to 1 here"),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: 1000000000}}]", "at most 32"),
        ("groups:\n- slots: ['lora@*']\n  sizes: [1]\n  sizes: [2]", "'sizes' is there already"),
        (GROUP % ("lora@attention.quary", "0, 1"), "did you mean 'attention.query'?"),
        (GROUP % ("lorax@attention.query", "0, 1"), "no method 'lorax'; did you mean 'lora'?"),
        (GROUP % ("lora@decoder.cross.query", "0, 1"), "the sites of 'lora' here are attention"),
        (
            TWO % ("lora@attention.query", "0, 1", "'lora@*'", "0, 2"),
            "the slot 'lora@attention.query' is in two groups",
        ),
        (GROUP % ("gate@attention.query", "0, 1"), "trains anything: all that it names acts on"),
        (
            TWO % ("lora@attention.query", "1", "dora@attention.query", "1"),
            "neither can be absent: add the size 0 to lora@attention.query",
        ),
        (
            "groups: [{slots: [bitfit@block, layer_norm@ffn.norm], sizes: [0, 1], tie: all}]",
            "the group ties them to each other",
        ),
        ("groups: [{slots: ['lora@*'], sizes: [0, 1], tie: rows}]", "'tie' must be one of none"),
        (
            "groups: [{slots: [gate@attention.query], follows: ['lora@*'], tie: all}]",
            "'tie' contradicts 'follows'",
        ),
        ("groups: [{slots: ['lora@*'], sizes: [1], depth: [0]}]", "a depth of no blocks"),
        ("groups: [{slots: [", "is no YAML"),
        ("", "a space must be a mapping"),
    ],
)
def test_a_space_that_cannot_be(text, said, models, texts, tmp_path, refused):
    """The line is named where the file is at fault, and what the backbone has where it is not."""
    file = tmp_path / "own.yaml"
    file.write_text(text)
    sentence = refused(search(models("bert"), texts, "--space", file))

    assert said in sentence
    assert "own.yaml" in sentence


@pytest.mark.parametrize(
    ("family", "more", "said"),
    [
        ("bert", ("--space", "lora", "--budget", "5"), "the smallest configuration trains 64"),
        ("bert", ("--space", "s4", "--budget", "3"), "its sizes follow from the budget"),
        ("deberta-v2", ("--space", "mam"), "the method 'prefix' has no place in it"),
        ("modernbert", ("--head", "pooler"), "has no trained pooler: take the head 'mean' or"),
        ("bert", ("--max-length", "1"), "--max-length must be at least 8"),
        ("bert", ("--batch-size", "0"), "--batch-size must be at least 1"),
        ("t5", (), "cannot do classification: it is an encoder with a decoder: use --task seq2seq"),
    ],
)
def test_a_search_that_the_model_cannot_hold(family, more, said, models, texts, refused):
    kind = "seq2seq" if family == "t5" else "classification"

    assert said in refused(search(models(family, kind), texts, *more))


@pytest.mark.parametrize(
    ("family", "name", "more", "said"),
    [
        ("deberta-v2", "prefix-10", (), "'prefix-10' does not fit this model: there is no slot"),
        ("bert", "s4-t5-base", ("--budget", "3"), "a budget of 3 parameters leaves nothing"),
        ("bert", "lora-r8-qv", ("--budget", "10"), "trains 2,048 parameters (11.2281% of the"),
        ("bert", "lora-r9", (), "there is no named configuration 'lora-r9': there are bitfit"),
        ("bert", "last-quarter", (), "has nothing in any of the 2 blocks of this backbone"),
    ],
)
def test_a_named_configuration_that_does_not_fit(family, name, more, said, models, texts, refused):
    words = ("train", "--configuration", name, "--model", models(family), "--data", texts)

    assert said in refused([*words, "--out", "out", *more])


@pytest.fixture(scope="module")
def plan(models, texts, tmp_path_factory):
    """Train a published configuration, and return the plan that goes along."""
    out = tmp_path_factory.mktemp("plan")
    words = (
        "train", "--configuration", "lora-r8-qv", "--model", models("bert"), "--data", texts,
        "--epochs", "1", "--threads", "1", "--out", out, "--json",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["autopeft", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return json.loads((out / "plan.json").read_text())


def clashing(plan):
    """Put DoRA beside LoRA."""
    plan["slots"].append(plan["slots"][0] | {"method": "dora", "unit": 64, "fixed": 32})
    for row in plan["configuration"]:
        row.append(8)


def another(plan):
    """Take a site of another architecture."""
    plan["slots"][0]["site"] = "decoder.cross.query"


def shallower(plan):
    plan["configuration"].pop()


def too_large(plan):
    plan["configuration"][0][0] = 4_000


def smaller(plan):
    plan["configuration"][0][0] = 4


def unknown(plan):
    plan["slots"][0]["method"] = "of_a_plug_in"


def in_one_block(plan):
    plan["slots"][0]["blocks"] = [1, 2]


def without_rates(plan):
    plan["recipe"]["learning_rates"] = {}


def with_a_truth(plan):
    plan["configuration"][0][0] = True


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (too_large, "lora@attention.query in block 0 is 4000, and may be 0 to 32"),
        (smaller, "states 2,048 parameters, but its table trains 1,792, and its budget"),
        (with_a_truth, "True is not of type 'integer'"),
        (shallower, "the plan's table must have 2 rows (blocks) of 2 sizes (slots)"),
        (unknown, "there is no method 'of_a_plug_in' here: install the package"),
        (another, "slot 'lora@decoder.cross.query' is none that its backbone has"),
        (in_one_block, "slot 'lora@attention.query' is none that its backbone has"),
        (clashing, "cannot both be in block 0: they change the same weights"),
        (without_rates, "has no learning rate for 'lora'"),
    ],
)
def test_a_plan_that_was_edited_by_hand(edit, said, plan, tmp_path, refused):
    changed = copy.deepcopy(plan)
    edit(changed)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(changed))

    assert said in refused(["train", file, "--out", "out"])


def test_a_plan_for_another_model_of_equal_shape(plan, tmp_path, refused):
    """The weights are known by their digest; shape and names are not enough."""
    twin = save_tiny(tmp_path / "twin", "bert", seed=5)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    sentence = refused(["train", file, "--model", twin, "--out", "out"])

    assert "does not have the weights that the plan was made for" in sentence


ROWS = tagged(30)


def tags(change):
    return [{"tokens": row["tokens"], "ner_tags": change(row["ner_tags"])} for row in ROWS]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, {"tokens": ["a", "b"], "ner_tags": ["O"]}], "a tag for every word in row 31"),
        ([{"tokens": row["tokens"]} for row in ROWS], "cannot tell which column"),
        ([*ROWS, {"tokens": [], "ner_tags": []}], "column 'tokens' of"),
        ([*ROWS, {"tokens": ["a", ""], "ner_tags": ["O", "O"]}], "an empty word or tag in row 31"),
        (tags(lambda row: ["O" for _ in row]), "give at least two different labels"),
        (tags(lambda row: [-100, *(int(tag != "O") for tag in row[1:])]), "has the tag -100 in"),
        (tags(lambda row: [[tag] for tag in row]), "holds lists or objects"),
    ],
    ids=["unequal", "no tags", "no words", "an empty word", "one tag", "ignored", "nested"],
)
def test_tagged_words_that_cannot_be_learned(rows, said, models, tmp_path, refused):
    data = write_json(tmp_path / "data.jsonl", rows).train

    assert said in refused(search(models("bert"), data, "--task", "tokens", "--space", "lora"))


def test_tags_that_are_numbers_name_no_entities(models, tmp_path, refused):
    """They can be learned, and scored by token."""
    rows = tags(lambda row: [int(tag != "O") for tag in row])
    data = write_json(tmp_path / "data.jsonl", rows).train
    words = search(models("bert"), data, "--task", "tokens", "--metric", "entity_f1")

    assert "needs tags such as B-PER and I-PER" in refused(words)


@pytest.mark.parametrize(
    ("family", "made_for", "kind", "said"),
    [
        ("bert", "classification", "causal_lm", "its tokens see those after them: take one such"),
        ("gpt2", "causal_lm", "seq2seq", "it has no decoder beside an encoder"),
        ("vit", "image", "causal_lm", "has no tokenizer, and this task has texts"),
        ("bert", "classification", "image", "has no image processor"),
        ("vit", "image", "classification", "has no tokenizer, and this task has texts"),
    ],
)
def test_a_kind_of_task_that_a_model_cannot_do(
    family, made_for, kind, said, models, texts, pictures, tmp_path, refused
):
    data = {"image": pictures, "classification": texts}.get(kind)
    data = data or write_json(tmp_path / "data.jsonl", continued(30)).train

    assert said in refused(search(models(family, made_for), data, "--task", kind))


def test_texts_of_one_token_teach_a_causal_model_nothing(models, tmp_path, refused):
    """What is found out by encoding is found out before the store is made."""
    rows = [{"text": f"word{number}"} for number in range(24)]
    data = write_json(tmp_path / "data.jsonl", rows).train
    words = search(models("gpt2", "causal_lm"), data, "--task", "causal_lm", "--space", "lora")

    assert "no text has a token to learn" in refused(words)


def pixels(wide, high, mode="RGB"):
    return PIL.Image.new(mode, (wide, high))


def bomb():
    """Return a PNG file of a few bytes that says it is 60,000 pixels wide and high."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def cut(pictures):
    return (pictures / "dark" / "000.png").read_bytes()[:100]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda _: b"", "its bytes are no image; repair or remove it"),
        (lambda _: b"hello", "its bytes are no image; repair or remove it"),
        (cut, "image file is truncated; repair or remove it"),
        (lambda _: bomb(), "exceeds limit"),
    ],
    ids=["no bytes", "no image", "cut off", "a bomb"],
)
def test_a_broken_image(content, said, models, pictures, tmp_path, refused):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "dark" / "x.png").write_bytes(content(folder))
    sentence = refused(search(models("vit", "image"), folder, "--task", "image"))

    assert said in sentence
    assert "x.png" in sentence


@pytest.mark.parametrize("size", [(1, 5_000), (5_000, 1)])
def test_an_image_that_is_a_strip(size, models, pictures, tmp_path, refused):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    pixels(*size).save(folder / "dark" / "x.png")
    words = search(models("vit", "image"), folder, "--task", "image")

    assert "one side may be at most 200 times the other: crop or remove it" in refused(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("one pixel.png", pixels(1, 1)),
        ("narrow.png", pixels(1, 200)),
        ("printed.jpg", pixels(9, 7, "CMYK")),
        ("sixteen bits.png", PIL.Image.fromarray(np.full((9, 7), 40_000, np.uint16))),
        ("transparent.png", pixels(9, 7, "RGBA")),
        ("moving.gif", pixels(9, 7, "P")),
    ],
)
def test_an_odd_image_is_learned_from(name, image, models, pictures, tmp_path, monkeypatch):
    """Only what has no meaning is refused."""
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    frames = {"save_all": True, "append_images": [image]} if name.endswith("gif") else {}
    image.save(folder / "dark" / name, **frames)
    words = search(models("vit", "image"), folder, "--task", "image", "--space", "lora")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["autopeft", *map(str, words)])

    with pytest.raises(SystemExit) as ended:
        main()

    assert not ended.value.code


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        (("bright",), "all rows have the label 'dark'"),
        (("bright", "dark"), "holds no images in folders named after their class"),
    ],
)
@pytest.mark.parametrize("empty", [False, True], ids=["no folder", "an empty folder"])
def test_a_folder_with_too_few_classes(remove, empty, said, models, pictures, tmp_path, refused):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    for name in remove:
        shutil.rmtree(folder / name)
        if empty:
            (folder / name).mkdir()

    assert said in refused(search(models("vit", "image"), folder, "--task", "image"))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"bytes": None, "path": None}, "column 'image' of"),
        ({"bytes": None, "path": "gone.png"}, "gone.png: No such file or directory; check the"),
        ({"bytes": b"hello", "path": None}, "in row 1 of"),
    ],
    ids=["empty", "gone", "broken"],
)
def test_parquet_with_a_missing_image(cell, said, models, pictures, tmp_path, refused):
    images = [file.read_bytes() for file in sorted(pictures.rglob("*.png"))]
    cells = [cell, *({"bytes": content, "path": None} for content in images[1:])]
    labels = [number % 2 for number in range(len(cells))]
    file = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": cells, "label": labels}), file)

    assert said in refused(search(models("vit", "image"), file, "--task", "image"))


def without(*patterns):
    """Remove files of a model."""

    def change(folder):
        for pattern in patterns:
            for file in folder.glob(pattern):
                file.unlink()

    return change


def configured(**changes):
    """Change a model's configuration, and not its weights."""

    def change(folder):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def garbled(folder):
    (folder / "model.safetensors").write_bytes(b"x" * 50)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("*.safetensors"), "has no weights"),
        (without("*token*", "vocab*"), "has no tokenizer"),
        (garbled, "cannot load the weights"),
        (configured(num_hidden_layers=3), "lack 16 tensors, such as 'encoder.layer.2."),
        (configured(vocab_size=7), "their shapes are not those that config.json describes"),
        (configured(model_type="nothing"), "cannot read the configuration of"),
    ],
    ids=["no weights", "no tokenizer", "garbled", "a block too few", "other widths", "no type"],
)
def test_a_model_that_is_not_whole(change, said, copied, texts, refused):
    """Weights are loaded before the store is made, so that nothing is left of a study."""
    model = copied("bert")
    change(model)

    assert said in refused(search(model, texts))


@pytest.mark.parametrize(("family", "lacks"), [("roberta", ()), ("gpt2", ("eos_token",))])
def test_a_tokenizer_without_a_padding_token(family, lacks, copied, texts, refused):
    model = copied(family)
    file = model / "tokenizer_config.json"
    dropped = {"pad_token", *lacks}
    kept = {k: v for k, v in json.loads(file.read_text()).items() if k not in dropped}
    file.write_text(json.dumps(kept))
    (model / "special_tokens_map.json").unlink(missing_ok=True)

    assert "has no padding token: set pad_token in its tokenizer_config.json" in refused(
        search(model, texts)
    )


def test_an_architecture_that_has_no_attention(texts, tmp_path, refused):
    model = tmp_path / "model"
    config = AutoConfig.for_model(
        "mamba", vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4
    )
    save_weights(AutoModel.from_config(config), model)
    tokenizer_of("gpt2").save_pretrained(model)

    assert "no architecture file names the model type 'mamba'" in refused(search(model, texts))


def test_a_setting_under_which_an_architecture_has_other_sites(texts, tmp_path, refused):
    """ALBERT's blocks may share weights, but hold one layer each."""
    model = save_tiny(tmp_path / "model", "albert", inner_group_num=2)

    assert "has inner_group_num 2 in its config.json, and autopeft knows" in refused(
        search(model, texts)
    )


def test_a_store_that_is_there_gets_no_study_that_cannot_begin(copied, texts, tmp_path, refused):
    model = copied("bert")
    garbled(model)
    url = f"sqlite:///{tmp_path / 'store.db'}"
    SqlStore(url).close()
    words = search(model, texts)
    words[words.index("sqlite:///store.db")] = url

    assert "cannot load the weights" in refused(words)
    assert SqlStore(url).studies() == ()

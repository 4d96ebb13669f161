"""The part of a training script that reads the data, for each kind of task."""

import json
from pathlib import Path

from autopeft.plan import Plan

_READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}

_TOKENIZER = """\
tokenizer = AutoTokenizer.from_pretrained(MODEL)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token"""

_ENCODED = """\
train, validation = (
    data[part].map(encode, remove_columns=data[part].column_names)
    for part in ("train", "validation")
)"""

_SPLIT = """\
parts = data["train"].train_test_split(test_size=0.2, seed={seed})  # autopeft splits otherwise
data = {{"train": parts["train"], "validation": parts["test"]}}"""

_SPLIT_COLUMN = """\
rows = data["train"]  # its column {column} says which part a row belongs to
words = {{"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev")}}
data = {{
    part: rows.filter(lambda row, named=named: row[{column}].lower() in named)
    for part, named in words.items()
}}"""

_TEXTS = """\
def encode(row):
    found = tokenizer(TEXTS, truncation=True, max_length=LONGEST)
    return {**found, "labels": LABEL_OF}"""

_TOKENS = """\
def encode(row):
    cells = row[TEXT], row[LABEL]
    words, tags = (cell.split() if isinstance(cell, str) else cell for cell in cells)
    found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=LONGEST)
    labels, before = [], None
    for word in found.word_ids():  # the first token of every word has its tag
        first = word is not None and word != before
        labels.append(LABELS.index(str(tags[word])) if first else -100)
        before = word
    return {**found, "labels": labels}"""

_PASSAGES = """\
def encode(row):
    found = tokenizer(row[TEXT], truncation=True, max_length=LONGEST)
    return {**found, "labels": found["input_ids"]}"""

_CONTINUED = """\
def encode(row):
    answer = tokenizer(" " + row[LABEL], add_special_tokens=False)["input_ids"]
    answer = [*answer, tokenizer.eos_token_id]
    ids = [*tokenizer(row[TEXT])["input_ids"], *answer][-LONGEST:]
    before = max(0, len(ids) - len(answer))
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": LABELS_OF}"""

_TRANSLATED = """\
def encode(row):
    found = tokenizer(row[TEXT], truncation=True, max_length=LONGEST)
    labels = tokenizer(text_target=row[LABEL], truncation=True, max_length=LONGEST)
    return {**found, "labels": labels["input_ids"]}"""

_ONE_LABEL = """\
def collate(rows):
    labels = torch.tensor([row.pop("labels") for row in rows])
    return {**tokenizer.pad(rows, return_tensors="pt"), "labels": labels}"""

_MANY_LABELS = """\
def collate(rows):
    labels = [torch.tensor(row.pop("labels")) for row in rows]
    batch = tokenizer.pad(rows, padding_side="right", return_tensors="pt")
    labels = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    return {**batch, "labels": labels}"""

_SCALE = """\
numbers = torch.tensor([float(label) for label in data["train"][LABEL]])
MEAN, SPREAD = numbers.mean().item(), numbers.std(correction=0).item()  # learned in these units"""

_PROCESSOR = 'processor = AutoImageProcessor.from_pretrained(MODEL, backend="pil")'

_IMAGES = """\
train, validation = data["train"], data["validation"]


def collate(rows):
    images = [np.asarray(row[TEXT].convert("RGB")) for row in rows]
    labels = torch.tensor([LABEL_OF for row in rows])
    return {**processor(images, return_tensors="pt"), "labels": labels}"""

_PATHS = """\
folder = Path(FILES["train"]).parent  # where the paths in the table begin
data = data.map(lambda row: {TEXT: str(folder / row[TEXT])})"""

_DECODED = "data = data.cast_column(TEXT, Image())"


def data_part(plan: Plan) -> str:
    """Write what makes ``train``, ``validation`` and ``collate`` of the plan's data."""
    if plan.task.kind == "image":
        return "\n".join(_folders(plan) if in_folders(plan) else _pictures(plan))
    parts = [
        _TOKENIZER,
        _load(plan),
        *_split(plan),
        *([_SCALE] if plan.task.kind == "regression" else []),
        f"\n\n{_encode(plan)}\n\n\n{_collate(plan)}\n\n",
        _ENCODED,
    ]
    return "\n".join(parts)


def quoted(value: object) -> str:
    """Write names as Python, in the quotes that the rest of a script has."""
    return json.dumps(value, ensure_ascii=False)


def in_folders(plan: Plan) -> bool:
    """Tell whether the data are images in folders, rather than a table."""
    return Path(plan.where.data.train).suffix.lower() not in _READERS


def of_paths(plan: Plan) -> bool:
    """Tell whether the data are a table with the paths of images, rather than with their bytes."""
    stored = Path(plan.where.data.train).suffix.lower() == ".parquet"
    return plan.task.kind == "image" and not stored and not in_folders(plan)


def _folders(plan: Plan) -> list[str]:
    """Read images in folders; the library knows the usual names of parts, as autopeft does."""
    where = 'data_files={part: f"{folder}/**" for part, folder in FILES.items()}'
    if plan.task.columns.split is not None:
        where = 'data_dir=FILES["train"]'
    load = [f'data = load_dataset("imagefolder", {where})', *_split(plan, in_column=False)]
    names = 'TEXT, NAMES = "image", data["train"].features["label"].names'
    images = _IMAGES.replace("LABEL_OF", 'LABELS.index(NAMES[row["label"]])')
    return [_PROCESSOR, *load, names, images]


def _pictures(plan: Plan) -> list[str]:
    """Read a table with images, or with their paths."""
    paths = [_PATHS] if of_paths(plan) else []
    images = _IMAGES.replace("LABEL_OF", _class_of("row[LABEL]", plan))
    return [_PROCESSOR, _load(plan), *paths, _DECODED, *_split(plan), images]


def _load(plan: Plan) -> str:
    suffix = Path(plan.where.data.train).suffix.lower()
    reader = _READERS.get(suffix, "csv")
    told, more = "", ', delimiter="\\t"' if suffix == ".tsv" else ""
    columns = plan.task.columns
    if reader == "csv":  # the library would make numbers and missing values of what is text
        named = [c for c in (columns.text, columns.label, columns.pair, columns.split) if c]
        told = f"text = dict.fromkeys({quoted(named)}, str)  # no numbers, and nothing missing\n"
        more += ", converters=text, na_filter=False"
    return f'{told}data = load_dataset("{reader}", data_files=FILES{more})'


def _split(plan: Plan, *, in_column: bool = True) -> list[str]:
    if plan.where.data.validation:
        return []
    cut, column = _SPLIT.format(seed=plan.task.split_seed), plan.task.columns.split
    if column is None:
        return [cut]
    named = [_SPLIT_COLUMN.format(column=quoted(column))] if in_column else []
    lines = [f"    {line}" for line in cut.splitlines()]
    return [*named, 'if not len(data.get("validation", [])):', *lines]


def _encode(plan: Plan) -> str:
    task = plan.task
    if task.kind == "tokens":
        return _TOKENS
    if task.kind == "seq2seq":
        return _TRANSLATED
    if task.kind == "causal_lm":
        learned = "ids" if task.loss == "all" else "[-100] * before + ids[before:]"
        return _CONTINUED.replace("LABELS_OF", learned) if task.columns.label else _PASSAGES
    number = task.kind == "regression"
    label = "float(row[LABEL])" if number else _class_of("row[LABEL]", plan)
    texts = "row[TEXT], row[PAIR]" if task.columns.pair else "row[TEXT]"
    return _TEXTS.replace("TEXTS", texts).replace("LABEL_OF", label)


def _class_of(cell: str, plan: Plan) -> str:
    """Write what finds a cell's class; where all are whole numbers, ``1.0`` is ``1``."""
    text = f"str({cell})"
    if all(label.removeprefix("-").isdecimal() for label in plan.task.labels):
        text = f'str({cell}).removesuffix(".0")'
    return f"LABELS.index({text})"


def _collate(plan: Plan) -> str:
    one = plan.task.kind in {"classification", "regression"}
    return _ONE_LABEL if one else _MANY_LABELS

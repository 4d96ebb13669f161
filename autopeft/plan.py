"""The product of a study: a document from which the configuration is trained in production."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from autopeft import signing
from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.errors import PlanError
from autopeft.evidence import Evidence, Expected, Exported, Provenance, Transferred
from autopeft.records import digest, divided, from_json, joined, not_finite, to_json
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.transferring import transferred
from autopeft.signing import Signature
from autopeft.study import Task, Where
from autopeft.trial import Recipe

VERSION = 1
FILE = "plan.json"
"""What a plan is called in a directory."""
NAMED = "named configuration"
"""The strategy of a plan that comes from no study, but from a published configuration."""
_LATER: Mapping[str, Any] = {
    "exported": None, "exported/files": None, "exported/rank": None,
    "transferred": None, "evidence": None, "evidence/ranking/against": "score",
}  # fmt: skip
"""Fields that came after the digest, and the value at which it leaves them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A configuration with its backbone, task, recipe and expected score.

    ``slots`` name the columns of ``configuration``; its rows are the backbone's blocks.
    ``scaffold_parameters`` are trained beside ``parameters`` and fall away when training ends. They
    and ``expected`` are None where nothing was measured: the configuration is a published one.
    ``exported`` is None but in the copy that lies beside weights in another form than our own,
    ``transferred`` but in a plan that was made from one for another backbone. ``evidence`` is None
    where nothing was measured, and in plans of before it was kept. ``signature`` is no part of what
    a plan says: the digest leaves it out, and it holds for the digest. ``unknown`` are fields that
    a newer autopeft has written; they are kept for the digest and for who reads the plan next.
    """

    version: int
    backbone: Backbone
    task: Task
    where: Where
    slots: tuple[Slot, ...]
    configuration: Configuration
    recipe: Recipe
    seed: int
    parameters: int
    head_parameters: int
    scaffold_parameters: int | None = None
    expected: Expected | None
    provenance: Provenance
    exported: Exported | None = None
    transferred: Transferred | None = None
    evidence: Evidence | None = None
    signature: Signature | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Name all that the plan says, as 64 hexadecimal digits.

        It is that of the canonical document: without itself and the signature, with the numbers as
        we write them, and without what is left at the default and came after version 1 was
        published.
        """
        document = self._document()
        del document["signature"]
        for path, usual in _LATER.items():
            *outer, name = path.split("/")
            part: Any = document
            for step in outer:
                part = part and part.get(step)
            if part and part[name] == usual:
                del part[name]
        return digest(document)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the document that ``plan.schema.json`` describes."""
        return self._document() | {"digest": self.digest}

    def _document(self) -> dict[str, Any]:
        document = to_json(self)
        document["configuration"] = document["configuration"]["sizes"]
        return joined(document, document.pop("unknown"))

    def transfer(self, *, to: Backbone, budget: Budget | None = None, created: str = "") -> "Plan":
        """Return the plan for another backbone of the same family, by relative depth and budget.

        What was measured is left out, and the digest of this plan stands in ``transferred``.
        `autopeft.transfer` takes the name of a model.

        Raises:
            PlanError: What is given is no backbone, but the name of a model.
            SpaceError: The backbone is of another family, or lacks a place that the plan uses.
            BudgetError: Nothing of the plan fits into the budget.
        """
        if not isinstance(to, Backbone):
            raise PlanError(
                f"Plan.transfer takes a Backbone, and {to!r} is none: give the name of a model to "
                f"autopeft.transfer(plan, {to!r})"
            )
        before = self.provenance
        budget = budget or Budget.parse(before.budget)
        ceiling = budget.ceiling(to.parameters)
        slots, configuration = transferred(
            self.configuration, self.slots, self.backbone, to,
            ceiling=before.ceiling, to_ceiling=ceiling,
        )  # fmt: skip
        source = Transferred(
            plan=self.digest, backbone=self.backbone.name, digest=self.backbone.digest
        )
        return replace(
            self,
            backbone=to, slots=slots, configuration=configuration,
            parameters=configuration.parameters(slots), scaffold_parameters=None,
            head_parameters=0 if self.task.head == "lm" else (to.width + 1) * self.task.outputs,
            expected=None, exported=None, evidence=None, signature=None, transferred=source,
            unknown={},
            provenance=replace(
                before, budget=budget.text, ceiling=ceiling, verdict="not compared",
                created=created or before.created,
            ),
        )  # fmt: skip

    @classmethod
    def from_json(cls, document: Any) -> "Plan":
        """Read a plan, also of a newer autopeft that has added fields which may be left unread.

        Fields that may not be are listed by their names under ``requires``.

        Raises:
            PlanError: The document breaks the schema, is of a newer version, requires what is not
                known here, was edited after its digest was written or after it was signed, or its
                table does not have the shape or the number of parameters that it states, or needs
                a method that is not installed.
        """
        from jsonschema import Draft202012Validator

        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise PlanError(
                f"the plan has version {version}, this autopeft reads up to {VERSION}: "
                "update autopeft"
            )
        document, unknown = divided(document, schema())
        if unknown:
            _check_unknown(unknown, vouched="digest" in document)
        errors = sorted(Draft202012Validator(schema()).iter_errors(document), key=str)
        if errors:
            where = "/".join(str(part) for part in errors[0].absolute_path) or "the document"
            raise PlanError(f"this is no plan: at {where}: {errors[0].message}")
        if strange := next(not_finite(document), None):
            raise PlanError(f"this is no plan: at {strange}: it must be a finite number")
        # plans of before there were digests have none, and stay readable
        document = dict(document)
        stated = document.pop("digest", None)
        try:
            sizes = {"configuration": {"sizes": document["configuration"]}, "unknown": unknown}
            plan = from_json(cls, document | sizes)
        except ValueError as error:
            raise PlanError(f"this is no plan: {error}") from None
        _check_table(plan)
        if stated not in {None, plan.digest}:
            raise PlanError(
                f"the plan was edited after it was written: its digest is {stated[:12]}, and what "
                f"it says has {plan.digest[:12]}; export it again, or, where the change is meant, "
                "delete the line of its digest"
            )
        if plan.signature and signing.available():
            signing.check(plan.signature, plan.digest)
        return plan


def _check_unknown(unknown: Mapping[str, Any], *, vouched: bool) -> None:
    """Refuse unknown fields that must be read, or that no digest tells from slips of the hand."""
    if needs := unknown.get("requires"):
        listed = ", ".join(map(str, needs)) if isinstance(needs, list) else str(needs)
        raise PlanError(
            f"the plan requires {listed}, which this autopeft does not know: update autopeft"
        )
    if not vouched:
        raise PlanError(
            f"the plan has fields that this autopeft does not know ({', '.join(unknown)}) and no "
            "digest: if a newer autopeft has written it, update autopeft; else take them out"
        )


def _check_table(plan: Plan) -> None:
    rows, columns = plan.backbone.blocks, len(plan.slots)
    shape = (len(plan.configuration.sizes), {len(row) for row in plan.configuration.sizes})
    if shape != (rows, {columns}):
        raise PlanError(
            f"the plan's table must have {rows} rows (blocks) of {columns} sizes (slots)"
        )
    if absent := [slot.method for slot in plan.slots if slot.method not in METHODS]:
        raise PlanError(
            f"there is no method {absent[0]!r} here: install the package that the plan's space "
            "came with, or update autopeft"
        )
    _check_slots(plan)
    if wrong := next(faults(plan.configuration, plan.slots), None):
        raise PlanError(
            f"the plan's table cannot be: {wrong}; it was edited by hand: export it again"
        )
    counted = plan.configuration.parameters(plan.slots)
    if counted != plan.parameters:
        raise PlanError(
            f"the plan states {plan.parameters:,} parameters, but its table trains {counted:,}, "
            f"and its budget {plan.provenance.budget!r} allows {plan.provenance.ceiling:,}: "
            f"it was edited by hand ({_largest(plan)}); put its sizes back, or export it again"
        )
    _check_budget(plan)
    _check_recipe(plan)


def _check_budget(plan: Plan) -> None:
    if plan.parameters <= plan.provenance.ceiling:
        return
    raise PlanError(
        f"the plan trains {plan.parameters:,} parameters, and its budget "
        f"{plan.provenance.budget!r} allows {plan.provenance.ceiling:,}: it was edited by hand "
        f"({_largest(plan)}); make it smaller, or export it again"
    )


def _largest(plan: Plan) -> str:
    cells = [
        (slot.parameters(size), f"{slot.name} of size {size} in block {block}")
        for block, row in enumerate(plan.configuration.sizes)
        for slot, size in zip(plan.slots, row, strict=True)
    ]
    cost, cell = max(cells)
    return f"its largest cell is {cell}, {cost:,} parameters"


def _check_slots(plan: Plan) -> None:
    known = set(slots_of(plan.backbone))
    if strange := [slot.name for slot in plan.slots if slot not in known]:
        raise PlanError(
            f"the plan's slot {strange[0]!r} is none that its backbone has, or costs something "
            "else: it was edited by hand or made by another autopeft; export it again"
        )
    names = [slot.name for slot in plan.slots]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PlanError(f"the plan has two columns for {twice[0]!r}: export it again")


def _check_recipe(plan: Plan) -> None:
    rated = plan.recipe.learning_rates
    if bare := [m for m in plan.configuration.methods(plan.slots) if m not in rated]:
        raise PlanError(
            f"the plan's recipe has no learning rate for {bare[0]!r}: write one into "
            "recipe/learning_rates, or export it again"
        )
    scaled = [m for m in plan.configuration.methods(plan.slots) if METHODS[m].scale is not None]
    if bare := [method for method in scaled if method not in plan.recipe.scales]:
        raise PlanError(
            f"the plan's recipe has no scale for {bare[0]!r}: write one into recipe/scales, or "
            "export it again"
        )


def read_plan(file: Path | str) -> Plan:
    """Read a plan from a file, or from the directory that it lies in.

    Raises:
        PlanError: There is no such file, or it holds no plan.
    """
    file = Path(file) / FILE if Path(file).is_dir() else Path(file)
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise PlanError(f"cannot read the plan {str(file)!r}: {error}") from None
    return Plan.from_json(document)


@cache
def schema() -> dict[str, Any]:
    """Read the published JSON Schema of a plan."""
    text = resources.files("autopeft").joinpath("plan.schema.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document

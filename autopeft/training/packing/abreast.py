"""Several lanes that go through the backbone in one pass, each on rows of the batch of its own.

A module that no lane changes sees all rows at once; where one differs, each lane's own module sees
its rows (`packed`). Losses and gradients do not mix: a row's output depends on that row alone, and
every trained parameter belongs to one lane. One backward of the sum of the losses gives each lane
the gradients that it would have had alone.

Lanes with other data come along, padded to the longest. Lanes with the same batch take what blocks
below all of them give from one of them, and only then is the batch repeated.

Axes: B batch, T tokens, D width, N rows of all lanes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from autopeft.training.batches import Batch
from autopeft.training.heads.model import TaskModel
from autopeft.training.packing.changed import changed
from autopeft.training.packing.halved import adopt
from autopeft.training.packing.lanes import lane_of
from autopeft.training.packing.packed import Division, Packed, any_in, carrying
from autopeft.training.trunk.standing import recorded, returning, standing_in

Inputs = dict[str, Any]
_VECTORS = 3  # axes of what has a vector for every token


class Member:
    """A lane as one that can go abreast with others.

    ``model`` is its task model and ``sharing`` the same with what is known of its lower blocks in
    place; ``blocks`` are its rows, of which those below ``lowest`` are untouched. ``places`` are
    the modules that must be its own, see `places`.
    """

    def __init__(
        self, model: TaskModel, sharing: TaskModel, blocks: Sequence[nn.Module], lowest: int
    ) -> None:
        self.model, self.sharing = model, sharing
        self.blocks, self.lowest = blocks, lowest
        self.places: frozenset[str] = frozenset()
        [self.called] = model.children()  # type: ignore[attr-defined]  # a module, as the socket says

    def inputs(self, batch: Batch) -> Inputs:
        """Return what the backbone is called with for a batch."""
        found: Inputs = {}

        def ask(**inputs: Any) -> Any:
            found.update(inputs)
            raise _EnoughError

        with standing_in(self.called, ask), _until_enough():
            self.model.loss(batch)
        return found

    def loss(self, batch: Batch, output: Any) -> Tensor:
        """Return the loss where the backbone has returned ``output``."""
        with standing_in(self.called, returning(output)):
            return self.model.loss(batch)

    def below(self, batch: Batch, lowest: int) -> list[list[Any]]:
        """Return what every block below a row gives for a batch, each time it runs."""
        outputs: list[list[Any]] = [[] for _ in range(lowest)]
        if not lowest:
            return outputs
        with ExitStack() as undo, _until_enough():
            for block, output in zip(self.blocks, outputs, strict=False):
                undo.enter_context(recorded(block, output))
            hook = self.blocks[lowest - 1].register_forward_hook(_enough)
            undo.callback(hook.remove)
            self.sharing.loss(batch)
        return outputs


class Abreast:
    """The pass of some lanes. ``plain`` is the module that they call, without any method."""

    def __init__(self, plain: nn.Module, members: Sequence[Member], example: Batch) -> None:
        self.members = tuple(members)
        self._division = Division()
        self._model = lane_of(plain).eval()  # what is trained is in the lanes, and has a mode there
        outer = _outermost({path for member in members for path in member.places})
        seen = _seen(self._model, outer, members[0].inputs(example))
        for path in outer:
            modules = [member.called.get_submodule(path) for member in members]
            packed = Packed(modules, self._division, *seen[path][0])
            parent, _, name = path.rpartition(".")
            setattr(self._model.get_submodule(parent), name, packed)
        names = {id(module): name for name, module in members[0].called.named_modules()}
        self._rows = [names.get(id(block)) for block in members[0].blocks]
        for name in filter(None, self._rows):
            adopt(self._model.get_submodule(name), [m.called.get_submodule(name) for m in members])

    def learn(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Add every lane's gradients to its parameters, and return the losses, detached."""
        losses = self._losses(batches)
        if finite := [loss for loss in losses if bool(torch.isfinite(loss)) and loss.requires_grad]:
            with torch.autocast("cpu", enabled=False):
                torch.autograd.backward(finite)
        return [loss.detach() for loss in losses]

    def _losses(self, batches: Sequence[Batch]) -> list[Tensor]:
        asked = [m.inputs(batch) for m, batch in zip(self.members, batches, strict=True)]
        rows = [len(batch.rows) for batch in batches]
        with self._division.of(rows), self._repeated(batches):
            output = self._model(**_together(asked))
        parts = _parts(output, rows, [_tokens(inputs) for inputs in asked])
        return [
            member.loss(batch, part)
            for member, batch, part in zip(self.members, batches, parts, strict=True)
        ]

    @contextmanager
    def _repeated(self, batches: Sequence[Batch]) -> Iterator[None]:
        """Let the blocks below all lanes run once, where all lanes have the same batch."""
        first, lowest = self.members[0], min(member.lowest for member in self.members)
        same = all(_same(batches[0], batch) for batch in batches[1:])
        outputs = first.below(batches[0], lowest) if same else []
        ran = [
            (name, output[0])
            for name, output in zip(self._rows, outputs, strict=False)
            if name is not None and len(output) == 1
        ]
        # what a block passes on to one that does not run either is seen by nobody
        last = {_stack(name): _repeated(output, len(batches)) for name, output in ran}
        with ExitStack() as undo:
            for name, output in ran:
                block = self._model.get_submodule(name)
                given = _with_state(output, last[_stack(name)])
                undo.enter_context(standing_in(block, returning(given)))
            yield


class _EnoughError(Exception):
    """What was wanted of a pass is known."""


def _enough(*_: Any) -> None:
    raise _EnoughError


@contextmanager
def _until_enough() -> Iterator[None]:
    with suppress(_EnoughError):
        yield


def _same(one: Batch, other: Batch) -> bool:
    return one is other or (
        one.inputs.keys() == other.inputs.keys()
        and all(torch.equal(value, other.inputs[name]) for name, value in one.inputs.items())
        and torch.equal(one.labels, other.labels)
    )


def _stack(name: str) -> str:
    return name.rpartition(".")[0]


def _repeated(output: Any, times: int) -> Tensor:
    """Return the vectors of all tokens, once for each lane."""
    state: Tensor = output if isinstance(output, Tensor) else output[0]
    return state.repeat(times, *(1 for _ in state.shape[1:]))


def _with_state(output: Any, state: Tensor) -> Any:
    """Return an output with other vectors; what a block returns beside them is one for all."""
    return state if isinstance(output, Tensor) else (state, *output[1:])


def places(plain: nn.Module, member: Member, example: Batch) -> frozenset[str]:
    """Return the modules that must be the lane's own; the empty path where that is all of them.

    Those that it changes, and where one of these is called with what is no row of an example, such
    as a table of positions, the module around it: what comes of it belongs to one lane alone.
    """
    found = _outermost(changed(plain, member.called))
    inputs = member.inputs(example)
    while "" not in found:
        seen = _seen(plain, found, inputs)
        wrong = {path for path in found if not _same_for_all(seen.get(path, []))}
        if not wrong:
            break
        found = _outermost({_around(p) if p in wrong else p for p in found})
    return frozenset(found)


def _same_for_all(calls: Sequence[tuple[Any, Any]]) -> bool:
    """Tell whether a module is called with rows of examples, and always with such in one place."""
    return bool(calls) and all(call == calls[0] and any_in(call[0]) for call in calls)


def _around(path: str) -> str:
    return path.rpartition(".")[0]


def _outermost(paths: Iterable[str]) -> list[str]:
    known = set(paths)
    return sorted(p for p in known if not any(p.startswith(f"{other}.") for other in known))


def _seen(
    plain: nn.Module, paths: Sequence[str], inputs: Mapping[str, Any]
) -> dict[str, list[tuple[Any, Any]]]:
    """Tell of every call of a module what of that which it takes and returns has rows."""
    passes: list[dict[str, list[Any]]] = []
    for count in (1, 2):
        calls: dict[str, list[Any]] = {}

        def note(
            path: str, _module: Any, args: Any, kwargs: Any, output: Any, *, calls: Any
        ) -> None:
            calls.setdefault(path, []).append(((args, kwargs), output))

        with ExitStack() as undo, torch.inference_mode():
            for path in paths:
                hook = partial(note, path, calls=calls)
                handle = plain.get_submodule(path).register_forward_hook(hook, with_kwargs=True)
                undo.callback(handle.remove)
            plain(
                **{
                    name: torch.cat([_padded(name, value[:1])] * count)
                    if isinstance(value, Tensor)
                    else value
                    for name, value in inputs.items()
                }
            )
        passes.append(calls)
    return {
        path: [
            (carrying(one[0], two[0]), carrying(one[1], two[1]))
            for one, two in zip(calls, passes[1][path], strict=True)
        ]
        for path, calls in passes[0].items()
    }


def _padded(name: str, value_1T: Tensor) -> Tensor:
    """Hide a token where nothing is padding: without any, models leave a mask out altogether."""
    if not name.endswith("attention_mask") or value_1T.dim() != 2 or value_1T.shape[1] == 1:
        return value_1T
    return torch.cat([value_1T[:, :-1], torch.zeros_like(value_1T[:, -1:])], dim=1)


def _tokens(inputs: Mapping[str, Any]) -> int:
    """Count the tokens that the output has vectors for; 0 where the model reads images."""
    tokens = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    return 0 if tokens is None else int(tokens.shape[1])


def _together(asked: Sequence[Mapping[str, Any]]) -> Inputs:
    """Put the inputs of lanes one after another, padded on the right to the longest."""
    found: Inputs = {}
    for name, value in asked[0].items():
        if not isinstance(value, Tensor):
            found[name] = value
            continue
        values = [inputs[name] for inputs in asked]
        if value.dim() == 2:
            most = max(v.shape[1] for v in values)
            values = [pad(v, (0, most - v.shape[1])) for v in values]
        found[name] = torch.cat(values)
    return found


def _parts(output: Any, rows: Sequence[int], tokens: Sequence[int]) -> Iterator[Any]:
    """Yield each lane's own rows of what the model returned, without the padding of others."""
    most = max(tokens)
    for lane, count in enumerate(rows):
        start, own = sum(rows[:lane]), tokens[lane]
        values = dict(output.items())
        for name, value in output.items():
            if isinstance(value, Tensor) and value.dim() > 1 and len(value) == sum(rows):
                cut = value.dim() == _VECTORS and value.shape[1] == most
                values[name] = value[start : start + count, : own if cut else None]
        yield type(output)(**values)

"""Where a lane differs from the plain model."""

from collections.abc import Iterator

from torch import nn

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_with_kwargs")


def changed(plain: nn.Module, lane: nn.Module, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost modules that are not what they are in the plain model.

    A module is changed where it is of another class, has other children, parameters or hooks.
    The empty path is the model itself.
    """
    if _differs(plain, lane):
        yield path
        return
    own = dict(lane.named_children())
    for name, child in plain.named_children():
        yield from changed(child, own[name], f"{path}.{name}" if path else name)


def _differs(plain: nn.Module, lane: nn.Module) -> bool:
    if type(plain) is not type(lane) or plain._modules.keys() != lane._modules.keys():  # noqa: SLF001
        return True
    mine, other = (dict(m.named_parameters(recurse=False)) for m in (plain, lane))
    if {name: id(value) for name, value in mine.items()} != {n: id(v) for n, v in other.items()}:
        return True
    return any(vars(plain)[hooks].keys() != vars(lane)[hooks].keys() for hooks in _HOOKS)

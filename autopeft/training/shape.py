"""The shape of a pretrained model: stacks, sites and widths, read without its weights."""

from typing import Any

from autopeft.architectures.reading import Architecture, SitePlace, StackPlace, architecture_of
from autopeft.backbone import Backbone, Site, Stack
from autopeft.errors import BackboneError
from autopeft.training.model_files import ModelFiles, first_line, weights_digest


def read_backbone(files: ModelFiles) -> Backbone:
    """Read a model's shape without loading its weights.

    The model is built on the meta device, where tensors have shapes and no memory.

    Raises:
        BackboneError: The architecture is unknown, or lacks a site that its file names.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    architecture = architecture_of(files.model_type)
    try:
        config = AutoConfig.from_pretrained(files.path, local_files_only=True)
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except Exception as error:  # whatever a configuration's own code raises on wrong values
        raise BackboneError(
            f"cannot read the configuration of {files.reference!r}: {first_line(error)}"
        ) from None
    return shape_of(
        model,
        architecture,
        name=files.reference,
        model_type=files.model_type,
        digest=weights_digest(files.path),
    )


def shape_of(
    model: Any, architecture: Architecture, *, name: str, model_type: str, digest: str
) -> Backbone:
    """Read the shape of a model that is built already, on whatever device.

    Raises:
        BackboneError: The model lacks a site that the architecture file names.
    """
    stacks: list[Stack] = []
    sites: list[Site] = []
    for place in architecture.stacks:
        stack = _stack(model, place, sum(s.blocks for s in stacks))
        stacks.append(stack)
        sites.extend(_sites(model, place, stack, f"{name!r} ({architecture.name}.yaml)"))
    return Backbone(
        name=name,
        architecture=model_type,
        stacks=tuple(stacks),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sites=tuple(sites),
        digest=digest,
    )


def _stack(model: Any, place: StackPlace, first: int) -> Stack:
    config = model.config
    return Stack(
        name=place.name,
        first=first,
        blocks=len(model.get_submodule(place.blocks)),
        width=config.hidden_size,
        heads=config.num_attention_heads,
        norm=place.norm,
    )


def _sites(model: Any, place: StackPlace, stack: Stack, where: str) -> list[Site]:
    """Read the sites that the file names, and add those that every stack has."""
    sites = [_site(model, site, stack, where) for site in place.places]
    return _with_composites(sites, stack)


def _site(model: Any, place: SitePlace, stack: Stack, where: str) -> Site:
    path = place.path.format(block=0)
    try:
        module = model.get_submodule(path)
    except AttributeError:
        raise BackboneError(
            f"the model {where} has no {place.name} at {path!r}, where the architecture file "
            "expects it"
        ) from None
    inputs, outputs, bias = _widths(place, module, stack)
    return Site(
        stack=stack.name,
        place=place.name,
        kind=place.kind,
        path=place.path,
        blocks=_rows(place, stack),
        inputs=inputs,
        outputs=outputs,
        bias=bias,
    )


def _rows(place: SitePlace, stack: Stack) -> tuple[int, int]:
    """Tell which rows have a site: all of the stack, or that end of it at which it lies."""
    first, last = stack.first, stack.first + stack.blocks
    if place.kind == "embeddings":
        return first, first + 1
    return (first, last) if "{block}" in place.path else (last - 1, last)


def _widths(place: SitePlace, module: Any, stack: Stack) -> tuple[int, int, bool]:
    from torch import nn

    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, module.bias is not None
    if place.kind == "norm":
        return (
            module.weight.numel(),
            module.weight.numel(),
            getattr(module, "bias", None) is not None,
        )
    return stack.width, stack.width, False


def _with_composites(sites: list[Site], stack: Stack) -> list[Site]:
    from dataclasses import replace

    by_place = {site.place: site for site in sites}
    found = []
    for site in sites:
        if site.kind == "attention":
            keys, values = by_place[f"{site.place}.key"], by_place[f"{site.place}.value"]
            found.append(replace(site, inputs=keys.outputs, outputs=values.outputs))
        else:
            found.append(site)
    rows = (stack.first, stack.first + stack.blocks)
    if "ffn.input" in by_place and "ffn.output" in by_place:
        first, last = by_place["ffn.input"], by_place["ffn.output"]
        found.append(
            Site(stack=stack.name, place="ffn", kind="ffn", path="", blocks=rows,
                 inputs=first.inputs, outputs=last.outputs)
        )  # fmt: skip
    found.append(
        Site(stack=stack.name, place="block", kind="block", path="", blocks=rows,
             inputs=stack.width, outputs=stack.width)
    )  # fmt: skip
    return found

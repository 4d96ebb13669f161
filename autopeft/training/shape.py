"""The shape of a pretrained model: blocks, sites and widths, read without its weights."""

from typing import Any

from autopeft.backbone import Architecture, Backbone, Site, architecture_of
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
    blocks = len(model.get_submodule(architecture.blocks))
    sites = _sites(architecture, model, files.reference)
    return Backbone(
        name=files.reference,
        architecture=files.model_type,
        blocks=blocks,
        width=config.hidden_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sites=sites,
        digest=weights_digest(files.path),
    )


def _sites(architecture: Architecture, model: Any, reference: str) -> tuple[Site, ...]:
    from torch import nn

    sites = []
    for place in architecture.places:
        try:
            module = model.get_submodule(place.path.format(block=0))
        except AttributeError:
            raise BackboneError(
                f"the model {reference!r} has no {place.name} at {place.path.format(block=0)!r}, "
                f"where the architecture file {architecture.name}.yaml expects it"
            ) from None
        inputs, outputs, bias = 0, 0, False
        if isinstance(module, nn.Linear):
            inputs, outputs, bias = module.in_features, module.out_features, module.bias is not None
        elif place.kind == "norm":
            inputs = outputs = module.weight.numel()
            bias = getattr(module, "bias", None) is not None
        sites.append(
            Site(
                name=place.name,
                kind=place.kind,
                path=place.path,
                inputs=inputs,
                outputs=outputs,
                bias=bias,
            )
        )
    return tuple(_with_attention_widths(sites))


def _with_attention_widths(sites: list[Site]) -> list[Site]:
    from dataclasses import replace

    widths = {site.name: site.outputs for site in sites}
    keys, values = widths.get("attention.key", 0), widths.get("attention.value", 0)
    return [
        replace(site, inputs=keys, outputs=values) if site.kind == "attention" else site
        for site in sites
    ]

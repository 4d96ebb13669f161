"""What is sliced from a supernet is what a plain injected model computes with."""

import pytest
import torch

from autopeft.search_spaces.catalog import METHODS
from tests.models import recipe_of, some_families, tiny
from tests.supernet.nets import falling, perturbed, space_of, supernet_on


def methods():
    """Return methods as parameters; what comes through `peft` is slow to build."""
    return [
        pytest.param(name, marks=pytest.mark.slow if method.family == "opaque" else ())
        for name, method in METHODS.items()
    ]


@pytest.fixture(scope="module", params=some_families())
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("bert"), "bert")


def run(model, trainer, parameters):
    """Return scores and gradients of a batch, without what methods draw while they are trained."""
    batch = trainer.parts["train"].batch([0, 1, 2])
    model.eval()
    model.zero_grad()
    model.loss(batch).backward()
    with torch.no_grad():
        scores = model.forward(batch.inputs)
    return scores, {name: p.grad for name, p in parameters.items() if p.grad is not None}


@pytest.mark.parametrize("method", methods())
def test_what_is_extracted_gives_a_plain_model_equal_scores_and_gradients(small, method):
    """To the bit: the operators and the numbers are the same, a slice is only where they lie."""
    space = space_of(small.backbone, method)
    if not space.slots:
        pytest.skip(f"{small.backbone.architecture} has no place for {method}")
    net = perturbed(supernet_on(small, space), space)
    configuration = falling(space)
    weights, head = net.extract(configuration), net.head()

    with net.active(configuration) as subnet:
        inside = subnet.tuned.injection.named()
        expected, gradients = run(subnet.model, net.trainer, inside)
        computed = subnet.tuned.injection.scaffold()
    with net.trainer.tuned(space.slots, configuration, recipe_of(), seed=9) as plain:
        plain.injection.load(weights)
        for name, parameter in plain.model.head().items():
            parameter.data.copy_(head[name])
        scores, found = run(plain.model, net.trainer, plain.injection.named())

    assert torch.equal(scores, expected)
    assert computed or set(found) == set(gradients)
    for name, gradient in gradients.items():
        assert torch.equal(found[name], gradient), name

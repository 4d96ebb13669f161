"""What blocks of equal first rows give is computed once, and changes no score."""

import pytest
from torch import nn

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.beginnings import leaving, order_of
from autopeft.supernet.scoring import Scoring
from tests.models import FAMILIES, tiny
from tests.supernet.nets import falling, perturbed, space_of, supernet_on

QUICK = ("bert", "gpt2", "mt5")


def nothing_from(configuration, row):
    """Empty the rows from one on."""
    empty = (0,) * len(configuration.sizes[0])
    rows = len(configuration.sizes)
    return Configuration((*configuration.sizes[:row], *(empty,) * (rows - row)))


def nothing_below(configuration, row):
    empty = (0,) * len(configuration.sizes[0])
    return Configuration((*(empty,) * row, *configuration.sizes[row:]))


def branches(space):
    """Return configurations that leave one another at every row, out of order."""
    most, less = falling(space, 3), falling(space, 2)
    rows = range(1, space.blocks)
    return [
        *(nothing_from(most, row) for row in rows),
        less,
        *(nothing_below(less, row) for row in (*rows, space.blocks)),
        most,
        *(Configuration((*most.sizes[:row], *less.sizes[row:])) for row in rows),
    ]


def families():
    return [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FAMILIES]


@pytest.fixture(scope="module", params=families())
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def net(small):
    space = space_of(small.backbone, "lora", "parallel_adapter", "bitfit", "prefix")
    return perturbed(supernet_on(small, space), space)


def one_by_one(net, configurations):
    return [Scoring(net, 0).score(configuration) for configuration in configurations]


def in_one_go(net, configurations, limit=1e9):
    found = dict(Scoring(net, limit).scores(configurations))
    return [found[place] for place in range(len(configurations))]


def counted(net, work):
    """Return what blocks run in the course of some work, by their rows."""
    runs = []
    norms = [[m for m in b.modules() if isinstance(m, nn.LayerNorm)] for b in net.trainer.blocks]
    inner = [found[0] for found in norms]
    hooks = [
        module.register_forward_pre_hook(lambda _module, _args, row=row: runs.append(row))
        for row, module in enumerate(inner)
    ]
    work()
    for hook in hooks:
        hook.remove()
    return [runs.count(row) for row in range(len(inner))]


def test_scores_are_equal_to_the_bit(net):
    configurations = branches(net.space)
    expected = one_by_one(net, configurations)

    assert in_one_go(net, configurations) == expected
    assert len(set(expected)) == len(set(configurations))


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=pytest.mark.slow if method.family == "opaque" else ())
        for name, method in METHODS.items()
    ],
)
def test_every_methods_blocks_depend_on_the_rows_up_to_their_own(bert, method):
    """Also where blocks share a tensor, or a size has weights of its own."""
    space = space_of(bert.backbone, method)
    net = perturbed(supernet_on(bert, space), space)
    configurations = branches(space)

    assert in_one_go(net, configurations) == one_by_one(net, configurations)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="module")
def bert_net(bert):
    space = space_of(bert.backbone, "lora")
    return perturbed(supernet_on(bert, space), space)


def test_a_block_runs_once_for_all_that_begin_alike(bert_net):
    """Two rows: five configurations have three first ones, one of them empty."""
    most, less = falling(bert_net.space, 3), falling(bert_net.space, 2)
    configurations = [
        most, nothing_below(less, 1), nothing_from(most, 1), nothing_below(most, 1),
        Configuration((less.sizes[0], most.sizes[1])),
    ]  # fmt: skip

    apart = counted(bert_net, lambda: one_by_one(bert_net, configurations))
    shared = counted(bert_net, lambda: in_one_go(bert_net, configurations))

    assert shared[1] == apart[1]
    assert shared[0] * 5 == apart[0] * 3


def test_empty_first_rows_are_kept_for_later_calls(bert_net):
    scoring, above = Scoring(bert_net), nothing_below(falling(bert_net.space), 1)
    scoring.score(above)
    scoring.score(falling(bert_net.space))

    assert counted(bert_net, lambda: scoring.score(above))[0] == 0


def test_no_more_is_kept_than_is_allowed(bert_net):
    configurations = branches(bert_net.space)
    for limit in (0, 1e3, 1e9):
        scoring = Scoring(bert_net, limit)
        most = 0
        for _ in scoring.scores(configurations):
            most = max(most, sum(begun.bytes for begun in scoring._begun))
        assert most <= limit
        assert (most > 0) == (limit == 1e9)


def test_only_outputs_that_are_gone_on_from_are_named():
    tables = [
        ((0,), (0,), (1,)), ((1,), (1,), (1,)), ((1,), (1,), (2,)), ((1,), (2,), (1,)), ((2,),) * 3,
    ]  # fmt: skip
    configurations = [Configuration(table) for table in tables]

    assert order_of(configurations[::-1]) == [4, 3, 2, 1, 0]
    assert [sorted(left) for left in leaving(configurations)] == [[], [1, 2], [1], [], []]

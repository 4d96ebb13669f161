"""AUTOPEFT's Bayesian optimisation."""

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from autopeft.budget import Budget
from autopeft.errors import OptionError
from autopeft.search_spaces.written.reading import read_space
from autopeft.strategies import saasbo
from autopeft.strategies.candidates import Candidates
from autopeft.strategies.one_exchange import Climb
from autopeft.strategies.past import as_of
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.saasbo import Options, SaasboStrategy, copula, worths
from autopeft.trial import Fidelity, State
from tests.builders import MINI_LM, SMALL_SPACE, a_measurement, a_study, a_trial
from tests.contracts.strategy import StrategyContract, drive, measured

QUICK = {
    "init": "3", "q": "2", "warmup": "4", "samples": "4", "thinning": "2", "restarts": "2",
    "evaluations": "15",
}  # fmt: skip
"""A model that knows little and a search that is short: promises do not depend on either."""
needs_botorch = pytest.mark.skipif(find_spec("botorch") is None, reason="the extra is not there")


@needs_botorch
class TestSaasboStrategy(StrategyContract):
    """Bayesian optimisation by drawn processes keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return lambda study: SaasboStrategy(replace(study, options=QUICK))


@needs_botorch
@pytest.mark.slow
class TestSaasboStrategyOfTheAblation(StrategyContract):
    """So it does with the likeliest process alone."""

    @pytest.fixture
    def build(self):
        return lambda study: SaasboStrategy(replace(study, options=QUICK | {"model": "matern"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "3"}, "the strategy 'saasbo' has no option 'depth': there are init, q, warmup"),
        ({"q": "0"}, "the option q must be a whole number from 1, not '0'"),
        ({"init": "many"}, "the option init must be a whole number from 1, not 'many'"),
        ({"model": "rbf"}, "the option model is saas or matern, not 'rbf'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Options.parse(options)


def test_options_are_read():
    assert Options.parse({}) == Options()
    assert Options.parse({"model": "matern", "q": "2"}) == Options(model="matern", q=2)


def test_without_botorch_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(saasbo, "find_spec", lambda _: None)

    with pytest.raises(OptionError, match=r"needs the package botorch: pip install 'autopeft\[saa"):
        SaasboStrategy(a_study())


def test_the_copula_keeps_the_order_and_forgets_distances():
    values = np.array([[3.0, -1.0], [5000.0, -1.0], [4.0, -7.0], [-80.0, -2.0]])

    quantiles = copula(values)

    assert quantiles[:, 0].argsort().tolist() == values[:, 0].argsort().tolist()
    assert quantiles[0, 1] == quantiles[1, 1] == quantiles.max()  # equal ones stay equal
    assert math.isclose(quantiles.max(), 3.719, abs_tol=1e-3)  # the quantile of 0.9999


def test_what_failed_is_as_bad_as_the_worst_and_its_parameters_are_known():
    study = a_study(objectives=("score", "params"))
    failed = a_trial(2, 0.0, ranks=(4, 4)).failed("MemoryError")
    trials = [a_trial(0, 0.9), a_trial(1, 0.2), a_trial(3, math.nan), failed]

    found = worths(study, trials)

    assert found[:, 0].tolist() == [0.9, 0.2, 0.2, 0.2]
    assert found[:, 1].tolist() == [-32, -32, -32, -128]


def test_sizes_and_rates_are_coordinates_between_zero_and_one():
    candidates = Candidates(a_study())
    trial = a_trial(0, 0.5, ranks=(8, 2), rate=1e-3)

    [row] = candidates.coordinates([candidates.of(trial.proposal)])

    sizes = dict(zip([gene.name for gene in SMALL_SPACE.genes], row, strict=False))
    assert len(row) == len(SMALL_SPACE.genes) + 2
    assert sorted(sizes.values()) == [0.0, 0.0, 0.0, 0.0, 0.5, 1.0]
    assert 0 < row[-2] < 1
    assert row[-1] == 0.5  # no serial adapter, no rate


def test_a_pick_is_a_coordinate_for_each_choice():
    study = a_study(backbone=MINI_LM, space=read_space("s4").on(MINI_LM, 227_132))
    candidates = Candidates(study)

    row = candidates.coordinates([candidates.drawn(np.random.default_rng(0))])[0]

    unordered = [
        len(g.choices) for g in study.space.genes
        if g.role in {"pick", "pattern", "allocation"} and len(g.choices) > 1
    ]  # fmt: skip
    ordered = sum(g.role not in {"pick", "pattern", "allocation"} for g in study.space.genes)
    assert unordered
    assert len(row) == ordered + sum(unordered) + len(study.space.methods)
    assert 0 <= row.min() <= row.max() <= 1


def test_a_neighbour_differs_in_one_gene_or_in_one_rate():
    """With room in the budget; at 1% some changes have to be paid for by others."""
    candidates = Candidates(a_study(budget=Budget.parse("100%")))
    rng = np.random.default_rng(0)
    parent = candidates.drawn(rng)

    for _ in range(50):
        near = candidates.beside(parent, rng)
        if near is None:
            continue  # the last cell was taken out
        genes = sum(a != b for a, b in zip(parent.genome, near.genome, strict=True))
        before, after = (c.proposal.recipe.learning_rates for c in (parent, near))
        rates = sum(before[m] != after[m] for m in before if m in after)
        assert (genes, rates) in {(1, 0), (0, 1)}


def test_neighbours_keep_the_budget():
    study = a_study(budget=Budget.parse("50"))
    candidates, rng = Candidates(study), np.random.default_rng(0)
    parent = candidates.drawn(rng)

    found = [near for _ in range(50) if (near := candidates.beside(parent, rng))]

    assert found
    sizes = [near.proposal.configuration.parameters(study.space.slots) for near in found]
    assert 0 < min(sizes) <= max(sizes) <= 50


def test_the_climb_returns_the_best_that_is_not_excluded():
    """The value counts genes at their last choice, of which the space has six."""
    candidates = Candidates(a_study(budget=Budget.parse("100%")))
    last = [len(gene.choices) - 1 for gene in SMALL_SPACE.genes]

    def value(found):
        return np.array([sum(map(int.__eq__, c.genome, last)) for c in found], dtype=float)

    rng = np.random.default_rng(0)
    parents = [candidates.drawn(rng)]
    climb = Climb(
        candidates=candidates, value=value, excluded=lambda c: list(c.genome) == last,
        restarts=4, evaluations=300,
    )  # fmt: skip

    best = climb.best(parents, rng)

    assert value([best]) == 5
    assert replace(climb, excluded=lambda _: True).best(parents, rng) is None


def test_a_resumed_study_sees_its_trials_as_they_were():
    """Of four at the first rung two went on: the best of all, and before it came, the first."""
    study = a_study(rungs=(0.5, 1.0))

    def at(number, score, share, *, rungs=()):
        state = State.COMPLETE if share == 1.0 else State.PAUSED
        trial = a_trial(number, score, rate=1e-3 + number / 1e4, fidelity=Fidelity(share=share))
        seen = replace(a_measurement(score), share=share)
        return replace(trial, measurement=seen, rungs=rungs, state=state)

    first, fourth = (replace(a_measurement(score), share=0.5) for score in (0.6, 0.9))
    trials = [
        at(0, 0.65, 1.0, rungs=(first,)), at(1, 0.5, 0.5), at(2, 0.4, 0.5),
        at(3, 0.95, 1.0, rungs=(fourth,)),
    ]  # fmt: skip

    assert [t.latest.share for t in as_of(study, trials, 1)] == [1.0]
    assert [t.latest.share for t in as_of(study, trials, 3)] == [1.0, 0.5, 0.5]
    assert [t.latest.share for t in as_of(study, trials, 4)] == [1.0, 0.5, 0.5, 1.0]
    assert as_of(study, trials, 3)[0] == trials[0]
    assert as_of(a_study(), trials, 3) == trials[:3]


@needs_botorch
@pytest.mark.parametrize("objectives", [("score", "params"), ("score", "params", "flops")])
def test_several_objectives_are_searched_and_resumed(objectives):
    study = a_study(objectives=objectives, options=QUICK)

    def ended(trial):
        done = measured(trial)
        return replace(done, measurement=replace(done.measurement, flops=float(trial.number % 3)))

    whole = drive(SaasboStrategy(study), 7, ending=ended)

    assert len({trial.proposal.key for trial in whole}) == 7
    assert drive(SaasboStrategy(study), 7, known=whole[:4], ending=ended) == whole


@needs_botorch
def test_a_batch_is_formed_once_for_all_its_members():
    """What ends in between is learned with the next batch; a resumed search fits the same anew."""
    study = a_study(options=QUICK | {"q": "3"})
    strategy = SaasboStrategy(study)
    known = drive(strategy, 4)
    formed = strategy._formed

    drive(strategy, 6, known=known)

    assert strategy._formed is formed
    assert formed[1].numbers == {0, 1, 2}


@needs_botorch
@pytest.mark.slow
def test_the_promise_is_that_of_botorch():
    """BoTorch takes the mean over draws of the candidate too: within the error of 4,096 draws."""
    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.acquisition.multi_objective import logei
    from botorch.models import ModelListGP
    from botorch.sampling.normal import SobolQMCNormalSampler

    from autopeft.strategies import saas_model

    logei._load_attempted = True  # it would compile C++ for a minute
    rng = np.random.default_rng(0)
    inputs, others = rng.random((8, 2)), rng.random((6, 2))
    outputs = np.stack([np.sin(4 * inputs[:, 0]), -inputs.sum(1)], axis=1)
    outputs = (outputs - outputs.mean(0)) / outputs.std(0)
    reference = outputs.min(0) - 0.1
    models = [fixed_model(inputs, column) for column in outputs.T]
    ours = [saas_model.Fitted(inputs, column, PROCESS) for column in outputs.T]

    def sampler():
        return SobolQMCNormalSampler(torch.Size([4096]), seed=0)

    known, at = torch.as_tensor(inputs), torch.as_tensor(others).unsqueeze(1)
    saas_model._TRUTHS, usual = 4096, saas_model._TRUTHS
    try:
        one = saas_model.promise(ours[:1], inputs, None, reference[:1], 0)(others)
        two = saas_model.promise(ours, inputs, None, reference, 0)(others)
    finally:
        saas_model._TRUTHS = usual
    with torch.no_grad():
        theirs = qLogNoisyExpectedImprovement(
            models[0], known, sampler=sampler(), cache_root=False, tau_relu=1e-6, tau_max=1e-4
        )(at).numpy()
        volume = logei.qLogNoisyExpectedHypervolumeImprovement(
            ModelListGP(*models), torch.as_tensor(reference), known, sampler=sampler(),
            cache_root=False,
        )(at).numpy()  # fmt: skip

    likely = theirs > math.log(1e-3)  # of rarer improvements 4,096 draws see too few
    assert likely.sum() >= 2
    np.testing.assert_allclose(one[likely], theirs[likely], atol=0.15)
    likely = volume > math.log(1e-3)
    assert likely.sum() >= 2
    np.testing.assert_allclose(two[likely], volume[likely], atol=0.15)


PROCESS = saasbo.Processes(
    mean_S=np.array([0.1]), output_scale_S=np.array([1.3]), noise_S=np.array([0.05]),
    length_SD=np.array([[0.4, 0.7]]),
)  # fmt: skip


def fixed_model(inputs, outputs):
    """Build BoTorch's process with the hyperparameters above."""
    import torch
    from botorch.models import SingleTaskGP
    from gpytorch.kernels import MaternKernel, ScaleKernel

    model = SingleTaskGP(
        torch.as_tensor(inputs), torch.as_tensor(outputs).unsqueeze(-1),
        covar_module=ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=2)), outcome_transform=None,
    ).double()  # fmt: skip
    model.covar_module.outputscale = 1.3
    model.covar_module.base_kernel.lengthscale = torch.tensor([[0.4, 0.7]]).double()
    model.likelihood.noise = 0.05
    model.mean_module.constant.data = torch.tensor(0.1).double()
    return model.eval()


BEST = {"lora@attention.query": (8, 0), "lora@attention.value": (0, 4)}
"""The best sizes by block of the table below; all other slots are best absent."""


def tabled(trial):
    """End a trial with a score that is highest, 0, at BEST and a LoRA rate of 0.003."""
    table = trial.proposal.configuration.sizes
    misses = sum(
        abs(math.log2(1 + table[block][column]) - math.log2(1 + BEST.get(slot.name, (0, 0))[block]))
        for column, slot in enumerate(SMALL_SPACE.slots)
        for block in (0, 1)
    )
    rate = trial.proposal.recipe.learning_rates.get("lora", 1e-4)
    return trial.done(a_measurement(-misses - 2 * abs(math.log10(rate / 0.003))))


@needs_botorch
@pytest.mark.slow
@pytest.mark.parametrize("model", ["saas", "matern"])
def test_it_finds_better_configurations_than_random_search_does(model):
    """The mean best of 3 seeds and 36 trials, on a table whose best score is 0.

    The margin of 1.5 is more than a rung of one size's ladder in every search.
    """
    options = {"model": model, "init": "12", "warmup": "32", "samples": "16"}

    def mean_best(build) -> float:
        bests = [
            max(
                trial.score
                for trial in drive(
                    build(a_study(seed=seed, budget=Budget.parse("680"), options=options)), 36,
                    ending=tabled,
                )
            )
            for seed in range(3)
        ]  # fmt: skip
        return sum(bests) / len(bests)

    random, found = mean_best(RandomStrategy), mean_best(SaasboStrategy)

    assert random + 1.5 < found < 0

"""Prefix attention: its definition against sums written out, the fast way against it."""

import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from autopeft.errors import KernelError
from autopeft.kernels import forms
from autopeft.kernels.prefix_attention import chunked, eager, naive
from autopeft.kernels.prefix_attention.operator import prefix_attention

# Batch, heads, queries, keys, prefix, width of a head; no multiple of any block but the last.
SHAPES = [(1, 1, 1, 1, 1, 3), (2, 3, 7, 5, 2, 5), (3, 2, 17, 33, 11, 7), (2, 4, 16, 16, 8, 16)]


def operands(shape, *, prefixed, masked, dtype=torch.float32, seed=0):
    """Return random operands that take gradients; every query may see at least one key."""
    B, H, T, S, P, K = shape
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(*size, generator=generator).to(dtype).requires_grad_()

    prefix = (random(P, H * K), random(P, H * K)) if prefixed else None
    mask = None
    if masked:
        mask = torch.rand(B, 1, T, S, generator=generator) < 0.6
        mask[..., 0] = True
    return random(B, H, T, K), random(B, H, S, K), random(B, H, S, K), prefix, mask


def gradients(function, given, dtype=torch.float32):
    """Return the output, and the gradients of a fixed sum of it, as single precision."""
    query, key, value, prefix, mask = given
    leaves = [query, key, value, *(prefix or ())]
    copies = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
    pair = (copies[3], copies[4]) if prefix else None
    out = function(*copies[:3], pair, mask, 0.4)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    (out * weights).sum().backward()
    return [out.detach().float(), *(copy.grad.float() for copy in copies)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("prefixed", [False, True])
def test_the_definition_is_the_softmax_written_out(prefixed, masked):
    B, H, T, S, P, K = shape = (2, 2, 3, 4, 2, 5)
    query, key, value, prefix, mask = operands(shape, prefixed=prefixed, masked=masked)

    found = naive.prefix_attention(query, key, value, prefix, mask, 0.4)

    for b, h, t in torch.cartesian_prod(*map(torch.arange, (B, H, T))).tolist():
        pairs = [
            (key[b, h, s], value[b, h, s]) for s in range(S) if mask is None or mask[b, 0, t, s]
        ]
        if prefix:
            part = slice(h * K, (h + 1) * K)
            pairs += [(prefix[0][p, part], prefix[1][p, part]) for p in range(P)]
        weights = [math.exp(0.4 * (query[b, h, t] @ k).item()) for k, _ in pairs]
        expected = sum(w * v for w, (_, v) in zip(weights, pairs, strict=True)) / sum(weights)
        torch.testing.assert_close(found[b, h, t], expected, rtol=1e-5, atol=1e-6)


EXTRAS = ("groups", "causal", "added", "softcap", "gate")


def special(extra, *, seed=3):
    """Return operands, and keyword arguments, of which one is out of the ordinary."""
    B, H, T, S, P, K = 2, 4, 5, 5, 3, 6
    G = 2 if extra == "groups" else H
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(*size, generator=generator).requires_grad_()

    mask = torch.rand(B, 1, T, S, generator=generator) < 0.6
    mask[..., 0] = True
    if extra == "added":
        mask = torch.randn(1, H, T, S, generator=generator)
    if extra == "causal":
        mask = None
    more = {
        "causal": {"causal": True},
        "softcap": {"softcap": 0.5},
        "gate": {"gate_BTP": torch.rand(B, T, P, generator=generator)},
    }.get(extra, {})
    prefix = random(P, G * K), random(P, G * K)
    return (random(B, H, T, K), random(B, G, S, K), random(B, G, S, K), prefix, mask), more


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_definition_is_written_out_for_all_that_models_ask_of_it(extra):
    """Shared keys, order, numbers added to scores, bounded scores, and gates on the prefix."""
    (query, key, value, prefix, mask), more = special(extra)
    found = naive.prefix_attention(query, key, value, prefix, mask, 0.4, **more)

    B, H, T, K = query.shape
    for b, h, t in torch.cartesian_prod(*map(torch.arange, (B, H, T))).tolist():
        g = h * key.shape[1] // H
        part = slice(g * K, (g + 1) * K)
        weights, values = [], []
        for p in range(len(prefix[0])):
            gate = float(more["gate_BTP"][b, t, p]) if extra == "gate" else 1.0
            weights.append(bounded(0.4 * gate * (query[b, h, t] @ prefix[0][p, part]), more))
            values.append(gate * prefix[1][p, part])
        for s in range(key.shape[2]):
            if extra == "causal" and s > t:
                continue
            if mask is not None and mask.dtype == torch.bool and not mask[b, 0, t, s]:
                continue
            score = bounded(0.4 * (query[b, h, t] @ key[b, g, s]), more)
            weights.append(score + float(mask[0, h, t, s]) if extra == "added" else score)
            values.append(value[b, g, s])
        expected = torch.stack(weights).softmax(0) @ torch.stack(values)
        torch.testing.assert_close(found[b, h, t], expected, rtol=1e-5, atol=1e-6)


def bounded(score, more):
    cap = more.get("softcap")
    return score if cap is None else cap * torch.tanh(score / cap)


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_fast_way_agrees_on_all_that_models_ask_of_it(extra, prefixed):
    """Output and every gradient, gates included."""
    if extra == "gate" and not prefixed:
        pytest.skip("gates are on a prefix")
    outcomes = []
    for form in ("eager", "naive"):
        (query, key, value, prefix, mask), more = special(extra)
        leaves = [query, key, value, *prefix] if prefixed else [query, key, value]
        if extra == "gate":
            leaves.append(more["gate_BTP"].requires_grad_())
        with forms.using(form):
            out = prefix_attention(
                query, key, value, prefix if prefixed else None, mask, 0.4, **more
            )
        (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(9))).sum().backward()
        outcomes.append([out.detach(), *(leaf.grad for leaf in leaves)])

    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_query_sees_keys_from_the_first_on_when_there_are_more_of_them():
    """As with a cache of fixed length of which the end is still empty."""
    (query, key, value, prefix, _), more = special("causal")
    expected = naive.prefix_attention(
        query[:, :, :3], key[:, :, :3], value[:, :, :3], prefix, None, 0.4, **more
    )

    for module in (eager, naive):
        found = module.prefix_attention(query[:, :, :3], key, value, prefix, None, 0.4, **more)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_way_and_its_gradients_agree_with_the_definition(shape, prefixed, masked):
    """In single precision, to the rounding of sums in another order."""
    given = operands(shape, prefixed=prefixed, masked=masked)

    found, expected = (gradients(m.prefix_attention, given) for m in (eager, naive))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_half_precision_stays_within_its_rounding(shape, prefixed, masked):
    """bf16 has 8 bits: values and gradients of order 1 may differ by a few hundredths.

    With gradients and without, because they take different ways on a CPU.
    """
    given = operands(shape, prefixed=prefixed, masked=masked, dtype=torch.bfloat16)
    expected = gradients(naive.prefix_attention, given)

    found = gradients(eager.prefix_attention, given, torch.bfloat16)
    with torch.no_grad():
        predicted = eager.prefix_attention(*given, 0.4)

    assert predicted.dtype is torch.bfloat16
    torch.testing.assert_close(predicted.float(), expected[0], rtol=0.02, atol=0.03)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02 * float(other.abs().max()))


def test_a_prefix_of_single_precision_works_beside_keys_of_half():
    """As under autocast, which leaves parameters alone; the gradients come back in full."""
    query, key, value, prefix, _ = operands(
        (2, 3, 7, 5, 2, 5), prefixed=True, masked=False, dtype=torch.float32
    )
    halves = [x.detach().bfloat16() for x in (query, key, value)]

    out = eager.prefix_attention(*halves, prefix, None, 0.4)
    out.float().sum().backward()

    assert out.dtype is torch.bfloat16
    assert prefix[0].grad.dtype is torch.float32
    assert prefix[1].grad.abs().min() > 0


@pytest.mark.parametrize("module", [naive, eager], ids=["naive", "eager"])
def test_what_the_mask_hides_has_no_influence(module):
    """Not even when it is as large as numbers get."""
    query, key, value, prefix, mask = operands((2, 3, 7, 5, 2, 5), prefixed=True, masked=False)
    mask = torch.ones(2, 1, 7, 5, dtype=torch.bool)
    mask[..., 3:] = False
    with torch.no_grad():
        expected = module.prefix_attention(query, key[:, :, :3], value[:, :, :3], prefix, None, 0.4)
        key[:, :, 3:], value[:, :, 3:] = 1e4, 1e4
        found = module.prefix_attention(query, key, value, prefix, mask, 0.4)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("module", [naive, eager], ids=["naive", "eager"])
def test_dropout_keeps_the_mean(module):
    """It drops weights and scales up the others: the mean of many draws is the output without."""
    query, key, value, prefix, _ = operands((1, 1, 2, 3, 2, 4), prefixed=True, masked=False)
    copies = [x.detach().expand(4000, -1, -1, -1) for x in (query, key, value)]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = module.prefix_attention(query, key, value, prefix, None, 0.4)[0]
        draws = module.prefix_attention(*copies, prefix, None, 0.4, 0.3)

    assert (draws[0] - plain).abs().max() > 0.05
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - plain).abs() < 4.5 * error).all(), "4.5 standard errors"


def outcome(way, given, more, *, prefixed=True):
    """Return output and gradients of what `special` gives."""
    query, key, value, prefix, mask = given
    leaves = [query, key, value, *(prefix if prefixed else ())]
    for leaf in leaves:
        leaf.grad = None
    out = way(query, key, value, prefix if prefixed else None, mask, 0.4, **more)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(9))).sum().backward()
    return [out.detach(), *(leaf.grad.clone() for leaf in leaves)]


@pytest.mark.parametrize("scores", [1, 100, 1 << 20])
@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("extra", ["groups", "causal", "added"])
def test_in_pieces_it_is_the_definition(monkeypatch, extra, prefixed, scores):
    """A head at a time, a few, and everything at once."""
    monkeypatch.setattr(chunked, "SCORES", scores)
    given, more = special(extra)
    ways = (
        lambda *operands, causal=False: chunked.chunked(*operands, causal=causal),
        naive.prefix_attention,
    )

    found, expected = (outcome(way, given, more, prefixed=prefixed) for way in ways)

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_in_pieces_a_prefix_alone_may_learn():
    """The lowest block that learns; its keys and values are multiplied no further than that."""
    given, _ = special("groups")
    still = [x.detach() for x in given[:3]]

    found, expected = (
        torch.autograd.grad(out.square().sum(), given[3])
        for out in (
            chunked.chunked(*still, *given[3:], 0.4, causal=False),
            naive.prefix_attention(*still, *given[3:], 0.4),
        )
    )

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_many_keys_stay_within_the_rounding_of_half_precision(masked):
    given = operands((1, 2, 20, 250, 3, 8), prefixed=True, masked=masked, dtype=torch.bfloat16)
    expected = gradients(naive.prefix_attention, given)

    found = gradients(eager.prefix_attention, given, torch.bfloat16)

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02 * float(other.abs().max()))


@pytest.mark.parametrize(("keys", "kept"), [(100, True), (250, False)])
def test_weights_of_many_keys_are_not_kept(keys, kept):
    given = operands((1, 2, 50, keys, 3, 8), prefixed=True, masked=False, dtype=torch.bfloat16)
    sizes = []

    with saved_tensors_hooks(lambda x: sizes.append(x.numel()), lambda x: x):
        eager.prefix_attention(*given, 0.4)

    assert (max(sizes) >= 2 * 50 * keys) is kept


@pytest.mark.parametrize("keys", [100, 250])
def test_under_autocast_no_weights_are_kept_in_single_precision(keys):
    given = operands((1, 2, 50, keys, 3, 8), prefixed=True, masked=True)
    types = {}

    with (
        torch.autocast("cpu", torch.bfloat16),
        saved_tensors_hooks(
            lambda x: types.setdefault(x.shape[-1], set()).add(x.dtype) or x, lambda x: x
        ),
    ):
        out = prefix_attention(*given, 0.4)
    out.float().sum().backward()

    assert out.dtype is torch.bfloat16
    assert torch.float32 not in types.get(keys + 3, set())
    assert given[3][0].grad.dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("number", [None, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("keys", [5, 250])
def test_a_query_that_sees_nothing_weighs_all_keys_alike(dtype, number, keys):
    """Whether that is said by false or by the lowest number: padding has a mean, not NaN."""
    query, key, value, _, _ = operands(
        (1, 2, 3, keys, 1, 8), prefixed=False, masked=False, dtype=dtype
    )
    mask = torch.ones(1, 1, 3, keys, dtype=torch.bool)
    mask[:, :, 1] = False
    if number is not None:
        mask = torch.zeros(mask.shape).masked_fill(~mask, number)

    out = eager.prefix_attention(query, key, value, None, mask, 0.4)
    out.float().sum().backward()

    mean = value.detach().float().mean(2)
    torch.testing.assert_close(out[:, :, 1].float(), mean, rtol=0.01, atol=0.01)
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("extra", ["softcap", "gate", "groups"])
@pytest.mark.parametrize("form", ["naive", "eager"])
def test_a_row_of_infinities_hides_everything_and_gives_no_nan(form, extra, dtype):
    """All of the sequence is hidden; without a prefix there is nothing else to weigh.

    Then all keys weigh alike, but in torch's fused attention in fp16, which multiplies in fp32,
    where scores still count beside the lowest number of fp16.
    """
    (query, key, value, prefix, _), more = special(extra)
    query, key, value = (x.detach().to(dtype).requires_grad_() for x in (query, key, value))
    mask = torch.zeros(2, 1, 5, 5, dtype=dtype)
    mask[:, :, 1] = -math.inf
    beside = prefix if extra == "gate" else None

    with forms.using(form):
        out = prefix_attention(query, key, value, beside, mask, 9.0, **more)
    out.float().sum().backward()

    assert out.isfinite().all()
    assert query.grad.isfinite().all()
    fused = form == "eager" and extra == "groups"
    if beside is None and not (fused and dtype is torch.float16):
        mean = value.detach().float().mean(2).repeat_interleave(4 // value.shape[1], 1)
        torch.testing.assert_close(out[:, :, 1].float(), mean, rtol=0.02, atol=0.02)


MIXED = [
    (torch.float64, torch.float32), (torch.float32, torch.float64),
    (torch.float32, torch.float16), (torch.float32, torch.bfloat16),
    (torch.float16, torch.float32), (torch.float16, torch.bfloat16),
    (torch.bfloat16, torch.float32), (torch.bfloat16, torch.float16),
]  # fmt: skip


# Shares of the largest value: some roundings of scores and of sums of weights.
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("keys", [5, 250])
@pytest.mark.parametrize("asked", [{}, {"causal": True}, {"softcap": 2.0}], ids=str)
@pytest.mark.parametrize(("dtype", "of_mask"), MIXED, ids=str)
@pytest.mark.parametrize("form", ["naive", "eager"])
def test_a_mask_may_have_a_type_of_its_own(form, dtype, of_mask, asked, keys, learns):
    """Narrower than the query or wider; some of it infinite, and its gradient in its own type.

    One query sees nothing of the sequence. Many keys are weighed in pieces where no mask learns.
    """
    query, key, value, prefix, _ = operands(
        (2, 2, 5, keys, 3, 8), prefixed=True, masked=False, dtype=torch.float64
    )
    mask = torch.randn(2, 1, 5, keys, generator=torch.Generator().manual_seed(4))
    mask[0, :, 2], mask[..., 1:3] = -math.inf, -math.inf
    kinds = [*[dtype] * 5, of_mask]
    leaves = [
        x.detach().to(kind)
        for x, kind in zip([query, key, value, *prefix, mask], kinds, strict=True)
    ]

    found = attended(form, leaves, asked, learns=learns)

    expected = attended("naive", [x.double() for x in leaves], asked, learns=learns)
    kinds = [dtype, *kinds][: len(expected)]
    for one, other, kind in zip(found, expected, kinds, strict=True):
        assert one.dtype is kind
        atol = max(ROUNDING[dtype], ROUNDING[kind]) * float(other.abs().max())
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


def attended(form, leaves, asked, *, learns):
    """Return the output and the gradients of five operands, and of the mask where it learns."""
    *five, mask = [x.detach().requires_grad_() for x in leaves]
    query, key, value, *prefix = five
    mask.requires_grad_(learns)
    with forms.using(form):
        out = prefix_attention(query, key, value, tuple(prefix), mask, 0.4, **asked)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    (out * weights.to(out.dtype)).sum().backward()
    return [out.detach(), *(x.grad for x in five), *([mask.grad] if learns else [])]


@pytest.mark.parametrize("form", ["naive", "eager"])
def test_a_query_before_which_a_narrow_mask_hides_all_sees_nothing_later(form):
    """Infinity in fp16 hides as much as what comes later: all keys weigh alike, in fp32 as well."""
    query, key, value, _, _ = operands((1, 2, 3, 3, 1, 8), prefixed=False, masked=False)
    mask = torch.full((1, 1, 3, 3), -math.inf, dtype=torch.float16)

    with forms.using(form):
        out = prefix_attention(query, key, value, None, mask, 0.4, causal=True)

    mean = value.mean(2, keepdim=True).expand(out.shape)
    torch.testing.assert_close(out, mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["naive", "eager"])
def test_the_operator_takes_the_form_that_is_asked_for(form):
    given, more = special("groups")

    with forms.using(form):
        found = outcome(prefix_attention, given, more)

    way = {"naive": naive, "eager": eager}[form].prefix_attention
    for one, other in zip(found, outcome(way, given, more), strict=True):
        assert torch.equal(one, other)


def test_nothing_in_is_nothing_out():
    """No example, no query, and nothing to look at."""
    for shape in (0, 2, 3, 4, 5, 8), (1, 2, 0, 4, 5, 8), (1, 2, 3, 0, 0, 8):
        for dtype in (torch.float32, torch.bfloat16):
            query, key, value, prefix, _ = operands(shape, prefixed=True, masked=False, dtype=dtype)
            out = prefix_attention(query, key, value, prefix, None, 0.4)
            out.sum().backward()

            assert out.shape == query.shape
            assert not out.any()
            assert not prefix[0].grad.any()


def called(*, mask=None, gate=None, dropout=0.0, softcap=None, **changed):
    """Call the operator on operands of which some are changed."""
    query, key, value, prefix, _ = operands((2, 4, 3, 5, 2, 8), prefixed=True, masked=False)
    given = {"query": query, "key": key, "value": value, "prefix": prefix} | changed
    return prefix_attention(*given.values(), mask, 0.4, dropout, softcap=softcap, gate_BTP=gate)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"query": torch.ones(2, 4, 3, 8).int()}, "query in torch.int32: its kernels know"),
        ({"query": torch.ones(2, 4, 3, 8).half()}, "in one type, and got torch.float16, torch.flo"),
        ({"query": torch.ones(2, 3, 3, 8)}, r"G divides H, and got \(2, 3, 3, 8\) and \(2, 4, 5"),
        ({"key": torch.ones(2, 4, 6, 8)}, r"G divides H, and got .*\(2, 4, 6, 8\) and \(2, 4, 5"),
        ({"query": torch.ones(2, 4, 3, 7)}, r"G divides H, and got \(2, 4, 3, 7\)"),
        ({"value": torch.ones(4, 5, 8)}, r"G divides H, and got .*\(4, 5, 8\)"),
        ({"key": torch.ones(2, 0, 5, 8), "value": torch.ones(2, 0, 5, 8)}, r"G divides H, and got"),
        ({"mask": torch.tensor(True)}, r"a mask that spreads to \(2, 4, 3, 5\), and got \(\)"),
        ({"mask": torch.tensor(0.0)}, "cannot take mask without axes"),
        ({"query": torch.tensor(1.0)}, "cannot take query without axes"),
        ({"softcap": 0.0}, r"cannot bound scores by 0\.0: write a softcap above 0, or None"),
        ({"softcap": -30.0}, r"cannot bound scores by -30\.0"),
        ({"prefix": (torch.ones(2, 30),) * 2}, "as all heads of the sequence, 32 and 32, and got"),
        ({"prefix": (torch.ones(2, 32), torch.ones(1, 32))}, "a prefix of as many keys as values"),
        ({"mask": torch.ones(2, 1, 3, 4) > 0}, r"a mask that spreads to \(2, 4, 3, 5\), and got"),
        ({"mask": torch.ones(2, 1, 3, 5).int()}, "cannot take mask in torch.int32"),
        ({"mask": torch.ones(2, 1, 3, 5, device="meta") > 0}, "all operands on one device: .*meta"),
        (
            {"gate": torch.ones(2, 3, 4)},
            r"each of the 2 positions .*\(2, 3, 2\), and got \(2, 3, 4",
        ),
        ({"gate": torch.ones(2, 3, 2), "prefix": None}, "gates on each of the 0 positions of its"),
        ({"dropout": 1.0}, "cannot drop 1.0 of its weights: write 0 to 0.99"),
    ],
    ids=lambda x: x[:30] if isinstance(x, str) else "",
)
def test_operands_that_do_not_fit_together_are_refused(changed, said):
    with pytest.raises(KernelError, match=said):
        called(**changed)

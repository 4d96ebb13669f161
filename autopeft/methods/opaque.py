"""The methods that come through the `peft` library, one function each.

    y = x Wᵀ + b + (peft(x) - x Wᵀ)

`opaque_layer` tells how a layer of the library takes its place. The docstrings say what it
computes, with which fixed hyper-parameters, and what it trains; I and O are the inputs and outputs
of the site, s is the size. Unless it says otherwise, a fresh layer changes nothing. The trained
factors start from the trial's seed; what is random and stays frozen is the same for every seed, so
that a checkpoint needs the trained values alone.
"""

import torch

from autopeft.methods.opaque_layer import Wanted, attach_layer
from autopeft.methods.places import Attached, Block, Making
from autopeft.search_spaces.catalog import opaque as fixed


def oft(block: Block, site: str, making: Making) -> Attached:
    """Turn the inputs: ``W R``, R block-diagonal and orthogonal (Qiu et al. 2023).

    R = (1 - Q)⁻¹ (1 + Q) by a Neumann series of five terms, with Q skew; blocks of 32, or of the
    largest power of two below that divides I. Count: I (block - 1) / 2.
    """
    options = {"oft_block_size": fixed.oft_block(block.sites[site])}
    return attach_layer(block, site, making, Wanted(kind="OFT", options=options, only_adds=False))


def boft(block: Block, site: str, making: Making) -> Attached:
    """Turn the inputs and scale the outputs: ``diag(m) W R`` (Liu et al. 2023).

    One butterfly factor with blocks of 4, or less where 4 does not divide I. Of a block's 16
    numbers the library uses the skew part, so the four on the diagonal are trained in vain; they
    are counted. Where there is a CUDA compiler, the library compiles a kernel on first use, which
    one factor does not need. Count: I · block + O.
    """
    options = {"boft_block_size": fixed.boft_block(block.sites[site])}
    return attach_layer(block, site, making, Wanted(kind="BOFT", options=options, only_adds=False))


def hra(block: Block, site: str, making: Making) -> Attached:
    """Mirror the inputs 2 s times: ``W ∏ (1 - 2 u uᵀ / |u|²)`` (Yuan et al. 2024).

    Reflections start as equal pairs that undo each other, which leaves the output as it was to
    rounding. Count: 2 s · I.
    """
    options = {"r": 2 * making.size}
    return attach_layer(block, site, making, Wanted(kind="HRA", options=options, only_adds=False))


def psoft(block: Block, site: str, making: Making) -> Attached:
    """Turn and scale the 2 s principal directions: ``W + B (diag(a) R diag(b) - 1) A``.

    A and B come from the singular vectors of W and stay frozen, R is orthogonal. Count: the skew
    matrix of R and two vectors, s (2 s - 1) + 4 s.
    """
    options = {"r": 2 * making.size, "psoft_alpha": 2 * making.size}
    return attach_layer(block, site, making, Wanted(kind="PSOFT", options=options))


def road(block: Block, site: str, making: Making) -> Attached:
    """Turn and scale pairs of outputs by an angle and a factor each (Liao and Monz 2024, RoAd 1).

    The outputs are paired within groups of 64, or less where 64 does not divide O. Count: O.
    """
    options = {"variant": "road_1", "group_size": fixed.road_group(block.sites[site])}
    wanted = Wanted(kind="ROAD", options=options, only_adds=False, bias=True)
    return attach_layer(block, site, making, wanted)


def fourierft(block: Block, site: str, making: Making) -> Attached:
    """Add the inverse Fourier transform of s coefficients: ``W + 150 Re F⁻¹(c)`` (Gao et al. 2024).

    Where the frequencies are is drawn once and for all. They start at zero, unlike in the paper,
    so that nothing changes at first. Count: s.
    """
    options = {"n_frequency": making.size, "init_weights": True}
    return attach_layer(block, site, making, Wanted(kind="FOURIERFT", options=options))


def waveft(block: Block, site: str, making: Making) -> Attached:
    """Add the inverse wavelet transform of s coefficients: ``W + 25 · IDWT(c)``, Daubechies 1.

    Where they are is drawn once and for all; they start at zero. Count: s.
    """
    options = {"n_frequency": making.size, "init_weights": True}
    return attach_layer(block, site, making, Wanted(kind="WAVEFT", options=options))


def c3a(block: Block, site: str, making: Making) -> Attached:
    """Add circulant blocks: ``W + [circ(k)]`` (Chen et al. 2024).

    Blocks of the largest size up to 256 that divides I and O. They start at zero, unlike in the
    paper, so that nothing changes at first. Count: I · O / block.
    """
    options = {"block_size": fixed.c3a_block(block.sites[site]), "init_weights": True}
    return attach_layer(block, site, making, Wanted(kind="C3A", options=options))


def shira(block: Block, site: str, making: Making) -> Attached:
    """Add to entries of W that are drawn at random, in each block others (Bhardwaj et al. 2024).

    Which they are follows from the number of the block. Count: s (I + O), as LoRA of rank s.
    """
    options = {"r": making.size, "random_seed": block.number}
    return attach_layer(block, site, making, Wanted(kind="SHIRA", options=options, only_adds=False))


def supertuning(block: Block, site: str, making: Making) -> Attached:
    """Add to the largest entries of W by magnitude. Count: s (I + O), as LoRA of rank s."""
    place = block.sites[site]
    share = (making.size * (place.inputs + place.outputs) + 0.5) / (place.inputs * place.outputs)
    wanted = Wanted(kind="SUPERTUNING", options={"sparsity": 1 - share}, only_adds=False)
    return attach_layer(block, site, making, wanted)


def miss(block: Block, site: str, making: Making) -> Attached:
    """Add one s x O matrix that reads the sums of s groups of inputs (Kang and Yin 2024).

    It starts at zero. Count: s · O.
    """
    return attach_layer(block, site, making, Wanted(kind="MISS", options={"r": making.size}))


def gralora(block: Block, site: str, making: Making) -> Attached:
    """Add four low-rank products, one for each quarter of W, with rank s: 2 s in the paper's terms.

    Scale 2, whatever the rank. Count: 2 s (I + O).
    """
    rank = 2 * making.size
    options = {"r": rank, "alpha": 2 * rank, "gralora_k": 2}
    return attach_layer(block, site, making, Wanted(kind="GRALORA", options=options))


def hira(block: Block, site: str, making: Making) -> Attached:
    """Add a low-rank product times W, entry by entry: ``W + W ⊙ B A`` (Huang et al. 2025).

    Count: s (I + O).
    """
    return attach_layer(block, site, making, Wanted(kind="HIRA", options={"r": making.size}))


def deft(block: Block, site: str, making: Making) -> Attached:
    """Project a direction out and put another in: ``(1 - P relu(P)ᵀ) W + P R``.

    R starts so that both cancel, which leaves the output as it was to rounding. Count: s (I + O).
    """
    options = {"r": making.size}
    return attach_layer(block, site, making, Wanted(kind="DEFT", options=options, only_adds=False))


def glora(block: Block, site: str, making: Making) -> Attached:
    """Change weight and bias: ``W + W A + B`` and ``b + b D + E + W C`` (Chavan et al. 2023).

    A, B and C have rank s, D and E are one number each; without a bias there are no C, D, E.
    Count: 2 s (I + O), and with a bias s (I + 1) + 2 more.
    """
    wanted = Wanted(kind="GLORA", options={"r": making.size}, only_adds=False, bias=True)
    return attach_layer(block, site, making, wanted)


def peanut(block: Block, site: str, making: Making) -> Attached:
    """Add what a network of one hidden layer makes of the weights: ``W + f(W)``, ReLU inside.

    Count: 2 s · O.
    """
    return attach_layer(block, site, making, Wanted(kind="PEANUT", options={"r": making.size}))


def delora(block: Block, site: str, making: Making) -> Attached:
    """Add a product of normed directions, with one strength for all (Bini et al. 2025).

    Count: s (I + O) + 1.
    """
    return attach_layer(block, site, making, Wanted(kind="DELORA", options={"r": making.size}))


def osf(block: Block, site: str, making: Making) -> Attached:
    """Train the s least singular directions of W freely; gradients keep off the others.

    Count: s (I + O + 1).
    """
    place = block.sites[site]
    options = {"effective_rank": min(place.inputs, place.outputs) - making.size}
    return attach_layer(block, site, making, Wanted(kind="OSF", options=options))


def poly(block: Block, site: str, making: Making) -> Attached:
    """Add a mixture of four low-rank products with learned shares (Ponti et al. 2022), one task.

    In training the shares are drawn from a relaxed Bernoulli distribution around their values; the
    product is divided by the rank, as in the paper. Count: 4 s (I + O) + 4.
    """
    options = {"r": making.size, "n_skills": fixed.SKILLS, "n_tasks": 1}
    extra = {"task_ids": torch.zeros(1, dtype=torch.long)}
    return attach_layer(block, site, making, Wanted(kind="POLY", options=options, extra=extra))


def vblora(block: Block, site: str, making: Making) -> Attached:
    """Add a low-rank product whose factors are mixed from a bank of vectors (Li et al. 2024).

    Each piece is a mixture of the two vectors, of 256, that its logits rank highest. The bank
    belongs to the column, not to the whole model as in the paper; its vectors are as long as what
    divides I and O, 256 at most. It does change the output at first. Count: 256 s (I + O) / length
    for each block, and 256 · length once.
    """
    length = fixed.vector_length(block.sites[site])
    options = {"r": making.size, "num_vectors": fixed.VECTORS, "vector_length": length}
    wanted = Wanted(kind="VBLORA", options=options, shared="vblora_vector_bank")
    return attach_layer(block, site, making, wanted)


def randlora(block: Block, site: str, making: Making) -> Attached:
    """Add a sum of random products of rank 32, as many as full rank takes (Albert et al. 2025).

    Trained is how much of each direction and of each input there is; the products are the same for
    all sites of a shape. Count: n (32 + min(I, O)), n = min(I, O) / 32 rounded up.
    """
    options = {"r": fixed.RANDLORA_RANK}
    return attach_layer(block, site, making, Wanted(kind="RANDLORA", options=options))


def pvera(block: Block, site: str, making: Making) -> Attached:
    """Add two frozen random factors with trained scales, the inner ones drawn with noise.

    The noise is there in training alone, and half of the 2 s inner numbers are its spread.
    Count: O + 2 s.
    """
    return attach_layer(block, site, making, Wanted(kind="PVERA", options={"r": making.size}))


def tinylora(block: Block, site: str, making: Making) -> Attached:
    """Steer the two largest singular directions by s numbers through fixed random matrices.

    Every cell has numbers of its own. Count: s.
    """
    options = {"u": making.size, "r": 2}
    return attach_layer(block, site, making, Wanted(kind="TINYLORA", options=options))

"""The No-U-Turn Sampler: draws from a density that has a gradient (Hoffman & Gelman 2014).

Points of a trajectory are drawn by their weight (Betancourt 2017, arXiv 1701.02434), the step is
found by dual averaging, and the scale of every coordinate from the first draws. For densities of a
few milliseconds and a hundred coordinates, without a compiler in between.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Density = Callable[[Vector], tuple[float, Vector]]
"""Gives the logarithm of a density, up to a constant, and its gradient."""

_TARGET = 0.8  # share of steps that are to be accepted
_DIVERGED = 1000.0


def sample(
    density: Density,
    start: Vector,
    rng: np.random.Generator,
    *,
    warmup: int,
    draws: int,
    depth: int = 6,
) -> NDArray[np.float64]:
    """Return ``draws`` points, one a row, after ``warmup`` points that only tune the sampler.

    A trajectory has at most ``2 ** depth`` steps.
    """
    value, slope = density(start)
    here = _Point(start, np.zeros_like(start), value, slope)
    scale, learned = np.ones_like(start), _Spread(len(start))
    step = _Step(_first_step(density, here, scale, rng))
    windows, found = _windows(warmup), []
    for turn in range(warmup + draws):
        tuning = turn < warmup
        walk = _Walk(density, scale, step.now if tuning else step.best, rng)
        here, accepted = walk.draw(here, depth)
        if not tuning:
            found.append(here.place)
            continue
        step.learn(accepted)
        if windows and windows[0] <= turn < windows[-1]:
            learned.see(here.place)
        if turn + 1 in windows[1:]:
            scale, learned = learned.scale(), _Spread(len(start))
            step = _Step(_first_step(density, here, scale, rng))
    return np.array(found).reshape(draws, len(start))


@dataclass(frozen=True, slots=True)
class _Point:
    place: Vector
    speed: Vector
    value: float
    slope: Vector


@dataclass(slots=True)
class _Tree:
    """A stretch of a trajectory: its ends, a point drawn from it, and how good its steps were."""

    left: _Point
    right: _Point
    drawn: _Point
    weight: float
    going: bool
    accepted: float
    steps: int


@dataclass(slots=True)
class _Walk:
    """One trajectory: doubled to either side until it turns back on itself."""

    density: Density
    scale: Vector
    step: float
    rng: np.random.Generator
    energy: float = 0.0

    def draw(self, here: _Point, depth: int) -> tuple[_Point, float]:
        """Return the next point, and the mean probability with which a step was accepted."""
        speed = self.rng.standard_normal(len(here.place)) / self.scale
        begin = _Point(here.place, speed, here.value, here.slope)
        self.energy = self._energy(begin)
        tree = _Tree(begin, begin, begin, 0.0, going=True, accepted=0.0, steps=0)
        for level in range(depth):
            forward = bool(self.rng.random() < 0.5)
            grown = self._grow(tree.right if forward else tree.left, level, forward)
            if grown.going and math.log(self.rng.random()) < grown.weight - tree.weight:
                tree.drawn = grown.drawn
            tree = self._join(tree, grown, forward, drawn=tree.drawn)
            if not tree.going:
                break
        return tree.drawn, tree.accepted / max(1, tree.steps)

    def gain(self, begin: _Point) -> float:
        """Return by how much one step changes the logarithm of the weight."""
        self.energy = self._energy(begin)
        return self._leaf(begin, forward=True).weight

    def _grow(self, edge: _Point, level: int, forward: bool) -> _Tree:
        if level == 0:
            return self._leaf(edge, forward)
        near = self._grow(edge, level - 1, forward)
        if not near.going:
            return near
        far = self._grow(near.right if forward else near.left, level - 1, forward)
        both = float(np.logaddexp(near.weight, far.weight))
        takes_far = far.going and math.log(self.rng.random()) < far.weight - both
        return self._join(near, far, forward, drawn=far.drawn if takes_far else near.drawn)

    def _leaf(self, edge: _Point, forward: bool) -> _Tree:
        step = self.step if forward else -self.step
        half = edge.speed + 0.5 * step * edge.slope
        place = edge.place + step * self.scale**2 * half
        value, slope = self.density(place)
        point = _Point(place, half + 0.5 * step * slope, value, slope)
        weight = self._energy(point) - self.energy
        if math.isnan(weight):
            weight = -math.inf
        going = weight > -_DIVERGED
        return _Tree(point, point, point, weight, going, math.exp(min(0.0, weight)), 1)

    def _join(self, one: _Tree, other: _Tree, forward: bool, *, drawn: _Point) -> _Tree:
        left, right = (one.left, other.right) if forward else (other.left, one.right)
        way = right.place - left.place
        turned = way @ left.speed < 0 or way @ right.speed < 0
        return _Tree(
            left,
            right,
            drawn,
            float(np.logaddexp(one.weight, other.weight)),
            one.going and other.going and not turned,
            one.accepted + other.accepted,
            one.steps + other.steps,
        )

    def _energy(self, point: _Point) -> float:
        return point.value - 0.5 * float(((point.speed * self.scale) ** 2).sum())


@dataclass(slots=True)
class _Step:
    """Dual averaging of the logarithm of the step (Hoffman & Gelman 2014, section 3.2)."""

    first: float
    now: float = field(init=False)
    best: float = field(init=False)
    _turns: int = 0
    _missed: float = 0.0

    def __post_init__(self) -> None:
        self.now = self.best = self.first

    def learn(self, accepted: float) -> None:
        """Lengthen the step where more was accepted than is aimed at, and shorten it elsewhere."""
        self._turns += 1
        share = 1 / (self._turns + 10)
        self._missed = (1 - share) * self._missed + share * (_TARGET - accepted)
        log_now = math.log(10 * self.first) - math.sqrt(self._turns) / 0.05 * self._missed
        share = self._turns**-0.75
        self.best = math.exp(share * log_now + (1 - share) * math.log(self.best))
        self.now = math.exp(log_now)


@dataclass(slots=True)
class _Spread:
    """The variance of what was seen (Welford's sums), drawn towards 0.001 while little was."""

    coordinates: int
    _seen: int = 0
    _mean: Vector = field(init=False)
    _squares: Vector = field(init=False)

    def __post_init__(self) -> None:
        self._mean, self._squares = np.zeros(self.coordinates), np.zeros(self.coordinates)

    def see(self, place: Vector) -> None:
        self._seen += 1
        away = place - self._mean
        self._mean = self._mean + away / self._seen
        self._squares = self._squares + away * (place - self._mean)

    def scale(self) -> Vector:
        """Return standard deviations, as Stan does."""
        if self._seen < 2:
            return np.ones(self.coordinates)
        share = self._seen / (self._seen + 5)
        variance = share * self._squares / (self._seen - 1) + (1 - share) * 1e-3
        return np.asarray(np.sqrt(variance))


def _windows(warmup: int) -> list[int]:
    """Say between which turns the spread is learned: windows that double, as in Stan."""
    begin, end = round(0.15 * warmup), round(0.9 * warmup)
    if warmup < 20:
        return []
    edges, width = [begin], max(5, (end - begin) // 7)
    while edges[-1] + 3 * width <= end:
        edges.append(edges[-1] + width)
        width *= 2
    return [*edges, end]


def _first_step(density: Density, here: _Point, scale: Vector, rng: np.random.Generator) -> float:
    """Double or halve a step until about half of such steps are accepted."""
    step, speed = 0.5, rng.standard_normal(len(here.place)) / scale
    begin = _Point(here.place, speed, here.value, here.slope)
    direction = 0.0
    for _ in range(30):
        walk = _Walk(density, scale, step, rng)
        weight = walk.gain(begin)
        towards = 1.0 if weight > math.log(0.5) else -1.0
        if direction and towards != direction:
            break
        direction = towards
        step *= 2.0**direction
    return step

"""When to stop: a bound on the chance of structures lower than the best, valid whenever one looks.

Let p_t be the chance, given everything before, that trial t is a new best. While none is, the product of 1/(1 - p_t) is
a non-negative martingale, whatever the search learns on its way, and by Ville's inequality it exceeds 1/a_j with a
chance of at most a_j (Ville, Étude critique de la notion de collectif, 1939; Howard et al., Probab. Surv. 2020, 17,
257, DOI 10.1214/18-PS321). With a_j = a / (j (j + 1)), which add up to a, this holds with confidence 1 - a after all
new bests j and at all times at once: over the m trials since the j-th new best the mean of p_t is below ln(1/a_j) / m.

What counts follows from that:

- Only trials that are drawn at random count in m. Decorated prototypes and structures of the user are a list: nothing
  but its end follows from how much of it has been worked through. Whether a trial is one of them is known before it is
  relaxed, so leaving them out leaves a martingale.
- Every new best begins a new count, also one that is no random draw, since p_t is about what is lower than the best.
- A failed relaxation counts, and so does a trial that is not relaxed because its structure is known: p_t is the chance
  that a trial is proposed, relaxed and found lower, and it was not found lower. To leave out trials by how they ended
  would make p_t another chance, that of those which do not fail.
- A new best is lower than the one before by more than ``acceptance.energy_tolerance``, as for ``rmax``.

It bounds the mean over those m trials, so the rate of finding. It never proves a ground state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import ceil, log
from typing import Any, NamedTuple, Self

from aiida_fuse2.core.settings import PROTOTYPES, PROVIDED, SearchSettings

LISTED = frozenset({PROTOTYPES, PROVIDED})
"""Origins of structures that are not drawn at random."""


def sum_bound(new_bests: int, confidence: float) -> float:
    """Return ln(1/a_j): the bound on the sum of the chances since the j-th new best.

    Args:
        new_bests: j, from 1.
        confidence: 1 - a.
    """
    return log(new_bests * (new_bests + 1) / (1 - confidence))


def structures_needed(chance: float, new_bests: int, confidence: float) -> int:
    """Return the smallest m for which the bound on the mean chance is at most ``chance``."""
    return ceil(sum_bound(new_bests, confidence) / chance)


def share_of_size(confidence: float) -> int:
    """Return how many random structures a number of formula units must have before anything is said.

    After so many, a size at which nearly every structure is lower would have shown it, with this confidence.
    """
    return ceil(log(1 / (1 - confidence)))


class Tried(NamedTuple):
    """A trial after its relaxation: whether it was drawn at random, energy (eV/atom) and formula units, if known."""

    is_random: bool
    energy: float | None
    z: int | None


@dataclass(frozen=True)
class Watch:
    """What is counted to tell when to stop.

    A search that continues from a state without these counts begins to count there, with the best it has as the first:
    the bound holds from any time that does not depend on what comes after it.

    Attributes:
        new_bests: number of new bests, the first structure included.
        random_since_best: number of random trials since the last new best, failed ones included.
        sizes: number of relaxed random structures by their number of formula units.
    """

    new_bests: int = 0
    random_since_best: int = 0
    sizes: Mapping[int, int] = field(default_factory=dict)

    def after(self, tried: Iterable[Tried], reference: float | None, tolerance: float) -> Watch:
        """Return the counts after more trials.

        Args:
            tried: trials in their order.
            reference: energy at the last new best before them, eV/atom.
            tolerance: least difference to a new best, eV/atom.
        """
        new_bests, since, sizes = self.new_bests, self.random_since_best, Counter(self.sizes)
        for is_random, energy, z in tried:
            since += is_random
            if energy is not None and (reference is None or energy < reference - tolerance):
                reference, new_bests, since = energy, new_bests + 1, 0
            if is_random and z is not None:
                sizes[z] += 1
        return Watch(new_bests, since, dict(sorted(sizes.items())))

    def chance(self, confidence: float) -> float | None:
        """Return the bound on the mean chance of a lower structure since the last new best; None if there is none."""
        bound = sum_bound(self.new_bests, confidence) if self.new_bests else 0.0
        return bound / self.random_since_best if self.new_bests and self.random_since_best > bound else None

    def missing_sizes(self, settings: SearchSettings) -> tuple[int, ...]:
        """Return the numbers of formula units that have not had their share yet."""
        share, feasible = share_of_size(settings.stop_confidence), settings.unit.z_values(settings.max_atoms)
        return tuple(z for z in feasible if self.sizes.get(z, 0) < share)

    def has_ended(self, settings: SearchSettings) -> bool:
        """Return whether ``stop_chance`` is reached, and every size has had its share."""
        if settings.stop_chance is None or self.missing_sizes(settings):
            return False
        chance = self.chance(settings.stop_confidence)
        return chance is not None and chance <= settings.stop_chance

    def to_dict(self) -> dict[str, Any]:
        """Return plain values with text keys."""
        return {**asdict(self), "sizes": {str(z): n for z, n in self.sizes.items()}}

    @classmethod
    def from_state(cls, values: Mapping[str, Any]) -> Self:
        """Return the counts in the plain values of a state, also of one of an earlier version, which has none."""
        if "watch" not in values:
            return cls(new_bests=int(values["reference_energy"] is not None))
        watch = values["watch"]
        return cls(**{**watch, "sizes": {int(z): n for z, n in watch["sizes"].items()}})


def stop_text(settings: SearchSettings) -> str:
    """Return what ``stop_chance`` asks of a search, for people; empty if it is not set."""
    chance, confidence = settings.stop_chance, settings.stop_confidence
    if chance is None:
        return ""
    first, third = (structures_needed(chance, j, confidence) for j in (1, 3))
    limits = {"max_structures": settings.max_structures, "rmax": settings.rmax}
    sooner = " or ".join(f"{name} = {limit}" for name, limit in limits.items() if limit <= third)
    return (
        f"stop_chance = {chance:g} takes at least {first} random structures without a new best after the first one, "
        f"{third} after the third{f'; {sooner} may come first' if sooner else ''}"
    )

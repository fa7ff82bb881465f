"""The state of a search between two generations: plain values of a fixed size.

Structures are named by the label of their trial, which is unique within a chain of generations and
stays right when AiiDA's caching copies nodes (their UUIDs would not).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from aiida_fuse2.core.moves import ordered
from aiida_fuse2.core.settings import SearchSettings

from .acceptance import Thermostat
from .policy import Learned
from .trials import NO_MOVES
from .watching import Watch


@dataclass(frozen=True, order=True)
class LowStructure:
    """One of the lowest different structures, from which a walker can begin anew.

    Attributes:
        energy: eV/atom.
        label: label of its trial.
        n_atoms: number of atoms.
    """

    energy: float
    label: str
    n_atoms: int


@dataclass(frozen=True)
class Walker:
    """One basin-hopping chain.

    Attributes:
        current: label of its current structure, or None before it has one.
        representative: label of the first structure found that equals the current one.
        energy: energy of the current structure, eV/atom.
        thermostat: temperature and melt counter.
        accepted: number of accepted steps.
        rejected: number of rejected steps.
        supercell: whether the current structure is a multiple of a smaller cell that is not to be reduced.
    """

    current: str | None
    representative: str | None
    energy: float | None
    thermostat: Thermostat
    accepted: int = 0
    rejected: int = 0
    supercell: bool = False

    def begun_anew(self, temperature: float, start: LowStructure | None) -> Walker:
        """Return the walker at another structure; at none if it is to begin with a new one."""
        label, energy = (None, None) if start is None else (start.label, start.energy)
        return replace(
            self,
            current=label,
            representative=label,
            energy=energy,
            thermostat=Thermostat(temperature),
            supercell=False,
        )


@dataclass(frozen=True)
class Best:
    """The structure of lowest energy.

    Attributes:
        label: label of its trial.
        energy: eV/atom.
        structure_number: number of structures relaxed until it was found.
    """

    label: str
    energy: float
    structure_number: int


@dataclass(frozen=True)
class FollowUp:
    """A structure that waits to be rattled and relaxed again.

    Attributes:
        label: label of its trial.
        energy: eV/atom.
        walker: index of the walker that tests the copies.
        symmetric: whether it was relaxed with its symmetry, and may lie on a saddle point of its own cell.
        has_symmetry: whether its space group is another than P1. Where symmetry forbids nothing, copies relax back.
    """

    label: str
    energy: float
    walker: int
    symmetric: bool = True
    has_symmetry: bool = True


@dataclass(frozen=True)
class FoundTarget:
    """The first structure that equals a target.

    Attributes:
        label: label of its trial.
        structure_number: number of structures relaxed until it was found.
        energy: eV/atom.
        rms: root-mean-square displacement from the target, Å.
    """

    label: str
    structure_number: int
    energy: float
    rms: float


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """Everything that the next generation needs.

    Attributes:
        generation: index of the next generation.
        tried: number of relaxations so far, failed ones included.
        explored: number of relaxations that gave a structure with its energy.
        unique: number of explored structures that are equal to none before them.
        since_best: number of relaxations since the last new best.
        reference_energy: energy at the last new best (lower by more than the tolerance), eV/atom.
        best: the structure of lowest energy, or None.
        walkers: the walkers.
        followups: structures to rattle, those with symmetry first, and lowest energy first.
        pool_number: number of the current pool, from 0.
        pool_positions: number of structures taken from the pool, by number of formula units.
        pool_remaining: number of structures left in the pool.
        failures: number of failed relaxations, by reason.
        rejections: number of rejected attempts at trials, by reason.
        moves: for each move, by name, trials relaxed and trials accepted.
        cpu_seconds: CPU time of the relaxations so far, s; the only value that differs when a search is repeated.
        targets: targets of the search that were found, by name.
        lowest: the lowest different structures, at most ``n_lowest``, lowest first.
        restarts: number of walkers that began anew, by reason.
        watch: counts that tell when to stop.
        learned: what the policy has learned of generators, moves and sizes.
    """

    generation: int
    tried: int
    explored: int
    unique: int
    since_best: int
    reference_energy: float | None
    best: Best | None
    walkers: tuple[Walker, ...]
    followups: tuple[FollowUp, ...]
    pool_number: int
    pool_positions: dict[int, int] = field(default_factory=dict)
    pool_remaining: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    rejections: dict[str, int] = field(default_factory=dict)
    moves: dict[str, tuple[int, int]] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    targets: dict[str, FoundTarget] = field(default_factory=dict)
    lowest: tuple[LowStructure, ...] = ()
    restarts: dict[str, int] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    learned: Learned = field(default_factory=Learned)

    @classmethod
    def initial(cls, n_walkers: int, temperature: float) -> Self:
        """Return the state before the first generation."""
        walker = Walker(None, None, None, Thermostat(temperature))
        return cls(
            generation=0,
            tried=0,
            explored=0,
            unique=0,
            since_best=0,
            reference_energy=None,
            best=None,
            walkers=(walker,) * n_walkers,
            followups=(),
            pool_number=0,
        )

    @property
    def labels_needed(self) -> list[str]:
        """Labels of the structures that the next generation is made from."""
        labels = {walker.current for walker in self.walkers} | {followup.label for followup in self.followups}
        return sorted(label for label in labels if label is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values with text keys, as a Dict node holds them."""
        values = asdict(self)
        values["walkers"] = [asdict(w) for w in self.walkers]
        values["followups"] = [asdict(f) for f in self.followups]
        values["lowest"] = [asdict(s) for s in self.lowest]
        values["pool_positions"] = {str(z): n for z, n in sorted(self.pool_positions.items())}
        values["moves"] = {name: list(self.moves[name]) for name in ordered(self.moves)}
        values["watch"] = self.watch.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the state of ``to_dict``, or of an earlier version."""
        walkers = tuple(Walker(**{**w, "thermostat": Thermostat(**w["thermostat"])}) for w in values["walkers"])
        return cls(
            **{
                **values,
                "best": Best(**values["best"]) if values["best"] else None,
                "walkers": walkers,
                "followups": tuple(FollowUp(**f) for f in values["followups"]),
                "lowest": tuple(LowStructure(**s) for s in values.get("lowest", ())),
                "pool_positions": {int(z): n for z, n in values["pool_positions"].items()},
                "moves": {name: (n[0], n[1]) for name, n in values["moves"].items() if name not in NO_MOVES},
                "learned": Learned.from_dict(values["learned"]) if "learned" in values else Learned(),
                "targets": {name: FoundTarget(**found) for name, found in values.get("targets", {}).items()},
                "watch": Watch.from_state(values),
            }
        )


def fit_state(state: SearchState, settings: SearchSettings, n_atoms: Mapping[str, int]) -> SearchState:
    """Return a state from which a search with other settings continues; unchanged if none of them matters.

    A walker whose structure has more atoms than ``max_atoms`` begins with a new one. Such a structure is not
    rattled, and no walker begins anew from it. With fewer walkers those of lowest energy are kept, in their order; an
    additional walker begins with a new structure. A walker that has not melted takes the temperature of the settings.

    Args:
        state: state from which a search continues.
        settings: settings of the continued search.
        n_atoms: number of atoms of the structures that the state needs, by label.
    """
    too_large = {label for label, number in n_atoms.items() if number > settings.max_atoms}
    new = Walker(None, None, None, Thermostat(settings.acceptance.temperature))
    walkers = tuple(new if walker.current in too_large else walker for walker in state.walkers)
    walkers = _kept_walkers(walkers, settings.walkers)
    walkers = tuple(_at_temperature(walker, settings) for walker in walkers)
    walkers += (new,) * (settings.walkers - len(walkers))
    followups = tuple(
        replace(f, walker=min(f.walker, settings.walkers - 1)) for f in state.followups if f.label not in too_large
    )
    fitting = tuple(low for low in state.lowest if low.n_atoms <= settings.max_atoms)
    return replace(state, walkers=walkers, followups=followups, lowest=fitting[: n_lowest(settings)])


def n_lowest(settings: SearchSettings) -> int:
    """Return how many of the lowest structures a state has: some that no walker holds are among them."""
    return 2 * settings.walkers


def _kept_walkers(walkers: tuple[Walker, ...], number: int) -> tuple[Walker, ...]:
    def order(index: int) -> tuple[bool, float, int]:
        energy = walkers[index].energy
        return energy is None, energy or 0.0, index

    return tuple(walkers[index] for index in sorted(sorted(range(len(walkers)), key=order)[:number]))


def _at_temperature(walker: Walker, settings: SearchSettings) -> Walker:
    if walker.thermostat.is_melted(settings.acceptance):
        return walker
    thermostat = replace(walker.thermostat, temperature=settings.acceptance.temperature)
    return replace(walker, thermostat=thermostat)

"""Decisions on the relaxed trials of a generation: duplicates, acceptance, the new best, the next state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.uniqueness import UniqueIndex, encode_fingerprint
from aiida_fuse2.core.moves import find_move
from aiida_fuse2.core.relaxers.failures import CONVERGED, KNOWN
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.core.settings.space_groups import P1

from .acceptance import ACCEPTED, Outcome, accept, update_thermostat
from .followups import left_waiting
from .learning import chosen_arms
from .policy import Learned, TrialResult, update
from .restarting import begin_anew
from .state import Best, FollowUp, FoundTarget, LowStructure, SearchState, Walker, n_lowest
from .targets import ExploredStructure, TargetFinder
from .trials import RATTLE, TrialInfo
from .watching import LISTED, Tried, Watch


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The result of relaxing one trial.

    Attributes:
        status: ``converged``, or the reason of the failure.
        values: energy (eV/atom), atoms, volume, space groups, steps, evaluations, CPU seconds, ...
        fingerprint: fingerprint of the relaxed structure, shape (36,), or None if it failed.
    """

    status: str
    values: Mapping[str, Any]
    fingerprint: NDArray[np.float64] | None

    @property
    def is_converged(self) -> bool:
        """Whether the energy can be used."""
        return self.status == CONVERGED

    @property
    def reason(self) -> str:
        """The reason under which a failure is counted: the status, after the name of the tier if there are several."""
        tier = self.values.get("tier")
        return f"{tier}: {self.status}" if tier else self.status

    @property
    def energy(self) -> float:
        """Energy (enthalpy at a pressure), eV/atom."""
        return float(self.values["energy"])

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the relaxation, s; 0 if it is not known."""
        return float(self.values.get("cpu_seconds") or 0.0)


@dataclass(frozen=True)
class KnownStructure:
    """A structure that was relaxed before: label of its trial, and energy (eV/atom)."""

    label: str
    energy: float


NOT_RELAXED = Relaxation(KNOWN, {}, None)
"""The result of a trial that equals a structure relaxed before."""

Comparison = Callable[[str, str], bool]
"""Returns whether the structures of two labels are the same crystal."""


@dataclass(frozen=True)
class Decision:
    """The next state, and the record of the generation by label."""

    state: SearchState
    record: dict[str, dict[str, Any]]


class Decider:
    """Decides on one generation."""

    def __init__(
        self,
        *,
        settings: SearchSettings,
        state: SearchState,
        trials: Sequence[TrialInfo],
        relaxations: Mapping[str, Relaxation],
        candidates: Mapping[str, Sequence[str]],
        same: Comparison,
        known: Mapping[str, KnownStructure],
        name: Callable[[str], Mapping[str, str]],
    ) -> None:
        self.settings = settings
        self.state = state
        self.trials = trials
        self.relaxations = {**relaxations, **dict.fromkeys(known, NOT_RELAXED)}
        self.candidates = candidates
        self.same = same
        self.known = known
        self.name = name
        self.converged = [t for t in trials if self.relaxations[t.label].is_converged]
        self.converged_labels = {t.label for t in self.converged}
        self.duplicate_of = {label: earlier.label for label, earlier in known.items()}
        self.outcomes: dict[str, Outcome] = {
            t.label: Outcome.NOT_LOWEST if self.has_energy(t.label) else Outcome.FAILED for t in trials
        }

    def has_energy(self, label: str) -> bool:
        """Return whether a trial was relaxed, or equals a structure that was."""
        return label in self.converged_labels or label in self.known

    def energy(self, label: str) -> float:
        """Return the energy of a relaxed trial, or of the structure that a trial equals, eV/atom."""
        return self.known[label].energy if label in self.known else self.relaxations[label].energy

    def find_duplicates(self) -> None:
        """Mark each structure that equals an earlier one, of this generation or before."""
        fresh = UniqueIndex()
        window = self.settings.uniqueness.energy_window
        for trial in self.converged:
            relaxation = self.relaxations[trial.label]
            vector = relaxation.fingerprint
            if vector is None:
                continue
            earlier = [*self.candidates.get(trial.label, ()), *fresh.near(relaxation.energy, vector, window)]
            equal = next((label for label in earlier if self.same(trial.label, label)), None)
            if equal is None:
                fresh.add(trial.label, relaxation.energy, vector)
            else:
                self.duplicate_of[trial.label] = equal

    def representative(self, label: str) -> str:
        """Return the first structure found that equals this one."""
        return self.duplicate_of.get(label, label)

    def start_walkers(self) -> tuple[Walker, ...]:
        """Return the walkers, placed on the lowest unique structures of the initial population.

        Of equal structures the one of lowest energy is taken, which is relaxed best. If walkers begin anew, no two hold
        one structure: those for which there is none begin with a new one.
        """
        lowest: dict[str, str] = {}
        for label in sorted(self.converged_labels, key=lambda label: (self.energy(label), label)):
            lowest.setdefault(self.representative(label), label)
        ranked = list(lowest.values())
        if not ranked:
            return self.state.walkers
        walkers = list(self.state.walkers)
        number = len(walkers) if self.settings.acceptance.restart_threshold is None else min(len(walkers), len(ranked))
        chosen = [ranked[i % len(ranked)] for i in range(number)]
        self.outcomes.update(dict.fromkeys(chosen, Outcome.INITIAL))
        for index, label in enumerate(chosen):
            walkers[index] = replace(
                walkers[index], current=label, representative=self.representative(label), energy=self.energy(label)
            )
        return tuple(walkers)

    def walk(self, index: int, walker: Walker) -> Walker:
        """Return a walker after it has tested the lowest of its trials."""
        own = [t for t in self.trials if t.walker == index]
        tested = sorted((t.label for t in own if self.has_energy(t.label)), key=lambda x: (self.energy(x), x))
        outcome = Outcome.FAILED
        if tested:
            outcome = self._test(index, walker, tested[0])
            self.outcomes[tested[0]] = outcome
        rng = self._stream(Purpose.MELT, index)
        n_counted = sum(t.origin != RATTLE for t in own)
        thermostat = update_thermostat(walker.thermostat, outcome, n_counted, self.settings.acceptance, rng)
        if outcome in ACCEPTED:
            label = tested[0]
            return Walker(
                current=self.known[label].label if label in self.known else label,
                representative=self.representative(label),
                energy=self.energy(label),
                thermostat=thermostat,
                accepted=walker.accepted + 1,
                rejected=walker.rejected,
                supercell=outcome is Outcome.SUPERCELL,
            )
        return replace(walker, thermostat=thermostat, rejected=walker.rejected + bool(own))

    def _test(self, index: int, walker: Walker, label: str) -> Outcome:
        if walker.current is None or walker.energy is None:
            return Outcome.DOWNHILL
        is_same = self.representative(label) == walker.representative
        if is_same and not self._is_repeat(label):
            return Outcome.DUPLICATE
        delta = self.energy(label) - walker.energy
        stream = self._stream(Purpose.ACCEPT, index)
        outcome = accept(delta, walker.thermostat, self.settings.acceptance, stream)
        if is_same:
            return Outcome.SUPERCELL if outcome in ACCEPTED else Outcome.DUPLICATE
        return outcome

    def _is_repeat(self, label: str) -> bool:
        """Return whether a trial was made in a multiple of the cell of the walker's structure."""
        move = next(find_move(t.move) for t in self.trials if t.label == label)
        return move is not None and move.keeps_lattice

    def find_lowest(self) -> tuple[LowStructure, ...]:
        """Return the lowest different structures, including those of this generation."""
        fresh = [t.label for t in self.converged if t.label not in self.duplicate_of]
        found = [LowStructure(self.energy(x), x, int(self.relaxations[x].values["n_atoms"])) for x in fresh]
        return tuple(sorted([*self.state.lowest, *found])[: n_lowest(self.settings)])

    def _stream(self, purpose: Purpose, walker: int) -> np.random.Generator:
        return keyed_generator(self.settings.seed, purpose, walker=walker, generation=self.state.generation)

    def progress(self) -> tuple[Best | None, float | None, int]:
        """Return the best structure, the energy of the last new best, and the number of structures since then."""
        best, reference = self.state.best, self.state.reference_energy
        since = self.state.since_best
        for number, trial in enumerate(self.trials, start=self.state.tried + 1):
            since += 1
            if not self.relaxations[trial.label].is_converged:
                continue
            energy = self.energy(trial.label)
            if best is None or energy < best.energy:
                best = Best(trial.label, energy, number)
            if reference is None or energy < reference - self.settings.acceptance.energy_tolerance:
                reference, since = energy, 0
        return best, reference, since

    def watch(self) -> Watch:
        """Return the counts that tell when to stop, including this generation."""
        tried = []
        for trial in self.trials:
            relaxation, energy, z = self.relaxations[trial.label], None, None
            if relaxation.is_converged:
                energy, z = relaxation.energy, relaxation.values["n_atoms"] // self.settings.unit.n_atoms
            tried.append(Tried(trial.origin not in LISTED, energy, z))
        tolerance = self.settings.acceptance.energy_tolerance
        return self.state.watch.after(tried, self.state.reference_energy, tolerance)

    def find_followups(self, best: Best | None, walkers: Sequence[Walker]) -> tuple[FollowUp, ...]:
        """Return the structures to rattle: new ones near the best, and those that the last generation had no room for.

        Each is rattled in one generation only. A rattled copy is one of them if it has a lower energy than its parent.
        """
        if best is None:
            return ()
        symmetry = self.settings.symmetry
        limit = best.energy + symmetry.rattle_window
        holders = {walker.current: index for index, walker in enumerate(walkers)}
        found = [
            FollowUp(
                t.label,
                self.energy(t.label),
                holders.get(t.label, t.walker),
                symmetric=t.symmetric_start,
                has_symmetry=self.relaxations[t.label].values["spacegroup_loose"] > P1,
            )
            for t in self.converged
            if t.label not in self.duplicate_of and self._is_below_parent(t)
        ]
        waiting = left_waiting(self.state.followups, self.trials, symmetry.max_followups)
        ranked = sorted([*waiting, *found], key=lambda f: (not f.has_symmetry, f.energy, f.label))
        return tuple([f for f in ranked if f.energy <= limit][: symmetry.max_followups])

    def _is_below_parent(self, trial: TrialInfo) -> bool:
        """Return whether a trial is no rattled copy, or has a lower energy than its parent."""
        if trial.origin != RATTLE:
            return True
        parent = next(f.energy for f in self.state.followups if f.label == trial.parent)
        return self.energy(trial.label) < parent - self.settings.acceptance.energy_tolerance

    def find_targets(self, finder: TargetFinder | None) -> dict[str, FoundTarget]:
        """Return the targets that were found before or in this generation, by name."""
        if finder is None:
            return self.state.targets
        explored = []
        for number, trial in enumerate(self.trials, start=self.state.tried + 1):
            vector = self.relaxations[trial.label].fingerprint
            if trial.label in self.converged_labels and vector is not None:
                explored.append(ExploredStructure(trial.label, number, self.energy(trial.label), vector))
        return finder.add_found(self.state.targets, explored)

    def count_moves(self) -> dict[str, tuple[int, int]]:
        """Return the numbers of relaxed and accepted trials of each move, including this generation."""
        moves = dict(self.state.moves)
        for trial in (trial for trial in self.trials if trial.move):
            relaxed, accepted = moves.get(trial.move, (0, 0))
            moves[trial.move] = (relaxed + 1, accepted + (self.outcomes[trial.label] in ACCEPTED))
        return moves

    def learn(self, n_atoms: Mapping[str, int]) -> Learned:
        """Return what the policy has learned, including this generation."""
        results = []
        for trial in self.trials:
            label, atoms = trial.label, n_atoms[trial.label]
            is_converged = label in self.converged_labels
            evaluations = 0 if label in self.known else self.relaxations[label].values.get("evaluations")
            results.append(
                TrialResult(
                    arms=chosen_arms(trial, atoms, self.settings),
                    energy=self.energy(label) if is_converged else None,
                    is_new=is_converged and label not in self.duplicate_of,
                    cost=None if evaluations is None else float(evaluations * atoms),
                )
            )
        best = self.state.best
        return update(self.state.learned, results, None if best is None else best.energy, self.settings)

    def record(self) -> dict[str, dict[str, Any]]:
        """Return one row per trial: its origin, its result, and the decision on it."""
        rows: dict[str, dict[str, Any]] = {}
        for trial in self.trials:
            relaxation = self.relaxations[trial.label]
            vector = relaxation.fingerprint
            rows[trial.label] = {
                **trial.to_dict(),
                **relaxation.values,
                "status": relaxation.status,
                "outcome": str(self.outcomes[trial.label]),
                "duplicate_of": self.duplicate_of.get(trial.label),
                "fingerprint": None if vector is None else encode_fingerprint(vector),
            }
            if relaxation.is_converged:
                rows[trial.label] |= self.name(trial.label)
        return rows


def _unnamed(_: str) -> dict[str, str]:
    return {}


def decide(
    settings: SearchSettings,
    state: SearchState,
    trials: Sequence[TrialInfo],
    relaxations: Mapping[str, Relaxation],
    *,
    candidates: Mapping[str, Sequence[str]],
    same: Comparison,
    n_atoms: Mapping[str, int],
    rejections: Mapping[str, int],
    pool: tuple[int, dict[int, int], int],
    known: Mapping[str, KnownStructure] | None = None,
    targets: TargetFinder | None = None,
    name: Callable[[str], Mapping[str, str]] = _unnamed,
) -> Decision:
    """Return the next state and the record of a generation.

    Args:
        settings: settings of the search.
        state: state before the generation.
        trials: trials of the generation.
        relaxations: result of each relaxation, by label; those in ``known`` have none.
        candidates: for each label, earlier unique structures that it may equal, by label.
        same: returns whether two structures, given by labels, are the same crystal.
        n_atoms: number of atoms of each trial, by label.
        rejections: number of rejected attempts at trials, by reason.
        pool: number of the pool, positions in it by Z, number of remaining structures.
        known: trials that were not relaxed, and the structures that they equal. A walker tests such a
            structure as if it had been relaxed again.
        targets: finds the targets that have not been found.
        name: returns names of a relaxed structure by its label: ``protostructure``, and ``type`` if there is a library.

    Returns:
        The decision; it depends only on the arguments.
    """
    decider = Decider(
        settings=settings,
        state=state,
        trials=trials,
        relaxations=relaxations,
        candidates=candidates,
        same=same,
        known=known or {},
        name=name,
    )
    decider.find_duplicates()
    best, reference, since = decider.progress()
    if state.generation == 0:
        walkers = decider.start_walkers()
    else:
        walkers = tuple(decider.walk(i, walker) for i, walker in enumerate(state.walkers))
    lowest = decider.find_lowest()
    walkers, restarts = begin_anew(walkers, lowest, settings, state.generation)
    results = decider.relaxations
    failed = Counter(r.reason for r in results.values() if not r.is_converged and r is not NOT_RELAXED)
    next_state = SearchState(
        generation=state.generation + 1,
        tried=state.tried + len(trials),
        explored=state.explored + len(decider.converged),
        unique=state.unique + sum(t.label not in decider.duplicate_of for t in decider.converged),
        since_best=since,
        reference_energy=reference,
        best=best,
        walkers=walkers,
        followups=decider.find_followups(best, walkers),
        pool_number=pool[0],
        pool_positions=pool[1],
        pool_remaining=pool[2],
        failures=dict(sorted((Counter(state.failures) + failed).items())),
        rejections=dict(sorted((Counter(state.rejections) + Counter(rejections)).items())),
        moves=decider.count_moves(),
        cpu_seconds=round(state.cpu_seconds + sum(r.cpu_seconds for r in results.values()), 3),
        targets=decider.find_targets(targets),
        lowest=lowest,
        learned=decider.learn(n_atoms),
        restarts=dict(sorted((Counter(state.restarts) + restarts).items())),
        watch=decider.watch(),
    )
    return Decision(next_state, decider.record())

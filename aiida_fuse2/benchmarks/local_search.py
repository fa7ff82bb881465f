"""A search in one process, without AiiDA: the same proposals, relaxations and decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.uniqueness import match_structures
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.relaxers import RelaxedStructure, relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.deciding import Decision, KnownStructure, Relaxation, decide
from aiida_fuse2.core.search.pool import PoolReader
from aiida_fuse2.core.search.proposing import Proposal, propose
from aiida_fuse2.core.search.recognition import ExploredIndex, known_candidates, recognise
from aiida_fuse2.core.search.starts import pool_generators
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.search.trials import Trial, TrialInfo
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.io.names import PROTOTYPES_FILE
from aiida_fuse2.io.trials import from_extxyz, to_extxyz, trials_from_text, trials_to_text
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.generating import fill_pool

Observer = Callable[[TrialInfo, RelaxedStructure], None]
"""Function that is called with each structure as soon as it is relaxed."""


@dataclass
class Step:
    """One generation: its state, one row per trial, and the last geometries by label."""

    state: SearchState
    rows: list[dict[str, Any]]
    geometries: dict[str, Atoms]


def parse(composition: str, protocol: str | None, overrides: dict[str, Any]) -> tuple[SearchSettings, RelaxSettings]:
    """Return the settings of a protocol with overrides.

    Raises:
        InputError: for the first wrong one.
    """
    inputs = protocol_inputs(protocol, overrides)
    settings = parse_settings(SearchSettings, {**inputs["settings"], "composition": composition})
    check_search(settings)
    return settings, parse_settings(RelaxSettings, inputs["relax"]["settings"], where="relax.settings")


def _never() -> bool:
    return False


def _ignore(info: TrialInfo, result: RelaxedStructure) -> None:
    """Do nothing."""


@dataclass(kw_only=True)
class LocalSearch:
    """A search that runs in this process.

    Attributes:
        settings: settings of the search.
        tier: tier of the relaxation.
        evaluator: the potential.
        provided: pool to start from, best first.
        library: prototypes of the composition's anonymous formula as text, for generators that need them.
        before: cheaper tiers that relax each structure first, in this order.
        observe: function that is called with each relaxed structure.
        stop: returns whether to end; called before each structure that is generated for a pool or relaxed. Structures
            relaxed in a generation that it cuts short are passed to ``observe``, without a decision on them.
        state: state after the last generation.
        geometries: relaxed structures by label.
        pool_seconds: CPU time of filling pools, s.
    """

    settings: SearchSettings
    tier: RelaxSettings
    evaluator: Evaluator
    provided: list[Atoms] | None = None
    library: str | None = None
    before: Sequence[tuple[RelaxSettings, Evaluator]] = ()
    observe: Observer = _ignore
    stop: Callable[[], bool] = _never
    state: SearchState = field(init=False)
    geometries: dict[str, Atoms] = field(init=False, default_factory=dict)
    pool_seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.state = SearchState.initial(self.settings.walkers, self.settings.acceptance.temperature)
        self._index = ExploredIndex()
        self._made: tuple[str, ...] = ()
        self._pool, self._n_pools = self.provided, int(self.provided is not None)

    def ended(self) -> str | None:
        """Return the setting that ends the search, or None while it continues."""
        if self.state.tried >= self.settings.max_structures:
            return "max_structures"
        if self.state.since_best >= self.settings.rmax:
            return "rmax"
        return "stop_chance" if self.state.watch.has_ended(self.settings) else None

    def steps(self) -> Iterator[Step]:
        """Yield the search generation by generation."""
        while self.ended() is None and not self.stop():
            reader = self._reader()
            proposal = propose(self.settings, self.state, self.geometries, reader)
            trials = trials_from_text(trials_to_text(proposal.trials))
            known = self._known(trials)
            to_relax = [trial for trial in trials if trial.info.label not in known]
            relaxations = self._relax(to_relax)
            if len(relaxations) < len(to_relax):
                return
            decision = self._decide(proposal, trials, relaxations, known)
            self.state = decision.state
            rows = list(decision.record.values())
            self._index.add_rows(rows)
            yield Step(self.state, rows, self.geometries)

    def _reader(self) -> PoolReader | None:
        """Return the pool, filled again if it is empty."""
        state = self.state
        exhausted = state.generation > 0 and state.pool_remaining == 0
        names = pool_generators(self.settings, self._made)
        if names and (self._pool is None or exhausted):
            with TemporaryDirectory() as folder:
                library = None if self.library is None else Path(folder, PROTOTYPES_FILE)
                if library is not None:
                    library.write_text(str(self.library), encoding="utf-8")
                made, summary = fill_pool(
                    self.settings,
                    self._n_pools,
                    folder=Path(folder),
                    generators=names,
                    tier=self.tier,
                    library=library,
                    stop=self.stop,
                )
            self._made = tuple(self.settings.starts)
            self.pool_seconds += summary["cpu_seconds"]
            self._pool = from_extxyz(to_extxyz((atoms, atoms.info) for atoms in made))
            self._n_pools += 1
        if self._pool is None:
            return None
        return PoolReader(self.settings.unit, partial(list, self._pool), dict(state.pool_positions), state.pool_number)

    def _known(self, trials: list[Trial]) -> dict[str, KnownStructure]:
        """Return the trials that need not be relaxed, by label."""
        uniqueness = self.settings.uniqueness
        if not uniqueness.skip_known:
            return {}
        starts = {trial.info.label: trial.atoms for trial in trials}
        near = known_candidates(trials, self._index.relaxed)
        return recognise(near, lambda a, b: match_structures(starts[a], self.geometries[b], stol=uniqueness.stol))

    def _relax(self, trials: list[Trial]) -> dict[str, Relaxation]:
        """Return the results of relaxing trials, by label; not for all of them if the search is to end."""
        relaxations = {}
        for trial in trials:
            if self.stop():
                break
            result = self._through_tiers(trial.atoms)
            self.observe(trial.info, result)
            relaxations[trial.info.label] = Relaxation(result.status, result.values, result.fingerprint)
            self.geometries[trial.info.label] = result.atoms
        return relaxations

    def _through_tiers(self, atoms: Atoms) -> RelaxedStructure:
        """Return the result of the last tier, or of the first one in which the structure failed."""
        for tier, evaluator in (*self.before, (self.tier, self.evaluator)):
            result = relax(atoms, evaluator, tier)
            if result.status != CONVERGED:
                break
            atoms = result.atoms
        return result

    def _decide(
        self,
        proposal: Proposal,
        trials: list[Trial],
        relaxations: dict[str, Relaxation],
        known: dict[str, KnownStructure],
    ) -> Decision:
        uniqueness = self.settings.uniqueness
        candidates = {
            label: self._index.unique.near(r.energy, r.fingerprint, uniqueness.energy_window)
            for label, r in relaxations.items()
            if r.fingerprint is not None
        }
        pool = proposal.pool
        return decide(
            self.settings,
            self.state,
            [trial.info for trial in trials],
            relaxations,
            candidates=candidates,
            same=lambda a, b: match_structures(self.geometries[a], self.geometries[b], stol=uniqueness.stol),
            n_atoms={trial.info.label: len(trial.atoms) for trial in trials},
            rejections=proposal.rejections,
            pool=(pool.number, pool.positions, pool.remaining) if pool is not None else (0, {}, 0),
            known=known,
        )

"""A search in one process, without AiiDA: the same proposals, relaxations and decisions.

For measuring what a search finds; provenance costs are measured by ``engine.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ase import Atoms

from aiida_fuse2.core.decision import CONVERGED, Relaxation, decide
from aiida_fuse2.core.policy import propose
from aiida_fuse2.core.pool import PoolReader
from aiida_fuse2.core.relaxers import make_evaluator, relax
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, check_search, parse_settings
from aiida_fuse2.core.state import SearchState
from aiida_fuse2.core.uniqueness import UniqueIndex, decode_fingerprint, match_structures
from aiida_fuse2.workchains.protocols import protocol_inputs
from aiida_fuse2.worker.files import from_extxyz, to_extxyz, trials_from_text, trials_to_text
from aiida_fuse2.worker.generating import generate_pool


@dataclass
class Step:
    """One generation: its state, one row per trial, and the last geometries by label."""

    state: SearchState
    rows: list[dict[str, Any]]
    geometries: dict[str, Atoms]


def parse(composition: str, protocol: str, overrides: dict[str, Any]) -> tuple[SearchSettings, RelaxSettings]:
    """Return the settings of a protocol with overrides."""
    inputs = protocol_inputs(protocol, overrides)
    settings = parse_settings(SearchSettings, {**inputs["settings"], "composition": composition})
    check_search(settings)
    return settings, parse_settings(RelaxSettings, inputs["relax"]["settings"])


def run_search(settings: SearchSettings, tier: RelaxSettings, provided: list[Atoms] | None = None) -> Iterator[Step]:
    """Yield a search generation by generation.

    Args:
        settings: of the search.
        tier: of the relaxation.
        provided: a pool to start from, best first.
    """
    evaluator = make_evaluator(tier)
    state = SearchState.initial(settings.walkers, settings.acceptance.temperature)
    geometries: dict[str, Atoms] = {}
    index = UniqueIndex()
    pool, n_pools = provided, int(provided is not None)
    while state.tried < settings.max_structures and state.since_best < settings.rmax:
        exhausted = state.generation > 0 and state.pool_remaining == 0
        if settings.generator not in {"fgen", "provided"} and (pool is None or exhausted):
            made, _ = generate_pool(settings, n_pools)
            pool = from_extxyz(to_extxyz((atoms, atoms.info) for atoms in made))
            n_pools += 1
        reader = None
        if pool is not None:
            reader = PoolReader(settings.unit, partial(list, pool), dict(state.pool_positions), state.pool_number)
        proposal = propose(settings, state, geometries, reader)
        trials = trials_from_text(trials_to_text(proposal.trials))
        relaxations = {}
        for trial in trials:
            result = relax(trial.atoms, evaluator, tier)
            relaxations[trial.info.label] = Relaxation(result.status, result.values, result.fingerprint)
            geometries[trial.info.label] = result.atoms
        window = settings.uniqueness.energy_window
        candidates = {
            label: index.near(r.energy, r.fingerprint, window)
            for label, r in relaxations.items()
            if r.fingerprint is not None
        }
        decision = decide(
            settings,
            state,
            [trial.info for trial in trials],
            relaxations,
            candidates=candidates,
            same=lambda a, b: match_structures(geometries[a], geometries[b], stol=settings.uniqueness.stol),
            rejections=proposal.rejections,
            pool=(
                (proposal.pool.number, proposal.pool.positions, proposal.pool.remaining)
                if proposal.pool is not None
                else (0, {}, 0)
            ),
        )
        state = decision.state
        rows = list(decision.record.values())
        for row in rows:
            if row["status"] == CONVERGED and not row["duplicate_of"]:
                index.add(row["label"], row["energy"], decode_fingerprint(row["fingerprint"]))
        yield Step(state, rows, geometries)

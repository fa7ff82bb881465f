"""``gnoa`` as a generator of pools: its pieces of work are assignments of space group and Wyckoff positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators.base import SCORE, PieceResult, PoolContext, PoolGenerator
from aiida_fuse2.core.potentials import chgnet, megnet
from aiida_fuse2.core.settings import CHGNET, CHGNET_ELEMENTS, GNOA, MEGNET, SearchSettings

if TYPE_CHECKING:
    from .assignments import Assignment
    from .networks import Network

CITATION = (
    "G. Cheng, X.-G. Gong, W.-J. Yin, Crystal structure prediction by combining graph network and optimization "
    "algorithm, Nat. Commun. 13, 1492 (2022), https://doi.org/10.1038/s41467-022-29241-4"
)

OF_NETWORKS = {CHGNET: chgnet.CITATION, MEGNET: megnet.CITATION}
"""Works to cite for each network."""

_NETWORKS: dict[tuple[str, Path | None], Network] = {}
"""The network of this process; it is loaded once."""


def _network(pool: PoolContext) -> Network:
    from .networks import load_network  # slow to import, and most uses of generators need none

    key = (pool.settings.gnoa.model_dump_json(), pool.weights)
    if key not in _NETWORKS:
        _NETWORKS[key] = load_network(pool.settings.gnoa, pool.weights)
    return _NETWORKS[key]


class Gnoa(PoolGenerator):
    """A graph network and an optimiser propose structures."""

    name = GNOA

    def check(self, settings: SearchSettings, *, where: str) -> None:
        """Refuse elements that the network does not know, and settings that leave nothing to generate."""
        from .assignments import check_gnoa

        unknown = [s for s in settings.unit.elements if s not in CHGNET_ELEMENTS]
        if settings.gnoa.network == CHGNET and unknown:
            expected = f"CHGNet does not know {', '.join(unknown)} of {settings.unit.formula}; take another network"
            raise InputError(f"{where}.gnoa.network", CHGNET, expected)
        check_gnoa(settings, where=where)

    def needs_weights(self, settings: SearchSettings) -> bool:
        """Return whether the network is MEGNet; CHGNet brings its weights."""
        return settings.gnoa.network == MEGNET

    def citations(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the work on the method, and that on the network."""
        network = settings.get(GNOA, {}).get("network")
        return (CITATION, *(text for name, text in OF_NETWORKS.items() if name == network))

    def plan(self, pool: PoolContext) -> Sequence[Assignment]:
        """Return the assignments."""
        from .assignments import plan_assignments

        return plan_assignments(pool.settings, pool.limit)

    def prepare(self, pool: PoolContext) -> None:
        """Load the network."""
        _network(pool)

    def run(self, piece: Assignment, pool: PoolContext) -> PieceResult:
        """Optimise the structures of an assignment."""
        from .assignments import run_assignment

        network = _network(pool)
        found = run_assignment(piece, pool.settings, pool.limit, pool.number, network)
        structures = []
        for candidate in found.candidates:
            atoms = candidate.atoms
            atoms.info = {
                SCORE: candidate.score,
                "space_group": candidate.space_group,
                "wyckoff": candidate.wyckoff,
                "unit": candidate.assignment,
            }
            structures.append(atoms)
        counts = {
            "tried": found.tried,
            "scored": found.scored,
            "penalised": dict(found.penalised),
            "network": network.name,
            "cpu_seconds": round(found.cpu_seconds, 4),
        }
        return PieceResult(structures, counts)

    def lost(self, reason: str) -> PieceResult:
        """Return one structure tried, and why there is none."""
        return PieceResult([], {"tried": 1, "scored": 0, "penalised": {reason: 1}, "network": "", "cpu_seconds": 0.0})

    def summary(self, pool: PoolContext, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the numbers of tried, scored and penalised structures, the network, and the omitted Z."""
        from .assignments import z_values

        penalised: Counter[str] = sum((Counter(found["penalised"]) for found in counts.values()), Counter())
        used = {key.partition("_")[0] for key in counts}
        return {
            "tried": sum(found["tried"] for found in counts.values()),
            "scored": sum(found["scored"] for found in counts.values()),
            "penalised": dict(sorted(penalised.items())),
            "network": ", ".join(sorted({str(found["network"]) for found in counts.values()} - {""})),
            "optimizer": pool.settings.gnoa.optimizer,
            "units": len(counts),
            "z_left_out": [z for z in z_values(pool.settings, pool.limit) if f"z{z:03d}" not in used],
        }

"""ORB as an ASE calculator that takes plain arguments: its own one takes a model that a function of its package loads.

B. Rhodes et al., Orb-v3: atomistic simulation at scale (2025), arXiv:2504.06231.
"""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


class OrbCalculator(Calculator):
    """ORB with the weights of a file; the package ``orb-models`` computes it.

    Args:
        weights: path of the weights.
        loader: function of ``orb_models.forcefield.pretrained`` that loads them, e.g. ``orb_v3_conservative_inf_mpa``.
        device: ``cpu`` or ``cuda``.
        precision: as its package names it; relaxations to small forces need more than its default.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(
        self, weights: str, *, loader: str, device: str = "cpu", precision: str = "float64", **options: Any
    ) -> None:
        super().__init__(**options)
        from orb_models.forcefield import pretrained
        from orb_models.forcefield.calculator import ORBCalculator

        model = getattr(pretrained, loader)(weights_path=weights, device=device, precision=precision, compile=False)
        self._inner: Calculator = ORBCalculator(model, device=device)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy, forces and stress of a structure."""
        super().calculate(atoms, properties, system_changes)
        self._inner.calculate(atoms, properties or ["energy"], system_changes)
        self.results = {
            key: self._inner.results[key] for key in self.implemented_properties if key in self._inner.results
        }
        self.results.setdefault("free_energy", self.results["energy"])

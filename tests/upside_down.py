"""A potential with the stationary points of EMT in the reverse order, for answers under two potentials."""

from __future__ import annotations

from ase.calculators.emt import EMT


class UpsideDown(EMT):
    """Minus the energy of EMT, and as much above zero as to be positive.

    Args:
        fails_above: energy of EMT (eV/atom) above which it fails; by default it never does.
    """

    def __init__(self, fails_above=None, **kwargs):
        super().__init__(**kwargs)
        self._fails_above = fails_above

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if self._fails_above is not None and self.results["energy"] / len(self.atoms) > self._fails_above:
            raise RuntimeError("too high for this potential")
        for name in ("energy", "energies", "free_energy", "forces", "stress"):
            if name in self.results:
                self.results[name] = -self.results[name]

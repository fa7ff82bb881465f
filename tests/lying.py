"""EMT that does what no calculator should: it changes its input, and gives no, wrong or impossible results."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT


class Lying(EMT):
    """EMT whose results go through ``lie``, and which calls ``before`` with what it is given."""

    def before(self, atoms):
        """Do something before there are results, perhaps with the structure."""

    def lie(self):
        """Change the results."""

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms.copy(), *args, **kwargs)
        self.before(atoms)
        self.results = {key: self.results[key] for key in ("energy", "forces", "stress")}
        self.lie()


class WithoutStress(Lying):
    implemented_properties = ("energy", "forces")

    def lie(self):
        del self.results["stress"]


class SaysWhenMade(WithoutStress):
    implemented_properties = ()

    def __init__(self):
        super().__init__()
        self.implemented_properties = ["energy", "forces"]


class NoStressAfterAll(Lying):
    def lie(self):
        del self.results["stress"]


class StressOfNone(Lying):
    def lie(self):
        self.results["stress"] = None


class StressOfZeros(Lying):
    def lie(self):
        self.results["stress"] = np.zeros(6)


class NanInForces(Lying):
    def lie(self):
        self.results["forces"][1, 2] = np.nan


class NanInStress(Lying):
    def lie(self):
        self.results["stress"][2] = np.nan


class TooFewForces(Lying):
    def lie(self):
        self.results["forces"] = self.results["forces"][:1]


class StressOfNine(Lying):
    def lie(self):
        self.results["stress"] = np.ones(9)


class Hole(Lying):
    def lie(self):
        self.results["energy"] = -1e12


class DeepHole(Lying):
    def lie(self):
        self.results["energy"] = -1e308


class Peak(Lying):
    """Flat, and far up."""

    def lie(self):
        self.results = {"energy": 1e12, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}


class MovesAtoms(Lying):
    def before(self, atoms):
        atoms.positions[0] += 0.01


class MovesCell(Lying):
    def before(self, atoms):
        atoms.set_cell(1.01 * atoms.cell.array, scale_atoms=False)


class ChangesElements(Lying):
    def before(self, atoms):
        atoms.numbers[:] = 29


class OpensTheCell(Lying):
    def before(self, atoms):
        atoms.pbc = False


class Stale(Calculator):
    """Gives nothing, so that what is left from before would be taken."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self):
        super().__init__()
        self.results = {"energy": -1.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}

    def calculate(self, *args, **kwargs):
        """Do nothing."""


class Exits(Lying):
    def __init__(self, text=""):
        super().__init__()
        self.text = text

    def before(self, atoms):  # noqa: ARG002 - whatever it is
        raise SystemExit(self.text)


class NoTextError(Exception):
    def __str__(self):
        raise ValueError


class FailsWithoutText(Lying):
    def before(self, atoms):  # noqa: ARG002 - whatever it is
        raise NoTextError


class ReusesItsArrays(Lying):
    def __init__(self):
        super().__init__()
        self.own = {"forces": np.zeros((4, 3)), "stress": np.zeros(6)}

    def lie(self):
        for key, array in self.own.items():
            array[:] = self.results[key]
            self.results[key] = array


class Starves(Lying):
    """Has not enough memory, in the words of a library."""

    def __init__(self, text=""):
        super().__init__()
        self.text = text

    def before(self, atoms):  # noqa: ARG002 - whatever it is
        raise RuntimeError(self.text) if self.text else MemoryError


class StarvesOnLargeCells(Lying):
    def before(self, atoms):
        if len(atoms) > 4:
            raise RuntimeError("CUDA out of memory")

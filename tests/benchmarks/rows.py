"""Rows of results made by hand, and files for benchmarks."""

import yaml
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.benchmarks.results import Improvement, RelaxationRow, SearchRow
from aiida_fuse2.core.prototypes.library import make_prototype
from aiida_fuse2.io.prototypes import library_to_text

RELAXATION = {
    "method": "base",
    "composition": "SrTiO3",
    "generator": "fgen",
    "seed": 7,
    "start": 0,
    "atoms": 5,
    "status": "converged",
    "energy": -8.0,
    "evaluations": 100,
    "cpu_seconds": 10.0,
}

SEARCH = {
    "composition": "CoAs2",
    "max_atoms": 12,
    "generator": "fgen",
    "seed": 1,
    "protocol": "balanced",
    "overrides": "{}",
    "budget": 100.0,
    "cpu_seconds": 101.0,
    "ended": "cpu_seconds",
    "structures": 40,
    "explored": 38,
    "generations": 3,
    "evaluations": 900,
    "pool_seconds": 0.0,
    "failures": {"step_limit": 2},
    "course": [],
    "best": None,
    "target": -5.718,
    "reached": None,
    "potential": "by hand",
    "software": {},
}


def relaxation(**changes):
    return RelaxationRow(**{**RELAXATION, **changes})


def search(*course, **changes):
    improvements = [Improvement(cpu_seconds=t, structures=n, energy=e, spacegroup="P1") for t, n, e in course]
    return SearchRow(**{**SEARCH, "course": improvements, **changes})


HEADER = "material_id,pretty_formula,nsites,spacegroup,category"


def entries_file(folder, *lines, header=HEADER):
    path = folder / "entries.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def layered():
    """L1_0, the structure of CuAu: space group 123, two atoms."""
    return Atoms("CuAu", cell=[2.8, 2.8, 3.6], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)


def library_file(folder):
    """Write a library of rock salt and the type of CuAu, and return its path."""
    prototypes = [
        make_prototype(bulk("NaCl", "rocksalt", a=5.6), key="rocksalt", source="test", name="Rock salt"),
        make_prototype(layered(), key="layered", source="test", name="Layered"),
    ]
    path = folder / "library.extxyz"
    path.write_text(library_to_text(prototypes))
    return path


def upside_down(folder):
    """Write the description of a potential that reverses the order of EMT, ``upside-plain``, and return its path."""
    path = folder / "upside.yaml"
    entry = {"functional": "none", "tested": "here", "energy": None, "weights": None}
    values = {"title": "Upside down", "calculator": "tests.upside_down.UpsideDown", "package": "ase"}
    values |= {"requirements": ["ase"], "licence": "none", "citation": "none", "elements": ["Cu", "Au"]}
    path.write_text(yaml.safe_dump({**values, "models": {"plain": entry}}))
    return path

"""Rows of results made by hand."""

from aiida_fuse2.benchmarks.results import Improvement, RelaxationRow, SearchRow

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

"""The calcfunctions of several runs of one search. AiiDA's caching hashes this file: it only converts nodes."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.search.runs import RunResult, summarise_runs
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings, parse_settings


@calcfunction
def settings_of_run(
    settings: orm.Dict,
    run: orm.Int,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
) -> orm.Dict:
    """Return the settings of one run: the given ones, with another seed (``fuse2.settings_of_run``).

    The number of the run is added to the seed.

    Args:
        settings: settings of run 0.
        run: number of the run, from 0.
        software: versions of the packages that this runs with.
    """
    values = settings.get_dict()
    return orm.Dict({**values, "seed": values["seed"] + run.value})


@calcfunction
def compare_runs(
    settings: orm.Dict,
    runs: orm.Int,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    **found: orm.Data,
) -> dict[str, orm.Data]:
    """Compare the results of the runs of a search (``fuse2.compare_runs``).

    Args:
        settings: settings of run 0.
        runs: intended number of runs.
        software: versions of the packages that this runs with.
        found: ``structure_NN``, ``ranked_NN`` and ``state_NN``: the outputs of each run, if it has them.

    Returns:
        ``summary``: see ``core.runs.summarise_runs``; ``energy``: the lowest energy of all, eV/atom.

    Raises:
        ValueError: if no run has found a structure.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    results = []
    for run in range(runs.value):
        result: dict[str, Any] = {"run": run, "seed": parsed.seed + run}
        if f"state_{run:02d}" in found:
            state = SearchState.from_dict(found[f"state_{run:02d}"].get_dict())
            result |= {"tried": state.tried, "explored": state.explored, "unique": state.unique}
            if state.best is not None and f"structure_{run:02d}" in found:
                result["best"] = found[f"ranked_{run:02d}"]["structures"][0]
                result["structure_number"] = state.best.structure_number
        results.append(RunResult(**result))

    def same(a: int, b: int) -> bool:
        pair = [found[f"structure_{run:02d}"].get_ase() for run in (a, b)]
        return are_equal(*pair, stol=parsed.uniqueness.stol)

    summary = summarise_runs(results, same, window=parsed.uniqueness.energy_window)
    if summary is None:
        raise ValueError("no run has found a structure")
    return {"summary": orm.Dict(summary), "energy": orm.Float(summary["lowest"]["energy"])}

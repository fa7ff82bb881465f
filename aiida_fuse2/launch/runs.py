"""Inputs of several runs of a search."""

from __future__ import annotations

from dataclasses import replace

from aiida_fuse2.workchains.runs import Fuse2RunsWorkChain

from .cores import fitting_runs, share_cores
from .inputs import Prepared, check_inputs


def prepare_runs(prepared: Prepared, *, runs: int, concurrent: int | None = None) -> Prepared:
    """Return several runs of a search, ready to be submitted.

    Args:
        prepared: search; its seed is that of run 0.
        runs: number of runs.
        concurrent: largest number of runs at a time; by default as many as the machine can do.

    Raises:
        InputError: if a number is below 1.
        RefusedInputsError: if AiiDA refuses an input.
    """
    at_a_time = fitting_runs(prepared.builder, runs) if concurrent is None else concurrent
    share_cores(prepared.builder, min(runs, at_a_time))
    builder = Fuse2RunsWorkChain.builder_of_search(prepared.builder, runs=runs, concurrent=at_a_time)
    check_inputs(builder)
    return replace(prepared, builder=builder)

"""What a search is likely to cost, told before it is submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiida.engine import ProcessBuilder

from aiida_fuse2.core.search.cost import (
    HOUR,
    CostModel,
    SecondModel,
    evaluation_seconds,
    hours_text,
    relaxation_seconds,
)
from aiida_fuse2.core.settings import CHGNET, SearchSettings
from aiida_fuse2.io.cost_table import read_table
from aiida_fuse2.protocols import cost_values
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.worker.cores import usable_cores

from .inputs import Prepared
from .jobs import job_ports, runs_here

NATIVE = frozenset({"auto", "native"})
"""Backends of CHGNet whose evaluations the tables have."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The likely cost of a search, or of several runs of one.

    Attributes:
        structures: largest number of structures in all.
        cpu_seconds: lowest and highest likely CPU time, s; None if no tier is known.
        memory: of all processes that relax at a time, GB; None if their number is not known, or no tier is.
        processes: number of these processes, or None.
        unknown: names of tiers whose cost is not estimated.
        is_measured: whether the evaluations were measured on this machine.
        is_elsewhere: whether jobs run on another machine.
    """

    structures: int
    cpu_seconds: tuple[float, float] | None
    memory: float | None
    processes: int | None
    unknown: tuple[str, ...]
    is_measured: bool
    is_elsewhere: bool

    @property
    def text(self) -> str:
        """The cost as a line for people."""
        parts = [f"at most {self.structures} structure" + ("" if self.structures == 1 else "s")]
        if self.cpu_seconds is not None:
            parts.append(f"about {hours_text(self.cpu_seconds)}")
            if self.memory is not None:
                plural = "" if self.processes == 1 else "es"
                parts.append(f"{self.memory:.1f} GB of memory for {self.processes} process{plural}")
        if self.unknown:
            parts.append(f"the cost of {', '.join(self.unknown)} is not estimated")
        text = f"Cost: {', '.join(parts)}"
        if self.cpu_seconds is None:
            return text
        if self.is_measured:
            return f"{text} (times of this machine{', the jobs run on another' if self.is_elsewhere else ''})"
        hint = "" if self.is_elsewhere else "; `aiida-fuse2 benchmark quick` measures this one"
        return f"{text} (times of the machine of the developers{hint})"


def estimate(prepared: Prepared) -> Cost:
    """Return what a search, or several runs of one, are likely to cost.

    Args:
        prepared: search, ready to be submitted.
    """
    settings, runs = prepared.settings, prepared.runs or 1
    builder = prepared.builder if prepared.runs is None else prepared.builder.search
    tiers = [(ports["name"].value, ports["settings"].get_dict()) for _, ports in sorted(builder.tiers.items())]
    values, own = cost_values(), read_table()
    known = [tier for _, tier in tiers if _is_known(tier)]
    model, unit_atoms = _model(values["chgnet"]), settings.unit.n_atoms
    reference = values["chgnet"]["reference"]
    table = own or reference
    each = relaxation_seconds(table, model, unit_atoms=unit_atoms, max_atoms=settings.max_atoms)
    limit = float("inf") if settings.max_cpu_hours is None else settings.max_cpu_hours * HOUR
    is_elsewhere = not all(runs_here(code) for ports in job_ports(builder) for code in ports["codes"].values())
    at_a_time = 1 if prepared.runs is None else min(runs, prepared.builder.concurrent.value)
    second = _second(builder, settings, values["second"], is_elsewhere=is_elsewhere)
    finishes = runs + (runs > 1)  # the runs are finished together, too
    scale = evaluation_seconds(table, unit_atoms) / evaluation_seconds(reference, unit_atoms)
    low, high = (
        runs * (min(settings.max_structures * len(known) * seconds, limit) + settings.max_structures * of_aiida)
        + finishes * scale * of_second
        for seconds, of_aiida, of_second in zip(each, values["aiida"], second.seconds, strict=True)
    )
    processes = _processes(known, is_elsewhere=is_elsewhere, jobs=settings.relax_jobs * at_a_time)
    first = None if processes is None else (processes * values["chgnet"]["memory_per_process"], processes)
    of_second = None if second.memory is None else (at_a_time * second.memory, at_a_time * second.processes)
    memory, processes = max(filter(None, (first, of_second)), default=(None, None))
    unknown = [*(name for name, tier in tiers if not _is_known(tier)), *second.unknown]
    return Cost(
        structures=runs * settings.max_structures,
        cpu_seconds=(low, high) if known else None,
        memory=memory,
        processes=processes,
        unknown=tuple(dict.fromkeys(unknown)),
        is_measured=own is not None,
        is_elsewhere=is_elsewhere,
    )


@dataclass(frozen=True, kw_only=True)
class _SecondCost:
    """What a second potential costs: CPU time (s), memory (GB) of processes, and its name if that is not known."""

    seconds: tuple[float, float] = (0.0, 0.0)
    memory: float | None = None
    processes: int = 0
    unknown: tuple[str, ...] = ()


def _second(
    builder: ProcessBuilder, settings: SearchSettings, values: Mapping[str, Any], *, is_elsewhere: bool
) -> _SecondCost:
    """Return what the potential costs that orders one answer of a search."""
    for ports in (builder.get(SECOND_LINK) or {}).values():
        tier = ports["settings"].get_dict()
        name = str(tier["model"])
        if name not in values or tier["device"] != "cpu":
            return _SecondCost(unknown=(name,))
        model = SecondModel(**values[name])
        cores = _processes([tier], is_elsewhere=is_elsewhere, jobs=1)
        processes = min(settings.finish, cores or settings.finish)
        sizes = {"unit_atoms": settings.unit.n_atoms, "max_atoms": settings.max_atoms}
        return _SecondCost(
            seconds=model.seconds(settings.finish, processes, **sizes),
            memory=None if cores is None else processes * model.memory_of(settings.max_atoms),
            processes=processes,
        )
    return _SecondCost()


def total(costs: Sequence[Cost]) -> Cost:
    """Return the cost of several searches, one after another.

    Args:
        costs: that of each, at least one.
    """
    known = [cost.cpu_seconds for cost in costs if cost.cpu_seconds is not None]
    memory = [cost.memory for cost in costs if cost.memory is not None]
    return replace(
        costs[0],
        structures=sum(cost.structures for cost in costs),
        cpu_seconds=(sum(low for low, _ in known), sum(high for _, high in known)) if known else None,
        memory=max(memory, default=None),
        processes=max((cost.processes for cost in costs if cost.processes is not None), default=None),
        unknown=tuple(dict.fromkeys(name for cost in costs for name in cost.unknown)),
    )


def _is_known(tier: Mapping[str, Any]) -> bool:
    """Return whether the tables have the evaluations of a tier: CHGNet by the native kernel."""
    return (tier.get("calculator"), tier.get("device")) == (CHGNET, "cpu") and tier.get("backend") in NATIVE


def _model(values: Mapping[str, Any]) -> CostModel:
    low, high = values["range"]
    return CostModel(
        evaluations=values["evaluations"],
        unit_atoms=values["unit_atoms"],
        growth=values["growth"],
        range=(low, high),
    )


def _processes(tiers: Sequence[Mapping[str, Any]], *, is_elsewhere: bool, jobs: int) -> int | None:
    """Return the largest number of processes that relax at a time, or None if it is not known.

    Args:
        tiers: settings of the tiers that are known.
        is_elsewhere: whether jobs run on another machine, whose cores are not known here.
        jobs: jobs at a time.
    """
    cores = 0 if is_elsewhere else usable_cores()
    given = [int(tier["processes"] or cores) for tier in tiers]
    return jobs * max(given) if given and all(given) else None

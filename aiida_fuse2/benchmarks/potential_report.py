"""Evaluation of rows of potentials: what they cost, and where the known polymorphs stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiida_fuse2.core.relaxers.failures import CONVERGED

from .polymorphs import Compound, read_compounds
from .potentials import row_key
from .results import PotentialRow

TIE = 1.0
"""Structures that are no further apart are level, meV/atom."""


@dataclass(frozen=True, kw_only=True)
class CostFigures:
    """What a potential costs.

    Attributes:
        potential: its name.
        overrides: settings that win over the defaults, as JSON.
        computed_by: code that computed it.
        seconds: CPU time of an evaluation, s, by number of atoms.
        relaxations: number of relaxations.
        evaluations: mean number of evaluations per relaxation, or None.
        cpu_seconds: CPU time of all relaxations, s.
        failures: numbers of failed relaxations by reason.
        known_lowest: number of compounds whose known polymorph is the lowest, or level with it.
        compounds: number of compounds of which all polymorphs were relaxed.
    """

    potential: str
    overrides: str
    computed_by: str
    seconds: Mapping[int, float]
    relaxations: int
    evaluations: float | None
    cpu_seconds: float
    failures: Mapping[str, int]
    known_lowest: int
    compounds: int


@dataclass(frozen=True, kw_only=True)
class OrderFigures:
    """The order of the polymorphs of a compound under a potential.

    Attributes:
        potential: its name.
        overrides: settings that win over the defaults, as JSON.
        compound: formula.
        known: polymorph that is stable in experiment.
        lowest: polymorph of the lowest energy, or None if none has one.
        above: of the known one above the lowest, meV/atom; None if it has no energy.
        place: of the known one by energy, from 1; those level with it do not count. None likewise.
        energies: relative to the known one, meV/atom, lowest first; None for failed ones.
        changed: polymorphs that have another space group after relaxation.
        doubt: why the experimental order may not be that of energies at 0 K.
    """

    potential: str
    overrides: str
    compound: str
    known: str
    lowest: str | None
    above: float | None
    place: int | None
    energies: Mapping[str, float | None]
    changed: tuple[str, ...]
    doubt: str


@dataclass(frozen=True)
class PotentialReport:
    """The figures of all potentials of a file."""

    costs: tuple[CostFigures, ...]
    orders: tuple[OrderFigures, ...]


def report_potentials(rows: Sequence[PotentialRow]) -> PotentialReport:
    """Return the figures of rows; if a measurement has several rows the last counts."""
    latest = {row_key(row): row for row in rows}
    by_potential: dict[tuple[str, str], list[PotentialRow]] = {}
    for row in latest.values():
        by_potential.setdefault((row.potential, row.overrides), []).append(row)
    costs, orders = [], []
    for found in by_potential.values():
        own = [o for compound in read_compounds().values() if (o := _order(compound, found)) is not None]
        orders += own
        costs.append(_cost(found, own))
    return PotentialReport(tuple(costs), tuple(orders))


def _cost(rows: Sequence[PotentialRow], orders: Sequence[OrderFigures]) -> CostFigures:
    relaxed = [row for row in rows if row.compound]
    measured = sorted((r for r in rows if not r.compound and r.status == CONVERGED), key=lambda row: row.atoms)
    judged = [order for order in orders if order.above is not None]
    return CostFigures(
        potential=rows[0].potential,
        overrides=rows[0].overrides,
        computed_by=rows[-1].computed_by,
        seconds={row.atoms: row.cpu_seconds for row in measured},
        relaxations=len(relaxed),
        evaluations=sum(row.evaluations for row in relaxed) / len(relaxed) if relaxed else None,
        cpu_seconds=sum(row.cpu_seconds for row in relaxed),
        failures=Counter(row.status for row in relaxed if row.status != CONVERGED),
        known_lowest=sum(order.place == 1 for order in judged),
        compounds=len(judged),
    )


def _order(compound: Compound, rows: Sequence[PotentialRow]) -> OrderFigures | None:
    """Return the order of the polymorphs; None unless all of them were relaxed."""
    own = {row.structure: row for row in rows if row.compound == compound.formula}
    if set(own) != set(compound.polymorphs):
        return None
    energies = {name: row.energy for name, row in own.items() if row.energy is not None}
    base = energies.get(compound.known)
    ordered = sorted(energies, key=energies.__getitem__)
    relative: dict[str, float | None] = dict.fromkeys(own)
    if base is not None:
        relative = {name: 1000 * (energies[name] - base) for name in ordered} | {
            name: None for name in own if name not in energies
        }
    lower = [value for value in relative.values() if value is not None and value < -TIE]
    return OrderFigures(
        potential=rows[0].potential,
        overrides=rows[0].overrides,
        compound=compound.formula,
        known=compound.known,
        lowest=ordered[0] if ordered else None,
        above=None if base is None else 1000 * (base - energies[ordered[0]]),
        place=None if base is None else 1 + len(lower),
        energies=relative,
        changed=tuple(n for n, p in compound.polymorphs.items() if own[n].spacegroup not in {None, p.group}),
        doubt=compound.doubt,
    )

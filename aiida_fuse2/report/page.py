"""The page: the data of a report in one HTML file, with the library that draws it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiida_fuse2 import __version__
from aiida_fuse2.core.answer.answers import readable_sites
from aiida_fuse2.core.answer.description import MOMENTS_NOTE
from aiida_fuse2.core.answer.second import Order, energies_under
from aiida_fuse2.core.search.targets import missed_text

from .data import (
    ReportData,
    TierFigures,
    ancestors,
    best_path,
    failure_counts,
    is_explored,
    move_counts,
    move_name,
    rank_correlation,
)
from .plots import PLOTS, Plot
from .plots.base import COLOURS, GREY
from .template import whole_page
from .views import centred, view

SCRIPTS = ("viewer.js", "report.js")
"""Scripts that run in this page, in this order."""


def render(data: ReportData, plots: Sequence[Plot] = PLOTS) -> str:
    """Return a report as one HTML page that loads nothing.

    Args:
        data: data of the report.
        plots: plots of the page; those without a place in the page come before the lineage.
    """
    return whole_page(
        "report.html",
        title=f"{data.formula}: {data.kind} {data.pk}",
        scripts=SCRIPTS,
        data=payload(data),
        plots=plots,
        subject=data,
        crystals=True,
    )


def payload(data: ReportData) -> dict[str, Any]:
    """Return the plain values that the script of the page reads.

    Args:
        data: data of the report.
    """
    return {
        "formula": data.formula,
        "summary": _summary(data),
        "settings": [[data.kind.capitalize(), _flat(data.settings)], *_tiers(data.tiers)],
        "software": sorted(data.software.items()),
        "path": _path(data),
        "moves": move_counts(data.rows),
        "failures": list(failure_counts(data.rows).items()),
        "rejections": sorted(data.rejections.items(), key=lambda item: (-item[1], item[0])),
        "answer": [_phase(row, data.order) for row in data.phases],
        "answerFrom": data.answer,
        "order": None if data.order is None else _order(data.order),
        "momentsNote": MOMENTS_NOTE,
        "ranked": _ranked(data),
        "structures": {label: _structure(data, label) for label in data.structures},
        "lineage": _lineage(data),
        "targets": [_target(target) for target in data.targets],
        "tiers": [_tier(tier) for tier in data.tier_figures],
        "relaxedTo": data.relaxed_to,
        "conclusion": [list(line) for line in data.conclusion],
        "learned": [list(row) for row in data.learned],
        "version": __version__,
    }


def _tiers(tiers: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[Any]]:
    """Return title and settings of each tier; a single tier needs no title of its own."""
    if len(tiers) == 1:
        return [["Relaxation", _flat(tiers[0][1])]]
    return [[f"Tier {number}: {name}", _flat(settings)] for number, (name, settings) in enumerate(tiers, start=1)]


def _summary(data: ReportData) -> dict[str, Any]:
    rows = data.rows
    best = data.ranked[0] if data.ranked else None
    return {
        "pk": data.pk,
        "uuid": data.uuid,
        "status": data.status,
        "failed": data.has_failed,
        "created": data.created,
        "elapsed": data.elapsed,
        "kind": data.kind,
        "origin": data.origin,
        "tried": len(rows),
        "explored": sum(is_explored(row) for row in rows),
        "unique": len(data.ranked),
        "cpu": sum(row.get("cpu_seconds") or 0.0 for row in rows),
        "best": None if best is None else _best(data, best) | {"number": _number(rows, best["label"])},
    }


def _number(rows: Sequence[Mapping[str, Any]], label: str) -> int | None:
    return next((row["number"] for row in rows if row["label"] == label), None)


def _best(data: ReportData, best: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the lowest phase or, without an answer, of the best structure."""
    if not data.phases:
        return _facts(data, best)
    lowest = data.phases[0]
    return _of_phase(lowest) | {"label": lowest["label"], "energy": lowest["energy"]}


def _facts(data: ReportData, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an explored structure that are shown with it; what its phase is, if it has one."""
    phase = next((phase for phase in data.phases if phase["rank"] == row.get("phase")), None)
    own = {
        "label": row["label"],
        "energy": row["energy"],
        "group": row["spacegroup_symbol_loose"] or "?",
        "groupNumber": row["spacegroup_loose"],
        "type": row.get("type") or None,
        "atoms": row["n_atoms"],
        "volume": row["volume"] / row["n_atoms"],
        "drawn": row["label"],
    }
    return own if phase is None else own | _of_phase(phase)


def _of_phase(phase: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "group": phase["spacegroup_symbol"],
        "groupNumber": phase["spacegroup"],
        "type": phase["type"],
        "atoms": phase["n_atoms"],
        "drawn": phase["label"],
    }


def _phase(row: Mapping[str, Any], order: Order | None) -> dict[str, Any]:
    """Return the values of a phase of the answer that are shown."""
    rank = int(row["rank"])
    other = None if order is None else energies_under(row, order.other)
    return _of_phase(row) | {
        "label": row["label"],
        "rank": rank,
        "energy": row["energy"],
        "above": 1000 * row["delta"],
        "other": None if other is None else [other[0], 1000 * other[1]],
        "z": row["z"],
        "density": row["density"],
        "found": row["found"],
        "pk": row["pk"],
        "statement": row["statement"],
        "sites": [_site(site) for site in readable_sites(row)],
        "colour": COLOURS[rank - 1] if rank <= len(COLOURS) else GREY,
    }


def _site(site: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Wyckoff position as the page shows it."""
    return {
        "element": site["element"],
        "position": f"{site['multiplicity']}{site['letter']}",
        "place": [float(x) for x in site["coordinates"]],
        "neighbours": site["coordination"],
        "moment": site["moment"],
    }


def _order(order: Order) -> dict[str, Any]:
    """Return what is shown of the order of the phases under two potentials."""
    return {"by": order.name(order.by), "other": order.name(order.other), "statement": order.statement}


def _path(data: ReportData) -> dict[str, Any] | None:
    """Return the first and the last structure of the basin hopping (paper, Fig. 7), or None if there is none."""
    ends = best_path(data)
    if ends is None:
        return None
    start, best = (_facts(data, row) | {"number": row["number"]} for row in ends)
    return {"start": start, "best": best, "walker": ends[1]["walker"]}


def _ranked(data: ReportData) -> list[list[Any]]:
    """Return the table: one list of cells per structure, in the order of ``columns`` in the script."""
    return [
        [
            row["rank"],
            row["energy"],
            1000 * row["delta"],
            row["spacegroup_symbol_loose"] or "?",
            row["spacegroup_loose"],
            row["spacegroup_symbol"] or "?",
            row["n_atoms"],
            row["z"],
            row["volume"] / row["n_atoms"],
            row["found"],
            move_name(row),
            row["label"],
            row["pk"],
            row.get("type") or None,
            row.get("phase"),
            *_fit(row),
        ]
        for row in data.ranked
    ]


def _fit(row: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """Return similarity to a measured pattern and explained peaks, if there is one."""
    match = row.get("pattern")
    return (match["similarity"], f"{match['explained']}/{match['observed']}") if match else (None, None)


def _structure(data: ReportData, label: str) -> dict[str, Any]:
    shown = data.structures[label]
    conventional = shown.conventional
    drawn = shown.atoms if conventional is None else centred(conventional)
    return {
        **view(drawn),
        "conventional": conventional is not None,
        "sizes": drawn.cell.cellpar().tolist(),
        "relaxed": {
            "cell": shown.atoms.cell.cellpar().tolist(),
            "atoms": len(shown.atoms),
            "volume": float(shown.atoms.get_volume()),
        },
        "cif": shown.cif,
        "cifSymmetrised": shown.cif_symmetrised,
        "file": shown.file_name,
        "targets": [[name, rms] for name, rms in shown.targets.items()],
    }


def _target(target: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "energy", "spacegroup", "spacegroup_symbol", "structure_number", "rms", "found_energy")
    differences = ("found_spacegroup", "found_spacegroup_symbol", "delta_target", "delta_best", "found")
    name = target.get("second") or ""
    above = target["second_above"] if name else target["above_best"]
    second = {"second": name, "secondEnergy": target.get("second_energy"), "secondAbove": above}
    return {name: target[name] for name in (*names, *differences)} | {"missed": missed_text(above), **second}


def _tier(tier: TierFigures) -> dict[str, Any]:
    return {
        "name": tier.name,
        "entered": tier.entered,
        "converged": tier.converged,
        "cpu": tier.cpu_seconds,
        "correlation": rank_correlation(tier.energies),
    }


def _lineage(data: ReportData) -> list[dict[str, Any]]:
    if not data.ranked:
        return []
    line = ancestors(data.rows, data.ranked[0]["label"])
    return [
        _facts(data, row) | {"how": move_name(row), "number": row["number"], "generation": row["generation"]}
        for row in line
        if is_explored(row)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Return nested settings as names with dots and values as text."""
    found: list[list[str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append([f"{prefix}{name}", json.dumps(value, ensure_ascii=False, default=str)])
    return found

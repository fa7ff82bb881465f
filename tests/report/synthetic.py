"""A search that never ran: rows as the records of a search give them, with structures drawn from a perovskite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms

from aiida_fuse2.core.answer.second import Order
from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.search.evidence import evidence_of_rows
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.export.structures import cif_text
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.report.data import ReportData, ShownStructure, WalkerTrace, labels_to_draw, phase_name
from aiida_fuse2.report.patterns import simulate

GROUPS = (("Pm-3m", 221, -8.42), ("P4/mmm", 123, -8.4), ("Cmc2_1", 36, -8.39), ("Pnma", 62, -8.3), ("P1", 1, -8.0))
POPULATION, WALKERS = 25, 8
SETTINGS = parse_settings(SearchSettings, {**protocol_inputs("fast")["settings"], "composition": "SrTiO3"})


def perovskite() -> Atoms:
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True)


def rows_of_search(count: int, *, seed: int = 1) -> list[dict]:
    """Return the history of a search of SrTiO3: each trial is made from the last accepted one of its walker."""
    rng = np.random.default_rng(seed)
    rows, lowest = [], None
    current: dict[int, dict] = {}
    for index in range(count):
        walker = index % WALKERS
        generation = 0 if index < POPULATION else 1 + (index - POPULATION) // WALKERS
        trial = index if generation == 0 else 0
        symbol, number, base = GROUPS[rng.integers(len(GROUPS))]
        failed = index > 0 and rng.random() < 0.06
        energy = None if failed else float(base + rng.gamma(2, 0.12) - 0.2 * rng.random() * index / count)
        n_atoms = 5 * int(rng.integers(1, 5))
        parent = current.get(walker) if generation else None
        accepted = not failed and generation > 0 and (parent is None or energy < parent["energy"])
        outcome = "failed" if failed else "downhill" if accepted else "rejected" if generation else "initial"
        lowest = lowest if failed else energy if lowest is None else min(lowest, energy)
        row = {
            "number": index + 1,
            "label": f"g{generation:05d}_w{walker:03d}_t{trial:03d}",
            "generation": generation,
            "walker": walker,
            "move": str(rng.integers(1, 15)) if generation else "",
            "origin": "move" if generation else "symmetric",
            "parent": parent["label"] if parent else "",
            "status": "step_limit" if failed else "converged",
            "outcome": outcome,
            "energy": energy,
            "n_atoms": None if failed else n_atoms,
            "volume": None if failed else float(n_atoms * (12 + abs(rng.normal()))),
            "spacegroup": number,
            "spacegroup_loose": number,
            "spacegroup_symbol": symbol,
            "spacegroup_symbol_loose": symbol,
            "duplicate_of": None,
            "cpu_seconds": float(rng.gamma(2, 0.4)),
            "best_energy": lowest,
        }
        rows.append(row)
        if accepted or (outcome == "initial" and walker not in current):
            current[walker] = row
    return rows


def report_data(count: int, *, drawn: int = 20, **changes) -> ReportData:
    """Return the data of a report on a search of that many trials."""
    from aiida_fuse2.calculations.conversions import rank

    rows = rows_of_search(count)
    ranked = [
        {**row, "pk": 1000 + row["rank"], "uuid": row["label"]} for row in rank(rows, parse_composition("SrTiO3"))
    ]
    structures = {label: _shown(label, index) for index, label in enumerate(labels_to_draw(rows, ranked, drawn))}
    tried = list(range(POPULATION, max(count, POPULATION + 1), WALKERS))
    traces = [
        WalkerTrace(
            tried=tried,
            energy=[-7.9 - 0.5 * i / len(tried) - 0.01 * walker for i in range(len(tried))],
            temperature=[0.02] * len(tried),
        )
        for walker in range(WALKERS)
    ]
    best = structures[ranked[0]["label"]] if ranked else None
    values = {
        "formula": "SrTiO3",
        "kind": "search",
        "pk": 1234,
        "uuid": "0f3c",
        "status": "finished",
        "has_failed": False,
        "created": "2025-01-01T00:00:00",
        "elapsed": 3000.0,
        "origin": "symmetric starts, seed 7, at most 20 atoms",
        "settings": {"starts": {"symmetric": 1.0}, "seed": 7, "max_atoms": 20, "moves": {"weights": [1] * 14}},
        "tiers": [("chgnet", {"fmax": 0.05})],
        "software": {"ase": "3.26"},
        "rows": rows,
        "ranked": ranked,
        "walkers": traces if rows else [],
        "rejections": {"short_contact": 1234, "density_too_low": 120} if rows else {},
        "structures": structures,
        "conclusion": [("how sure", " ".join(evidence_of_rows(rows, SETTINGS).text().splitlines()))] if rows else [],
        "patterns": [simulate(best.atoms, "best structure", symprec=0.1)] if best else [],
    }
    return ReportData(**{**values, **changes})


def _shown(label: str, index: int) -> ShownStructure:
    atoms = perovskite().repeat((1, 1 + index % 2, 1 + (index // 2) % 2))
    atoms.rattle(0.002 * index, seed=index)
    cif = cif_text(atoms)
    return ShownStructure(label=label, atoms=atoms, cif=cif, cif_symmetrised=cif, file_name=f"SrTiO3_{label}.cif")


PHASES = (
    ("Pm-3m", 221, "Cubic Perovskite (CaTiO3, cP5)"),
    ("P4/mmm", 123, "unknown type"),
    ("Pnma", 62, "unknown type"),
)


def with_answer(data: ReportData) -> ReportData:
    """Return the report with an answer: phases that are the lowest structures in another space group."""
    rank = {row["label"]: number for number, row in enumerate(data.ranked[:5], start=1)}
    phase_of = {label: min(number, len(PHASES)) for label, number in rank.items()}
    phases = []
    for number, (symbol, group, name) in enumerate(PHASES, start=1):
        row = data.ranked[number - 1]
        values = {"energy": row["energy"] - 0.0001, "delta": row["delta"], "n_atoms": 5, "n_atoms_conventional": 5}
        names = {"spacegroup": group, "spacegroup_symbol": symbol, "type": name, "formula": "SrTiO3"}
        words = {
            "statement": f"{symbol}; R-3c distortion 0.5 meV/atom lower",
            "pk": 500 + number,
            "uuid": str(number),
        }
        about = {"rank": number, "label": f"p{number - 1:02d}", "z": 1, "density": 4.97, "found": 12 - number}
        phases.append({**about, **values, **names, **words})
    drawn = {row["label"]: _shown_phase(row["label"]) for row in phases}
    marked = [[{**row, "phase": phase_of.get(row["label"])} for row in rows] for rows in (data.rows, data.ranked)]
    return replace(
        data,
        answer="finish 68, CHGNet 0.3.0",
        phases=phases,
        rows=marked[0],
        ranked=marked[1],
        structures={**data.structures, **drawn},
        patterns=[simulate(perovskite(), phase_name(row), symprec=0.1) for row in phases],
        conclusion=[
            ("found", "3 phases, the lowest Pm-3m (Cubic Perovskite), -8.4236 eV/atom; then P4/mmm +12.3 meV/atom."),
            *data.conclusion,
            ("next", "more structures: `aiida-fuse2 continue 8 --max-structures 360`"),
        ],
        learned=[("generator", "fgen", 12.3, 4.0, 0.31), ("move", "13", 3.0, 0.0, None), ("move", "14", 9.0, 1.0, 0.2)],
    )


def _shown_phase(label: str) -> ShownStructure:
    atoms = perovskite()
    cif = cif_text(atoms, symprec=0.01)
    name = f"SrTiO3_{label}.cif"
    return ShownStructure(
        label=label, atoms=atoms, cif=cif, cif_symmetrised=cif, file_name=name, conventional=atoms, targets={}
    )


def with_second(data: ReportData) -> ReportData:
    """Return the report with an answer that a second potential orders: the first phase lies above the others."""
    answer = with_answer(data)
    first, *others = answer.phases
    order = Order(
        first="CHGNet 0.3.0",
        second="sevennet-l3i5",
        by="second",
        statement="ordered by sevennet-l3i5; Kendall's tau with the order under CHGNet 0.3.0 is -0.33 for 3 phases; "
        "phase 3, Pm-3m, is a false minimum of CHGNet 0.3.0: 33.0 meV/atom above under sevennet-l3i5",
        targets={},
    )
    phases = []
    for rank, (row, delta) in enumerate(zip([*others, first], (0.0, 0.0123, 0.033), strict=True), start=1):
        values = {"rank": rank, "energy": -7.5 + delta, "delta": delta}
        under_first = {key: row[key] for key in ("rank", "energy", "delta")}
        phases.append({**row, **values, "first": under_first, "second": values, "potential": "sevennet-l3i5"})
    return replace(answer, phases=phases, order=order)

"""What searches of textbook compounds end with, beside the textbook: space groups, cells, names, and the word on both.

    python benchmarks/answers.py --out benchmarks/results/answers.jsonl
    python benchmarks/answers.py --out benchmarks/results/answers.jsonl --table

Each composition is searched for ``--cpu-seconds`` with starts from the packaged library of prototypes (protocol
``balanced``, at most 24 atoms, seed 1, CHGNet 0.3.0), without AiiDA. LiFePO4 and α-Mn, whose cells are larger, begin
with their known structure, rattled by 0.05 Å and strained by 2 %. The answer is made as ``aiida-fuse2 finish`` makes
it, of the lowest ten structures alone. One line per composition is added to the file; those that are in it are skipped.
The tables of ``docs/explanation/answers.md`` are the output of ``--table``.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal

from aiida_fuse2.benchmarks.answers import finish
from aiida_fuse2.benchmarks.libraries import Library
from aiida_fuse2.benchmarks.searches import SearchTask, run_task
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.prototypes.naming import TypeIndex
from aiida_fuse2.core.relaxers import RelaxedStructure, make_evaluator, relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import RelaxSettings
from aiida_fuse2.io.prototypes import library_from_text

SEED = 1
MAX_ATOMS = 24
RATTLE = 0.05
STRAIN = 0.02


@dataclass(frozen=True)
class Textbook:
    """A compound as a textbook prints it, at room temperature.

    Attributes:
        number: space-group number.
        group: its symbol.
        name: structure type or mineral.
        cell: edges of the conventional cell, Å; equal ones once.
        source: number of the source in ``docs/explanation/answers.md``.
        known: key of the known structure in the library of prototypes, or what returns it; None if it is not needed.
        is_start: whether the known structure is rattled and stands for a search. If not, its energy within its symmetry
            is a value of the row.
    """

    number: int
    group: str
    name: str
    cell: tuple[float, ...]
    source: int = 1
    known: str | Callable[[], Atoms] | None = None
    is_start: bool = False


def olivine() -> Atoms:
    """Return LiFePO4, triphylite (Streltsov et al., Acta Cryst. B 1993, 49, 147)."""
    places = {
        "Li": (0.0, 0.0, 0.0),
        "Fe": (0.28222, 0.25, 0.97472),
        "P": (0.09486, 0.25, 0.41820),
        "O1": (0.09678, 0.25, 0.74279),
        "O2": (0.45710, 0.25, 0.20602),
        "O3": (0.16558, 0.04646, 0.28478),
    }
    symbols, cell = [name.rstrip("123") for name in places], [10.332, 6.010, 4.692, 90, 90, 90]
    atoms: Atoms = crystal(symbols, list(places.values()), spacegroup=62, cellpar=cell)
    return atoms


def known_structure(textbook: Textbook, library: Library) -> Atoms:
    """Return the known structure of a compound."""
    if callable(textbook.known):
        return textbook.known()
    found = next(one for one in library_from_text(library.text) if one.key == textbook.known)
    return found.atoms.copy()


COMPOUNDS = {
    "SrTiO3": Textbook(221, "Pm-3m", "perovskite", (3.905,), 2),
    "BaTiO3": Textbook(99, "P4mm", "tetragonal perovskite", (3.986, 4.026), known="AB3C_tP5_99_b_ac_a-001"),
    "TiO2": Textbook(136, "P4_2/mnm", "rutile", (4.592, 2.957)),
    "Si": Textbook(227, "Fd-3m", "diamond", (5.431,), 4),
    "MgO": Textbook(225, "Fm-3m", "rock salt", (4.212,), 5),
    "CaCO3": Textbook(167, "R-3c", "calcite", (4.988, 17.061)),
    "MgAl2O4": Textbook(227, "Fd-3m", "spinel", (8.083,)),
    "ZnO": Textbook(186, "P6_3mc", "wurtzite", (3.250, 5.207), 6),
    "Cu2O": Textbook(224, "Pn-3m", "cuprite", (4.267,)),
    "CaF2": Textbook(225, "Fm-3m", "fluorite", (5.463,)),
    "LiFePO4": Textbook(62, "Pnma", "olivine", (10.332, 6.010, 4.692), 3, olivine, is_start=True),
    "Mn": Textbook(217, "I-43m", "α-Mn", (8.911,), known="A_cI58_217_ac2g-001", is_start=True),
}

PHASE = (
    "formula",
    "spacegroup",
    "spacegroup_symbol",
    "type",
    "n_atoms",
    "n_atoms_conventional",
    "z",
    "energy",
    "delta",
)
CELL = ("a", "b", "c", "alpha", "beta", "gamma")

NEAR = 0.010
"""Phases this far above the best are told, eV/atom."""


def run(options: argparse.Namespace) -> None:
    """Answer for the compositions that are missing."""
    done = {row["of"] for row in read_rows(options.out)}
    for composition in options.compositions or COMPOUNDS:
        if composition not in done:
            row = {"of": composition, **answered(composition, COMPOUNDS[composition], options.cpu_seconds)}
            with options.out.open("a") as handle:
                handle.write(json.dumps(row) + "\n")


def answered(composition: str, textbook: Textbook, budget: float) -> dict[str, Any]:
    """Return the phases of a composition, and what they cost."""
    task = SearchTask(
        composition=composition,
        max_atoms=MAX_ATOMS,
        generator="prototypes",
        seed=SEED,
        protocol="balanced",
        budget=budget,
    )
    settings, tier = task.settings()
    library, evaluator = task.library(settings), make_evaluator(tier)
    if library is None:
        raise SystemExit("the library of prototypes is not installed")
    extra: dict[str, Any] = {}
    known = None if textbook.known is None else known_structure(textbook, library)
    if known is not None and textbook.is_start:
        relaxed = converged(disturbed(known), evaluator, tier)
        structures, seconds = [(relaxed.atoms, relaxed.values["energy"])], relaxed.values["cpu_seconds"]
    else:
        row = run_task(task)
        structures, seconds = [(one.atoms(), one.energy) for one in row.lowest], row.cpu_seconds
    if known is not None and not textbook.is_start:
        extra["known"] = converged(known, evaluator, tier.model_copy(update={"keep_symmetry": True})).values["energy"]
    index = TypeIndex(library_from_text(library.of(settings)))
    answer, cost = finish(structures, evaluator, tier, index.name)
    return {
        "seconds": round(seconds, 1),
        "answer_seconds": round(cost, 1),
        "potential": evaluator.name,
        "phases": [kept(phase) for phase in answer.phases],
        **extra,
    }


def converged(atoms: Atoms, evaluator: Evaluator, tier: RelaxSettings) -> RelaxedStructure:
    """Return a relaxed structure."""
    relaxed = relax(atoms, evaluator, tier)
    if relaxed.status != CONVERGED:
        raise SystemExit(f"{atoms.get_chemical_formula()}: {relaxed.status}, {relaxed.detail}")
    return relaxed


def disturbed(atoms: Atoms) -> Atoms:
    """Return a structure with displaced atoms and a strained cell."""
    rng = np.random.default_rng(SEED)
    strain = rng.uniform(-STRAIN, STRAIN, (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += rng.normal(0.0, RATTLE, atoms.positions.shape)
    return atoms


def kept(phase: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a phase: its values, statement and cell."""
    cell = [round(phase[name], 4) for name in CELL]
    return {**{name: phase[name] for name in PHASE}, "statement": phase["statement"], "cell": cell}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the results."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def symbol(text: str) -> str:
    """Return an international symbol as Markdown: letters in italics, screw axes as subscripts."""
    italic = "".join(f"*{one}*" if one.isalpha() else one for one in text).replace("**", "")
    for index in "123456":
        italic = italic.replace(f"_{index}", f"<sub>{index}</sub>")
    return italic


def edges(cell: Sequence[float]) -> tuple[float, ...]:
    """Return the edges of a cell, Å; equal ones once."""
    return tuple(dict.fromkeys(round(edge, 3) for edge in cell[:3]))


def angles(cell: Sequence[float]) -> str:
    """Return the angles of a cell that are neither right nor those of hexagonal axes, degrees."""
    return ", ".join(f"{angle:.2f}" for angle in cell[3:] if abs(angle - 90) > 0.01 and abs(angle - 120) > 0.01)


def numbers(values: Sequence[float]) -> str:
    """Return edges as text."""
    return ", ".join(f"{value:.3f}" for value in values)


def verdict(row: dict[str, Any], textbook: Textbook) -> str:
    """Return whether the answer is the textbook's, and the word on it if it is not."""
    phases = row["phases"]
    best = phases[0]
    own = edges(best["cell"])
    if best["spacegroup"] == textbook.number:
        if len(own) != len(textbook.cell):
            return "same group, another cell"
        off = [100 * (a / b - 1) for a, b in zip(own, textbook.cell, strict=True)]
        return f"yes; edges {' and '.join(f'{round(one, 1) + 0:+.1f} %' for one in off)}"
    place = next((n for n, phase in enumerate(phases) if phase["spacegroup"] == textbook.number), None)
    if place is not None:
        return f"{symbol(textbook.group)} is phase {place + 1}, {1000 * phases[place]['delta']:.1f} meV/atom higher"
    word = f"{symbol(textbook.group)} is not among the {len(phases)} phases"
    if "known" in row:
        word += f"; kept in its symmetry, it lies {1000 * (row['known'] - best['energy']):.1f} meV/atom higher"
    return word


TITLES = ("", "answer", "structure type", "cell, Å (°)", "atoms", "Z", "eV/atom", "textbook", "agrees")
DETAILS = ("", "in words", "other phases within 10 meV/atom", "search, CPU s", "finish, CPU s")


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return the best phases beside the textbook, then their statements."""
    ordered = sorted(rows, key=lambda row: list(COMPOUNDS).index(row["of"]))
    return f"{table(TITLES, map(beside, ordered))}\n\n{table(DETAILS, map(in_words, ordered))}"


def table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, ["---"] * len(titles), *lines))


def beside(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the line of a best phase beside the textbook."""
    best, textbook = row["phases"][0], COMPOUNDS[row["of"]]
    tilted = angles(best["cell"])
    return (
        row["of"],
        symbol(best["spacegroup_symbol"]),
        best["type"],
        numbers(edges(best["cell"])) + (f" ({tilted})" if tilted else ""),
        f"{best['n_atoms']} ({best['n_atoms_conventional']})",
        str(best["z"]),
        f"{best['energy']:.4f}",
        f"{symbol(textbook.group)}, {textbook.name}, {numbers(textbook.cell)} [^s{textbook.source}]",
        verdict(row, textbook),
    )


def in_words(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the line of a best phase with its statement, the phases near it, and costs."""
    near = [phase for phase in row["phases"][1:] if phase["delta"] <= NEAR]
    others = "; ".join(f"{symbol(one['spacegroup_symbol'])} +{1000 * one['delta']:.1f}" for one in near)
    costs = f"{row['seconds']:.0f}", f"{row['answer_seconds']:.1f}"
    return row["of"], row["phases"][0]["statement"], others, *costs


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compositions", nargs="*", choices=[*COMPOUNDS, []], metavar="COMPOSITION")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu-seconds", type=float, default=12.0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.table:
        print(tables(read_rows(options.out)))
    else:
        run(options)


if __name__ == "__main__":
    main()

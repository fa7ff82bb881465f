"""What the pre-relaxation changes in what random starts become: the same starts with and without it.

    python benchmarks/prerelax.py --out benchmarks/results/prerelax.jsonl
    python benchmarks/prerelax.py --out benchmarks/results/prerelax.jsonl --table

One line per relaxation is added to the file; those that are in it already are skipped. Variants: ``plain``;
``1GPa`` and ``5GPa``, pre-relaxed at that pressure; ``broken``, plain, the symmetry of the start not kept. A hit
is an energy at most 5 meV/atom above the target, or below it. Structures are distinct when energies
differ by more than 5 meV/atom or volumes by more than 2 %. Energies of the targets come from the published
crystal, relaxed here.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.spacegroup import crystal
from matscipy.neighbours import neighbour_list

from aiida_fuse2.benchmarks.starts import evaluator, make_starts, tier
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import RelaxSettings

SYSTEMS = {"SrTiO3": (20, 10), "SiO2": (18, 6), "Ca3Ti2O7": (24, 12), "Li2O2": (16, 8)}
"""Composition, most and fewest atoms of a cell."""

SEED = 21
PER_KIND = {"fgen": 120, "symmetric": 120}
HIT = 0.005
SAME_VOLUME = 0.02
PEROXIDE = 1.8
"""Longest distance of a bond between two oxygen atoms, Å."""

VARIANTS = {
    "plain": {},
    "1GPa": {"prerelax": {"enabled": True, "pressure": 1.0}},
    "5GPa": {"prerelax": {"enabled": True, "pressure": 5.0}},
    "broken": {"keep_symmetry": False},
}


def targets() -> dict[str, dict[str, Atoms]]:
    """Return known crystals of each composition, from their published coordinates."""
    hexagonal = [90, 90, 120]
    return {
        "SrTiO3": {
            "perovskite": crystal(
                ["Sr", "Ti", "O"],
                [(0, 0, 0), (0.5,) * 3, (0.5, 0.5, 0)],
                spacegroup=221,
                cellpar=[3.905] * 3 + [90] * 3,
            )
        },
        "SiO2": {
            "quartz": crystal(
                ["Si", "O"],
                [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.4524)],
                spacegroup=152,
                cellpar=[4.916, 4.916, 5.405, *hexagonal],
            ),
            "cristobalite": crystal(
                ["Si", "O"],
                [(0.3003, 0.3003, 0), (0.2392, 0.1044, 0.1787)],
                spacegroup=92,
                cellpar=[4.971, 4.971, 6.928, 90, 90, 90],
            ),
            "stishovite": crystal(
                ["Si", "O"], [(0, 0, 0), (0.3061, 0.3061, 0)], spacegroup=136, cellpar=[4.177, 4.177, 2.665, 90, 90, 90]
            ),
        },
        "Ca3Ti2O7": {
            "parent": crystal(
                ["Ca", "Ca", "Ti", "O", "O", "O"],
                [(0, 0, 0.5), (0, 0, 0.3140), (0, 0, 0.0976), (0, 0, 0), (0, 0, 0.1940), (0, 0.5, 0.0957)],
                spacegroup=139,
                cellpar=[3.85, 3.85, 19.4, 90, 90, 90],
                primitive_cell=True,
            )
        },
        "Li2O2": {
            "peroxide": crystal(
                ["Li", "Li", "O"],
                [(0, 0, 0), (1 / 3, 2 / 3, 0.75), (1 / 3, 2 / 3, 0.1498)],
                spacegroup=194,
                cellpar=[3.142, 3.142, 7.65, *hexagonal],
            )
        },
    }


def settings_of(variant: str) -> RelaxSettings:
    """Return the relaxation settings of a variant."""
    return tier(max_steps=1000, **VARIANTS[variant])


def oxygen_distance(atoms: Atoms) -> float:
    """Return the shortest distance of two oxygen atoms, Å; 9 where it is longer than 3."""
    i, j, lengths = neighbour_list("ijd", atoms, 3.0)
    oxygen = atoms.numbers == atomic_numbers["O"]
    both = lengths[oxygen[i] & oxygen[j]]
    return float(both.min()) if len(both) else 9.0


def run(options: argparse.Namespace) -> None:
    """Relax what is not in the results yet."""
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {tuple(json.loads(line)[k] for k in ("of", "from", "start", "variant")) for line in lines}
    potential = evaluator()
    for composition, (most, least) in SYSTEMS.items():
        for generator, count in PER_KIND.items():
            found = make_starts(composition, most, generator, seed=SEED, count=count, least=least)
            for start, atoms in enumerate(found):
                for variant in VARIANTS:
                    name = (composition, generator, start, variant)
                    if name in done or (variant == "broken" and generator == "fgen"):
                        continue
                    result = relax(atoms, potential, settings_of(variant))
                    row = dict(zip(("of", "from", "start", "variant"), name, strict=True))
                    row |= {"status": result.status, "evaluations": result.values["evaluations"]}
                    row |= {"before": result.values["prerelax_evaluations"], "cpu": result.values["cpu_seconds"]}
                    if result.status == CONVERGED:
                        row |= {"e": round(result.values["energy"], 5), "oo": round(oxygen_distance(result.atoms), 2)}
                        row |= {"v": round(result.values["volume"] / len(atoms), 3), "n": len(atoms)}
                    with options.out.open("a") as handle:
                        handle.write(json.dumps(row, separators=(",", ":")) + "\n")


def distinct(rows: list[dict]) -> int:
    """Return the number of distinct structures."""
    kept: list[dict] = []
    for row in sorted(rows, key=lambda r: r["e"]):
        near = [k for k in kept if row["e"] - k["e"] < HIT]
        if all(abs(row["v"] / k["v"] - 1) > SAME_VOLUME for k in near):
            kept.append(row)
    return len(kept)


def print_table(rows: list[dict]) -> None:
    """Print a line per composition, generator and variant."""
    potential = evaluator()
    known = {
        composition: {
            name: relax(atoms, potential, settings_of("plain")).values["energy"] for name, atoms in crystals.items()
        }
        for composition, crystals in targets().items()
    }
    print("| starts | variant | n | failed | evaluations | CPU s | best | 10 % | median | hits | distinct | O-O |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    groups = defaultdict(list)
    for row in rows:
        groups[row["of"], row["from"], row["variant"]].append(row)
    for (composition, generator, variant), group in groups.items():
        good = [r for r in group if r["status"] == CONVERGED]
        energies = np.array([r["e"] for r in good])
        hits = {name: int((energies <= e + HIT).sum()) for name, e in known[composition].items()}
        bonds = sum(r["oo"] < PEROXIDE for r in good)
        print(
            f"| {composition} {generator} | {variant} | {len(group)} | {len(group) - len(good)} | "
            f"{np.mean([r['evaluations'] for r in group]):.0f} | {sum(r['cpu'] for r in group):.0f} | "
            f"{energies.min():.4f} | {np.quantile(energies, 0.1):.3f} | {np.median(energies):.3f} | "
            f"{', '.join(f'{n} {k}' for k, n in hits.items())} | {distinct(good)} | {bonds} |"
        )
    print("\nTargets, eV/atom:", {c: {k: round(e, 4) for k, e in v.items()} for c, v in known.items()})


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.table:
        print_table([json.loads(line) for line in options.out.read_text().splitlines()])
    else:
        run(options)


if __name__ == "__main__":
    main()

"""Structures of each generator, relaxed: how low they end, and what one costs with its generation.

    python benchmarks/generation.py --out benchmarks/results/generation.jsonl --work /tmp/generation \
        --weights formation_energy.hdf5 fgen symmetric gnoa-chgnet gnoa-chgnet-p1 gnoa-megnet gnoa-megnet-p1
    python benchmarks/generation.py --out benchmarks/results/generation.jsonl --table

A generator is ``fgen``, ``symmetric``, or ``gnoa-NETWORK``, with ``-p1`` for the paper's structures without symmetry,
and ``:OPTIMISER`` at the end for another one than random search: ``gnoa-megnet-p1:tpe``. Each pool is made in a
process of its own by the code of the pool job. At most ``--scored`` structures are proposed to a network for each
composition, shared out among the numbers of formula units; the best ``--relaxed`` are relaxed with CHGNet. One line per
pool and per relaxation is added to the file; those that are in it are skipped, and pools that were killed are gone on
with. The table has 95 % intervals from a bootstrap over the relaxed structures, and CPU seconds per relaxed structure,
its generation included.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aiida_fuse2.benchmarks.starts import evaluator, tier
from aiida_fuse2.core.generators.gnoa.assignments import z_values
from aiida_fuse2.core.potentials.megnet.archive import make_archive
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import CHGNET_ELEMENTS, SearchSettings, parse_settings
from aiida_fuse2.io.trials import from_extxyz, to_extxyz
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.generating import fill_pool
from aiida_fuse2.worker.processes import Lost, run_all

SYSTEMS = {"Ca3Ti2O7": 24, "CoAs2": 24, "YWB4": 24, "Li3Si3O5Cl5": 32, "SrTiO3": 20}
"""Composition and most atoms of a cell."""

SEED = 31
MEDIAN_OF = 25
RESAMPLES = 4000
HISTORY = {"random": 10, "swarm": 40, "tpe": 40}
"""Structures proposed for one Wyckoff assignment, by optimiser."""

P1_HISTORY = 50
P1_KEEP = 10
"""The same without symmetry, where each number of formula units has but one assignment, and how many are kept."""


def settings_of(composition: str, generator: str, scored: int, relaxed: int, most: int) -> SearchSettings:
    """Return the settings of a pool."""
    name, _, optimiser = generator.partition(":")
    optimiser = optimiser or "random"
    is_p1 = name.endswith("-p1")
    gnoa: dict[str, Any] = {"optimizer": optimiser, "history": P1_HISTORY if is_p1 else HISTORY[optimiser]}
    if name.startswith("gnoa-"):
        gnoa["network"] = name.removeprefix("gnoa-").removesuffix("-p1")
    gnoa |= {"space_groups": "1", "keep": P1_KEEP} if is_p1 else {"space_groups": "2-230", "keep": 1}
    changes = {
        "starts": {name.partition("-")[0]: 1},
        "max_atoms": most,
        "seed": SEED,
        "gnoa": gnoa,
        "pool": {"size": relaxed, "max_attempts_factor": 500},
    }

    def parsed() -> SearchSettings:
        values = protocol_inputs("balanced", {"settings": changes})["settings"]
        return parse_settings(SearchSettings, {**values, "composition": composition})

    gnoa["trials_per_z"] = max(1, scored // len(z_values(parsed(), most)))
    return parsed()


def make_pool(work: tuple[SearchSettings, Path, Path | None]) -> tuple[str, dict[str, Any]]:
    """Make a pool in a folder; return it and its summary."""
    warnings.filterwarnings("ignore")
    settings, folder, weights = work
    folder.mkdir(parents=True, exist_ok=True)
    needs = "gnoa" in settings.starts and settings.gnoa.network == "megnet"
    structures, summary = fill_pool(settings, 0, folder=folder, weights=weights if needs else None)
    return to_extxyz((atoms, atoms.info) for atoms in structures), summary


def archive_of(hdf5: Path | None, folder: Path) -> Path | None:
    """Return MEGNet's weights as the job takes them."""
    if hdf5 is None:
        return None
    config = hdf5.with_name(f"{hdf5.name}.json").read_bytes()
    archive = make_archive(hdf5.read_bytes(), config, elements=tuple(sorted(CHGNET_ELEMENTS)), source=hdf5.name)
    path = folder / "weights.zip"
    path.write_bytes(archive.to_bytes())
    return path


def run(options: argparse.Namespace) -> None:
    """Make the pools and relaxations that are missing."""
    options.work.mkdir(parents=True, exist_ok=True)
    weights = archive_of(options.weights, options.work)
    rows = read_rows(options.out)
    done = {(row["of"], row["from"], row["start"]) for row in rows}
    for composition in options.systems.split(","):
        for generator in options.generators:
            folder = options.work / composition / generator.replace(":", "-")
            if (composition, generator, "pool") not in done or not (folder / "pool.extxyz").exists():
                settings = settings_of(composition, generator, options.scored, options.relaxed, SYSTEMS[composition])
                ((_, made),) = run_all(make_pool, [(settings, folder, weights)], 1)
                if isinstance(made, Lost):
                    raise SystemExit(f"{composition}, {generator}: {made.detail}")
                text, summary = made
                (folder / "pool.extxyz").write_text(text)
                add(options.out, composition, generator, "pool", summary_row(summary))
            pool = from_extxyz((folder / "pool.extxyz").read_text())
            for start, atoms in enumerate(pool[: options.relaxed]):
                if (composition, generator, start) not in done:
                    add(options.out, composition, generator, start, relaxed_row(atoms))


def summary_row(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a summary."""
    names = ("tried", "scored", "kept", "duplicates", "penalised", "rejected", "cpu_seconds")
    return {name: summary[name] for name in names if name in summary}


def relaxed_row(atoms: Atoms) -> dict[str, Any]:
    """Relax a structure."""
    found = relax(atoms, evaluator(), tier(max_steps=1000))
    values = found.values
    row = {"status": found.status, "n": len(atoms), "cpu_seconds": values["cpu_seconds"]}
    row["evaluations"] = values["evaluations"]
    if found.status == CONVERGED:
        row["energy"] = round(values["energy"], 5)
    return row


def add(path: Path, composition: str, generator: str, start: int | str, row: dict[str, Any]) -> None:
    """Add a line to the results."""
    with path.open("a") as handle:
        handle.write(json.dumps({"of": composition, "from": generator, "start": start, **row}) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the results."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def median_of_best(energies: np.ndarray) -> float:
    """Return the median of the lowest energies."""
    return float(np.median(np.sort(energies)[:MEDIAN_OF]))


def with_interval(energies: np.ndarray, statistic: Callable[[np.ndarray], float]) -> str:
    """Return a statistic with its 95 % interval."""
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.choice(energies, len(energies))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{statistic(energies):.3f} ({low:.3f} to {high:.3f})"


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a line per composition and generator."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    pools: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["of"], row["from"]
        if row["start"] == "pool":
            pools[key] = row
        else:
            groups[key].append(row)
    titles = ("composition", "generator", "scored", "relaxed", "failed", "best, eV/atom", "median of best 25")
    print(f"| {' | '.join((*titles, 'evaluations', 'CPU s'))} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for key, group in groups.items():
        energies = np.array([row["energy"] for row in group if row["status"] == CONVERGED])
        if not len(energies):
            continue
        cpu = pools[key]["cpu_seconds"] + sum(row["cpu_seconds"] for row in group)
        print(
            f"| {key[0]} | {key[1]} | {pools[key].get('scored', '')} | {len(group)} | {len(group) - len(energies)} | "
            f"{with_interval(energies, np.min)} | {with_interval(energies, median_of_best)} | "
            f"{np.mean([row['evaluations'] for row in group]):.0f} | {cpu / len(group):.2f} |"
        )


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="folder of pools and checkpoints")
    parser.add_argument("--weights", type=Path, help="MEGNet's NAME.hdf5, with NAME.hdf5.json beside it")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--scored", type=int, default=1000)
    parser.add_argument("--relaxed", type=int, default=50)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.table:
        print_table(read_rows(options.out))
    elif options.work is None:
        parser.error("--work is needed")
    else:
        run(options)


if __name__ == "__main__":
    main()

"""The order of the phases under a second potential, beside that under the potential of the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from aiida_fuse2.core.crystal.symmetry import find_symmetry
from aiida_fuse2.core.crystal.uniqueness import match_structures
from aiida_fuse2.core.errors import printable
from aiida_fuse2.core.prototypes.naming import TypeName
from aiida_fuse2.core.relaxers.driver import MAX_DETAIL
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.targets import TARGET_PREFIX

from .answers import LOST, readable_rows
from .description import Description, describe_phase
from .ladder import EXACT
from .statement import named

FIRST, SECOND = "first", "second"

STOL = 0.1
"""Largest rms displacement over (volume per atom)^(1/3) by which a phase may differ under two potentials."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """An answer under two potentials.

    Attributes:
        phases: rows of the phases. ``rank``, ``energy``, ``delta`` and geometry are those of the potential that orders;
            ``first`` and ``second`` have rank, energy (eV/atom) and delta under each potential, None where there is no
            energy, and ``second`` has ``status``, ``detail``, and ``changed``, in words, if it relaxed to another
            structure. Phases that relax to one under the second, if it orders, are one row: that of the most symmetric,
            with the members of all.
        cells: conventional cell of each phase, by its label.
        order: ``first`` and ``second``, names of the potentials; ``by``, which of the two orders; ``tau``, Kendall's
            rank correlation of ``compared`` phases, or None; ``false_minima`` of the first and ``changed``, labels of
            phases; ``merged``, labels of the phases that have become a phase, by its label; ``failures``, number of
            phases without an energy by reason; ``targets``, the known structures under the second; ``statement``, all
            that in words.
    """

    phases: list[dict[str, Any]]
    cells: dict[str, Atoms]
    order: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Relaxed:
    """The results of the second potential.

    Attributes:
        rows: row of each phase and of each target, by label, as ``fuse2.relax`` has them.
        geometries: relaxed structures by the same labels.
        reason: why there are no rows for some, in words.
    """

    rows: Mapping[str, Mapping[str, Any]]
    geometries: Mapping[str, Atoms]
    reason: str = ""

    def energy(self, label: str) -> float | None:
        """Return the energy of a structure, eV/atom, or None if it was not relaxed."""
        row = self.rows.get(label, {})
        return float(row["energy"]) if row.get("status") == CONVERGED and label in self.geometries else None


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is shown of the order of an answer; see ``Ranked.order``.

    Attributes:
        first: name of the potential of the search.
        second: name of the second one.
        by: ``first`` or ``second``.
        statement: the order in words.
        targets: ``energy``, ``delta`` (eV/atom) and label of the ``phase`` of each target under the second, by name.
    """

    first: str
    second: str
    by: str
    statement: str
    targets: Mapping[str, Mapping[str, Any]]

    @property
    def other(self) -> str:
        """Which of the two does not order."""
        return FIRST if self.by == SECOND else SECOND

    def name(self, which: str) -> str:
        """Return the name of one of the two."""
        return self.second if which == SECOND else self.first


def read_order(value: Any) -> Order | None:
    """Return a stored order; None if it is not what it should be, as an archive may hold it."""
    (row,) = readable_rows([value], (FIRST, SECOND, "by", "statement")) or (None,)
    if row is None or row["by"] not in {FIRST, SECOND} or not isinstance(row.get("targets"), dict):
        return None
    targets = {str(name): target for name, target in row["targets"].items() if _is_target(target)}
    return Order(**{key: row[key] for key in (FIRST, SECOND, "by", "statement")}, targets=targets)


def _is_target(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("phase"), str | None)
        and all(value.get(key) is None or isinstance(value[key], int | float) for key in ("energy", "delta"))
    )


def energies_under(row: Mapping[str, Any], which: str) -> tuple[float, float] | None:
    """Return energy and energy above the lowest of a phase under one of two potentials, eV/atom; None without them.

    Args:
        row: stored row of a phase.
        which: ``first`` or ``second``.
    """
    values = row.get(which)
    found = [values.get(key) for key in ("energy", "delta")] if isinstance(values, dict) else []
    numbers = [float(value) for value in found if isinstance(value, int | float)]
    return (numbers[0], numbers[1]) if len(numbers) == len(found) == 2 else None


def rank_phases(
    phases: Sequence[Mapping[str, Any]],
    cells: Mapping[str, Atoms],
    relaxed: Relaxed,
    name: Callable[[Atoms], TypeName],
    *,
    potentials: tuple[str, str],
    resolution: float,
) -> Ranked:
    """Return an answer ordered by a second potential, if that has an energy of every phase; otherwise by the first.

    Args:
        phases: rows of an answer under the first potential, see ``answers.Answer``; at least one.
        cells: conventional cell of each, by label.
        relaxed: results of the second potential.
        name: returns the type of a structure.
        potentials: names of both.
        resolution: smallest difference of energies that a potential resolves, eV/atom.
    """
    energies = {row["label"]: relaxed.energy(row["label"]) for row in phases}
    found = {label: energy for label, energy in energies.items() if energy is not None}
    described = {label: describe_phase(relaxed.geometries[label]) for label in found}
    is_second = len(found) == len(phases)
    merged = _merged(described, found, resolution) if is_second else {}
    others = {row["label"]: [one for one in phases if one["label"] in merged.get(row["label"], ())] for row in phases}
    if is_second:
        phases = [_joined(row, others[row["label"]]) for row in phases if row["label"] in merged]
        found = {row["label"]: found[row["label"]] for row in phases}
    ordered = sorted(found, key=lambda label: found[label])  # stable: equal ones keep the order of the first
    described = {label: described[label] for label in ordered}
    changed = _changed(phases, cells, described, name)
    seconds = {row["label"]: _second(row["label"], ordered, found, relaxed, changed) for row in phases}
    pairs = {row["label"]: (row["energy"], found[row["label"]]) for row in phases if row["label"] in set(ordered)}
    pairs = {label: pair for label, pair in pairs.items() if label not in changed}
    false = _false_minima(pairs, resolution)
    rows = [{**row, FIRST: _values(row), SECOND: seconds[row["label"]]} for row in phases]
    if is_second:
        rows = sorted((_ordered(row, described[row["label"]], name, potentials) for row in rows), key=_rank)
    order = {
        FIRST: potentials[0],
        SECOND: potentials[1],
        "by": SECOND if is_second else FIRST,
        "tau": _tau(list(pairs.values())),
        "compared": len(pairs),
        "false_minima": false,
        "changed": list(changed),
        "merged": {label: others for label, others in merged.items() if others},
        "failures": dict(Counter(second["status"] for second in seconds.values() if second["energy"] is None)),
        "targets": _targets(relaxed, described, found),
    }
    rows = [_noted(row, false, others[row["label"]], potentials) for row in rows]
    order["statement"] = _statement(order, {row["label"]: row for row in rows}, relaxed.reason)
    own = {label: each.conventional for label, each in described.items()} if is_second else {}
    return Ranked(rows, {**cells, **own}, order)


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("rank", "energy", "delta")}


def _rank(row: Mapping[str, Any]) -> int:
    return int(row["rank"])


def _second(
    label: str,
    ordered: Sequence[str],
    found: Mapping[str, float],
    relaxed: Relaxed,
    changed: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a row has of the second potential."""
    row = relaxed.rows.get(label, {"status": LOST, "detail": relaxed.reason})
    ending = {"status": printable(str(row["status"]), MAX_DETAIL), "detail": printable(row["detail"], MAX_DETAIL)}
    if label not in found:
        return {"rank": None, "energy": None, "delta": None, **ending, "changed": ""}
    delta = found[label] - found[ordered[0]]
    values = {"rank": ordered.index(label) + 1, "energy": found[label], "delta": delta}
    return {**values, **ending, "changed": changed.get(label, "")}


def _merged(
    described: Mapping[str, Description], found: Mapping[str, float], resolution: float
) -> dict[str, list[str]]:
    """Return the labels of the phases that became each phase, by its label; it is the most symmetric of them."""
    groups: list[list[str]] = []
    for label in sorted(found, key=lambda label: found[label]):
        own = described[label].primitive
        near = (group for group in groups if found[label] - found[group[0]] <= resolution)
        equal = next((g for g in near if match_structures(described[g[0]].primitive, own, stol=STOL)), None)
        if equal is None:
            groups.append([label])
        else:
            equal.append(label)
    chosen = {max(group, key=lambda label: _operations_per_atom(described[label].primitive)): group for group in groups}
    return {label: [other for other in group if other != label] for label, group in chosen.items()}


def _operations_per_atom(primitive: Atoms) -> float:
    return round(find_symmetry(primitive, EXACT).n_rotations / len(primitive), 6)


def _joined(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row of a phase with the members of others that became it."""
    rows = [row, *others]
    members = sorted((member for one in rows for member in one["members"]), key=_rank)
    rungs = [row["rungs"], *([{**rung, "is_answer": False} for rung in other["rungs"]] for other in others)]
    return {
        **row,
        "found": sum(one["found"] for one in rows),
        "members": members,
        "rungs": [rung for own in rungs for rung in own],
    }


def _changed(
    phases: Sequence[Mapping[str, Any]],
    cells: Mapping[str, Atoms],
    described: Mapping[str, Description],
    name: Callable[[Atoms], TypeName],
) -> dict[str, str]:
    """Return what the phases became that are no longer the same structure, in words, by label."""
    changed: dict[str, str] = {}
    for row in (row for row in phases if row["label"] in described):
        label, now = row["label"], described[row["label"]]
        is_same = row["spacegroup"] == now.values["spacegroup"] and (
            match_structures(now.primitive, cells[label], stol=STOL)
            or (row["prototype"] != "" and row["prototype"] == name(now.primitive).key)
        )
        if not is_same:
            changed[label] = f"another structure, {now.values['spacegroup_symbol']}"
    return changed


def _false_minima(pairs: Mapping[str, tuple[float, float]], resolution: float) -> list[str]:
    """Return the phases that the first potential puts below the lowest of the second.

    Args:
        pairs: energies under both potentials by label, eV/atom.
        resolution: smallest difference under the second that counts, eV/atom.
    """
    if not pairs:
        return []
    first, second = min(pairs.values(), key=lambda pair: pair[1])
    return [label for label, pair in pairs.items() if pair[0] < first and pair[1] - second > resolution]


def _tau(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Kendall's rank correlation of pairs of energies; None if it is not defined."""
    from scipy.stats import kendalltau

    if len(set(pairs)) < 2:
        return None
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return tau if tau == tau else None  # noqa: PLR0124 - NaN if all are equal under one of them


def _ordered(
    row: Mapping[str, Any], described: Description, name: Callable[[Atoms], TypeName], potentials: tuple[str, str]
) -> dict[str, Any]:
    """Return the row of a phase with rank, energies and geometry of the second potential."""
    first, second = potentials
    primitive, changed = described.primitive, row[SECOND]["changed"]
    own: dict[str, Any] = {"rank": row[SECOND]["rank"], "energy": row[SECOND]["energy"], "delta": row[SECOND]["delta"]}
    own |= {"potential": second, **described.values}
    own["primitive"] = {
        "symbols": [str(symbol) for symbol in primitive.symbols],
        "cell": primitive.cell.array.tolist(),
        "scaled_positions": primitive.get_scaled_positions().tolist(),
    }
    head, _, rest = str(row["statement"]).partition("; ")
    if changed:
        found = name(primitive)
        own |= {"type": found.text, "prototype": found.key}
        now = named(own["spacegroup_symbol"], found.text)
        head = f"{now}; {head} under {first}" if now != head else f"{now}, far from its geometry under {first}"
    elif rest:
        head = f"{head}; under {first}: {rest}"
    return {**row, **own, "statement": head}


def _noted(
    row: dict[str, Any],
    false: Sequence[str],
    merged: Sequence[Mapping[str, Any]],
    potentials: tuple[str, str],
) -> dict[str, Any]:
    """Return a row whose statement says what else became it, and that it is a false minimum, if it is one."""
    first, second = potentials
    notes = [f"{str(other['statement']).partition('; ')[0]} of {first} relaxes to it" for other in merged]
    if row["label"] in false:
        above = f"{1000 * row[SECOND]['delta']:.1f} meV/atom above the lowest under {second}"
        notes.append(f"false minimum of {first}: {above}")
    return {**row, "statement": "; ".join([row["statement"], *notes])}


def _targets(
    relaxed: Relaxed, described: Mapping[str, Description], found: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return status, energy, delta above the lowest phase and label of the equal phase of each target, by name."""
    targets = {}
    for label, row in relaxed.rows.items():
        if not label.startswith(TARGET_PREFIX):
            continue
        energy, lowest = relaxed.energy(label), min(found.values(), default=None)
        equal = None
        if energy is not None:
            atoms = relaxed.geometries[label]
            equal = next(
                (key for key, each in described.items() if match_structures(each.primitive, atoms, stol=STOL)), None
            )
        targets[label.removeprefix(TARGET_PREFIX)] = {
            "status": printable(str(row["status"]), MAX_DETAIL),
            "energy": energy,
            "delta": None if energy is None or lowest is None else energy - lowest,
            "phase": equal,
        }
    return targets


def _statement(order: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], reason: str) -> str:
    """Return in words which potential orders, how well the orders agree, and where they do not."""
    first, second, total = order[FIRST], order[SECOND], len(rows)
    if order["by"] == SECOND:
        sentences = [f"ordered by {second}"]
    else:
        failed = sum(order["failures"].values())
        why = ", ".join(f"{status} {number}" for status, number in sorted(order["failures"].items()))
        why += f": {reason}" if reason else ""
        sentences = [f"ordered by {first}, since {second} gave no energy of {failed} of {total} phases ({why})"]
    if order["tau"] is not None:
        count = f"{order['compared']} phases"
        sentences.append(
            f"Kendall's tau with the order under {first if order['by'] == SECOND else second} is "
            f"{order['tau']:.2f} for {count}"
        )
    told = {
        f"false minima of {first}": order["false_minima"],
        f"other structures under {second}": order["changed"],
        f"several phases under {first}": order["merged"],
    }
    sentences += [f"{what}: {_places(labels, rows)}" for what, labels in told.items() if labels]
    return "; ".join(sentences)


def _places(labels: Iterable[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return phases as a list: ``phase 5 (Pmn2_1), phase 6 (Fm-3m)``."""
    chosen = sorted((rows[label] for label in labels), key=_rank)
    return ", ".join(f"phase {row['rank']} ({row['spacegroup_symbol']})" for row in chosen)

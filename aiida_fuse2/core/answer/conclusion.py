"""What a search has found, how sure that is, and what to do next, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiida_fuse2.core.prototypes.naming import is_known_type
from aiida_fuse2.core.search.evidence import Evidence

CLOSE = 0.02
"""Difference of energies that can be an error of a potential that was learned, eV/atom."""

SHOWN = 3
"""Number of further phases that are named."""

MANY_FAILED = 0.2
"""Share of failed relaxations that is told."""

REFINED = 10
"""Largest number of structures for which DFT is proposed."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A search, or several runs of one, that has ended.

    Attributes:
        pk: its primary key.
        formula: formula of the composition, reduced.
        runs: number of runs that found a structure; None for a single search.
        tried: number of structures tried.
        failures: number of failed relaxations by reason.
        max_structures: budget of structures.
        max_atoms: largest number of atoms of a structure.
        phases: phases of the answer, see ``core.answer.answers``; empty if there is no answer.
        order: order of the phases under two potentials, in words; empty if there is one.
        ranked: unique structures as the search relaxed them, lowest energy first, with ``delta``.
        evidence: what the trials say about lower structures; None for several runs.
        limits: options that raise other limits which it has reached, for the command that continues it.
        can_finish: whether an answer can be found: the last tier is known in this profile.
        is_dft: whether energies are from DFT.
    """

    pk: int
    formula: str
    runs: int | None = None
    tried: int
    failures: Mapping[str, int]
    max_structures: int
    max_atoms: int
    phases: Sequence[Row] = ()
    order: str = ""
    ranked: Sequence[Row] = ()
    evidence: Evidence | None = None
    limits: str = ""
    can_finish: bool = True
    is_dft: bool = False


@dataclass(frozen=True)
class Conclusion:
    """The end of a search in words.

    Attributes:
        found: what was found.
        sure: how sure that is; empty if there is nothing to say.
        next: what to do next, and the command for it.
    """

    found: str
    sure: str
    next: tuple[tuple[str, str], ...] = field(default=())

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Heading and text of each part."""
        steps = "; ".join(f"{what}: `{command}`" for what, command in self.next)
        parts = (("found", self.found), ("how sure", self.sure), ("next", steps))
        return [(heading, text) for heading, text in parts if text]

    def values(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        steps = [{"purpose": what, "command": command} for what, command in self.next]
        return {"found": self.found, "sure": self.sure, "next": steps}


def conclude_search(ended: Ended, command: Callable[[str], str]) -> Conclusion:
    """Return the end of a search in words.

    Args:
        ended: the search.
        command: returns a command of ``aiida-fuse2`` as it is typed.
    """
    sentences = [*_failures(ended), *_certainty(ended)]
    steps = tuple((what, command(text)) for what, text in _steps(ended))
    return Conclusion(_found(ended), " ".join(sentences), steps)


def _found(ended: Ended) -> str:
    """Return what was found."""
    if ended.phases:
        best, *others = ended.phases
        name = phase_name(best["spacegroup_symbol"], best["type"])
        count = "one phase" if not others else f"{len(ended.phases)} phases"
        text = f"{count}, {'the lowest ' if others else ''}{name}, {best['energy']:.4f} eV/atom"
        parts = [text, *_others(others, "spacegroup_symbol"), *_close(others, ended)]
        return "; ".join([*parts, *_lowest_known(ended.phases, "phase"), *filter(None, [ended.order])]) + "."
    if not ended.ranked:
        return f"no structure in {_count(ended.tried, 'trial')}."
    best, *others = ended.ranked
    name = phase_name(best["spacegroup_symbol_loose"], best.get("type") or "")
    text = f"the lowest structure is {name} as relaxed, {best['energy']:.4f} eV/atom"
    parts = [text, *_others(others, "spacegroup_symbol_loose"), *_close(others, ended)]
    return "; ".join([*parts, *_lowest_known(ended.ranked, "structure")]) + "."


def phase_name(symbol: str | None, type_name: str) -> str:
    """Return space group and structure type, without the compound and Pearson symbol of the type."""
    return f"{symbol or '?'}" + (f" ({type_name.partition(' (')[0]})" if is_known_type(type_name) else "")


def _others(rows: Sequence[Row], symbol: str) -> list[str]:
    """Return the next ones with their energies above the lowest."""
    if not rows:
        return []
    named = [f"{phase_name(row[symbol], row.get('type') or '')} +{1000 * row['delta']:.1f}" for row in rows[:SHOWN]]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return [f"then {', '.join(named)} meV/atom{more}"]


def _close(rows: Sequence[Row], ended: Ended) -> list[str]:
    """Return whether the order of the first ones can be an error of the potential."""
    if ended.is_dft or not rows or rows[0]["delta"] >= CLOSE:
        return []
    return [f"differences below {1000 * CLOSE:g} meV/atom can be errors of the potential"]


def _lowest_known(rows: Sequence[Row], what: str) -> list[str]:
    """Return the lowest of a known structure type if that is not the first one."""
    for number, row in enumerate(rows, start=1):
        if is_known_type(row.get("type")):
            short = row["type"].partition(" (")[0]
            return [] if number == 1 else [f"the lowest of a known type is {what} {number}, {short}"]
    return []


def _failures(ended: Ended) -> list[str]:
    """Return how many relaxations failed if these are many."""
    failed = sum(ended.failures.values())
    if not failed or failed < MANY_FAILED * ended.tried:
        return []
    reasons = sorted(ended.failures.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{reason} {number}" for reason, number in reasons)
    return [f"{failed} of {_count(ended.tried, 'relaxation')} failed ({named})."]


def _certainty(ended: Ended) -> list[str]:
    """Return what the trials say about lower structures."""
    if not ended.ranked:
        return []
    if ended.runs is not None:
        hits = len(ended.ranked[0]["runs"])
        return [f"The lowest structure was found by {hits} of {_count(ended.runs, 'run')} with a structure."]
    return [] if ended.evidence is None else [ended.evidence.headline(), ended.evidence.explanation()]


def _steps(ended: Ended) -> list[tuple[str, str]]:
    """Return what to do next, with the command without the name of the program."""
    if not ended.ranked:
        return [("see why", f"status {ended.pk}"), *_more(ended)]
    steps = [] if ended.phases or not ended.can_finish else [("symmetrise it", f"finish {ended.pk}")]
    if ended.evidence is not None and ended.evidence.is_converged:
        steps.append(("larger cells", f"run {ended.formula} --max-atoms {2 * ended.max_atoms}"))
    else:
        steps += _more(ended)
    if not ended.is_dft:
        best = min(REFINED, len(ended.ranked))
        steps.append(("energies from DFT", f"refine {ended.pk} --best {best} --tiers vasp"))
    return steps


def _more(ended: Ended) -> list[tuple[str, str]]:
    """Return the command for twice as many structures; none for runs, nor for a search that failed before its first."""
    if ended.runs is not None or not ended.tried:
        return []
    budget = 2 * max(ended.max_structures, ended.tried)
    options = f"--max-structures {budget} {ended.limits}".strip()
    return [("more structures", f"continue {ended.pk} {options}")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")

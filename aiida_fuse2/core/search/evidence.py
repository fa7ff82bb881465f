"""How much a search says about what it has not found, from the records of its trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.settings import SearchSettings

from .watching import LISTED, Tried, Watch, share_of_size, sum_bound

Row = Mapping[str, Any]
"""Record of a trial: ``label``, ``origin``, ``parent``, ``status``, ``energy`` (eV/atom), ``duplicate_of``, ..."""

LOW_LYING = 0.05
"""Energy above the best up to which a structure is low-lying, eV/atom."""

NEVER_PROVES = "This bounds how often lower structures are found; it never proves a ground state."
"""The sentence that stands beside every statement."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How much a search says about what it has not found.

    Attributes:
        tried: number of trials, failed ones included.
        new_bests: number of new bests, the first structure included.
        random_since_best: number of random trials since the last new best, failed ones included.
        confidence: confidence of ``chance``.
        chance: bound on the mean chance that one of those trials is a new best; None if nothing can be said yet.
        missing_sizes: numbers of formula units of which there are too few structures to say anything.
        starts: number of random starts: structures of a generator, made from no other.
        starts_since_best: those since the last new best.
        finds: number of random starts that were, or relaxed straight to, the best structure.
        low_lying: number of structures within ``LOW_LYING`` of the best that random trials have found.
        low_lying_finds: number of times that they were found, without those by children of the same structure.
        coverage: estimated chance (Good-Turing) that one more such find is of a known structure; None without finds.
        low_lying_expected: estimated number (Chao1) of such structures, found or not; None without finds.
        cpu_seconds_per_structure: CPU time of a trial, s.
    """

    tried: int
    new_bests: int
    random_since_best: int
    confidence: float
    chance: float | None
    missing_sizes: tuple[int, ...]
    starts: int
    starts_since_best: int
    finds: int
    low_lying: int
    low_lying_finds: int
    coverage: float | None
    low_lying_expected: float | None
    cpu_seconds_per_structure: float

    @property
    def structures_per_improvement(self) -> float | None:
        """Least mean number of structures until one more new best if the rate stays; None if nothing is known."""
        return None if self.chance is None else 1 / self.chance

    @property
    def is_converged(self) -> bool:
        """Whether a lower structure that is as easy to find as the best would have been found, with the confidence.

        The random starts that found the best, over all of them, are then more than the bound on the mean chance of a
        random start since.
        """
        if self.chance is None or not self.new_bests:
            return False
        return self.finds * self.starts_since_best > sum_bound(self.new_bests, self.confidence) * self.starts

    def values(self) -> dict[str, Any]:
        """Return plain values for scripts, with the texts."""
        return {
            **asdict(self),
            "missing_sizes": list(self.missing_sizes),
            "structures_per_improvement": self.structures_per_improvement,
            "is_converged": self.is_converged,
            "text": self.text(),
        }

    def text(self) -> str:
        """Return all of it in two lines for people: what was found, and what follows; empty before the first trial."""
        return f"{self.headline()}\n{self.explanation()}" if self.tried else ""

    def headline(self) -> str:
        """Return how often the best was found, the time since then, and whether that is enough."""
        if not self.new_bests:
            return f"Nothing found in {_count(self.tried, 'trial')}."
        verdict = "a lower one as easy to find would have been found" if self.is_converged else "not converged"
        return (
            f"Best found by {self.finds} of {_count(self.starts, 'random start')}, last improvement "
            f"{_count(self.random_since_best, 'random structure')} ago: {verdict}."
        )

    def explanation(self) -> str:
        """Return what follows with the confidence, what one more improvement costs, and what it does not mean."""
        return " ".join(part for part in (self._chance_text(), self._coverage_text(), NEVER_PROVES) if part)

    def _chance_text(self) -> str:
        if self.missing_sizes:
            sizes = ", ".join(map(str, self.missing_sizes))
            share = share_of_size(self.confidence)
            return f"Chance of a lower one not stated yet: fewer than {share} random structures with Z = {sizes}."
        wait = self.structures_per_improvement
        if self.chance is None or wait is None:
            return "Chance of a lower one not stated yet: too few random structures since."
        cost = _cpu_text(wait * self.cpu_seconds_per_structure)
        return (
            f"With {100 * self.confidence:g} % confidence, the mean chance that one of these was lower is below "
            f"{100 * self.chance:.2g} %; if that rate stays, one more improvement takes at least {ceil(wait)} "
            f"structures ({cost}) on average."
        )

    def _coverage_text(self) -> str:
        if self.coverage is None or self.low_lying_expected is None:
            return ""
        structures = _count(round(self.low_lying_expected), "structure")
        return (
            f"Within {1000 * LOW_LYING:g} meV/atom of the best, {self.low_lying} of at least about {structures} "
            f"{'is' if self.low_lying == 1 else 'are'} known (coverage {100 * self.coverage:.0f} %)."
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _cpu_text(seconds: float) -> str:
    unit, length = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if seconds >= 2 * s), ("s", 1))
    return f"{seconds / length:.2g} CPU {unit}"


def evidence_of_rows(rows: Sequence[Row], settings: SearchSettings) -> Evidence:
    """Return what the records of a search, running or ended, say.

    A child that relaxes to a structure of its own line (its parent, or an ancestor of that) does not find it again.

    Args:
        rows: records of all trials in their order, also those of earlier versions.
        settings: settings of the search.
    """
    tried = [Tried(is_random(row), *_energy_and_size(row, settings)) for row in rows]
    tolerance, confidence = settings.acceptance.energy_tolerance, settings.stop_confidence
    watch = Watch().after(tried, None, tolerance)
    last_best = len(rows) - _trials_since_best(tried, tolerance)
    starts = [number for number, row in enumerate(rows) if is_random(row) and not row["parent"]]
    found = _found(rows)
    lowest: dict[str, float] = {}
    for row in rows:
        if row["status"] == CONVERGED:
            lowest[_basin(row)] = min(row["energy"], lowest.get(_basin(row), row["energy"]))
    best = min(lowest, key=lambda basin: (lowest[basin], basin), default=None)
    counts = _low_lying_counts(rows, found, {b for b, e in lowest.items() if e <= lowest[best or b] + LOW_LYING})
    missing = watch.missing_sizes(settings)
    seconds = sum(row.get("cpu_seconds") or 0.0 for row in rows)
    return Evidence(
        tried=len(rows),
        new_bests=watch.new_bests,
        random_since_best=watch.random_since_best,
        confidence=confidence,
        chance=None if missing else watch.chance(confidence),
        missing_sizes=missing,
        starts=len(starts),
        starts_since_best=sum(number >= last_best for number in starts),
        finds=sum(found[number] == best for number in starts if best),
        low_lying=len(counts),
        low_lying_finds=counts.total(),
        coverage=coverage(list(counts.values())),
        low_lying_expected=expected_number(list(counts.values())),
        cpu_seconds_per_structure=seconds / len(rows) if rows else 0.0,
    )


def is_random(row: Row) -> bool:
    """Return whether a trial was drawn at random."""
    return row["origin"] not in LISTED


def coverage(counts: Sequence[int]) -> float | None:
    """Return the estimated chance that one more find is of a known kind (Good-Turing); None without finds.

    Good, Biometrika 1953, 40, 237, DOI 10.1093/biomet/40.3-4.237.

    Args:
        counts: number of finds of each kind.
    """
    return 1 - sum(count == 1 for count in counts) / sum(counts) if counts else None


def expected_number(counts: Sequence[int]) -> float | None:
    """Return the estimated number of kinds, found or not (Chao1, corrected for bias); None without finds.

    Chao, Scand. J. Stat. 1984, 11, 265. The estimate is from below.

    Args:
        counts: number of finds of each kind.
    """
    if not counts:
        return None
    once, twice = (sum(count == number for count in counts) for number in (1, 2))
    return len(counts) + (1 - 1 / sum(counts)) * once * (once - 1) / (2 * (twice + 1))


def _energy_and_size(row: Row, settings: SearchSettings) -> tuple[float | None, int | None]:
    """Return energy (eV/atom) and number of formula units of a relaxed trial; None for both of another."""
    if row["status"] != CONVERGED:
        return None, None
    return row["energy"], row["n_atoms"] // settings.unit.n_atoms


def _trials_since_best(tried: Sequence[Tried], tolerance: float) -> int:
    """Return the number of trials of any origin since the last new best."""
    return Watch().after((t._replace(is_random=True) for t in tried), None, tolerance).random_since_best


def _basin(row: Row) -> str:
    """Return the label of the first structure that equals that of a trial."""
    return str(row["duplicate_of"] or row["label"])


def _found(rows: Sequence[Row]) -> list[str]:
    """Return, for each trial, the first structure that equals what it found; empty if it found none.

    None is found by a failed trial, and by one whose line has been there.
    """
    line: dict[str, frozenset[str]] = {}
    found = []
    for row in rows:
        basin = _basin(row) if row["status"] == CONVERGED or row["duplicate_of"] else ""
        before = line.get(row["parent"] or "", frozenset())
        line[row["label"]] = before | {basin}
        found.append("" if basin in before else basin)
    return found


def _low_lying_counts(rows: Sequence[Row], found: Sequence[str], low: set[str]) -> Counter[str]:
    """Return the number of times that random trials found each low-lying structure."""
    return Counter(basin for row, basin in zip(rows, found, strict=True) if basin in low and is_random(row))

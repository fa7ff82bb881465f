"""Parser of the pool job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode
from ase import Atoms

from aiida_fuse2.core.crystal.validity import Rejection, has_sound_cell
from aiida_fuse2.core.errors import error_text, shown_value
from aiida_fuse2.core.search.pool import ORIGIN, POOL_NUMBER
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.io.names import CHECKPOINT_FILE, POOL_FILE, PROGRESS_FILE, SUMMARY_FILE
from aiida_fuse2.io.trials import to_extxyz

from .base import WorkerParser
from .reading import read_start, read_structures, read_values


def _reasons(counts: dict[str, Any]) -> dict[str, int]:
    """Return the reasons why structures were not kept, with their numbers."""
    found: Counter[str] = Counter(counts.get("rejected", {}))
    found.update(counts.get("penalised", {}))
    found.update(counts.get("ranking", {}).get("dropped", {}))
    return dict(sorted(found.items()))


def check_counts(counts: Mapping[str, Any]) -> None:
    """Check the values that a search reads from the summary of a pool.

    Raises:
        ValueError: if a count is missing, or is not a count.
    """
    reasons = [counts.get("rejected", {}), counts.get("penalised", {})]
    ranking = counts.get("ranking", {})
    reasons.append(ranking.get("dropped", {}) if isinstance(ranking, dict) else None)
    for name, value in [("kept", counts.get("kept")), ("tried", counts.get("tried"))]:
        if not _is_count(value):
            raise ValueError(f"{SUMMARY_FILE}: {name} = {shown_value(value)} is not a count")
    if not all(isinstance(values, dict) and all(map(_is_count, values.values())) for values in reasons):
        raise ValueError(f"{SUMMARY_FILE}: reasons without counts")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def refusal_of(atoms: Atoms, settings: SearchSettings, pool_number: int) -> str | None:
    """Return why a structure of a pool is unusable, or None; whether it is worth relaxing is checked when it is drawn.

    Args:
        atoms: structure, with its values in the file.
        settings: settings of the search.
        pool_number: number of pools that the search had before.
    """
    if not has_sound_cell(atoms):
        return Rejection.CELL
    if settings.unit.z_of(atoms) is None:
        return Rejection.COMPOSITION
    if len(atoms) > settings.max_atoms:
        return Rejection.SIZE
    number, origin = atoms.info.get(POOL_NUMBER), atoms.info.get(ORIGIN)
    return None if number == pool_number and isinstance(origin, str) and origin.isidentifier() else "unknown_origin"


class GenerateParser(WorkerParser):
    """Turns pool and summary into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the files of the job."""
        folder = self.temporary_folder(kwargs)
        pool, summary = folder / POOL_FILE, folder / SUMMARY_FILE
        if not (pool.exists() and summary.exists()):
            return self._unfinished(folder)
        try:
            counts = read_values(summary)
            check_counts(counts)
        except ValueError as error:
            return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(reason=error_text(error))
        if not counts["kept"]:
            self.out("summary", orm.Dict(counts))
            return self.exit_codes.ERROR_EMPTY_POOL.format(reason=_reasons(counts))
        kept, refused = self._judged(read_structures(pool))
        if not refused and len(kept) == counts["kept"]:
            self.out("summary", orm.Dict(counts))
            self.out("pool", orm.SinglefileData(pool, filename=POOL_FILE))
            return None
        if kept:
            self.out("summary", orm.Dict({**counts, "kept": len(kept), "refused": dict(sorted(refused.items()))}))
            text = to_extxyz((atoms, atoms.info) for atoms in kept)
            self.out("pool", orm.SinglefileData.from_string(text, filename=POOL_FILE))
        reason = f"{dict(sorted(refused.items()))}, of {counts['kept']} structures {len(kept)} are usable"
        bad = max(counts["kept"] - len(kept), 0)
        return self.exit_codes.ERROR_RESULTS_REFUSED.format(bad=bad, total=counts["kept"], reason=reason)

    def _judged(self, structures: Sequence[Atoms]) -> tuple[list[Atoms], Counter[str]]:
        """Return the structures that a search can read, and the numbers of the others by reason."""
        settings = parse_settings(SearchSettings, self.node.inputs.settings.get_dict())
        number = self.node.inputs.pool_number.value
        kept, refused = [], Counter[str]()
        for atoms in structures:
            reason = refusal_of(atoms, settings, number)
            if reason is None:
                kept.append(atoms)
            else:
                refused[reason] += 1
        return kept, refused

    def _unfinished(self, folder: Path) -> ExitCode:
        """Keep the checkpoint of a job that ended early."""
        failure = self.failure()
        checkpoint = folder / CHECKPOINT_FILE
        if failure.status == self.exit_codes.ERROR_INPUT_REFUSED.status or not checkpoint.exists():
            return failure
        text = read_start(checkpoint).decode(errors="replace")
        finished = max(text.count("\n") - 1, 0)
        if not finished:
            return failure
        self.out("checkpoint", orm.SinglefileData.from_string(text, filename=CHECKPOINT_FILE))
        total = "?"
        with suppress(OSError, ValueError, KeyError):
            total = shown_value(read_values(folder / PROGRESS_FILE)["units"])
        return self.exit_codes.ERROR_POOL_INCOMPLETE.format(finished=finished, total=total)

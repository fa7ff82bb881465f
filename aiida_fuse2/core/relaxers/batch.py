"""Relaxes many structures at once: each has its own optimiser, and one evaluation of the potential serves all.

As structures end, waiting ones take their places. What a batch may take of the memory is fixed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ase import Atoms

from aiida_fuse2.core.errors import error_text, is_out_of_memory
from aiida_fuse2.core.potentials.evaluation import BatchEvaluator, Evaluation, Geometry, Steps
from aiida_fuse2.core.settings import RelaxSettings

from .driver import RelaxedStructure, relaxation

LOGGER = logging.getLogger(__name__)

HALVINGS = "halvings"
"""Value of a result: how often its batch was halved before it ended, because evaluating the whole failed."""

Key = TypeVar("Key")


@dataclass(eq=False)
class _Member(Generic[Key]):
    """A structure in the batch.

    Attributes:
        key: what the caller knows it by.
        steps: its relaxation.
        seconds: CPU seconds that it has taken, its part of the evaluations included.
        prepared: the geometry that it waits for, as the evaluator takes it.
        result: its result once it has ended; None if memory was lacking for it alone.
    """

    key: Key
    steps: Steps[RelaxedStructure]
    seconds: float = 0.0
    prepared: Any = None
    result: RelaxedStructure | None = None


def relax_batch(
    structures: Iterable[tuple[Key, Atoms]],
    evaluator: BatchEvaluator[Any],
    settings: RelaxSettings,
    *,
    max_bytes: float,
    halvings: int = 0,
) -> Iterator[tuple[Key, RelaxedStructure | None]]:
    """Relax structures together and yield each with its result as soon as it is finished.

    Results are those of ``relax`` except for rounding. If memory is lacking, the batch is halved and stays so. If
    evaluating fails otherwise, halves are tried until the structure is found that causes it, and only that one fails.

    Args:
        structures: in the order in which they begin; not changed.
        evaluator: from ``make_evaluator``.
        settings: of the tier, with the optimiser of this package.
        max_bytes: memory of the structures that are evaluated at once, bytes; one that takes more is evaluated alone.
        halvings: how often the batch was halved before.

    Yields:
        The key of each structure and its result; None if memory is lacking even for it alone.
    """
    batch: _Batch[Key] = _Batch(evaluator, settings, max_bytes, halvings)
    waiting = iter(structures)
    while True:
        batch.fill(waiting)
        yield from batch.ended()
        if not batch.active:
            return
        batch.evaluate()
        yield from batch.ended()


class _Batch(Generic[Key]):
    """The structures that are relaxed at present."""

    def __init__(
        self, evaluator: BatchEvaluator[Any], settings: RelaxSettings, max_bytes: float, halvings: int
    ) -> None:
        self.active: deque[_Member[Key]] = deque()
        self._ended: list[_Member[Key]] = []
        self._evaluator, self._settings = evaluator, settings
        self._max_bytes, self._halvings = max_bytes, halvings

    def fill(self, waiting: Iterator[tuple[Key, Atoms]]) -> None:
        """Begin with waiting structures until the memory is used."""
        while _bytes(self.active) < self._max_bytes:
            try:
                key, atoms = next(waiting)
            except StopIteration:
                return
            self._continue(_Member(key, relaxation(atoms, self._evaluator, self._settings)), None)

    def ended(self) -> Iterator[tuple[Key, RelaxedStructure | None]]:
        """Yield the structures that have ended since the last call."""
        for member in self._ended:
            if member.result is not None:
                member.result.values["cpu_seconds"] = round(member.seconds, 4)
                if self._halvings:
                    member.result.values[HALVINGS] = self._halvings
            yield member.key, member.result
        self._ended = []

    def evaluate(self) -> None:
        """Evaluate the structures that have waited longest, as many as fit, and continue with them."""
        chosen = [self.active.popleft()]
        while self.active and _bytes([*chosen, self.active[0]]) <= self._max_bytes:
            chosen.append(self.active.popleft())
        for member, outcome in zip(chosen, self._outcomes(chosen), strict=True):
            self._continue(member, outcome)

    def _outcomes(self, chosen: list[_Member[Key]]) -> list[Evaluation | Exception]:
        """Return what evaluating gave for each; halves are evaluated where the whole cannot be."""
        started = time.process_time()
        try:
            return list(self._evaluator.evaluate_prepared([member.prepared for member in chosen]))
        except Exception as error:  # noqa: BLE001 - one structure must not harm the others
            problem = error.with_traceback(None)  # which keeps the memory of the evaluation
        finally:
            seconds = time.process_time() - started
            for member in chosen:
                member.seconds += seconds * member.prepared.n_bytes / _bytes(chosen)
        if len(chosen) == 1:
            return [problem]
        self._halvings += 1
        if is_out_of_memory(problem):
            self._max_bytes = _bytes(chosen) / 2
        names = ", ".join(str(member.key) for member in chosen)
        LOGGER.warning("halves of a batch are tried, since %s: %s", error_text(problem), names)
        middle = len(chosen) // 2
        return self._outcomes(chosen[:middle]) + self._outcomes(chosen[middle:])

    def _continue(self, member: _Member[Key], outcome: Evaluation | Exception | None) -> None:
        """Continue with a structure until it waits for an evaluation, or has ended.

        Args:
            member: the structure.
            outcome: of its last evaluation; None before the first.
        """
        started = time.process_time()
        try:
            geometry = _next_geometry(member.steps, outcome)
            while True:
                try:
                    member.prepared = self._evaluator.prepare(*geometry)
                    break
                except Exception as error:  # noqa: BLE001 - as in ``run_steps``
                    geometry = member.steps.throw(error)
        except StopIteration as end:
            member.result = end.value
        except MemoryError as error:
            LOGGER.warning("memory is lacking for %s: %s", member.key, error_text(error))
        else:
            self.active.append(member)
            return
        finally:
            member.seconds += time.process_time() - started
        self._ended.append(member)


def _bytes(members: Iterable[_Member[Any]]) -> float:
    return float(sum(member.prepared.n_bytes for member in members))


def _next_geometry(steps: Steps[RelaxedStructure], outcome: Evaluation | Exception | None) -> Geometry:
    if outcome is None:
        return next(steps)
    return steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)

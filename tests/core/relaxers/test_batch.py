"""Relaxing many structures at once, with potentials that cost little: results, places, memory, failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.batch import HALVINGS, relax_batch
from aiida_fuse2.core.relaxers.results import checked_values
from tests.conftest import EMT

from .potentials import alloy, emt

SIZE = 10.0
"""What each structure takes of the memory here, bytes."""


@dataclass
class Taken:
    """A structure as the evaluators of these tests take it."""

    geometry: tuple
    n_bytes: float


class Together:
    """Evaluates each structure of a batch with EMT, and remembers how many there were."""

    name = "emt"

    def __init__(self, refused=lambda _taken: None):
        self.inner, self.refused, self.sizes = emt(), refused, []

    def evaluate(self, *geometry):
        return self.inner.evaluate(*geometry)

    def prepare(self, *geometry):
        return Taken(geometry, SIZE * len(geometry[0]) / 4)

    def evaluate_prepared(self, structures):
        self.sizes.append(len(structures))
        problem = self.refused(structures)
        if problem is not None:
            raise problem
        return [self.evaluate(*taken.geometry) for taken in structures]


@pytest.fixture
def tier(relax_settings):
    return relax_settings(**EMT)


def starts(n=12):
    return [alloy(0.02 + 0.02 * k, seed=k, strain=0.02) for k in range(n)]


def relaxed(evaluator, tier, structures, places=4, **options):
    return dict(relax_batch(enumerate(structures), evaluator, tier, max_bytes=places * SIZE, **options))


def same(found, expected):
    values = [{k: v for k, v in r.to_dict().items() if k not in {"cpu_seconds", HALVINGS}} for r in (found, expected)]
    return values[0] == values[1] and np.array_equal(found.atoms.positions, expected.atoms.positions)


@pytest.mark.parametrize("places", [1, 4, 100])
def test_results_are_those_of_single_relaxations(tier, places):
    evaluator = Together()
    found = relaxed(evaluator, tier, starts(), places)
    assert sorted(found) == list(range(12))
    for number, start in enumerate(starts()):
        assert same(found[number], relax(start, emt(), tier))
        assert found[number].values["cpu_seconds"] > 0
        assert HALVINGS not in found[number].values


def test_cpu_time_is_shared_among_the_structures_of_a_batch(tier, monkeypatch):
    """A clock that only evaluations move: each takes a second, whatever is in it."""
    evaluator, clock = Together(), [0.0]
    monkeypatch.setattr("aiida_fuse2.core.relaxers.batch.time.process_time", lambda: clock[0])

    def tick(_taken):
        clock[0] += 1.0

    evaluator.refused = tick
    found = relaxed(evaluator, tier, starts())
    assert sum(result.values["cpu_seconds"] for result in found.values()) == pytest.approx(clock[0], abs=0.01)
    assert clock[0] == len(evaluator.sizes)


def test_waiting_structures_take_the_places_of_those_that_end(tier):
    evaluator = Together()
    found = relaxed(evaluator, tier, starts())
    evaluations = sum(result.values["evaluations"] for result in found.values())
    assert sum(evaluator.sizes) == evaluations
    longest = max(result.values["evaluations"] for result in found.values())
    assert max(evaluator.sizes) == 4
    assert len(evaluator.sizes) <= evaluations / 4 + longest
    numbers = [result.values["evaluations"] for result in found.values()]
    assert numbers != sorted(numbers), "no structure ended before one that began earlier"


def test_memory_is_not_exceeded_except_by_one_alone(tier):
    evaluator = Together()
    used = []
    evaluator.refused = lambda taken: used.append([one.n_bytes for one in taken])
    mixed = [starts(1)[0] * (2, 1, 1), *starts(5), starts(1)[0] * (2, 2, 2)]
    found = relaxed(evaluator, tier, mixed, places=3)
    assert all(result.status == "converged" for result in found.values())
    assert all(sum(sizes) <= 3 * SIZE or sizes == [8 * SIZE] for sizes in used)
    assert [8 * SIZE] in used


def test_lack_of_memory_halves_the_batch_for_good(tier, caplog):
    def refused(taken):
        return RuntimeError("CUDA out of memory. Tried to allocate 2 GiB") if len(taken) > 3 else None

    evaluator = Together(refused)
    found = relaxed(evaluator, tier, starts(), places=8)
    assert [size for size in evaluator.sizes if size > 3] == [8, 4, 4]
    assert next(record.message.partition("GiB: ")[2] for record in caplog.records) == "0, 1, 2, 3, 4, 5, 6, 7"
    for number, start in enumerate(starts()):
        assert same(found[number], relax(start, emt(), tier))
        assert found[number].values[HALVINGS] == 3
        assert checked_values(found[number].to_dict())[HALVINGS] == 3


def test_lack_of_memory_for_one_alone_is_not_its_fault(tier):
    large = starts(1)[0] * (2, 2, 2)

    def refused(taken):
        return RuntimeError("out of memory") if any(one.n_bytes > 4 * SIZE for one in taken) else None

    found = relaxed(Together(refused), tier, [*starts(3), large])
    assert found.pop(3) is None
    assert [result.status for result in found.values()] == ["converged"] * 3


def test_only_the_structure_that_breaks_a_batch_fails(tier):
    silver = starts(1)[0]
    silver.numbers[:] = 47

    def refused(taken):
        return ZeroDivisionError("broken") if any(47 in one.geometry[0] for one in taken) else None

    evaluator = Together(refused)
    structures = [*starts(4), silver, *starts(3)]
    found = relaxed(evaluator, tier, structures, places=8)
    assert found[4].status == "calculator_error"
    assert "ZeroDivisionError: broken" in found[4].detail
    assert found[4].values["evaluations"] == 1
    assert max(evaluator.sizes[4:]) == 7, "the batch is whole again without it"
    for number, start in enumerate(structures):
        assert number == 4 or same(found[number], relax(start, emt(), tier))


def test_a_structure_that_cannot_be_prepared_or_evaluated_fails_by_name(tier):
    class Choosy(Together):
        def prepare(self, *geometry):
            if 47 in geometry[0]:
                raise RelaxationError("too_dense", "silver")
            return super().prepare(*geometry)

        def evaluate_prepared(self, structures):
            found = super().evaluate_prepared(structures)
            broken = RelaxationError("energy_not_finite", "gold")
            return [broken if (s.geometry[0] == 79).all() else f for s, f in zip(structures, found, strict=True)]

    silver, gold = starts(2)
    silver.numbers[:], gold.numbers[:] = 47, 79
    apart = Atoms("Cu", cell=[30.0] * 3, pbc=True)
    found = relaxed(Choosy(), tier, [silver, *starts(2), gold, apart])
    statuses = [found[k].status for k in range(5)]
    assert statuses == ["too_dense", "converged", "converged", "energy_not_finite", "isolated_atom"]
    assert [found[k].values["evaluations"] for k in (0, 3, 4)] == [1, 1, 0]


def test_no_structures_need_no_evaluation(tier):
    assert relaxed(Together(lambda _: pytest.fail("evaluated")), tier, []) == {}

"""Many structures at once in PyTorch: each has the result that it has alone, whatever the others are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet.graph import side_by_side

from .agreement import MODELS, assert_agreement, deviation, evaluate, quick_cases, tolerance
from .test_graph import directed_rows, graph_of, sorted_rows, structures

pytest.importorskip("torch")
pytest.importorskip("chgnet")

DOUBLE = 1e-6
"""Fraction of the tolerance that is allowed in double precision, where rounding errors hide no mistake."""

N_SMALL = 30

WITHOUT_ANGLES = -1
"""Place of a structure without angles among the small ones."""


@cache
def small():
    """Structures of every kind that cost little."""
    cases = [case for case in quick_cases() if len(case.atoms) < 30]
    chosen = [case for case in cases if case.label != "hcp"][:: len(cases) // N_SMALL + 1]
    return [*chosen, *(case for case in cases if case.label == "hcp")]


def test_the_last_of_the_small_ones_has_no_angles():
    assert graph_of(small()[WITHOUT_ANGLES].atoms).n_pairs == 0 < graph_of(small()[0].atoms).n_pairs


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def evaluator(model):
    return evaluator_of(model, "float32")


def evaluator_of(model, dtype):
    from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet

    return TorchChgnet(model, dtype=dtype)


def prepared(evaluator, atoms):
    return evaluator.prepare(atoms.numbers, atoms.positions, atoms.cell.array)


class Among:
    """An evaluator that computes each structure between others."""

    def __init__(self, evaluator, others):
        self.evaluator, self.name = evaluator, evaluator.name
        self.others = [prepared(evaluator, atoms) for atoms in others]

    def evaluate(self, numbers, positions, cell):
        own = self.evaluator.prepare(numbers, positions, cell)
        return self.evaluator.evaluate_prepared([self.others[0], own, *self.others[1:]])[1]


@settings(max_examples=60, deadline=None)
@given(some=st.lists(structures(), min_size=1, max_size=4))
def test_graphs_side_by_side_have_the_bonds_and_angles_of_each(some):
    try:
        graphs = [graph_of(atoms) for atoms in some]
    except RelaxationError:
        reject()  # an isolated atom
    joined = side_by_side(graphs)
    starts = np.cumsum([0, *(graph.n_atoms for graph in graphs)])
    bonds, angles = [], []
    for graph, start in zip(graphs, starts, strict=False):
        rows = directed_rows(graph) + np.array([start, start, 0, 0, 0])
        bonds.append(rows)
        angles.append(np.hstack([rows[graph.first], rows[graph.second]]))
    rows = directed_rows(joined)
    found = np.hstack([rows[joined.first], rows[joined.second]])
    assert np.array_equal(sorted_rows(rows), sorted_rows(np.concatenate(bonds)))
    assert np.array_equal(sorted_rows(found), sorted_rows(np.concatenate(angles)))
    assert (joined.lengths[: joined.n_short] < 3.0).all()
    assert (joined.lengths[joined.n_short :] >= 3.0).all()
    assert np.allclose(np.linalg.norm(joined.vectors, axis=1), joined.lengths)
    assert joined.n_bytes == pytest.approx(sum(graph.n_bytes for graph in graphs))


def test_is_the_same_function_in_double_precision(model):
    exact = evaluator_of(model, "float64")
    cases = small()
    together = exact.evaluate_prepared([prepared(exact, case.atoms) for case in cases])
    for case, found in zip(cases, together, strict=True):
        alone = evaluate(exact, case.atoms)
        assert deviation(found, alone).over(tolerance(alone)).largest < DOUBLE, case.label


def test_agrees_with_stock_among_others(evaluator, model):
    others = [case.atoms for case in small()[::6]]
    assert_agreement(Among(evaluator, others), model, small()[1::3])


@pytest.fixture(scope="module")
def default():
    return evaluator_of(MODELS[0], "float32")


@pytest.fixture(scope="module")
def alone(default):
    return [evaluate(default, case.atoms) for case in small()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(-1, 15), min_size=1, max_size=8))
@example(chosen=[WITHOUT_ANGLES, 0, 0, WITHOUT_ANGLES])
@example(chosen=[WITHOUT_ANGLES])
def test_others_and_their_order_change_nothing(default, alone, chosen):
    found = default.evaluate_prepared([prepared(default, small()[k].atoms) for k in chosen])
    for k, evaluation in zip(chosen, found, strict=True):
        assert deviation(evaluation, alone[k]).over(tolerance(alone[k])).largest < 1, small()[k].label


def test_a_structure_without_numbers_harms_no_other(default, alone):
    good = [prepared(default, small()[k].atoms) for k in range(3)]
    graph = good[1].graph
    bad = replace(good[1], graph=replace(graph, lengths=np.full_like(graph.lengths, np.nan)))
    first, broken, last = default.evaluate_prepared([good[0], bad, good[2]])
    assert isinstance(broken, RelaxationError)
    assert broken.reason == "energy_not_finite"
    for found, k in ((first, 0), (last, 2)):
        assert deviation(found, alone[k]).over(tolerance(alone[k])).largest < 1

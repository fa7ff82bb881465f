"""The memory of L-BFGS against the Hessian that it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.relaxers.curvature import CurvatureMemory

N_ATOMS = 2
SHAPE = (N_ATOMS + 3, 3)
SIZE = 15


def filled(hessian, steps, size=30):
    memory = CurvatureMemory(N_ATOMS, size, 20.0)
    for step in steps:
        memory.add(step, (hessian @ step.ravel()).reshape(SHAPE))
    return memory


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def hessian(rng):
    root = rng.normal(size=(SIZE, SIZE))
    return root @ root.T + np.eye(SIZE)


def test_without_memory_it_is_steepest_descent(rng):
    gradient = rng.normal(size=SHAPE)
    assert np.allclose(CurvatureMemory(N_ATOMS, 5, 20.0).newton_step(gradient), -gradient / 20.0)


def test_secant_equation_of_the_last_step(rng, hessian):
    steps = rng.normal(size=(6, *SHAPE))
    change = (hessian @ steps[-1].ravel()).reshape(SHAPE)
    assert np.allclose(filled(hessian, steps).newton_step(change), -steps[-1])


def test_conjugate_steps_make_the_exact_hessian(rng, hessian):
    directions = np.linalg.eigh(hessian)[1].T.reshape(SIZE, *SHAPE)
    gradient = rng.normal(size=SHAPE)
    found = filled(hessian, directions).newton_step(gradient)
    assert np.allclose(found.ravel(), -np.linalg.solve(hessian, gradient.ravel()))


def test_oldest_steps_are_forgotten(rng, hessian):
    steps = rng.normal(size=(8, *SHAPE))
    gradient = rng.normal(size=SHAPE)
    memory = filled(hessian, steps, size=3)
    assert len(memory) == 3
    assert np.allclose(memory.newton_step(gradient), filled(hessian, steps[-3:]).newton_step(gradient))


def test_a_ridge_clears_it(rng, hessian):
    memory = filled(hessian, rng.normal(size=(4, *SHAPE)))
    step = rng.normal(size=SHAPE)
    memory.add(step, -step)
    assert len(memory) == 0

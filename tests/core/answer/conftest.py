"""Fixtures of the answer: its settings, CHGNet, and structures as a search would have relaxed them."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.relaxers import evaluator_of, relax
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from tests.kernels import need_compiler


@pytest.fixture
def answer_settings():
    """A factory of settings from the protocol."""

    def build(**changes):
        return parse_settings(AnswerSettings, {**protocol_inputs(name="finish")["settings"], **changes})

    return build


@pytest.fixture(scope="session")
def chgnet():
    """Settings and evaluator of CHGNet, as searches have them."""
    need_compiler()
    tier = parse_settings(RelaxSettings, protocol_inputs()["relax"]["settings"])
    return tier, evaluator_of(tier)


@pytest.fixture(scope="session")
def as_searched(chgnet):
    """A function that returns a structure distorted and relaxed as in a search, without symmetry."""
    tier, evaluator = chgnet

    def find(atoms, repeat=(1, 1, 1), seed=0):
        rng = np.random.default_rng(seed)
        start = atoms.repeat(repeat)
        start.set_cell(start.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
        start.positions += 0.05 * rng.standard_normal(start.positions.shape)
        relaxed = relax(start, evaluator, tier)
        assert relaxed.status == "converged"
        return relaxed.atoms

    return find

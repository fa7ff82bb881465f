"""The words about a phase."""

from __future__ import annotations

from aiida_fuse2.core.answer.stability import Stability
from aiida_fuse2.core.answer.statement import statement

from .test_ladder import rung


def test_distortion_within_the_error(answer_settings):
    rungs = [rung("R3m", 1.2, -8.4241), rung("Pm-3m", 9.6, -8.4236)]
    text = statement(rungs, 1, answer_settings(), name="Cubic Perovskite (CaTiO3, cP5)")
    assert text == "Pm-3m (Cubic Perovskite); R3m distortion 0.5 meV/atom lower, less than the error of the potential"
    text = statement(rungs, 1, answer_settings(), stability=Stability(-1.74, {"Γ": -1.74, "(½, ½, ½)": -1.0}))
    assert text.endswith("; unstable against small displacements (1.7i THz at Γ)")


def test_saddle_point_is_one(answer_settings):
    rungs = [rung("P4mm", 1.6, -8.0266), rung("Pm-3m", 9.6, -8.0166)]
    text = statement(rungs, 0, answer_settings(), name="unknown type")
    assert text == "P4mm; Pm-3m lies 10.0 meV/atom higher: a saddle point"
    rungs = [rung("I4cm", 1.6, -8.4250), rung("I4/mcm", 3.2, -8.4242), rung("Pm-3m", 9.6, -8.4239, 0.10)]
    text = statement(rungs, 1, answer_settings(energy=0.001))  # Pm-3m is 1.1 meV/atom above the lowest rung, and near
    assert text.endswith("; Pm-3m lies 0.3 meV/atom higher: a saddle point")


def test_other_form_is_one(answer_settings):
    rungs = [rung("P3_221", 0.67, -8.3401), rung("P6_222", 1.3, -8.3393, 0.16)]
    text = statement(rungs, 0, answer_settings(), stability=Stability(0.0, {}))
    assert text == "P3_221; P6_222 is 0.16 Å away at +0.8 meV/atom: another structure"

"""Outputs of GULP: recorded ones where they are, and one written by hand for each way to end."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.relaxers.gulp import Outcome, read_output
from tests.recorded import RECORDED, needs_recorded

HEAD = """
********************************************************************************
* Version = 5.2.0 * Last modified =  by hand                                   *
********************************************************************************
*  optimise     - perform optimisation run                                     *
*  conp         - constant pressure calculation                                *
********************************************************************************
  Total number atoms/shells =       2

  Cartesian lattice vectors (Angstroms) :

        4.000000    0.000000    0.000000
        0.000000    4.000000    0.000000
        0.000000    0.000000    4.000000

  Total lattice energy       =         -10.00000000 eV
  Start of bulk optimisation :

  Cycle:      0 Energy:       -10.000000  Gnorm:      2.000000  CPU:    0.006
  Cycle:      1 Energy:       -11.000000  Gnorm:      0.050000  CPU:    0.022
"""

END = """
  Final energy =     -11.50000000 eV
  Final Gnorm  =       0.02000000

  Final fractional coordinates of atoms :

--------------------------------------------------------------------------------
   No.  Atomic        x           y          z          Radius
        Label       (Frac)      (Frac)     (Frac)       (Angs)
--------------------------------------------------------------------------------
     1  Mg    c     0.000000    0.000000    0.000000    0.000000
     2  O     c     0.500000    0.500000    0.510000    0.000000
--------------------------------------------------------------------------------

  Final Cartesian lattice vectors (Angstroms) :

        4.100000    0.000000    0.000000
        0.000000    4.200000    0.000000
        0.000000    0.000000    4.300000

  Total CPU time                                                  0.3677
  Job Finished at 06:13.07 11th July       2019
"""


def by_hand(message="Optimisation achieved", end=END):
    return f"{HEAD}\n\n  **** {message} ****\n\n{end}"


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("Optimisation achieved", Outcome.ACHIEVED),
        ("No variables to optimise - single point performed", Outcome.ACHIEVED),
        ("Conditions for a minimum have not been satisfied. However", Outcome.NO_MINIMUM),
        ("Too many failed attempts to optimise", Outcome.NO_MINIMUM),
        ("Maximum number of function calls has been reached", Outcome.STEP_LIMIT),
        ("CPU limit has been exceeded - restart optimisation", Outcome.TIME_LIMIT),
    ],
)
def test_every_way_to_end(message, outcome):
    found = read_output(by_hand(message))
    assert (found.outcome, found.version) == (outcome, "5.2.0")
    assert (found.energy, found.gnorm, found.n_atoms, found.cycles) == (-11.5, 0.02, 2, 1)
    assert (found.symbols, found.cpu_seconds) == (("Mg", "O"), 0.3677)
    assert np.allclose(found.fractional[1], [0.5, 0.5, 0.51])
    assert np.allclose(found.cell, np.diag([4.1, 4.2, 4.3]))


def test_pressure_turns_energy_into_enthalpy():
    found = read_output(by_hand(end=END.replace("Final energy", "Final enthalpy")))
    assert (found.energy, found.is_enthalpy) == (-11.5, True)


def test_a_fixed_cell_is_that_of_the_start():
    end = END.replace("Final Cartesian lattice vectors (Angstroms) :", "").replace("4.100000", "9.9 9.9")
    assert np.allclose(read_output(by_hand(end=end)).cell, 4 * np.eye(3))


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        ("-11.50000000 eV", "**************** eV", Outcome.OVERFLOW),
        ("0.02000000", "**********", Outcome.OVERFLOW),
        ("0.510000", "********", Outcome.OVERFLOW),
        ("0.500000    0.500000    0.510000", "***********************************", Outcome.OVERFLOW),
        ("4.300000", "************", Outcome.OVERFLOW),
        ("-11.50000000 eV", "NaN eV", Outcome.NOT_FINITE),
        ("0.510000", "NaN", Outcome.NOT_FINITE),
        ("4.300000", "Infinity", Outcome.NOT_FINITE),
    ],
)
def test_numbers_that_are_none(old, new, outcome):
    assert read_output(by_hand(end=END.replace(old, new))).outcome is outcome


@pytest.mark.parametrize("cut", [0, 10, 400, len(HEAD), len(by_hand()) // 2 + 400, len(by_hand()) - 60])
def test_a_file_that_is_cut_off(cut):
    assert read_output(by_hand()[:cut]).outcome is Outcome.TRUNCATED


def test_time_is_up_without_the_last_line():
    text = by_hand("CPU limit has been exceeded - restart optimisation").partition("  Final energy")[0]
    assert read_output(text).outcome is Outcome.TIME_LIMIT


def test_an_error_of_gulp():
    found = read_output(f"{HEAD}\n!! ERROR : incorrect potential input\n!!!!\n")
    assert (found.outcome, found.detail) == (Outcome.INPUT_ERROR, "incorrect potential input")


@given(st.integers(0, len(by_hand())), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read(place, text):
    assert read_output(by_hand()[:place] + text + by_hand()[place:]).outcome in set(Outcome)


RECORDS = [
    ("fuse102_srtio3_v4.3.5.got", "4.3.5", Outcome.ACHIEVED, -158.58354625, 5, 3.953906),
    ("aiidagulp_optimize_lj_pyrite_main.gout", "4.5.3", Outcome.ACHIEVED, -17.47113113, 12, 2.455770),
    ("aiidagulp_single_lj_pyrite_main.gout", "4.5.3", Outcome.SINGLE, -0.32809466, 12, 5.38),
    ("aiidagulp_failed_opt_step_limit.gout", "4.0.3", Outcome.NO_MINIMUM, -23.26168512, 0, 5.39),
    ("aiidagulp_failed_empty_error.gout", "4.5.3", Outcome.INPUT_ERROR, None, 0, None),
    ("si512_v5.2.0.gout", "5.2.0", Outcome.ACHIEVED, -2118.13548952, 512, 21.889317),
    ("sisl_graphene_zz_v6.1.2.gout.gz", "6.1.2", Outcome.ACHIEVED, -946.57342108, 128, 17.04),
]


@needs_recorded
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record[0])
def test_recorded_outputs(record):
    name, version, outcome, energy, n_placed, a = record
    path = RECORDED / name
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith(".gz") else path.read_text()
    found = read_output(text)
    assert (found.version, found.outcome, found.energy) == (version, outcome, energy)
    assert len(found.symbols) == n_placed  # a structure with symmetry is printed as its asymmetric unit
    assert (found.cell is None) if a is None else found.cell[0, 0] == pytest.approx(a)


@needs_recorded
def test_every_recorded_output_is_in_the_table():
    names = {p.name for p in RECORDED.iterdir() if p.name.removesuffix(".gz").endswith((".got", ".gout"))}
    assert names == {record[0] for record in RECORDS}

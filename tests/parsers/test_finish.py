"""The files of a finishing job that are not what they should be."""

from __future__ import annotations

import json

import pytest
from aiida import orm

from aiida_fuse2.core.answer.ladder import climb
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.io.names import RESULTS_FILE, RUNGS_FILE, STDERR_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.finishing import write_ladders
from tests.conftest import EMT
from tests.core.relaxers.test_results import alloy
from tests.trials import make_trial

DID_NOT_RUN, INCOMPLETE, REFUSED, UNREADABLE = 310, 320, 322, 410


@pytest.fixture
def parse_finish(parse, relax_settings, tmp_path):
    """A function that parses a job of two structures after a change of its lines or geometries."""
    tier = relax_settings(**EMT)
    values = protocol_inputs(name="finish")["settings"]
    trials = [make_trial(0, alloy(seed=0)), make_trial(1, alloy(gold=2))]
    settings, evaluator = parse_settings(AnswerSettings, values), make_evaluator(tier)
    write_ladders(tmp_path, ((trial, climb(trial.atoms, evaluator, tier, settings)) for trial in trials))

    def run(lines=lambda lines: lines, rungs=lambda text: text, **files):
        written = (tmp_path / RESULTS_FILE).read_text().splitlines(keepends=True)
        (tmp_path / RESULTS_FILE).write_text("".join(lines(written)))
        (tmp_path / RUNGS_FILE).write_text(rungs((tmp_path / RUNGS_FILE).read_text()))
        inputs = {
            "trials": orm.SinglefileData.from_string(trials_to_text(trials), filename=TRIALS_FILE),
            "settings": orm.Dict(values),
            "relax": orm.Dict(tier.model_dump()),
        }
        return parse("fuse2.finish", inputs, **files)

    return run


def changed(line, **values):
    return json.dumps({**json.loads(line), **values}) + "\n"


def test_good_files_are_taken_as_they_are(parse_finish):
    outputs, code = parse_finish()
    assert code is None
    rows = outputs["results"]["by_label"]
    assert [row["status"] for row in rows.values()] == ["converged"] * 2
    frames = from_extxyz(outputs["rungs"].get_content())
    assert len(frames) == sum(len(row["rungs"]) for row in rows.values())


@pytest.mark.parametrize(
    ("lines", "rungs", "status", "n_left"),
    [
        (lambda lines: lines[:1], lambda text: text, INCOMPLETE, 1),
        (lambda lines: [lines[0], lines[1][:-40]], lambda text: text, INCOMPLETE, 1),
        (lambda lines: [lines[0], changed(lines[1], fmax=None)], lambda text: text, REFUSED, 2),
        (lambda lines: [lines[0], *lines], lambda text: text, REFUSED, 2),
        (lambda lines: lines, lambda _: "", REFUSED, 2),
        (lambda lines: lines, lambda text: text.replace("Au", "Ag"), REFUSED, 2),
        (lambda _: ["nonsense\n", "{}\n"], lambda text: text, UNREADABLE, 0),
        (lambda _: [], lambda text: text, DID_NOT_RUN, 0),
    ],
)
def test_bad_files_have_their_exit_status(parse_finish, lines, rungs, status, n_left):
    outputs, code = parse_finish(lines, rungs, kept={STDERR_FILE: b"killed"})
    assert code.status == status
    assert len(outputs["results"]["by_label"] if "results" in outputs else {}) == n_left

"""Pieces of work that kill or block their process, and processes whose job is gone."""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ase.build import bulk

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.io.names import ERROR_FILE, JOB_FILE, RESULTS_FILE, STDERR_FILE, TRIALS_FILE, WALL_SECONDS
from aiida_fuse2.io.trials import trials_to_text
from aiida_fuse2.worker import processes
from aiida_fuse2.worker.processes import Lost, WorkerError, run_all
from aiida_fuse2.worker.wall_time import OutOfTimeError, limited
from tests.conftest import EMT
from tests.trials import make_trial

ROOT = Path(__file__).resolve().parents[2]

ENOUGH = 120.0
"""How long processes may take to begin or to be gone, s; more than they need on a busy machine."""


class UnpicklableError(Exception):
    def __reduce__(self):
        raise TypeError("stays here")


class Unreadable:
    """Is sent, and cannot be read."""

    def __reduce__(self):
        return int, ("no number",)


def signals_itself(number):
    os.kill(os.getpid(), number)
    return "went on"


def crashes():
    faulthandler.disable()  # pytest's own, which would write where it was
    signals_itself(signal.SIGSEGV)


def raises(kind):
    raise kind("at work")


WORK = {
    "killed": lambda: signals_itself(signal.SIGKILL),
    "crashed": crashes,
    "asked to end": lambda: signals_itself(signal.SIGTERM),
    "whole group": lambda: os.killpg(0, signal.SIGKILL),
    "left": lambda: os._exit(0),
    "left badly": lambda: os._exit(7),
    "closed": lambda: os.closerange(3, 256),
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: raises(KeyboardInterrupt),
    "error": lambda: raises(ValueError),
    "strange error": lambda: raises(UnpicklableError),
    "strange result": lambda: lambda: None,
    "unreadable": Unreadable,
}

EXPECTED = {
    "killed": Lost("process_died", "its process was ended by SIGKILL"),
    "crashed": Lost("process_died", "its process was ended by SIGSEGV"),
    "asked to end": Lost("process_died", "its process was ended by SIGTERM"),
    "whole group": Lost("process_died", "its process was ended by SIGKILL"),
    "left": Lost("process_died", "its process ended with exit code 0"),
    "left badly": Lost("process_died", "its process ended with exit code 7"),
    "exit": Lost("calculator_error", "SystemExit: 3"),
    "interrupt": Lost("calculator_error", "KeyboardInterrupt: at work"),
    "error": Lost("calculator_error", "ValueError: at work"),
    "strange error": Lost("calculator_error", "UnpicklableError: at work"),
}


def do(piece):
    return WORK[piece]() if piece in WORK else piece.upper()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_killer_is_named_and_no_other_is_touched(count):
    innocent = [f"innocent {i}" for i in range(4)]
    work = [piece for pair in zip(WORK, innocent * 4, strict=False) for piece in pair]
    found = list(run_all(do, work, count))
    assert sorted(piece for piece, _ in found) == sorted(work)  # each once
    outcomes = dict(found)
    assert {piece: outcomes[piece] for piece in innocent} == {piece: piece.upper() for piece in innocent}
    assert {piece: outcomes[piece] for piece in EXPECTED} == EXPECTED
    reasons = {piece: outcomes[piece].reason for piece in WORK if piece not in EXPECTED}
    assert reasons == {"closed": "process_died"} | dict.fromkeys(["strange result", "unreadable"], "calculator_error")


def at_first(folder, how, times, piece):
    """Do a piece; strike at ``bad``, the first times, and note each begin."""
    with (folder / piece).open("a") as notes:
        notes.write("begun\n")
    if piece == "bad" and len((folder / piece).read_text().split()) <= times:
        os.kill(os.getpid(), how)
    return piece.upper()


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_not_its_fault_costs_a_piece_nothing(tmp_path, count):
    work = ["a", "bad", "c", "d"]
    found = run_all(functools.partial(at_first, tmp_path, signal.SIGKILL, 2), work, count)
    assert dict(found) == {piece: piece.upper() for piece in work}
    assert {piece: len((tmp_path / piece).read_text().split()) for piece in work} == {"a": 1, "bad": 3, "c": 1, "d": 1}


def hang_or_do(piece):
    if piece == "hangs":
        time.sleep(3600)
    return piece.upper()


def test_what_hangs_for_ever_is_named():
    with limited(12.0):
        found = dict(run_all(hang_or_do, ["hangs", "b"], 2))
    assert (found["hangs"].reason, found["b"]) == ("wall_time", "B")


def test_another_job_does_what_waited_for_what_hangs():
    found = []
    with limited(12.0), pytest.raises(OutOfTimeError, match="1 pieces"):
        found.extend(run_all(hang_or_do, ["hangs", "b"], 1))
    assert [(piece, outcome.reason) for piece, outcome in found] == [("hangs", "wall_time")]


def test_what_hung_once_is_done_beside(tmp_path):
    with limited(12.0):
        found = dict(run_all(functools.partial(at_first, tmp_path, signal.SIGSTOP, 1), ["bad", "b"], 2))
    assert found == {"bad": "BAD", "b": "B"}


def test_what_had_not_the_whole_time_is_not_blamed(monkeypatch):
    """As where it began when others had used the time: another job has to do it."""
    monkeypatch.setattr(processes, "EARLY", -1.0)
    found = []
    with limited(8.0), pytest.raises(OutOfTimeError, match="1 pieces"):
        found.extend(run_all(hang_or_do, ["hangs", "b"], 2))
    assert found == [("b", "B")]


def kill_itself(_):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_):
    raise InputError("field", UnpicklableError(), "is another")


def test_a_process_that_cannot_begin_blames_no_piece():
    with pytest.raises(WorkerError, match="SIGKILL"):
        list(run_all(do, ["a", "b", "c"], 2, prepare=kill_itself))
    with pytest.raises(WorkerError, match="ValueError"):
        list(run_all(do, ["a", "b", "c"], 2, prepare=functools.partial(raises_value)))
    with pytest.raises(InputError) as caught:
        list(run_all(do, ["a", "b", "c"], 2, prepare=refuse))
    assert (caught.value.field, caught.value.expected) == ("field", "is another")


def raises_value(_):
    raise ValueError


def prepare_once(folder, _):
    """Have memory for one process only."""
    try:
        (folder / "taken").mkdir()
    except FileExistsError:
        os._exit(1)


def test_fewer_processes_do_where_more_do_not_fit(tmp_path):
    work = ["a", "b", "c"]
    found = dict(run_all(do, work, 3, prepare=functools.partial(prepare_once, tmp_path)))
    assert found == {piece: piece.upper() for piece in work}


# --- jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, relax_settings):
    """Start a real job; return its process and folder."""
    frames = [bulk("Cu"), bulk("Cu", cubic=True), bulk("Au"), bulk("Ag")]
    (tmp_path / TRIALS_FILE).write_text(trials_to_text(make_trial(i, atoms) for i, atoms in enumerate(frames)))
    begun = []

    def run(seconds=None, environment=None, **changes):
        settings = relax_settings(**{**EMT, "processes": 2, **changes}).model_dump()
        (tmp_path / JOB_FILE).write_text(json.dumps({"settings": settings, "labels": None, WALL_SECONDS: seconds}))
        command = [sys.executable, "-m", "aiida_fuse2.worker.main", "relax"]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        with (tmp_path / STDERR_FILE).open("w") as errors:
            begun.append(subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=errors, start_new_session=True))
        return begun[-1], tmp_path

    yield run
    for process in begun:
        process.kill()
        process.wait()


def rows_of(folder):
    return {row["label"]: row["status"] for row in map(json.loads, (folder / RESULTS_FILE).read_text().splitlines())}


LARGE = "g00000_w000_t001"
SMALL = ["g00000_w000_t000", "g00000_w000_t002", "g00000_w000_t003"]


def test_a_job_in_which_one_structure_kills(start):
    rows = []
    for count in (1, 2):
        process, folder = start(calculator="tests.faulty.DiesOfLargeCells", arguments={"limit": 3}, processes=count)
        assert process.wait() == 0
        rows.append(rows_of(folder))
    assert rows[0] == rows[1]
    assert sorted(rows[0].values()) == ["converged"] * 3 + ["process_died"]


@pytest.mark.slow
def test_a_job_ends_itself_in_time(start):
    process, folder = start(60, calculator="tests.faulty.HangsOnLargeCells", arguments={"limit": 3})
    assert process.wait(ENOUGH + 60) == 0
    assert sorted(rows_of(folder).values()) == ["converged"] * 3 + ["wall_time"]


def test_a_job_whose_own_process_hangs_says_where(tmp_path):
    code = (
        "import time; from aiida_fuse2.worker.wall_time import limited\n"
        "def stuck(): time.sleep(3600)\n"
        "with limited(1): stuck()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in stuck" in done.stderr


def test_a_long_folder_of_temporary_files_does(start, tmp_path):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    process, folder = start(environment={"TMPDIR": str(long)})
    assert process.wait() == 0
    assert set(rows_of(folder).values()) == {"converged"}


def test_a_device_that_is_not_there_is_refused_once(start):
    pytest.importorskip("torch")
    process, folder = start(calculator="chgnet", device="cuda", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert process.wait() == 2
    assert json.loads((folder / ERROR_FILE).read_text())["field"] == "relax.settings.device"
    assert rows_of(folder) == {}


WITHOUT = {
    "nothing": "",
    "signal of the kernel": "processes.die_with = lambda parent: None",
    "guardian": "processes.Guardian.watch = lambda self, group: None",
}

LEAVES_CHILDREN = """
import subprocess, sys, time
from aiida_fuse2.worker import processes
{change}
def program(_):
    {program}
    time.sleep(3600)
list(processes.run_all(program, [1, 2, 3], 2))
"""


def descendants_in_time(process, least):
    end = time.monotonic() + ENOUGH
    while time.monotonic() < end:
        found = psutil.Process(process.pid).children(recursive=True)
        if len(found) >= least:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


@pytest.mark.parametrize(("without", "least"), [("nothing", 5), ("signal of the kernel", 5), ("guardian", 3)])
def test_children_die_with_their_job(without, least):
    """With what they have started, where there is a guardian."""
    program = "subprocess.Popen(['sleep', '3600'])" if least == 5 else "pass"
    code = LEAVES_CHILDREN.format(change=WITHOUT[without], program=program)
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    found = descendants_in_time(process, least)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(found, timeout=ENOUGH)
    assert alive == []


def test_children_of_a_real_job_die_with_it(start):
    process, _ = start(calculator="tests.faulty.HangsOnLargeCells", arguments={"limit": 0})
    found = descendants_in_time(process, 3)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(found, timeout=ENOUGH)
    assert alive == []

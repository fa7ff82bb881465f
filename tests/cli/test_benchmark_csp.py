"""``aiida-fuse2 benchmark csp``: tables, going on, and bad input; and searches with several generators."""

import json

import pytest
from ase.io import write

from aiida_fuse2.benchmarks.results import ResultsFile, SearchRow
from tests.benchmarks.rows import entries_file, layered, library_file, upside_down
from tests.conftest import EMT

EMT_OPTIONS = [f"--set=relax.settings.{key}={value}" for key, value in EMT.items() if key != "processes"]
SMALL = ["--set=settings.population_size=3", "--set=settings.max_structures=3"]


@pytest.fixture
def arguments(tmp_path):
    lines = ("x-1,CuAu,2,123,ordered", "x-2,Cu3Au,4,221,ordered", "x-3,Cu3Au,32,139,large")
    path, library = entries_file(tmp_path, *lines), library_file(tmp_path)
    limits = ["--starts", "prototypes=1,fgen=1", "--max-atoms", 4, *EMT_OPTIONS, *SMALL]
    return ["benchmark", "csp", path, "--out", tmp_path / "rows", "--prototypes", library, *limits]


def test_predictions_are_made_once_and_shown(call, arguments, tmp_path):
    first = call(*arguments)
    assert first.stderr.count("3 structures") == 2
    assert "limit of atoms" in first.stdout
    assert "Potential: ase.calculators.emt.EMT" in first.stdout
    again = call(*arguments)
    assert (again.stderr, again.stdout) == ("", first.stdout)
    lines = (tmp_path / "rows").read_text().splitlines()
    (tmp_path / "rows").write_text(f"{lines[0]}\n{lines[1][:100]}")  # killed while it wrote
    assert call(*arguments).stderr.count("3 structures") == 1
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    without = [{k: v for k, v in row.items() if not k.startswith("answer")} for row in rows]  # of an earlier version
    (tmp_path / "rows").write_text("".join(f"{json.dumps(row)}\n" for row in without))
    assert "answer" not in call(*arguments, "--table").stdout
    later = call(*arguments)
    assert (later.stderr.count("finished"), later.stderr.count("structures")) == (2, 0)
    assert "prototypes=0.5, answer" in later.stdout
    values = json.loads(call(*arguments, "--table", "--json").stdout)
    assert values["figures"][0]["entries"] == 3
    assert [p["missed"] for p in values["predictions"][:3]][::2] == [None, "limit of atoms"]
    strict = call(*arguments, "--leave-out", "compound").stdout
    assert "leave_out=compound" in strict
    folder = tmp_path / "known"
    folder.mkdir()
    write(folder / "CuAu.cif", layered())
    assert "structure," in call(*arguments, "--table", "--structures", folder).stdout


def test_stored_searches_are_ordered_by_a_second_potential(call, arguments, tmp_path):
    call(*arguments)
    second = ["--second", upside_down(tmp_path)]
    later = call(*arguments, *second)
    assert (later.stderr.count("finished"), later.stderr.count("structures")) == (2, 0)
    assert "answer by upside-plain" in later.stdout
    assert "upside-plain 3." in later.stdout
    assert call(*arguments, *second).stderr == ""
    assert "answer by upside-plain" in call(*arguments, "--table").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--starts", "gnu"), "starts"),
        (("--starts", "fgen", "--leave-out", "type"), "needs starts from prototypes"),
        (("--set", "settings.starts=fgen"), "--starts"),
        (("--set", "relax.settings.report_symprec=[0.01, 0.2]"), "tolerance of the known space groups"),
        (("--prototypes", "none.extxyz"), "--prototypes"),
        (("--structures", "none"), "--structures"),
        (("--second", "gnu"), "must be one of"),
        (("--second", "mace-mpa-0"), "mace"),
        (("--table",), "there are no results"),
    ],
)
def test_bad_options(call, arguments, options, message):
    assert message in call(*arguments, *options, code=2).stderr


def test_searches_compare_mixtures_of_generators(call, tmp_path):
    generators = "prototypes=0.5+fgen=0.5,fgen"
    options = ["--generators", generators, "--protocol", "fast", "--prototypes", library_file(tmp_path)]
    arguments = ["benchmark", "search", "CuAu:4", *options, *EMT_OPTIONS, *SMALL, "--out", tmp_path / "rows"]
    first = call(*arguments)
    assert [r.generator for r in ResultsFile(tmp_path / "rows", SearchRow).rows] == ["fgen=0.5+prototypes=0.5", "fgen"]
    assert "fgen=0.5+prototypes=0.5" in first.stdout
    assert call(*arguments).stderr == ""
    assert "starts" in call(*arguments, "--generators", "fgen=0.5+", code=2).stderr

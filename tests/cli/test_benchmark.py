"""``aiida-fuse2 benchmark``: tables, plots, going on, and bad input."""

import json

import pytest

from aiida_fuse2.benchmarks.results import RelaxationRow, ResultsFile, SearchRow
from tests.benchmarks.rows import relaxation, search
from tests.conftest import EMT
from tests.test_bad_input import is_one_line

EMT_OPTIONS = [f"--set=relax.settings.{key}={value}" for key, value in EMT.items() if key != "processes"]
SEARCH = ["CuAu:4", "--generators", "fgen", "--protocol", "fast", *EMT_OPTIONS]
SEARCH += ["--set=settings.population_size=3", "--set=settings.max_structures=3"]


@pytest.fixture
def relaxations(tmp_path):
    """A file with two methods."""
    file = ResultsFile(tmp_path / "relax.jsonl", RelaxationRow)
    for start in range(3):
        file.append(relaxation(method="stock/reference", start=start, cpu_seconds=12))
        file.append(relaxation(start=start, cpu_seconds=1, energy=-8.002, potential="by hand"))
    return file.path


def test_table_of_relaxations(call, relaxations):
    printed = call("benchmark", "relax", "--out", relaxations, "--table").stdout
    row = next(line for line in printed.splitlines() if line.startswith("base"))
    assert " ".join(row.split()) == "base all 3 3600 12.0 (12.0 to 12.0) -2.0 0/0 100/100 3 none"
    assert "times stock/reference" in printed
    assert "Computed by: base: by hand" in printed
    other = call("benchmark", "relax", "--out", relaxations, "--table", "--against", "base").stdout
    assert "0.1 (0.1 to 0.1)" in other
    values = json.loads(call("benchmark", "relax", "--out", relaxations, "--table", "--json").stdout)
    assert values[1]["ratio"]["value"] == pytest.approx(12)


def test_relaxations_are_made_once(call, monkeypatch, tmp_path):
    from ase.calculators import emt

    from aiida_fuse2.benchmarks import relaxations
    from aiida_fuse2.core.potentials.evaluation import AseEvaluator

    monkeypatch.setattr(relaxations, "evaluator", lambda code: AseEvaluator(emt.EMT(), code))
    arguments = ["benchmark", "relax", "FIRE", "--out", tmp_path / "r", "--starts", "CuAu:2"]
    arguments += ["--generators", "symmetric", "--count", 1]
    first = call(*arguments)
    assert first.stderr.startswith("CuAu symmetric 0 FIRE: ")
    assert "FIRE" in first.stdout
    again = call(*arguments)
    assert again.stderr == ""
    assert again.stdout == first.stdout


def test_searches_are_made_once_and_shown(call, tmp_path):
    out, targets = tmp_path / "s.jsonl", tmp_path / "targets.yaml"
    targets.write_text("targets: {AuCu: 9.0}")
    first = call("benchmark", "search", *SEARCH, "--out", out, "--targets", targets, "--seeds", "1-2")
    assert first.stderr.count("3 structures") == 2
    assert "2/2 (0.16 to 1.00)" in first.stdout
    assert "At target with the better setting: 1 of 1 (CuAu)" in first.stdout
    rows = ResultsFile(out, SearchRow).rows
    assert [(r.seed, r.structures, r.target) for r in rows] == [(1, 3, 9.0), (2, 3, 9.0)]
    again = call("benchmark", "search", *SEARCH, "--out", out, "--targets", targets, "--seeds", "1-2")
    assert again.stderr == ""
    assert again.stdout == first.stdout
    targets.write_text("targets: {CuAu: -9.0}")
    missed = call("benchmark", "search", "--out", out, "--targets", targets, "--table").stdout
    assert "0/2 (0.00 to 0.84)" in missed
    call("benchmark", "search", "--out", out, "--plot", tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000
    more = call("benchmark", "search", *SEARCH, "--out", out, "--vary", "settings.walkers=[1, 2]")
    assert "walkers=2" in more.stdout
    assert len(ResultsFile(out, SearchRow).rows) == 4


def test_a_failed_search_is_told(call, monkeypatch, tmp_path):
    from aiida_fuse2.benchmarks import searches

    def run(task):
        if task.seed == 1:
            raise RuntimeError("no luck")
        return search(seed=task.seed)

    monkeypatch.setattr(searches, "run_task", run)
    result = call("benchmark", "search", *SEARCH, "--out", tmp_path / "s", "--seeds", "1-2", code=1)
    assert "failed, RuntimeError: no luck" in result.stderr
    assert "1 of the searches failed" in result.stderr
    assert len(ResultsFile(tmp_path / "s", SearchRow).rows) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("relax", "Newton"), "METHODS"),
        (("relax", "--starts", "SrTiO3"), "--starts"),
        (("relax", "--starts", "Xx:3"), "composition"),
        (("relax", "--starts", "SrTiO3:3"), "max_atoms"),
        (("relax", "--generators", ","), "--generators"),
        (("relax", "--generators", "provided"), "--generators"),
        (("relax", "--table"), "there are no results"),
        (("relax", "--seed", "-1"), "settings.seed"),
        (("search", "Xx"), "composition"),
        (("search", "SrTiO3:3"), "max_atoms"),
        (("search", "SrTiO3:x"), "COMPOSITION"),
        (("search", "--seeds", "a"), "--seeds"),
        (("search", "--generators", ""), "--generators"),
        (("search", "--protocol", "slow"), "protocol"),
        (("search", "--set", "walkers"), "--set"),
        (("search", "--set", "settings.walkers=0"), "settings.walkers"),
        (("search", "--vary", "settings.walkers=3"), "--vary"),
        (("search", "--targets", "none.yaml"), "--targets"),
        (("search", "--plot", "p.png"), "there are no results"),
        (("search", "--set", "relax.settings.calculator=no.Such"), "relax.settings.calculator"),
    ],
)
def test_bad_input(call, tmp_path, arguments, field):
    result = call("benchmark", *arguments, "--out", tmp_path / "out", code=2)
    assert result.stderr.startswith("Error: ")
    assert field in result.stderr
    assert is_one_line(result.stderr.strip())
    assert not (tmp_path / "out").exists()


def test_bad_files(call, relaxations, tmp_path):
    assert "there is no folder" in call("benchmark", "relax", "--out", tmp_path / "a" / "b", code=1).stderr
    assert "is not a file" in call("benchmark", "search", "--out", tmp_path, code=2).stderr
    assert "is no file of these results" in call("benchmark", "search", "--out", relaxations, code=2).stderr
    assert "must end in" in call("benchmark", "relax", "--out", relaxations, "--plot", "x.doc", code=2).stderr
    assert (
        "has no results"
        in call("benchmark", "relax", "--out", relaxations, "--table", "--against", "BFGS", code=2).stderr
    )


def test_needs_no_profile(monkeypatch, relaxations):
    from click.testing import CliRunner

    from aiida_fuse2.cli import cmd_root

    def refuse(*arguments):
        raise AssertionError("a profile was asked for")

    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", refuse)
    done = CliRunner().invoke(cmd_root, ["benchmark", "relax", "--out", str(relaxations), "--table"])
    assert done.exit_code == 0, done.output

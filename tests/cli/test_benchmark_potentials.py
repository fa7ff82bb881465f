"""``aiida-fuse2 benchmark potentials``: tables, numbers, and what is refused."""

import json

from aiida_fuse2.benchmarks.defaults import defaults
from aiida_fuse2.benchmarks.results import PotentialRow, ResultsFile
from tests.benchmarks.test_potentials import LENNARD_JONES, row, titania
from tests.test_bad_input import is_one_line


def words(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_table(call, tmp_path):
    file = ResultsFile(tmp_path / "p.jsonl", PotentialRow)
    sizes = [row("", None, compound="", atoms=n, cpu_seconds=s) for n, s in ((2, 0.002), (50, 0.04))]
    torch = [r.model_copy(update={"overrides": '{"backend": "torch"}', "spacegroup": 1}) for r in titania()]
    for one in [*sizes, *titania(anatase=-9.02), *torch]:
        file.append(one)
    printed = words(call("benchmark", "potentials", "--out", file.path, "--table").stdout)
    assert "chgnet-0.3.0 2.0 40.0 4 10 2.0 0 of 1 none" in printed
    assert "chgnet-0.3.0 (backend=torch) - - 4 10 2.0 1 of 1 none" in printed
    assert "TiO2 (?) rutile chgnet-0.3.0 2 20 anatase -20, brookite +20, TiO2-II +30" in printed
    assert any(line.startswith("rutile* chgnet-0.3.0 (backend=torch) 1 0 anatase* +10") for line in printed)
    values = json.loads(call("benchmark", "potentials", "--out", file.path, "--table", "--json").stdout)
    assert values["costs"][0]["seconds"] == {"2": 0.002, "50": 0.04}
    assert [order["place"] for order in values["orders"]] == [2, 1]


def test_measures(call, tmp_path, monkeypatch):
    monkeypatch.setitem(defaults("potentials"), "seconds_per_size", 0)
    out = tmp_path / "p.jsonl"
    arguments = ["benchmark", "potentials", "C", "--models", LENNARD_JONES, "--out", out]
    arguments += ["--set", "relax.settings.arguments={sigma: 1.3, epsilon: 1.0, rc: 3.0}"]
    arguments += ["--set", "relax.settings.max_steps=8"]
    first = call(*arguments)
    assert f"{LENNARD_JONES} 50 atoms: " in first.stderr
    assert f"{LENNARD_JONES} C graphite: " in first.stderr
    again = call(*arguments)
    assert again.stderr == ""
    assert again.stdout == first.stdout


def test_potential_that_is_not_installed(call, tmp_path):
    done = call("benchmark", "potentials", "--models", "nowhere.Calculator", "--out", tmp_path / "p", code=1)
    assert "nowhere.Calculator: relax.settings.calculator" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: nowhere.Calculator could not be measured")


def test_bad_input(call, tmp_path):
    common = ("benchmark", "potentials", "--out", tmp_path / "p")
    for arguments, said in (
        (("--models", "nonesuch"), "must be one of"),
        (("--models", ","), "must be names of potentials"),
        (("--python", "python3"), "must be names of potentials"),
        (("NaCl",), "must be among TiO2"),
        (("--set", "settings.seed=3"), "only keys of relax.settings"),
        (("--table",), "there are no results"),
    ):
        done = call(*common, *arguments, code=2)
        assert said in done.stderr
        is_one_line(done.stderr)

"""`run` says first what a search is likely to cost, and `benchmark quick` measures that for this machine."""

from __future__ import annotations

import json

import pytest
import yaml

from aiida_fuse2.core.potentials.chgnet.build import CACHE_VARIABLE
from aiida_fuse2.core.search.cost import SecondModel, hours_text
from aiida_fuse2.environment.models import Installed
from aiida_fuse2.io.cost_table import read_table, write_table
from aiida_fuse2.launch.cost import Cost
from aiida_fuse2.protocols import cost_values
from aiida_fuse2.protocols.models import find_model

DRY = ("run", "SrTiO3", "--dry-run", "--starts", "fgen")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def cost_line(result):
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Cost: ")]
    return line


def seconds_of(*, structures, table=None, max_atoms=50):
    """The likely CPU time of a search of SrTiO3, worked out by hand."""
    values = cost_values()
    chgnet, (low, high) = values["chgnet"], values["aiida"]
    sizes = range(5, max_atoms + 1, 5)
    own = {size: 0.001 * size for size in sizes} if table is None else table
    mean = sum(own[size] for size in sizes) / len(sizes)
    product = mean * chgnet["evaluations"] * (5 / chgnet["unit_atoms"]) ** chgnet["growth"]
    return structures * (product * chgnet["range"][0] + low), structures * (product * chgnet["range"][1] + high)


def test_a_dry_run_tells_the_cost_by_the_table_of_this_machine(call, worker_code):
    write_table({5: 0.005, 50: 0.05}, "chgnet")
    result = call(*DRY, "--max-structures", 400, "--processes", 2)
    memory = 2 * cost_values()["chgnet"]["memory_per_process"]
    expected = f"about {hours_text(seconds_of(structures=400))}, {memory:.1f} GB of memory for 2 processes"
    assert cost_line(result) == f"Cost: at most 400 structures, {expected} (times of this machine)"
    assert yaml.safe_load(result.stdout)["settings"]["max_structures"] == 400
    several = call(*DRY, "--max-structures", 400, "--processes", 2, "--runs", 3, "--concurrent", 2)
    assert f"at most 1200 structures, about {hours_text(seconds_of(structures=1200))}" in cost_line(several)
    assert "for 4 processes" in cost_line(several)


def test_the_second_potential_is_part_of_the_cost(call, worker_code, monkeypatch):
    """Two phases at most on two cores, each in a process that loads it; the joint answer of two runs is a third one."""
    found = Installed(model=find_model("sevennet-l3i5"), code=worker_code, version="0.13.0", sha256=None)
    monkeypatch.setattr("aiida_fuse2.workchains.second.default_second", lambda _: found)
    write_table({5: 0.005, 50: 0.05}, "chgnet")
    values = SecondModel(**cost_values()["second"]["sevennet-l3i5"])
    options = [*DRY, "--max-structures", 400, "--processes", 1, "--set", "settings.finish=2", "--max-atoms", 10]
    monkeypatch.setattr("aiida_fuse2.launch.cost.usable_cores", lambda: 2)
    scale = 0.005 / cost_values()["chgnet"]["reference"][5]
    first = seconds_of(structures=400, max_atoms=10)
    low, high = values.seconds(2, 2, unit_atoms=5, max_atoms=10)
    both = (first[0] + scale * low, first[1] + scale * high)
    assert low > values.start
    memory = 2 * values.memory_of(10)
    expected = f"about {hours_text(both)}, {memory:.1f} GB of memory for 2 processes"
    assert cost_line(call(*options)) == f"Cost: at most 400 structures, {expected} (times of this machine)"
    runs = (2 * first[0] + 3 * scale * low, 2 * first[1] + 3 * scale * high)
    assert hours_text(runs) in cost_line(call(*options, "--runs", 2))
    monkeypatch.setattr("aiida_fuse2.launch.cost.cost_values", lambda: {**cost_values(), "second": {}})
    line = cost_line(call(*options))
    assert f"about {hours_text(first)}" in line
    assert "the cost of sevennet-l3i5 is not estimated" in line


def test_without_a_table_the_machine_is_named(call, worker_code):
    line = cost_line(call(*DRY))
    assert "times of the machine of the developers; `aiida-fuse2 benchmark quick` measures this one" in line


def test_a_limit_of_cpu_time_limits_the_cost(call, worker_code):
    write_table({5: 0.005, 50: 0.05}, "chgnet")
    low, high = seconds_of(structures=1000)
    assert high > 0.5 * 3600
    _, of_aiida = cost_values()["aiida"]
    limited = hours_text((low, 0.5 * 3600 + 1000 * of_aiida))
    assert f"about {limited}, " in cost_line(call(*DRY, "--max-cpu-hours", 0.5))


@pytest.mark.parametrize(
    ("options", "unknown"),
    [
        (["--set", "relax.settings.calculator=ase.calculators.emt.EMT"], "ase"),
        (["--set", "relax.settings.backend=torch"], "chgnet"),
    ],
)
def test_what_is_not_known_is_not_estimated(call, worker_code, options, unknown):
    line = cost_line(call("run", "CuAu", "--dry-run", "--starts", "fgen", *options))
    assert line == f"Cost: at most 1000 structures, the cost of {unknown} is not estimated"


def test_of_several_tiers_the_others_are_named(call, worker_code):
    options = ["--tiers", "ase,chgnet", "--set", "tiers.ase.settings.calculator=ase.calculators.emt.EMT"]
    line = cost_line(call("run", "CuAu", "--dry-run", "--starts", "fgen", *options))
    assert "CPU" in line
    assert "the cost of ase is not estimated" in line


@pytest.mark.parametrize(
    ("is_measured", "is_elsewhere", "end"),
    [
        (True, True, "(times of this machine, the jobs run on another)"),
        (False, True, "(times of the machine of the developers)"),
    ],
)
def test_jobs_on_another_machine_are_named(is_measured, is_elsewhere, end):
    cost = Cost(
        structures=1,
        cpu_seconds=(120, 240),
        memory=None,
        processes=None,
        unknown=(),
        is_measured=is_measured,
        is_elsewhere=is_elsewhere,
    )
    assert cost.text == f"Cost: at most 1 structure, about 2 to 4 CPU min {end}"


@pytest.fixture
def measured(monkeypatch):
    """A potential that is not loaded, and its measurement."""

    class Potential:
        name = "chgnet of the test"

    monkeypatch.setattr("aiida_fuse2.core.relaxers.evaluator_of", lambda _: Potential())
    monkeypatch.setattr(
        "aiida_fuse2.benchmarks.quick.measure", lambda _, sizes, *__: {size: 0.001 * size for size in sizes}
    )


@pytest.mark.usefixtures("measured")
def test_quick_measures_and_stores_a_table(call, cache):
    shown = call("benchmark", "quick").stdout
    assert "chgnet of the test" in shown
    assert "80.0" in shown
    told = json.loads(call("benchmark", "quick", "--json").stdout)
    assert read_table() == {int(size): seconds for size, seconds in told["seconds"].items()}
    assert told["path"].startswith(str(cache))


@pytest.mark.usefixtures("measured")
def test_a_cache_that_cannot_be_written_is_one_line(call, cache):
    cache.write_text("a file")
    refused = call("benchmark", "quick", code=1).stderr
    assert refused.startswith("Error: the table of this machine cannot be stored: ")
    assert len(refused.splitlines()) == 1

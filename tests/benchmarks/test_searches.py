"""Searches under a budget of CPU time: limits, courses, combinations of settings, figures by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from aiida_fuse2.benchmarks import course, plots, searches
from aiida_fuse2.benchmarks.arguments import expand, parse_numbers, parse_place
from aiida_fuse2.benchmarks.course import reached_at
from aiida_fuse2.benchmarks.defaults import Targets, read_targets
from aiida_fuse2.benchmarks.local_search import LocalSearch, parse
from aiida_fuse2.benchmarks.results import SearchRow
from aiida_fuse2.benchmarks.search_report import own_target, report_searches, setting_labels
from aiida_fuse2.benchmarks.searches import (
    SearchTask,
    row_key,
    run_task,
    run_tasks,
    target_of,
)
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.search.watching import Watch
from tests.conftest import EMT as EMT_OF_JOBS
from tests.conftest import emt_overrides

from .rows import search

EMT = {name: value for name, value in EMT_OF_JOBS.items() if name != "processes"}
TINY = {"relax": {"settings": dict(EMT)}, "settings": {"population_size": 4, "walkers": 2, "max_structures": 6}}


def task(**changes):
    fixed = {"composition": "CuAu", "max_atoms": 4, "generator": "fgen", "seed": 1, "protocol": "fast"}
    return SearchTask(**{**fixed, "overrides": TINY, "budget": 100.0, **changes})


def test_a_search_ends_where_its_settings_say_and_repeats():
    row = run_task(task(target=0.6))
    assert (row.ended, row.structures, row.composition, row.max_atoms) == ("max_structures", 6, "CuAu", 4)
    assert row.explored + sum(row.failures.values()) == 6
    assert row.generations == 2
    energies = [i.energy for i in row.course]
    assert energies == sorted(energies, reverse=True)
    assert row.best.energy == energies[-1]
    assert row.best.spacegroup_loose == row.course[-1].spacegroup
    assert row.reached in row.course
    assert row.potential == EMT["calculator"]
    again = run_task(task(target=0.6))
    assert [(i.structures, i.energy) for i in again.course] == [(i.structures, i.energy) for i in row.course]


def test_the_search_is_that_of_the_package(search_settings, relax_settings):
    """The rows of the course are the lowest energies of the generations."""
    row = run_task(task())
    overrides = {
        "settings": {**TINY["settings"], "starts": "fgen", "max_atoms": 4, "seed": 1},
        "relax": TINY["relax"],
    }
    settings, tier = parse("CuAu", "fast", overrides)
    local = LocalSearch(settings=settings, tier=tier, evaluator=make_evaluator(tier))
    steps = list(local.steps())
    assert steps[-1].state.best.energy == pytest.approx(row.best.energy, abs=1e-6)
    assert steps[-1].state.best.structure_number >= row.course[-1].structures
    assert steps[-1].state.tried == row.structures
    assert local.ended() == "max_structures"
    local.settings = settings.model_copy(update={"max_structures": 100, "stop_chance": 0.9})
    assert local.ended() is None
    local.state = replace(local.state, watch=Watch(1, 5, {1: 3, 2: 3}))
    assert local.ended() == "stop_chance"


def test_budget_cuts_a_generation(monkeypatch):
    """A clock that ticks once per look: the search ends within a generation of many structures."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(course.Course, "seconds", property(lambda _: float(next(ticks))))
    overrides = {"relax": {"settings": dict(EMT)}, "settings": {"population_size": 50}}
    row = run_task(task(budget=9.0, overrides=overrides))
    assert row.ended == "cpu_seconds"
    assert 2 <= row.structures <= 9
    assert row.generations == 0
    assert row.course


def test_budget_cuts_a_pool():
    """No structure is generated or relaxed when the time is up at once."""
    asked = []
    settings, tier = parse("CuAu", "fast", emt_overrides(starts="symmetric", max_atoms=4, pool={"size": 1000}))

    def stop():
        asked.append(1)
        return len(asked) > 3

    local = LocalSearch(settings=settings, tier=tier, evaluator=make_evaluator(tier), stop=stop)
    assert list(local.steps()) == []
    assert len(asked) < 10
    assert local.state.tried == 0
    assert local.pool_seconds >= 0


def test_tiers_before_the_last():
    """What comes relaxed from them costs the last one little; what fails in them does not reach it."""
    small = {"starts": "fgen", "max_atoms": 4, "population_size": 4, "walkers": 2, "max_structures": 4}
    settings, tier = parse("CuAu", "fast", emt_overrides(**small))
    evaluator = make_evaluator(tier)

    def relaxed(*before):
        seen = []
        tiers = [(changed, evaluator) for changed in before]
        local = LocalSearch(
            settings=settings,
            tier=tier,
            evaluator=evaluator,
            before=tiers,
            observe=lambda _, result: seen.append(result),
        )
        assert len(list(local.steps())) == 1
        return seen

    alone, through = relaxed(), relaxed(tier)
    cut = relaxed(tier.model_copy(update={"max_steps": 1, "fmax": 1e-6}))
    statuses = {result.status for result in alone + through}
    assert "converged" in statuses
    assert statuses <= {"converged", "isolated_parts"}  # EMT lets some starts fall apart
    assert sum(r.values["evaluations"] for r in through) < sum(r.values["evaluations"] for r in alone) / 2
    assert {result.status for result in cut} == {"step_limit"}


def test_limits_of_structures_are_lifted_unless_set():
    settings, _ = task(overrides={}, composition="SrTiO3", max_atoms=None, protocol="balanced").settings()
    assert settings.max_structures == settings.rmax == searches.NO_LIMIT
    assert settings.max_atoms == 50
    assert task().settings()[0].max_structures == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "provided"}, "no structures of the user"),
        ({"generator": "gnu"}, "must be one of"),
        ({"protocol": "slow"}, "protocol"),
        ({"max_atoms": 1}, "one formula unit"),
        ({"composition": "NaPo", "overrides": {}}, "not trained with Po"),
        ({"overrides": {"settings": {"seed": 3}}}, "--seeds"),
        ({"overrides": {"settings": {"max_atoms": 3}}}, "COMPOSITION:ATOMS"),
        ({"overrides": {"settings": {"max_cpu_hours": 1}}}, "--cpu-seconds"),
        ({"overrides": {"settings": {"relax_jobs": 3}}}, "one process"),
        ({"overrides": {"generate": {}}}, "one process"),
        ({"overrides": {"relax": {"metadata": {}}}}, "one process"),
        ({"overrides": {"relax": {"settings": {"processes": 2}}}}, "side by side"),
        ({"overrides": {"settings": {"wlkers": 3}}}, "no such input"),
        ({"overrides": {"settings": {"walkers": 0}}}, "settings.walkers"),
        ({"overrides": {"relax": {"settings": {"fmax": -1}}}}, "relax.settings.fmax"),
        ({"overrides": {"settings": 3}}, "must be a mapping"),
    ],
)
def test_bad_tasks(changes, message):
    with pytest.raises(InputError, match=message):
        task(**changes).settings()


def test_targets_are_for_their_potential():
    targets = read_targets()
    chgnet = {"overrides": {}, "composition": "CoAs2", "max_atoms": None}
    assert target_of(*task(**chgnet).settings(), targets) == -5.718
    for change in ({"pressure": 5.0}, {"model": "0.2.0"}, dict(EMT)):
        settings = task(**{**chgnet, "overrides": {"relax": {"settings": change}}}).settings()
        assert target_of(*settings, targets) is None
    own = Targets({frozenset({("Cu", 1), ("Au", 1)}): -1.0}, None)
    assert target_of(*task().settings(), own) == -1.0


def test_numbers_and_places():
    assert parse_numbers("1-3,7, 2") == [1, 2, 3, 7]
    assert parse_place("As2Co:12") == ("As2Co", 12)
    assert parse_place("CoAs2") == ("CoAs2", None)


@pytest.mark.parametrize("text", ["", "a", "1-", "3-1", "-1", "1,,2", "1-5000", "²", "9" * 30, "1--2"])
def test_bad_numbers(text):
    with pytest.raises(InputError, match="--seeds"):
        parse_numbers(text)


@pytest.mark.parametrize("text", ["", "Xx", "CoAs2:", "CoAs2:x", "CoAs2:-3", f"CoAs2:{'9' * 30}"])
def test_bad_places(text):
    with pytest.raises(InputError):
        parse_place(text)


def test_combinations():
    found = expand([{"settings": {"walkers": [4, 8]}}, {"relax": {"settings": {"fmax": [0.1, 0.05]}}}])
    assert [(c["settings"]["walkers"], c["relax"]["settings"]["fmax"]) for c in found] == [
        (4, 0.1),
        (4, 0.05),
        (8, 0.1),
        (8, 0.05),
    ]
    assert expand([]) == [{}]
    for values in (4, [], {}):
        with pytest.raises(InputError, match="--vary"):
            expand([{"settings": {"walkers": values}}])


def test_one_that_fails_does_not_keep_the_others(monkeypatch):
    def run(chosen):
        if chosen.seed == 1:
            raise RuntimeError("of seed 1")
        return search(seed=chosen.seed)

    monkeypatch.setattr(searches, "run_task", run)
    outcomes = [outcome for _, outcome in run_tasks([task(seed=1), task(seed=2)], 1)]
    assert [str(outcomes[0]), outcomes[1].seed] == ["of seed 1", 2]


@pytest.mark.slow
def test_side_by_side_finds_the_same():
    tasks = [task(seed=seed) for seed in (1, 2)]
    found = {chosen.seed: row for chosen, row in run_tasks(tasks, 2)}
    assert all(isinstance(row, SearchRow) for row in found.values())
    for chosen in tasks:
        alone = run_task(chosen)
        assert [(i.structures, i.energy) for i in found[chosen.seed].course] == [
            (i.structures, i.energy) for i in alone.course
        ]
        assert row_key(alone) == chosen.key == row_key(found[chosen.seed])


COURSE = ((10.0, 5, -5.6), (40.0, 20, -5.7171), (120.0, 41, -5.73))


def test_target_counts_within_tolerance_and_budget():
    row = search(*COURSE)
    assert reached_at(row.course, -5.718, 100).cpu_seconds == 40
    assert reached_at(row.course, -5.7182, 100) is None  # 1.1 meV/atom above; lower only when the time was up
    assert reached_at(row.course, -5.7182, 130).structures == 41
    assert reached_at(row.course, None, 100) is None
    assert reached_at([], -5.718, 100) is None


ROWS = [
    search(*COURSE, structures=41),
    search((20.0, 9, -5.7), (30.0, 12, -5.72), seed=2, structures=50),
    search((5.0, 1, -5.0), seed=3, structures=60),
    search((50.0, 30, -5.71), generator="symmetric", structures=99),
    search((1.0, 1, -9.2), composition="Mn", max_atoms=50, target=-9.1185),
    search(composition="WCl2", target=None),
]


def test_figures_by_hand():
    report = report_searches(ROWS)
    figures = {(f.composition, f.setting): f for f in report.figures}
    fgen = figures["CoAs2", "fgen"]
    assert (fgen.seeds, fgen.successes, fgen.best, fgen.spacegroup, fgen.structures) == (3, 2, -5.72, "P1", 50)
    assert fgen.above_target == pytest.approx(-2)
    assert fgen.median_above_target == pytest.approx(0.9)
    assert (fgen.seconds_to_target, fgen.structures_to_target) == (35, 16)
    assert fgen.success.value == pytest.approx(2 / 3)
    assert (fgen.success.low, fgen.success.high) == (pytest.approx(0.0943, abs=1e-4), pytest.approx(0.9916, abs=1e-4))
    assert figures["CoAs2", "symmetric"].successes == 0
    assert figures["WCl2", "fgen"].best is figures["WCl2", "fgen"].success is None
    totals = {s.setting: s for s in report.settings}
    assert (totals["fgen"].compositions, totals["fgen"].compositions_reached) == (2, 2)
    assert (totals["fgen"].successes, totals["fgen"].searches) == (3, 4)
    assert (totals["symmetric"].compositions_reached, totals["symmetric"].searches) == (0, 1)
    assert (report.reached, report.compositions) == (["CoAs2", "Mn"], 2)


def test_labels_tell_what_differs():
    both = [search(), search(overrides=json.dumps({"settings": {"walkers": 4, "pool": {"size": 9}}}), budget=50.0)]
    assert sorted(setting_labels(both).values()) == [
        "fgen, as the protocol, 100 s",
        "fgen, walkers=4, pool.size=9, 50 s",
    ]
    assert list(setting_labels(ROWS).values()) == ["fgen", "symmetric"]
    tiers = [{"relax": {"settings": {"fmax": f, "model": "0.2.0"}}} for f in (0.05, 0.1)]
    assert list(setting_labels([search(overrides=json.dumps(t)) for t in tiers]).values()) == [
        "fgen, fmax=0.05",
        "fgen, fmax=0.1",
    ]


def test_plot(tmp_path):
    figure = plots.plot_searches(report_searches(ROWS), own_target)
    energies, _, empty, success = figure.axes
    curve = next(line for line in energies.lines if line.get_label() == "fgen")
    assert curve.get_ydata()[-1] == pytest.approx(0.9)  # the median of the three searches at the end
    assert curve.get_xdata()[-1] == pytest.approx(100)
    assert not any(len(line.get_xdata()) > 2 for line in empty.lines)
    rate = next(line for line in success.lines if line.get_label() == "fgen")
    assert rate.get_ydata()[-1] == pytest.approx(3 / 4)
    assert np.all(np.diff(rate.get_ydata()) >= 0)
    plots.save(figure, tmp_path / "plot.png")
    assert imread(tmp_path / "plot.png").std() > 0.05


def test_plot_of_a_search_that_found_nothing(tmp_path):
    report = report_searches([search(structures=0, explored=0)])
    assert (report.figures[0].best, report.figures[0].successes) == (None, 0)
    figure = plots.plot_searches(report, own_target)
    assert [text.get_text() for text in figure.axes[0].texts] == ["nothing found"]
    plots.save(figure, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_plot_without_targets(tmp_path):
    rows = [search((1.0, 1, -2.0), (2.0, 2, -2.1), target=None)]
    figure = plots.plot_searches(report_searches(rows), own_target)
    (panel,) = figure.axes
    assert "above the lowest" in panel.get_ylabel()
    assert panel.lines[0].get_ydata()[0] == pytest.approx(100)
    plots.save(figure, tmp_path / "plot.svg")


def test_plot_of_names_that_are_no_mathematics(tmp_path):
    rows = [search((1.0, 1, -2.0), generator="$\\frac{$"), search((1.0, 1, -2.0), generator="$\\sum$")]
    figure = plots.plot_searches(report_searches(rows), own_target)
    plots.save(figure, tmp_path / "plot.png")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [r"\$\frac{\$", r"\$\sum\$"]

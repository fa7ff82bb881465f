"""Relaxations compared: names of methods, resumed files, and figures against ones computed by hand."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from matplotlib.image import imread

from aiida_fuse2.benchmarks import plots, relaxations
from aiida_fuse2.benchmarks.relaxation_report import compare_methods
from aiida_fuse2.benchmarks.relaxations import Method, Starts, run_relaxations
from aiida_fuse2.benchmarks.results import RelaxationRow, ResultsFile
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.evaluation import AseEvaluator

from .rows import relaxation

COPPER_GOLD = Starts("CuAu", 4, "fgen", 7, 2)


@pytest.fixture
def emt(monkeypatch):
    """EMT in place of CHGNet; its energies are relative to those of the solid elements."""
    monkeypatch.setattr("aiida_fuse2.core.relaxers.driver.UNBOUND", 10.0)
    monkeypatch.setattr(relaxations, "evaluator", lambda code: AseEvaluator(EMT(), f"emt {code}"))


def test_names_of_methods():
    assert Method.parse("JointLBFGS") == Method("JointLBFGS", "native", "JointLBFGS")
    name = "avx2/JointLBFGS+symmetry"
    assert Method.parse(name) == Method(name, "avx2", "JointLBFGS", keep_symmetry=True)
    assert Method.parse("stock/reference").code == "stock"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "optimisers are"),
        ("Newton", "optimisers are"),
        ("gpu/BFGS", "before '/' stands"),
        ("/BFGS", "before '/' stands"),
        ("FIRE+symmetry", "only JointLBFGS"),
        ("reference+symmetry", "only JointLBFGS"),
        ("JointLBFGS+symmetry+prerelax", "optimisers are"),
    ],
)
def test_names_of_no_method(name, message):
    with pytest.raises(InputError, match=message):
        Method.parse(name)


def test_rows_and_going_on(emt, tmp_path):
    path = tmp_path / "rows.jsonl"
    first = [Method.parse("torch/JointLBFGS")]
    rows = list(run_relaxations(first, [COPPER_GOLD], ResultsFile(path, RelaxationRow)))
    assert [(r.method, r.start, r.potential) for r in rows] == [("torch/JointLBFGS", k, "emt torch") for k in (0, 1)]
    assert all(r.status == "converged" and r.evaluations > 1 and r.max_atoms == 4 for r in rows)
    assert rows[0].software["ase"]
    assert rows[0].software["processor"]
    both = [*first, Method.parse("stock/reference")]
    added = list(run_relaxations(both, [COPPER_GOLD], ResultsFile(path, RelaxationRow)))
    assert [(r.method, r.start) for r in added] == [("stock/reference", 0), ("stock/reference", 1)]
    assert list(run_relaxations(both, [COPPER_GOLD], ResultsFile(path, RelaxationRow))) == []
    read = ResultsFile(path, RelaxationRow).rows
    assert read == [*rows, *added]
    ends = {r.method: r.energy for r in read if r.start == 0}
    assert ends["stock/reference"] == pytest.approx(ends["torch/JointLBFGS"], abs=0.02)


def test_failures_are_rows(monkeypatch, tmp_path):
    class Broken(EMT):
        def calculate(self, *_, **__):
            raise ZeroDivisionError

    monkeypatch.setattr(relaxations, "evaluator", lambda _: AseEvaluator(Broken(), "broken"))
    methods = [Method.parse("reference"), Method.parse("JointLBFGS"), Method.parse("CellAwareBFGS")]
    one = Starts("CuAu", 4, "fgen", 7, 1)
    rows = list(run_relaxations(methods, [one], ResultsFile(tmp_path / "rows", RelaxationRow)))
    assert [r.status for r in rows] == ["ZeroDivisionError", "calculator_error", "ZeroDivisionError"]
    assert all(r.energy is None and r.evaluations == 0 for r in rows)


def test_starts_that_cannot_be_made_are_told(emt, monkeypatch, tmp_path):
    made = COPPER_GOLD.make()
    monkeypatch.setattr(Starts, "make", lambda _: made[:1])
    news = list(run_relaxations([Method.parse("BFGS")], [COPPER_GOLD], ResultsFile(tmp_path / "rows", RelaxationRow)))
    assert news[0] == "CuAu: fgen made 1 of 2 starts"
    assert [row.start for row in news[1:]] == [0]


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        (Starts("SrTiO3", 4, "fgen", 7, 1), "one formula unit"),
        (Starts("SrTiO3", 20, "gnu", 7, 1), "must be one of"),
        (Starts("SrTiO3", 20, "fgen", -1, 1), "seed"),
        (Starts("NaPo", 20, "fgen", 7, 1), "not trained with Po"),
    ],
)
def test_starts_that_make_no_sense(starts, message):
    with pytest.raises(InputError, match=message):
        starts.check()


ROWS = [
    relaxation(start=0, cpu_seconds=10, energy=-8.0),
    relaxation(start=1, cpu_seconds=20, energy=-7.0),
    relaxation(start=2, cpu_seconds=30, energy=-6.0, status="step_limit"),
    relaxation(generator="symmetric", cpu_seconds=40, energy=-8.0),
    relaxation(method="new", start=0, cpu_seconds=1, energy=-8.01, evaluations=20, potential="by hand"),
    relaxation(method="new", start=1, cpu_seconds=1, energy=-6.999, evaluations=40),
    relaxation(method="new", start=2, cpu_seconds=2, energy=-6.5, evaluations=60),
    relaxation(method="new", generator="symmetric", cpu_seconds=1, energy=None, status="isolated_atom", evaluations=0),
    relaxation(method="new", generator="symmetric", start=1, cpu_seconds=3, energy=-7.9, evaluations=80),
]


def test_figures_by_hand():
    figures = {(f.method, f.generator): f for f in compare_methods(ROWS, "base", np.random.default_rng(1))}
    assert set(figures) == {(m, g) for m in ("base", "new") for g in ("all", "fgen", "symmetric")}
    new = figures["new", "all"]
    assert new.starts == 5
    assert new.per_cpu_hour == pytest.approx(3600 * 4 / 8)
    assert new.ratio.value == pytest.approx((3 / 5) / (3 / 100))  # the start that only one has does not count
    assert new.energy_differences == pytest.approx([-10, 1])
    assert new.energy_difference.value == pytest.approx(-4.5)
    assert (new.lower, new.higher) == (1, 0)
    assert (new.evaluations_mean, new.evaluations_max) == (40, 80)
    assert new.failures == {"isolated_atom": 1}
    assert new.potentials == ("by hand",)
    fgen = figures["new", "fgen"]
    assert fgen.ratio.value == pytest.approx((3 / 4) / (2 / 60))
    assert figures["new", "symmetric"].ratio.value == 0
    assert figures["base", "all"].ratio.value == pytest.approx(1)
    assert figures["base", "fgen"].failures == {"step_limit": 1}


def test_method_that_is_not_there():
    with pytest.raises(InputError, match="there are base, new"):
        compare_methods(ROWS, "stock/reference", np.random.default_rng(1))


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_plot(tmp_path, ending):
    path = tmp_path / f"plot.{ending}"
    plots.check_format(path)
    figure = plots.plot_relaxations(compare_methods(ROWS, "base", np.random.default_rng(1)), "base")
    rates, energies = figure.axes
    assert [text.get_text() for text in rates.get_yticklabels()] == ["base", "new"]
    assert sorted(bar.get_width() for bar in rates.patches) == pytest.approx([90, 120, 900, 2700])
    points = [line.get_xdata() for line in energies.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert points[0] == pytest.approx([-10, 1])
    plots.save(figure, path)
    assert path.stat().st_size > 5000
    if ending == "png":
        assert imread(path).std() > 0.05


def test_pictures_that_cannot_be_written(tmp_path):
    for name, message in (
        ("plot.jsonl", "must end in one of"),
        ("plot", "must end"),
        ("no/plot.png", "no such folder"),
    ):
        with pytest.raises(InputError, match=message):
            plots.check_format(tmp_path / name)


def test_plot_of_names_that_are_no_mathematics(tmp_path):
    name = "$\\frac{$\x1b[31m"
    rows = [
        row.model_copy(update={"method": name if row.method == "new" else "base", "generator": name}) for row in ROWS
    ]
    figure = plots.plot_relaxations(compare_methods(rows, "base", np.random.default_rng(1)), "base")
    plots.save(figure, tmp_path / "plot.png")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["base", r"\$\frac{\$\x1b[31m"]

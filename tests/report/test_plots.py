"""The registry of plots, and what a figure becomes on its way to the page."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
import plotly.graph_objects as go
import pytest
from pymatgen.symmetry.groups import sg_symbol_from_int_number

from aiida_fuse2.report.plots import PLOTS
from aiida_fuse2.report.plots.base import SYMBOL, energy_range, formula, group, in_window, plain, text
from aiida_fuse2.report.plots.hull import HULL_BARS, HULL_PLOTS

from .synthetic import report_data, with_answer
from .test_comparison import CUT, ENERGIES, convex_hull, phases
from .test_page import TIERS


def test_each_plot_has_a_name_and_a_place():
    page = files("aiida_fuse2.report").joinpath("report.html").read_text(encoding="utf-8")
    names = [plot.name for plot in PLOTS]
    assert len(set(names)) == len(names)
    assert [plot.name for plot in PLOTS if not plot.title and f"%%{plot.name}%%" not in page] == []
    assert not {name for name in names if f'<section id="{name}"' in page} & {plot.name for plot in PLOTS if plot.title}


def test_search_that_has_tried_nothing_has_no_plots():
    assert [plot.name for plot in PLOTS if plot.draw(report_data(0)) is not None] == []


FIGURES = {
    **{plot.name: lambda plot=plot: plot.draw(report_data(60, tier_figures=TIERS)) for plot in PLOTS},
    "binary": lambda: HULL_PLOTS[2].draw(convex_hull(phases(CUT))),
    "ternary": lambda: HULL_PLOTS[3].draw(convex_hull(phases(list(ENERGIES)))),
    "bars": lambda: HULL_BARS.draw(convex_hull(phases(["Sr", "Ti", "O", "Mg", "MgO"]))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_different_on_a_narrow_page_is_known_to_plotly(name):
    figure = FIGURES[name]()
    for part in (figure.layout, *figure.data):
        changes = (part.meta or {}).get("narrow", {})
        part.update({path.replace(".", "_"): value for path, value in changes.items()})
    assert plain(figure)["data"]


def test_figures_keep_a_few_tags_and_nothing_else():
    link = '<a href="https://example.org">x</a><b style="color:red">y</b>'
    figure = go.Figure(
        go.Scatter(name=link, text=["a\u202eb", "<sub>2</sub>"], customdata=[[link]], x=[1, float("nan")])
    )
    figure.update_layout(
        title_text="<B>loud</B><br>next", template="plotly_dark", meta={"narrow": {"title.text": link}}
    )
    values = plain(figure)
    shown = link.replace("<a", "&lt;a").replace("</a", "&lt;/a").replace("<b ", "&lt;b ")
    trace, layout = values["data"][0], values["layout"]
    assert trace["name"] == trace["customdata"][0][0] == layout["meta"]["narrow"]["title.text"] == shown
    assert trace["text"] == ["a\\u{202e}b", "<sub>2</sub>"]
    assert trace["x"] == [1, None]
    assert layout["title"]["text"] == "&lt;B>loud&lt;/B><br>next"
    assert "template" not in layout


def test_data_is_text():
    assert text('<b>&"%{x}\n') == "&#60;b&#62;&#38;&#34;&#37;{x}\\u{a}"
    assert formula("Sr2TiO4<") == "Sr<sub>2</sub>TiO<sub>4</sub>&#60;"
    assert group("Cmc2_1 (36) & more") == "Cmc2<sub>1</sub> (36) &#38; more"


def test_space_groups_are_typeset_wherever_they_stand():
    symbols = [sg_symbol_from_int_number(number) for number in range(1, 231)]
    assert [symbol for symbol in symbols if set("-_") & set(group(symbol))] == []
    assert group("1. P6_3/mmc, Lonsdaleite") == "1. P6<sub>3</sub>/mmc, Lonsdaleite"
    assert group("R-3c distortion of I-42d") == "R3\u0305c distortion of I4\u03052d"
    for plain_text in ("target rutile_2", "Moissanite-4H SiC", "measured run-2.xy", "sevennet-l3i5"):
        assert group(plain_text) == plain_text
    shared = files("aiida_fuse2.report").joinpath("shared.js").read_text(encoding="utf-8")
    assert f"const SYMBOL = /{SYMBOL.pattern}/;" in shared


def test_patterns_are_named_with_typeset_space_groups():
    figure = next(plot for plot in PLOTS if plot.name == "diffraction").draw(with_answer(report_data(60)))
    assert figure.data[0].name == "1. Pm3\u0305m, Cubic Perovskite"


def test_few_bad_energies_do_not_press_the_others_flat():
    low, high = energy_range([*(-8 + 0.01 * i for i in range(100)), 50.0])
    assert (low, high) == pytest.approx((-8 - 0.06 * 0.9, -8 + 0.9 * 1.06))
    assert energy_range([-8.0]) == pytest.approx([-8.006, -7.994])


def test_window_of_energies_has_a_switch_where_some_are_above():
    energies, volumes = pd.Series([-8.0, -7.9, -7.0]), pd.Series([10.0, 11.0, 30.0])
    figure = in_window(go.Figure(), energies, volumes)
    assert figure.layout.yaxis.range == pytest.approx((-8.006, -7.894))
    assert figure.layout.xaxis.range == pytest.approx((9.95, 11.05))
    near, whole = figure.layout.updatemenus[0].buttons
    assert near.args[0]["yaxis.range"] == list(figure.layout.yaxis.range)
    assert whole.args[0]["yaxis.range"] == pytest.approx([-8.06, -6.94])
    assert whole.args[0]["xaxis.range"] == pytest.approx([9, 31])
    assert in_window(go.Figure(), energies[:2]).layout.updatemenus == ()

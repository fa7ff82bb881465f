"""The plot that the documentation adds, done as it says: one file, and its lines in the registry."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aiida_fuse2 import query
from aiida_fuse2.report import collect, plots
from tests.linting import complaints

from .conftest import wait_until
from .synthetic import report_data

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "extend.md"
SECTION = PAGE.read_text(encoding="utf-8").split("## A plot of the report\n")[1].split("\n## ")[0]
MODULE, IMPORT, LINE, INVENTED, SCRIPT = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """The registry with the plot of the documentation."""
    (tmp_path / "groups.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(plots, "__path__", [*plots.__path__, str(tmp_path)])
    source = Path(plots.__file__).read_text(encoding="utf-8")
    end = source.rindex(')\n"""')
    names = {"__name__": "registry", "__package__": "aiida_fuse2.report.plots"}
    exec(f"{source[:end]}{LINE},{source[end:]}".replace("from .base", f"{IMPORT}from .base", 1), names)  # noqa: S102
    return names


def plots_of(html):
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    return json.loads(text.group(1))["plots"]


def test_one_file_and_one_line_put_a_plot_on_the_page(registry):
    from aiida_fuse2.report.page import render

    html = render(report_data(60), registry["PLOTS"])
    drawn = plots_of(html)["groups"]
    assert "Cmc2<sub>1</sub> (36)" in {trace["name"] for trace in drawn["data"]}
    assert html.index('<section id="groups"') < html.index('<section id="lineage"')
    assert "<h2>Energies of space groups</h2>" in html
    assert "groups" not in plots_of(render(report_data(0), registry["PLOTS"]))


def test_a_script_adds_a_plot(registry, monkeypatch):
    monkeypatch.setattr(query, "load_search", lambda pk: pk)
    monkeypatch.setattr(collect, "collect", lambda search, number: report_data(search, drawn=number))
    exec(SCRIPT, names := {"groups": registry["groups"]})  # noqa: S102
    assert list(plots_of(names["html"]))[-1] == "groups"


def test_an_invented_search_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(INVENTED, {})  # noqa: S102
    assert "energy" in plots_of((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_code_of_the_page_passes_the_lint():
    assert complaints(MODULE, "aiida_fuse2/report/plots/groups.py") == ""
    for script in (INVENTED, SCRIPT):
        assert complaints(script, "examples/report.py", ignore="D100,F821") == ""  # a part of a script


def test_columns_and_keys_are_those_of_the_page():
    data = report_data(60)
    columns, keys = SECTION.split("Its columns are")[1].split(": `data.rows` has")
    names = set(re.findall(r"`(\w+)`", columns))
    assert names == set(data.explored.columns)
    assert list(data.explored.generation) == [row["generation"] for row in data.rows if row["status"] == "converged"]
    named = set(re.findall(r"`(\w+)`", keys.split("The rest is")[0])) - {"converged", "_loose"}
    assert named <= set(data.rows[0])


@pytest.mark.slow
def test_browser_draws_it(opened, registry):
    from aiida_fuse2.report.page import render

    open_page, complaints, _ = opened
    page = open_page(render(report_data(60), registry["PLOTS"]))
    wait_until(page, "document.querySelector('#plot-groups.js-plotly-plot') !== null")
    assert "Groups" in page.locator("nav").inner_text()
    assert page.locator("#plot-groups .boxlayer .trace").count() == 5
    assert complaints == []

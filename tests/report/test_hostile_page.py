"""Data of others in the pages: everything that runs, loads or turns text around is shown as text."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files

import pytest

from aiida_fuse2.core.answer.second import Order
from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.report.comparison import compare, figures_of_rows
from aiida_fuse2.report.comparison_page import render_comparison
from aiida_fuse2.report.data import TierFigures
from aiida_fuse2.report.hull import Phase, convex_hull
from aiida_fuse2.report.hull_page import render_hull
from aiida_fuse2.report.page import render
from aiida_fuse2.report.patterns import simulate

from .synthetic import perovskite, report_data, rows_of_search, with_second

EVIL = (
    "</script><!--<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    '"\'><svg/onload=window.pwned=1><a href="javascript:window.pwned=1">2</a>'
    "<link rel=stylesheet href=https://example.org/a.css><style>*{background:url(https://example.org/b)}</style>"
    "%{x}${1}\u202egnp\u2028\x1b[31m&amp;&#60;i&#62;\ud800"
)
TEXTS = ("label", "parent", "origin", "spacegroup", "spacegroup_loose", "spacegroup_symbol", "spacegroup_symbol_loose")
"""What a row of a search tells that an archive could have as any text."""


def hostile(row):
    """Return a row of which every text, and every number of a space group, is hostile."""
    changed = {name: f"{row[name]}{EVIL}" for name in TEXTS if row.get(name)}
    return row | changed | ({"status": EVIL} if row.get("energy") is None else {})


def hostile_report():
    data = with_second(report_data(60, drawn=3))
    target = dict.fromkeys(("name", "spacegroup", "spacegroup_symbol", "found", "found_spacegroup"), EVIL)
    target |= {"found_spacegroup_symbol": EVIL, "structure_number": 1, "rms": 0.1}
    target |= dict.fromkeys(("energy", "found_energy", "delta_target", "delta_best", "above_best"), -1.0)
    target |= {"second": EVIL, "second_energy": -1.0, "second_above": -1.0}
    figures = {"entered": 9, "converged": 9, "cpu_seconds": 1.0, "energies": [(-0.1 * i, -0.2 * i) for i in range(9)]}
    shown = {
        f"{label}{EVIL}": replace(one, label=EVIL, file_name=EVIL, targets={EVIL: 0.1})
        for label, one in data.structures.items()
    }
    names = ("label", "spacegroup", "spacegroup_symbol", "type", "statement", "pk", "uuid")
    return replace(
        data,
        formula=EVIL,
        uuid=EVIL,
        status=EVIL,
        origin=EVIL,
        settings={EVIL: {EVIL: EVIL}, "seed": EVIL, "max_atoms": EVIL},
        tiers=[(EVIL, {EVIL: EVIL}), (EVIL, {})],
        software={EVIL: EVIL},
        rows=[hostile(row) for row in data.rows],
        ranked=[hostile(row) for row in data.ranked],
        answer=EVIL,
        phases=[{**row, **{name: f"{row[name]}{EVIL}" for name in names}} for row in data.phases],
        order=Order(first=EVIL, second=EVIL, by="second", statement=EVIL, targets={}),
        conclusion=[(EVIL, EVIL), (EVIL, f"`{EVIL}`")],
        learned=[(EVIL, EVIL, 1.0, 1.0, 1.0)],
        rejections={EVIL: 3},
        structures=shown,
        patterns=[simulate(perovskite(), EVIL, symprec=0.1)],
        tier_figures=[TierFigures(name=EVIL, **figures)] * 2,
        targets=[target],
    )


def hostile_comparison():
    identity = {"formula": EVIL, "starts": EVIL, "potential": EVIL, "seed": EVIL}
    searches = [figures_of_rows(rows_of_search(30, seed=seed), pk=EVIL, **identity) for seed in (1, 2)]
    baseline = searches[0].experiment
    table = compare(searches, baseline=baseline, tolerance=0.001)
    return render_comparison(searches, table, baseline=baseline, tolerance=0.001)


def hostile_hull():
    names = {"SrO": -6.0, "TiO2": -8.8, "SrTiO3": -8.0, "Sr2TiO4": -6.0}
    phases = [Phase(unit=parse_composition(name), energy=energy, search=1) for name, energy in names.items()]
    hull = convex_hull(phases)
    rows = tuple(
        replace(row, search=EVIL, formula=row.formula + EVIL, decomposition={row.formula + EVIL: 0.5, EVIL: 0.5})
        for row in hull.rows
    )
    ends = tuple(end + EVIL for end in hull.ends)
    return render_hull(replace(hull, rows=rows, ends=ends, elements=(EVIL,)), potential=EVIL)


PAGES = {"report": lambda: render(hostile_report()), "comparison": hostile_comparison, "hull": hostile_hull}


@pytest.mark.slow
@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_of_others_runs_or_loads(opened, kind, policy):
    """With the policy of the page, and without it, so that what is escaped is seen by itself."""
    open_page, complaints, requests = opened
    html = PAGES[kind]()
    assert html.count("Content-Security-Policy") == 1
    page = open_page(html if policy else re.sub("<meta http-equiv[^>]*>", "", html))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.wait_for_timeout(500)
    for control in page.locator("summary, #buttons-view button, #buttons-phase button").all():
        control.click()
    for point in page.locator("#plot-hull .point, #plot-path .point, #plot-tiers .point").all()[:3]:
        point.hover(force=True)
    assert page.evaluate("window.pwned") is None
    assert complaints == []
    assert [
        url for url in requests if not url.startswith(("data:", "blob:")) and not url.endswith("/report.html")
    ] == []
    outside = "a:not(#nav a):not(.cif):not(.modebar-btn)"
    strange = f"main img, main link, main script, main style, main svg a, body {outside}"
    assert page.eval_on_selector_all(strange, "found => found.map(e => e.outerHTML)") == []
    handlers = "all => all.flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    assert page.eval_on_selector_all("main *, nav *, header *", handlers) == []
    shown = page.locator("body").inner_text()
    assert "<img src=x onerror=window.pwned=1>" in shown
    assert not re.search("[\u202e\u2028\x1b]", shown)
    assert "\\u{202e}" in shown
    drawn = page.eval_on_selector_all(".js-plotly-plot text", "found => found.map(e => e.textContent).join()")
    assert drawn.count("<img src=x onerror=window.pwned=1>") == drawn.count("%{x}${1}")
    assert "<img" in drawn


@pytest.mark.slow
def test_policy_stops_what_would_be_injected(opened):
    """The second wall: were something not escaped, it would not run."""
    open_page, complaints, _ = opened
    injected = '<img src=https://example.org/x onerror="window.pwned=1"><script>window.pwned=1</script>'
    page = open_page(render(report_data(3)).replace("<header", f"{injected}<header", 1))
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.pwned=1'}))")
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert any("Content Security Policy" in complaint for complaint in complaints)
    assert page.locator("h1").inner_text().replace("\n", "") == "SrTiO3"


def test_scripts_put_data_in_at_one_place():
    sinks = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc")
    scripts = [path for path in files("aiida_fuse2.report").iterdir() if path.name.endswith(".js")]
    found = [line for path in scripts for line in path.read_text(encoding="utf-8").splitlines() if sinks.search(line)]
    assert found == ["const put = (id, content) => { byId(id).innerHTML = markup(content); };"]

"""The page in a real browser: it draws, sorts, hands out files, loads nothing, and stays small."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from ase.io import read
from PIL import Image

from aiida_fuse2.report.data import TierFigures
from aiida_fuse2.report.hull import convex_hull
from aiida_fuse2.report.hull_page import render_hull
from aiida_fuse2.report.page import render
from aiida_fuse2.report.template import AMBIENT, DARK, script_json

from .conftest import wait_until
from .synthetic import report_data, with_answer
from .test_comparison import ENERGIES, phases

TARGET = {
    "name": "known",
    "energy": -8.42,
    "spacegroup": 221,
    "spacegroup_symbol": "Pm-3m",
    "found": "g00000_w000_t000",
    "structure_number": 1,
    "rms": 0.012,
    "found_energy": -8.41,
    "found_spacegroup": 36,
    "found_spacegroup_symbol": "Cmc2_1",
    "delta_target": 0.01,
    "delta_best": None,
    "above_best": None,
}

DRAWN = "document.querySelector('#crystal-view canvas') !== null && document.querySelectorAll('.js-plotly-plot').length"


def column(page, index):
    return page.eval_on_selector_all(
        "#table-body .row", f"rows => rows.map(r => r.children[{index}].textContent.trim())"
    )


def picture(page, selector):
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def page_of_2000():
    return render(report_data(2000))


@pytest.mark.slow
def test_draws_without_errors_and_without_the_network(opened, page_of_2000):
    open_page, complaints, requests = opened
    page = open_page(page_of_2000)
    wait_until(page, f"{DRAWN} >= 7")
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.locator("h1").inner_text().replace("\n", "") == "SrTiO3"
    links = page.eval_on_selector_all("nav a", "links => links.map(a => a.getAttribute('href'))")
    assert len(links) == page.locator("main section").count() == 11
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]


@pytest.mark.slow
def test_crystal_is_drawn_and_changes(opened, page_of_2000):
    open_page, _, _ = opened
    page = open_page(page_of_2000)
    wait_until(page, DRAWN)
    page.wait_for_timeout(1000)
    first = picture(page, "#crystal-view")
    spread = np.ptp(first, axis=2)
    assert (spread > 60).mean() > 0.02  # coloured atoms on a ground without colour
    page.get_by_text("Higher →").click()
    page.wait_for_timeout(1500)
    assert np.abs(picture(page, "#crystal-view") - first).max() > 60
    assert "Rank\n2" in page.locator("#caption-view").inner_text()


@pytest.mark.slow
def test_buttons_change_the_picture(opened):
    open_page, complaints, _ = opened
    page = open_page(render(report_data(30, drawn=3)), width=1400)
    wait_until(page, DRAWN)
    page.wait_for_timeout(1000)
    look = page.locator("#crystal-view .look button")
    assert [text for text in look.all_inner_texts() if text != "⟲"] == [
        "Polyhedra",
        "Bonds",
        "2×2×2",
        "a",
        "b",
        "c",
        "PNG",
    ]
    drawn = "(s => [s.atoms.filter(a => a.inside).length, s.hulls.length])(boxes.get('crystal-view').scene)"
    assert page.evaluate(drawn) == [15, 1]
    for name in ("Polyhedra", "Bonds", "2×2×2", "c"):
        before = picture(page, "#crystal-view .stage")
        look.get_by_text(name, exact=True).click() if len(name) > 1 else page.get_by_label("Look along c").nth(
            2
        ).click()
        page.wait_for_timeout(500)
        assert np.abs(picture(page, "#crystal-view .stage") - before).max() > 60, name
    assert page.evaluate(drawn) == [27 + 8 + 36, 8]  # 8 cells of SrTiO3: corners, centres, faces
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_picture_is_saved_with_axes_and_legend(opened, tmp_path, width):
    open_page, complaints, _ = opened
    page = open_page(render(report_data(30, drawn=3)), width=width)
    wait_until(page, DRAWN)
    with page.expect_download() as started:
        page.locator("#crystal-view [data-png]").click()
    assert started.value.suggested_filename.endswith(".png")
    started.value.save_as(tmp_path / "crystal.png")
    saved = np.asarray(Image.open(tmp_path / "crystal.png").convert("RGB")).astype(int)
    assert saved.shape[1] >= 2 * page.evaluate("document.querySelector('#crystal-view').clientWidth") - 8
    height, length = saved.shape[:2]
    corners = {"axes": saved[-height // 4 :, : length // 3], "legend": saved[-height // 8 :, length // 2 :]}
    for name, corner in corners.items():
        assert (np.ptp(corner, axis=2) > 60).any(), name
    assert (saved[: height // 50] == 255).all()  # the ground is white, and the crystal does not touch the edge
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 1000, 400])
def test_table_is_not_cut(opened, page_of_2000, width):
    open_page, _, _ = opened
    page = open_page(page_of_2000, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("(t => t.scrollWidth - t.clientWidth)(document.getElementById('table'))") == 0
    cells = "cells => cells.filter(c => c.offsetWidth && c.scrollWidth > c.offsetWidth).map(c => c.textContent)"
    named = "#table-head > *, #table-body .row > :not(.c-move):not(.c-type)"
    assert page.eval_on_selector_all(named, cells) == []
    shown = page.eval_on_selector_all("#table-head > *", "all => all.filter(c => c.offsetWidth).length")
    assert shown == {1400: 13, 1000: 10, 400: 6}[width]


@pytest.mark.slow
def test_switch_shows_all_energies(opened):
    open_page, complaints, _ = opened
    data = report_data(200)
    page = open_page(render(data))
    wait_until(page, "document.querySelector('#plot-energy.js-plotly-plot') !== null")
    ranges = "document.getElementById('plot-energy').layout.yaxis.range"
    lowest = min(row["energy"] for row in data.ranked)
    assert page.evaluate(ranges)[1] < lowest + 0.22
    page.locator("#plot-energy .updatemenu-button").nth(1).click()
    wait_until(page, f"{ranges}[1] > {max(row['energy'] for row in data.ranked)}")
    assert complaints == []


@pytest.mark.slow
def test_table_sorts_filters_and_scrolls(opened, page_of_2000):
    open_page, complaints, _ = opened
    page = open_page(page_of_2000)
    assert column(page, 0)[:3] == ["1", "2", "3"]
    energies = [f"{row['energy']:.4f}".replace("-", "−") for row in report_data(2000).ranked]
    assert column(page, 1) == energies[: len(column(page, 1))]
    for button, cell in ((6, 6), (1, 1), (0, 0)):  # volume, energy, rank
        header = page.locator("#table-head button").nth(button)
        for direction in ("ascending", "descending"):
            header.click()
            if direction == "ascending" and header.get_attribute("aria-sort") == "descending":
                header.click()
            assert header.get_attribute("aria-sort") == direction
            shown = [float(text.replace("−", "-")) for text in column(page, cell)]
            assert shown == sorted(shown, reverse=direction == "descending")
    page.fill("#filter", "Cmc2_1")
    assert set(column(page, 3)) == {"Cmc21 (36)"}
    page.fill("#filter", "")
    page.evaluate("document.getElementById('table').scrollTop = 1e7")
    wait_until(page, "document.querySelector('#table-body .row:last-child span').textContent === '1'")
    assert page.locator("#table-body .row").count() < 60
    assert complaints == []


@pytest.mark.slow
def test_rows_outlive_scrolling_and_a_choice(opened, page_of_2000):
    """A row that is replaced between press and release of a mouse button loses the click."""
    open_page, _, _ = opened
    page = open_page(page_of_2000, width=500)
    rows = page.locator("#table-body .row")
    page.evaluate("document.querySelector('#table-body .row a.cif').id = 'same'")
    page.evaluate("document.getElementById('table').scrollTo(100, 60)")
    page.wait_for_timeout(300)
    rows.nth(3).click()
    assert page.locator("#same").count() == 1
    assert rows.evaluate_all("rows => rows.map(r => r.classList.contains('chosen')).indexOf(true)") == 3
    page.evaluate("document.getElementById('table').scrollTop = 1e7")
    wait_until(page, "document.getElementById('same') === null")


@pytest.mark.slow
def test_cif_files_are_those_of_the_structures(opened, tmp_path):
    open_page, _, _ = opened
    data = report_data(60, drawn=5)
    page = open_page(render(data))
    links = page.locator("a.cif")
    assert links.count() >= 5
    for rank in range(2):
        with page.expect_download() as started:
            links.nth(rank).click()
        shown = data.structures[data.ranked[rank]["label"]]
        assert started.value.suggested_filename == shown.file_name
        started.value.save_as(tmp_path / f"{rank}.cif")
        atoms = read(tmp_path / f"{rank}.cif")
        assert sorted(atoms.symbols) == sorted(shown.atoms.symbols)
        assert np.allclose(atoms.cell.cellpar(), shown.atoms.cell.cellpar(), atol=1e-4)
    with page.expect_download() as started:
        page.get_by_text("CIF symmetrised").click()
    assert started.value.suggested_filename.endswith("_symmetrised.cif")


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 30])
def test_short_and_empty_searches(opened, count):
    open_page, complaints, _ = opened
    page = open_page(render(report_data(count, status="running, relaxing generation 0 (job)")))
    assert complaints == []
    assert "running" in page.locator("#status").inner_text()
    assert ("No structure has been explored yet" in page.locator("main").inner_text()) == (count == 0)
    assert page.locator("#settings").count() == 1
    assert page.locator("#moves").count() == (count > 25)
    assert ("Best found by" in page.locator("#conclusion").inner_text()) == (count > 0)


@pytest.mark.slow
def test_fits_a_phone(opened, page_of_2000):
    open_page, complaints, _ = opened
    page = open_page(page_of_2000, width=390, height=844)
    wait_until(page, DRAWN)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == []


@pytest.mark.slow
def test_ten_thousand_structures(opened):
    html = render(report_data(10_000, drawn=50))
    assert len(html.encode()) < 15e6
    open_page, complaints, _ = opened
    page = open_page(html)
    wait_until(page, DRAWN)
    rows = page.evaluate(
        "() => { const box = document.getElementById('table'), rows = [];"
        " for (let i = 0; i < 100; i++) { box.scrollTop = 3000 * i; showRows();"
        " rows.push(document.querySelectorAll('#table-body .row').length); } return rows; }"
    )
    assert 0 < min(rows) <= max(rows) < 60  # only those in sight are made, so that scrolling stays smooth
    assert complaints == []


def test_library_of_crystals_has_its_licence_and_light_from_all_sides():
    html = render(report_data(3))
    assert "Copyright (c) 2014, University of Pittsburgh" in html
    assert (html.count(DARK), html.count(AMBIENT)) == (6, 6)  # what is replaced is in what takes its place
    assert "3Dmol" not in render_hull(convex_hull(phases(list(ENERGIES))), potential="chgnet")


def test_what_users_write_cannot_break_the_page():
    evil = "</script><script>alert(1)</script>\u2028"
    html = render(report_data(30, status=evil, origin=evil, settings={"a": evil}, targets=[{**TARGET, "name": evil}]))
    assert "<script>alert" not in html
    assert len(re.findall(r"<script\b", html)) == len(re.findall(r"</script>", html))
    assert (
        script_json({"x": float("nan"), "y": [float("inf"), 1.5], "z": "<"})
        == '{"x":null,"y":[null,1.5],"z":"\\u003c"}'
    )


LAST = [-8.0 - 0.05 * i for i in range(60)]
TIERS = [
    TierFigures(
        name="pair",
        entered=100,
        converged=90,
        cpu_seconds=5.0,
        energies=[(0.1 + 2 * energy, energy) for energy in LAST],
    ),
    TierFigures(
        name="chgnet", entered=90, converged=60, cpu_seconds=95.0, energies=[(energy, energy) for energy in LAST]
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_answer_comes_first_and_the_structures_are_details(opened, width):
    open_page, complaints, _ = opened
    page = open_page(render(with_answer(report_data(60, drawn=5))), width=width)
    wait_until(page, "document.querySelector('#crystal-phase canvas') !== null")
    assert page.locator("nav a").first.inner_text() == "Answer"
    rows = page.locator("#table-phases tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["1", "2", "3"]
    assert "Pm3m (221)" in rows[0]
    assert "Pm3m 221" in page.locator("#facts").inner_text().replace("\n", " ")
    assert "aiida-fuse2 continue 8" in page.locator("#conclusion code").inner_text()
    page.locator("#table-phases tbody tr").nth(1).click()
    assert "P4/mmm" in page.locator("#caption-phase h3").inner_text()
    with page.expect_download() as started:
        page.locator("#buttons-phase button").click()
    assert started.value.suggested_filename == "SrTiO3_p01.cif"
    assert not page.locator("#table").is_visible()
    page.locator("#raw > summary").click()
    wait_until(page, "document.querySelector('#crystal-view canvas') !== null")
    shown = page.locator("#table-head > .c-phase").is_visible()
    assert shown == (width == 1400)
    if shown:
        assert column(page, 1)[:6] == ["1", "2", "3", "3", "3", "–"]
    assert page.evaluate("(t => t.scrollWidth - t.clientWidth)(document.getElementById('table'))") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_targets_and_tiers(opened, width):
    open_page, complaints, _ = opened
    missed = {**TARGET, "name": "other", "found": None, "above_best": -0.0495}
    page = open_page(render(report_data(60, targets=[TARGET, missed], tier_figures=TIERS)), width=width)
    wait_until(page, "document.querySelector('#plot-tiers.js-plotly-plot') !== null")
    rows = page.locator("#table-targets tbody tr").all_inner_texts()
    assert "1 structure\t0.012" in rows[0]
    assert "lies 49.5 meV/atom below your best: the search missed it" in rows[1]
    tiers = page.locator("#table-tiers tbody tr").all_inner_texts()
    assert tiers[0].split("\t")[:8] == ["1 pair", "100", "90", "10", "5.0 s", "5 %", "0.05", "1.00"]
    assert tiers[1].split("\t")[5] == "95 %"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []

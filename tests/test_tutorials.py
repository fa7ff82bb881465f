"""The tutorials do what they show: their commands are typed on a fresh profile, with a real daemon and CHGNet."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
runner = importlib.import_module("run_tutorials")  # a script, not a module of the package
FIRST = "first_search"
PAGES = sorted((ROOT / "docs" / "tutorial").glob("*.md"), key=lambda page: (page.stem != FIRST, page.stem))
"""The first one makes the profile that the others need."""

CLAIMS = {
    "first_search": [
        r"^SrTiO3  search \d+, prototypes 50 % \+ symmetric 50 % starts, seed 1, at most 5 atoms$",
        r"^1 +-8\.4\d\d\d +0\.0 .*Perovskite",  # distorted or not
        r"^1\. Pm-3m \(Cubic Perovskite\)",
        r"^best/SrTiO3_Pm-3m_Cubic-Perovskite\.cif$",
        r"^best/SrTiO3_01_.*\.cif$",
    ],
    "own_structures": [
        r"2 starting structures, 1 skipped",
        r"rutile\.cif: wrong_composition",
        r"^target rock_salt \(Fm-3m \(225\).*found after \d+ structures",
        r"^target wurtzite .*: not found",
        r"^1 +-6\.31\d\d +0\.0 +Fm-3m \(225\) .*Rock Salt",
        r"^MgO\.html$",
    ],
    "generators": [
        r"^SrTiO3 +fgen, chgnet \S+ +2 +20 ",
        r"^SrTiO3 +symmetric, chgnet \S+ +2 +20 ",
        r"^SrTiO3 +gnoa, chgnet \S+ +2 +20 ",
    ],
    "dft": [
        r"refinement \d+ by qe: finished",
        r"^1 +1 +-\d+\.\d+ +-6\.31\d\d +0\.0 +Fm-3m \(225\) ",
    ],
    "vasp": [
        r"^[12] +-3\.908\d +0\.[01] +Pm-3m \(221\) .*Cu3Au",
        r"^ *name: vasp$",
        r"^ *potential_family: PBE\.54$",
    ],
    "phase_field": [
        r"^Al +-3\.66\d\d +0\.0000 +0\.0 +stable",
        r"^Ni +-5\.74\d\d +0\.0000 +0\.0 +stable",
        r"^AlNi +-5\.41\d\d +-0\.70\d\d +0\.0 +stable",
        r"^Al3Ni +-4\.\d+ +-0\.\d+ +\d",
    ],
    "publishing": [
        r"^MgO\.optimade\.yaml$",
        r"^# Crystal structure prediction of MgO$",
        r"10\.1039/D4FD00094C",
        r"^Success: imported archive MgO\.aiida$",
        r"^1 +-6\.31\d\d +0\.0 +Fm-3m \(225\)",
        r"^ *MgO +1 +-6\.31\d+ +8$",
    ],
}
"""What each page says of its results, as expressions that a line of them matches."""

PROGRAMS = {"dft": ("pw.x", "aiida-pseudo"), "vasp": ("aiida-vasp",)}
"""What pages need beside this package."""


def missing_for(page):
    """Return what a page needs and is not here, for people; empty if nothing is."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    missing = [name for name in PROGRAMS.get(page, ()) if shutil.which(name, path=path) is None]
    if page == "dft" and not Path("/usr/share/espresso/pseudo").is_dir():
        missing.append("the pseudopotentials of Debian's quantum-espresso-data")
    return ", ".join(missing)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Somebody whose profile is shared by the pages, to save time."""
    pytest.importorskip("chgnet")
    reader = runner.Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.leave()


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.timeout(900)  # a page has several searches
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_does_what_it_shows(reader, page):
    if missing := missing_for(page.stem):
        pytest.skip(f"{missing} is not installed")
    if page.stem != FIRST:
        reader.set_up()
    runner.prepare(page.stem, reader.home / page.stem)
    results = reader.follow(page.read_text(encoding="utf-8"), reader.home / page.stem)
    missing = [(result.text, line) for result in results for line in runner.lines_missing(result)]
    assert missing == []
    printed = "\n".join(line for result in results for line in result.printed)
    assert [claim for claim in CLAIMS[page.stem] if not re.search(claim, printed, re.MULTILINE)] == []
    for written in re.findall(r"(?<=-o )\S+\.html", " ".join(result.text for result in results)):
        assert "<html" in (reader.home / page.stem / written).read_text(encoding="utf-8")[:200]


def test_every_page_has_its_claims_and_is_in_the_index():
    assert {page.stem for page in PAGES} == set(CLAIMS)
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(f"\ntutorial/{page.stem}\n" in index for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_claims_are_those_of_the_page(page):
    text = page.read_text(encoding="utf-8")
    assert [claim for claim in CLAIMS[page.stem] if not re.search(claim, text, re.MULTILINE)] == []


# --- the runner itself ----------------------------------------------------------------------------

PAGE = """# A page

% not run: it would not do
```console
$ false
```

```console
$ cat > file <<'END'
one
two
END
$ cat \\
    file
...
two
```

% fails: on purpose
```console
$ false
```
"""


@pytest.fixture
def somebody(tmp_path):
    return runner.Reader(tmp_path)


def test_commands_are_run_and_renewed(somebody, tmp_path):
    results = somebody.follow(PAGE, tmp_path / "work")
    assert [result.text.split()[0] for result in results] == ["cat", "cat", "false"]
    assert results[1].printed == ["one", "two"]
    longer = PAGE.replace("one\ntwo\nEND", "zero\none\ntwo\nEND")
    assert runner.updated(longer, somebody.follow(longer, tmp_path / "work")) == longer
    whole = PAGE.replace("    file\n...\n", "    file\n")
    assert "    file\none\ntwo\n```" in runner.updated(whole, somebody.follow(whole, tmp_path / "work"))


@pytest.mark.parametrize("wrong", [PAGE.replace("% not run: it would not do\n", ""), PAGE.replace("$ false", "$ true")])
def test_wrong_exit_codes_are_errors(somebody, tmp_path, wrong):
    with pytest.raises(runner.TutorialError, match="exit code"):
        somebody.follow(wrong, tmp_path / "work")


def test_keys_of_the_page_become_those_of_the_profile():
    printed = ["Search of MgO submitted: PK 5", "  E   PK", "  eV", "1 -6.3   28", "2 -6.1   26", "", "3 of 4"]
    assert runner.keys_in(printed) == (["5"], ["28", "26"])
    keys = {"5": "40", "8": "41", "2": "9"}
    typed = runner.with_keys("aiida-fuse2 compare 5 8 --baseline 5 -n 2 --best 8 -o 5.html", keys)
    assert typed == "aiida-fuse2 compare 40 41 --baseline 40 -n 2 --best 8 -o 5.html"
    assert runner.with_keys("head -n 5 8", keys) == "head -n 5 8"


def test_lines_that_are_not_printed_are_told():
    command = runner.Command("aiida-fuse2 show", ["MgO  search 5, seed 1", "1   -6.3  Fm-3m (225)   28", "done"])
    printed = ["MgO  search 40, seed 1", "1   -6.31  I4/mmm (139)  90", "2   -5.9  P1 (1)   91"]
    assert runner.lines_missing(runner.Result(command, command.text, printed)) == ["done"]


def test_progress_depends_on_the_machine_and_the_end_does_not():
    shown = [
        "generation 0: 6 of 12 structures; 5 unique",
        "refinement 80 of 2 structures: relaxing by qe (jobs: 1 ended, 1 waiting)",
        "finish 9 of 1 structure: starting",
        "refinement 80 by qe: finished",
    ]
    command = runner.Command("aiida-fuse2 refine 11", shown)
    assert runner.lines_missing(runner.Result(command, command.text, [])) == shown[-1:]

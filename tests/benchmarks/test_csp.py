"""Prediction of known space groups: entries, libraries, the lowest different structures, hits and causes by hand."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from aiida_fuse2.benchmarks.csp_entries import known_structures, read_entries
from aiida_fuse2.benchmarks.csp_report import Cause, report_csp
from aiida_fuse2.benchmarks.libraries import count_by_space_group, read_library
from aiida_fuse2.benchmarks.lowest import Found, describe, energy_by_space_group, lowest_structures
from aiida_fuse2.benchmarks.results import FoundStructure, PhaseEnergy, SearchRow, SecondOrder
from aiida_fuse2.benchmarks.searches import SearchTask, lacks_second, row_key, run_task, with_answer
from aiida_fuse2.core.crystal.symmetry import space_group
from aiida_fuse2.core.crystal.uniqueness import fingerprint
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.prototypes.naming import TypeName
from aiida_fuse2.core.relaxers import RelaxedStructure
from aiida_fuse2.core.search.trials import single_trial

from .rows import HEADER, entries_file, layered, library_file, search, upside_down
from .test_searches import TINY


@pytest.fixture
def library(tmp_path):
    """File with rock salt and the type of CuAu."""
    return library_file(tmp_path)


def task(library, **changes):
    fixed = {"composition": "CuAu", "max_atoms": 4, "generator": "prototypes", "seed": 1, "protocol": "fast"}
    return SearchTask(**{**fixed, "overrides": TINY, "budget": 100.0, "prototypes": library, **changes})


# --- searches with prototypes ---------------------------------------------------------------------


def test_a_search_begins_with_prototypes_and_names_what_it_finds(library):
    row = run_task(task(library, generator="prototypes=0.5+fgen=0.5"))
    assert (row.generator, row.library) == ("fgen=0.5+prototypes=0.5", read_library(library).name)
    assert row.prototypes == {123: 1, 225: 1}
    assert min(row.space_groups.values()) == row.best.energy == row.lowest[0].energy
    assert [one.energy for one in row.lowest] == sorted(one.energy for one in row.lowest)
    best = row.lowest[0]
    assert (best.spacegroup_loose, best.type) == (123, "Layered (CuAu, tP2)")
    assert best.protostructure == "AB_tP2_123_a_d:Au-Cu"
    assert space_group(best.atoms(), 0.1)[0] == 123
    assert best.atoms().get_chemical_formula() == "AuCu"
    assert {one.origin for one in row.lowest} <= {"prototypes", "fgen", "symmetric", "move", "rattle"}
    assert any(one.prototype.startswith(("layered ", "rocksalt ")) for one in row.lowest)
    assert SearchRow.model_validate_json(row.model_dump_json()) == row
    assert row_key(row) == task(library, generator="fgen=1+prototypes=1").key


def test_what_is_left_out_is_no_candidate(library):
    changes = {**TINY, "settings": {**TINY["settings"], "prototypes": {"leave_out": "compound"}}}
    chosen = task(library, overrides=changes)
    settings, _ = chosen.settings()
    text = chosen.library(settings).of(settings)
    assert count_by_space_group(text, settings) == {225: 1}
    small, _ = task(library, composition="Cu3Au").settings()
    assert chosen.library(small).of(small) == ""
    assert run_task(task(library, composition="Cu3Au")).prototypes == {}


def test_without_prototypes_there_are_names_only(library):
    row = run_task(task(library, generator="fgen"))
    assert (row.library, row.prototypes, row.generator) == ("", None, "fgen")
    assert {one.prototype for one in row.lowest} == {""}
    assert all(one.type for one in row.lowest)


def test_time_that_is_up_does_not_count(library, monkeypatch):
    from aiida_fuse2.benchmarks import course

    ticks = iter(range(10**6))
    monkeypatch.setattr(course.Course, "seconds", property(lambda _: float(next(ticks))))
    row = run_task(task(library, generator="fgen", budget=4.5))
    assert (row.structures, len(row.lowest), len(row.space_groups)) == (2, 1, 1)


@pytest.mark.parametrize("starts", ["", "fgen+", "fgen+fgen=2", "fgen=x", "prototypes=0.5+gnu", "fgen=-1", "provided"])
def test_bad_starts(library, starts):
    with pytest.raises(InputError, match="starts"):
        task(library, generator=starts).settings()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"1\n\nCu 0 0 0\n", b"2\nkey=a\nCu 0 0 0\n"])
def test_bad_libraries(tmp_path, content):
    path = tmp_path / "bad.extxyz"
    path.write_bytes(content)
    for wrong in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="--prototypes"):
            read_library(wrong)


def test_a_label_is_needed(tmp_path, library):
    broken = tmp_path / "broken.extxyz"
    broken.write_text(library.read_text().replace("AB_cF8_225_a_b:Cl-Na", "salt"))
    with pytest.raises(InputError, match="must be a library"):
        read_library(broken)


def test_starts_need_a_library(monkeypatch):
    monkeypatch.setattr("aiida_fuse2.benchmarks.searches.read_library", lambda _: None)
    with pytest.raises(InputError, match="need a library"):
        task(None).settings()


# --- the lowest different structures --------------------------------------------------------------


def found(atoms, energy, label):
    number, _ = space_group(atoms, 0.1)
    values = {"energy": energy, "spacegroup": space_group(atoms, 0.01)[0], "spacegroup_loose": number}
    return Found(single_trial(atoms, label).info, RelaxedStructure("converged", "", atoms, values, fingerprint(atoms)))


def test_copies_count_once_with_their_symmetry(library):
    settings, _ = task(library).settings()
    settings = settings.model_copy(
        update={"acceptance": settings.acceptance.model_copy(update={"energy_tolerance": 0.001})}
    )
    exact = layered()
    shifted = exact * (1, 1, 2)
    shifted.positions[0, 2] += 0.15
    other = bulk("NaCl", "rocksalt", a=5.6)
    other.symbols = "CuAu"
    structures = [found(exact, -3.0, "a"), found(shifted, -3.0002, "b"), found(other, -2.5, "c")]
    assert structures[1].result.values["spacegroup_loose"] != 123
    lowest = lowest_structures(structures, settings, 0.1)
    assert [(one.energy, one.best.info.label) for one in lowest] == [(-3.0002, "a"), (-2.5, "c")]
    assert [one.best.info.label for one in lowest_structures(structures, settings, 0.1, most=1)] == ["a"]
    apart = [found(exact, -2.998, "a"), structures[1]]  # 2.2 meV/atom: another basin, and still no other structure
    assert [one.best.info.label for one in lowest_structures(apart, settings, 0.1)] == ["b"]
    assert energy_by_space_group(structures)[123] == -3.0
    row = describe(lowest[0], None, 0.1)
    assert (row.energy, row.spacegroup_loose, row.type) == (-3.0002, 123, "")
    np.testing.assert_allclose(row.atoms().cell.array, exact.cell.array, atol=1e-4)
    assert lowest_structures([], settings, 0.1) == []


def test_the_lowest_of_other_known_types_are_described_as_well(library):
    """As a finished search relaxes them; other types are told from unknown, isopointal and equal ones."""
    settings, _ = task(library).settings()
    names = ["CuAu", "unknown type", "isopointal with NaCl", "CuAu", "NaCl", "", "ZnS", "CsCl", "CuPt"]
    above = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.09, 0.11]
    cells = [bulk("NaCl", "rocksalt", a=4.6 + 0.4 * n) for n in range(len(names))]
    for atoms in cells:
        atoms.symbols = "CuAu"
    types = {round(atoms.get_volume(), 6): name for atoms, name in zip(cells, names, strict=True)}
    structures = [found(atoms, -3 + e, str(n)) for n, (atoms, e) in enumerate(zip(cells, above, strict=True))]

    def places(most):
        lowest = lowest_structures(
            structures, settings, 0.1, most, lambda atoms: TypeName(types[round(atoms.get_volume(), 6)])
        )
        return [int(one.best.info.label) for one in lowest]

    assert places(1) == [0, 4, 6]
    assert places(2) == [0, 1, 4, 6, 7]
    assert places(3) == [0, 1, 2, 4, 6, 7]
    assert places(4) == [0, 1, 2, 3, 4, 6, 7]  # the last one lies beyond the window of finishing
    assert places(9) == list(range(9))
    assert [one.energy for one in lowest_structures(structures, settings, 0.1, 3)] == [-3.0, -2.99, -2.98]


def test_the_answer_of_a_search_is_symmetric_and_has_no_copies(library):
    raw = run_task(task(library))
    assert (raw.answer, raw.answer_seconds) == (None, None)
    row = run_task(task(library, finish=True))
    assert row.answer is not None
    assert row.answer_seconds > 0
    best = row.answer[0]
    assert (best.spacegroup_loose, best.type, best.origin) == (123, "Layered (CuAu, tP2)", row.lowest[0].origin)
    assert space_group(best.atoms(), 0.001)[0] == 123
    near = [place for place, one in enumerate(row.lowest, start=1) if one.energy <= row.lowest[0].energy + 0.1]
    assert sorted(place for phase in row.answer for place in phase.places) == near
    assert SearchRow.model_validate_json(row.model_dump_json()) == row
    later = with_answer(raw, task(library))
    assert [one.spacegroup for one in later.answer] == [one.spacegroup for one in row.answer]
    assert with_answer(raw.model_copy(update={"lowest": []}), task(library)).answer == []


def test_a_second_potential_relaxes_the_phases_of_a_row(library, tmp_path):
    starts = {"generator": "prototypes=0.5+fgen=0.5", "seed": 6}
    chosen = task(library, **starts, finish=True, second=str(upside_down(tmp_path)))
    raw = run_task(task(library, **starts))
    row = with_answer(raw, chosen)
    assert (row.second.potential, list(row.second.versions)) == ("upside-plain", ["ase"])
    assert len(row.answer) > 1
    energies = [-phase.energy for phase in row.answer]  # the minima of one are the maxima of the other
    assert [one.energy for one in row.second.phases] == pytest.approx(energies, abs=1e-5)
    assert [one.spacegroup_loose for one in row.second.phases] == [space_group(p.atoms(), 0.1)[0] for p in row.answer]
    assert row.second.cpu_seconds > 0
    assert SearchRow.model_validate_json(row.model_dump_json()) == row
    assert (lacks_second(raw, chosen), lacks_second(row, chosen), lacks_second(raw, task(library))) == (1, 0, 0)
    assert lacks_second(row.model_copy(update={"second": row.second.model_copy(update={"potential": "x"})}), chosen)
    assert with_answer(row, task(library)).second == row.second
    assert run_task(chosen).second.potential == "upside-plain"


def test_bad_second_potentials(library):
    with pytest.raises(InputError, match=r"--second.*of the search itself"):
        task(library, overrides={}, second="chgnet").settings()
    with pytest.raises(InputError, match="gnu"):
        task(library, second="gnu").settings()


# --- entries and known structures -----------------------------------------------------------------


def test_entries(tmp_path):
    path = entries_file(tmp_path, "mp-1,AuCu,2,123,easy", "mp-2,Li2O2,8,194,hard")
    first, second = read_entries(path)
    assert (first.unit.formula, first.atoms, first.spacegroup, first.category) == ("AuCu", 2, 123, "easy")
    assert (second.unit.formula, second.name) == ("LiO", "Li2O2")
    assert (first.limit(24), first.limit(1)) == (24, 2)


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], HEADER, "holds no composition"),
        (["mp-1,AuCu,2,123"], "material_id,pretty_formula,nsites,spacegroup", "no column category"),
        (["mp-1,Xx3,2,123,a"], HEADER, "line 2: pretty_formula"),
        (["mp-1,AuCu,2,123,a", "mp-2,AuCu,2,231,a"], HEADER, "line 3: spacegroup"),
        (["mp-1,AuCu,2,0,a"], HEADER, "1 to 230"),
        (["mp-1,AuCu,2,Fm-3m,a"], HEADER, "1 to 230"),
        (["mp-1,AuCu,3,123,a"], HEADER, "multiple of the 2 atoms"),
        (["mp-1,AuCu,-2,123,a"], HEADER, "nsites"),
        (["mp-1,AuCu,2,123,"], HEADER, "category.*must have a value"),
        (["mp-1,AuCu"], HEADER, "must have a value"),
        (["mp-1,AuCu,2,123,a", "mp-1,AuCu,2,225,a"], HEADER, "occurs twice"),
        (['mp-1,"AuCu,2,123,a'], HEADER, "is no CSV"),
    ],
)
def test_bad_entries(tmp_path, lines, header, message):
    with pytest.raises(InputError, match=message):
        read_entries(entries_file(tmp_path, *lines, header=header))


def test_bad_files_of_entries(tmp_path):
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    long = entries_file(tmp_path, "#" * 2_000_001)
    for path in (tmp_path, tmp_path / "none.csv", binary, long):
        with pytest.raises(InputError, match="ENTRIES"):
            read_entries(path)


def test_known_structures(tmp_path):
    entries = read_entries(entries_file(tmp_path, "mp-1,AuCu,2,123,a", "mp-2,Cu,1,225,a", "mp-3,Au,1,225,a"))
    folder = tmp_path / "known"
    folder.mkdir()
    with pytest.raises(InputError, match="--structures"):
        known_structures(folder, entries)
    write(folder / "mp-1.cif", layered())
    write(folder / "Cu.vasp", bulk("Cu"))
    write(folder / "others.cif", bulk("Al"))
    assert {key: len(atoms) for key, atoms in known_structures(folder, entries).items()} == {"mp-1": 2, "mp-2": 1}
    write(folder / "mp-3.cif", bulk("Ag"))
    with pytest.raises(InputError, match="no structure of Au"):
        known_structures(folder, entries)
    (folder / "mp-3.cif").write_text("nothing")
    with pytest.raises(InputError, match="--structures"):
        known_structures(folder, entries)
    with pytest.raises(InputError, match="no folder"):
        known_structures(tmp_path / "none", entries)


# --- hits and causes ------------------------------------------------------------------------------


def structure(energy, spacegroup, atoms=None, places=()):
    atoms = layered() if atoms is None else atoms
    return FoundStructure(
        energy=energy,
        spacegroup=1,
        spacegroup_loose=spacegroup,
        protostructure="",
        type=f"type {spacegroup}",
        move="",
        origin="prototypes",
        prototype="",
        symbols=atoms.get_chemical_formula(mode="reduce"),
        cell=atoms.cell.tolist(),
        positions=atoms.get_scaled_positions().tolist(),
        places=list(places),
    )


def predicted(composition, *lowest, **changes):
    fixed = {"max_atoms": 24, "target": None, "generator": "prototypes", "library": "lib", "prototypes": {1: 1}}
    groups = {}
    for one in lowest:
        groups.setdefault(one.spacegroup_loose, one.energy)
    return search(composition=composition, lowest=lowest, space_groups=groups, **{**fixed, **changes})


LINES = (
    "a,CuAu,2,123,easy",
    "b,Cu3Au,4,221,easy",
    "c,CuAu3,4,221,hard",
    "d,CuPd,2,221,hard",
    "e,CuPt,2,166,hard",
    "f,CuAg,48,1,large",
    "g,CuNi,2,225,easy",
)

ROWS = [
    predicted("CuAu", structure(-3.0, 123), structure(-2.9, 1)),
    predicted("Cu3Au", *(structure(-3.0 + 0.001 * n, n) for n in range(1, 5)), structure(-2.9, 221)),
    predicted("CuAu3", *(structure(-3.0, n) for n in range(1, 6)), structure(-2.99, 221)),
    predicted("CuPd", structure(-3.0, 1), prototypes={1: 1, 225: 2}),
    predicted("CuPt", structure(-3.0, 1), prototypes={166: 1}),
]


def test_hits_and_causes_by_hand(tmp_path):
    entries = read_entries(entries_file(tmp_path, *LINES))
    other_rows = [
        predicted("CuAu", structure(-9.0, 1), seed=2),
        predicted("CuAu", structure(-9.0, 1), max_atoms=8),
        predicted("NaCl", structure(-9.0, 1)),
        predicted("CuNi", explored=38),  # of an earlier version, without its structures
    ]
    report = report_csp([*ROWS, *other_rows], entries, max_atoms=24, seed=1)
    found = {p.key: (p.rank, p.above, p.missed_first, p.missed) for p in report.predictions}
    assert found == {
        "a": (1, 0.0, None, None),
        "b": (5, 99.0, Cause.POTENTIAL, None),
        "c": (6, 10.0, Cause.POTENTIAL, Cause.POTENTIAL),
        "d": (None, None, Cause.LIBRARY, Cause.LIBRARY),
        "e": (None, None, Cause.SEARCH, Cause.SEARCH),
        "f": (None, None, Cause.LIMIT, Cause.LIMIT),
    }
    assert (report.entries, report.potentials) == (7, ["by hand"])
    figures = {f.category: f for f in report.figures}
    assert list(figures) == ["all", "easy", "hard", "large"]
    whole = figures["all"]
    assert (whole.entries, whole.first.value, whole.top.value) == (6, pytest.approx(1 / 6), pytest.approx(2 / 6))
    assert (whole.top.low, whole.top.high) == (pytest.approx(0.0433, abs=1e-4), pytest.approx(0.7772, abs=1e-4))
    assert whole.missed == {Cause.POTENTIAL: 1, Cause.LIBRARY: 1, Cause.SEARCH: 1, Cause.LIMIT: 1}
    assert whole.missed_first[Cause.POTENTIAL] == 2
    assert (whole.above, whole.cpu_seconds, whole.matched_top) == (10.0, 101.0, None)
    assert figures["large"].cpu_seconds is None


def test_answers_are_judged_in_lines_of_their_own(tmp_path):
    entries = read_entries(entries_file(tmp_path, *LINES[:3]))
    phases = [
        [structure(-3.0, 99, places=[1]), structure(-2.9, 123, places=[2])],
        [structure(-2.999, 221, places=[1, 2, 3, 5]), structure(-2.997, 4, places=[4])],
        [structure(-3.0, 1, places=[1, 2, 3, 4, 5, 6])],
    ]
    answers = [
        row.model_copy(update={"answer": found, "answer_seconds": 2.0})
        for row, found in zip(ROWS[:3], phases, strict=True)
    ]
    report = report_csp([*ROWS[:3], *answers], entries, max_atoms=24, seed=1)
    judged = [p for p in report.predictions if p.setting == "prototypes, answer"]
    assert [(p.rank, p.missed_first, p.missed, p.distinct) for p in judged] == [
        (2, Cause.POTENTIAL, None, 2),
        (1, None, None, 2),
        (None, Cause.POTENTIAL, Cause.POTENTIAL, 1),
    ]
    assert [p.above for p in judged] == [0.0, 0.0, 10.0]
    raw, answer = (f for f in report.figures if f.category == "all")
    assert (raw.setting, raw.distinct, raw.answer_seconds) == ("prototypes", None, None)
    assert (answer.setting, answer.distinct, answer.answer_seconds) == ("prototypes, answer", pytest.approx(5 / 3), 2.0)
    assert (raw.first.value, answer.first.value) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def second(*phases, **changes):
    found = [PhaseEnergy(energy=energy, spacegroup_loose=group) for energy, group in phases]
    fixed = {"potential": "better-1", "versions": {"better": "1.2", "weights": "f00"}, "cpu_seconds": 10.0}
    return SecondOrder(phases=found, **{**fixed, **changes})


def test_a_second_potential_orders_lines_of_its_own(tmp_path):
    entries = read_entries(entries_file(tmp_path, *LINES[:4]))
    phases = [
        [structure(-3.0, 99, places=[1]), structure(-2.9, 123, places=[2])],
        [structure(-3.0 + 0.01 * n, n or 221, places=[n + 1]) for n in range(6)],
        [structure(-3.0, 1, places=[1]), structure(-2.99, 221, places=[2])],
        [structure(-3.0, 1, places=[1])],
    ]
    orders = [
        second((-5.0, 99), (-5.1, 123)),
        second((-4.0, 221), *((-5.0, n) for n in range(1, 6))),
        second((-5.0, 1), (None, None)),
        second((-5.0, 221)),
    ]
    rows = [
        row.model_copy(update={"answer": found, "answer_seconds": 2.0, "second": order})
        for row, found, order in zip(ROWS[:4], phases, orders, strict=True)
    ]
    report = report_csp(rows, entries, max_atoms=24, seed=1)
    judged = [p for p in report.predictions if p.setting == "prototypes, answer by better-1"]
    assert [(p.rank, p.above, p.missed_first) for p in judged] == [
        (1, 0.0, None),
        (6, 1000.0, Cause.POTENTIAL),
        (2, 10.0, Cause.POTENTIAL),  # a phase failed: by the first potential
        (1, 0.0, None),
    ]
    assert judged[1].missed is Cause.POTENTIAL
    assert {p.answer_seconds for p in judged} == {12.0}
    assert report.potentials == ["better-1 1.2", "by hand"]


def test_energies_of_two_potentials_are_not_compared(tmp_path):
    entries = read_entries(entries_file(tmp_path, LINES[0]))
    row = predicted("CuAu", structure(-3.0, 1), structure(-2.9, 123))  # 123 is not among what was finished
    row = row.model_copy(update={"answer": [structure(-3.0, 1, places=[1])], "second": second((-9.0, 1))})
    raw, answer, ordered = report_csp([row], entries, max_atoms=24, seed=1).predictions
    assert (raw.above, answer.above, ordered.above) == (100.0, 100.0, None)
    assert ordered.missed is Cause.POTENTIAL


def test_a_smaller_structure_is_no_hit_beyond_the_limit(tmp_path):
    entries = read_entries(entries_file(tmp_path, "a,CuAu,48,123,a", "b,CuAu,2,123,a"))
    report = report_csp(ROWS[:1], entries, max_atoms=24, seed=1)
    assert [p.missed for p in report.predictions] == [Cause.LIMIT, None]
    assert report.figures[0].top.value == 0.5


def test_without_a_library_it_is_no_cause(tmp_path):
    entries = read_entries(entries_file(tmp_path, "d,CuPd,2,221,hard"))
    row = predicted("CuPd", structure(-3.0, 1), prototypes=None, generator="fgen", library="")
    report = report_csp([row, ROWS[3]], entries, max_atoms=24, seed=1)
    assert {p.setting: p.missed for p in report.predictions} == {"fgen": Cause.SEARCH, "prototypes": Cause.LIBRARY}


def test_structures_match_or_do_not(tmp_path):
    entries = read_entries(entries_file(tmp_path, *LINES[:2], LINES[5]))
    salt = bulk("NaCl", "rocksalt", a=5.6)
    salt.symbols = "CuAu"
    row = predicted("CuAu", structure(-3.0, 225, salt), structure(-2.9, 123))
    known = {"a": layered(), "f": bulk("CuAg", "rocksalt", a=5.6)}
    report = report_csp([row, ROWS[1]], entries, max_atoms=24, seed=1, structures=known)
    assert [(p.key, p.has_structure, p.matched) for p in report.predictions] == [
        ("a", True, 2),
        ("b", False, None),
        ("f", True, None),
    ]
    whole = report.figures[0]
    assert (whole.structures, whole.matched_first.value, whole.matched_top.value) == (2, 0.0, 0.5)

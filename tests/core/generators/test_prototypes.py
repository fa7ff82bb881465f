"""Tests of the generator of known structure types."""

import pytest
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.generators import PROTOTYPE, SCORE, PoolContext, get_generator
from aiida_fuse2.core.generators.prototypes import NO_TYPE, usable
from aiida_fuse2.core.prototypes.library import make_prototype
from aiida_fuse2.core.relaxers import evaluator_of, potential_energy
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from tests.core.prototypes import entries
from tests.core.prototypes.entries import ALL, prototype

GENERATOR = get_generator("prototypes")
EMT = {"calculator": "ase.calculators.emt.EMT", "processes": 1}


def ordered(kind):
    """Return an ordered alloy of face-centred cubic lattice: L1_2, D0_22-like or L1_0."""
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    if kind == "L12":
        atoms.symbols[0] = "Au"
    elif kind == "tetragonal":
        atoms = atoms.repeat((1, 1, 2))
        atoms.symbols[[0, 7]] = "Au"
    else:
        atoms.symbols[[0, 1]] = "Au"
    return make_prototype(atoms, key=kind, source=f"made for tests: {kind}", name=kind)


SOURCE = {"name": "alloys", "licence": "public domain", "citation": "A. Founder, J. Alloys 1, 1"}
"""Where the library says that it comes from, in all tests: one with the same name and content is stored once."""

LIBRARY = tuple(ordered(kind) for kind in ("L12", "tetragonal", "L10"))


def pool(composition="Cu3Au", library=LIBRARY, tier=EMT, limit=8, **prototypes):
    inputs = protocol_inputs("fast", {"settings": {"starts": "prototypes", "prototypes": prototypes}})
    settings = parse_settings(SearchSettings, {"composition": composition, **inputs["settings"]})
    own = None if tier is None else parse_settings(RelaxSettings, {**inputs["relax"]["settings"], **tier})
    return PoolContext(settings=settings, size=30, limit=limit, number=0, tier=own, library=tuple(library))


def made(context):
    """Return all structures of a pool, and its summary."""
    pieces = GENERATOR.plan(context)
    GENERATOR.prepare(context)
    results = {piece.key: GENERATOR.run(piece, context) for piece in pieces}
    structures = [atoms for result in results.values() for atoms in result.structures]
    return structures, GENERATOR.summary(context, {key: result.counts for key, result in results.items()})


def test_all_types_of_the_composition_are_screened():
    structures, summary = made(pool())
    assert {atoms.info["type"].split()[0] for atoms in structures} == {"L12", "tetragonal"}
    assert summary["tried"] == 2
    assert summary["prototypes"] == 2
    assert summary["rejected"] == {}
    best = min(structures, key=lambda atoms: atoms.info[SCORE])
    assert best.info[PROTOTYPE] == "tetragonal Au>Au, Cu>Cu"  # with EMT


def test_each_is_in_the_best_of_the_volumes():
    scales = [0.95, 1.0, 1.05, 1.1]
    context = pool(scales=scales)
    for piece in GENERATOR.plan(context):
        start = piece.decorations[0].atoms()
        energies = {}
        for scale in scales:
            atoms = start.copy()
            atoms.set_cell(start.cell * scale, scale_atoms=True)
            energies[scale] = potential_energy(atoms, evaluator_of(context.tier), context.tier) / len(atoms)
        best = min(energies, key=energies.__getitem__)
        (found,) = GENERATOR.run(piece, context).structures
        assert found.info[SCORE] == pytest.approx(energies[best], abs=1e-6)
        assert found.get_volume() == pytest.approx(start.get_volume() * best**3)


def test_pressure_counts():
    low, _ = made(pool(tier=EMT | {"pressure": 0.0}))
    high, _ = made(pool(tier=EMT | {"pressure": 100.0}))
    assert max(a.get_volume() / len(a) for a in high) < min(a.get_volume() / len(a) for a in low)


def test_without_a_potential_the_order_is_that_of_chemistry():
    library = [prototype(entry) for entry in ALL]
    structures, summary = made(pool("CoAs2", library, tier=None, limit=12))
    ordered_by_score = sorted(structures, key=lambda atoms: atoms.info[SCORE])
    assert ordered_by_score[0].info["type"].startswith(("Marcasite", "Pyrite"))
    assert summary["tried"] == len(structures) == 6


def test_too_many_are_cut_to_the_chemically_most_similar():
    library = [prototype(entry) for entry in ALL]
    structures, summary = made(pool("CoAs2", library, tier=None, limit=12, screen=2))
    assert {atoms.info["type"].split()[0] for atoms in structures} == {"Marcasite", "Pyrite"}
    assert summary["tried"] == 2


def test_a_composition_without_types_says_so():
    structures, summary = made(pool("CuAuPd2"))
    assert structures == []
    assert summary["rejected"] == {NO_TYPE: 1}
    assert summary["tried"] == 0
    _, summary = made(pool(limit=3))
    assert summary["rejected"] == {NO_TYPE: 1}


def test_what_cannot_be_computed_is_counted():
    line = [(0, 0, z) for z in (0, 0.2, 0.4, 0.6)]
    crowded = Atoms("Cu3Au", scaled_positions=line, cell=[8, 8, 4], pbc=True)
    library = [make_prototype(crowded, key="crowded", source="made for tests"), *LIBRARY]
    structures, summary = made(pool(library=library))
    assert len(structures) == 2
    assert sum(summary["rejected"].values()) == 1


def test_honest_modes_leave_the_answer_out():
    library = [prototype(entry) for entry in (entries.MARCASITE, entries.PYRITE, entries.HYDROPHILITE, entries.RUTILE)]
    copy = make_prototype(_renamed(entries.MARCASITE, {"Fe": "Os", "S": "Sb"}), key="OsSb2", source="", name="OsSb2")
    library.append(copy)
    unit = pool("FeS2", library).settings.unit
    assert usable(library, unit, "none") == library
    assert {p.name for p in usable(library, unit, "compound")} == {"Hydrophilite", "Rutile", "OsSb2"}
    # the type of marcasite is gone with all of its compounds; hydrophilite is near enough to be one type with it
    left = {p.name for p in usable(library, unit, "type")}
    assert "OsSb2" not in left
    assert "Rutile" in left


def _renamed(entry, symbols):
    atoms = prototype(entry).atoms.copy()
    for old, new in symbols.items():
        atoms.symbols[atoms.symbols == old] = new
    return atoms


def test_pieces_do_not_depend_on_each_other():
    context = pool()
    whole, _ = made(context)
    for piece in reversed(GENERATOR.plan(context)):
        for atoms in GENERATOR.run(piece, context).structures:
            twin = next(other for other in whole if other.info[PROTOTYPE] == atoms.info[PROTOTYPE])
            assert atoms.info == twin.info
            assert are_equal(atoms, twin, stol=0.01)


def test_a_lost_piece_is_counted():
    assert GENERATOR.lost("killed").counts["rejected"] == {"killed": 1}

"""Hubbard U and starting moments of the Materials Project, and the warning about plain PBE after CHGNet."""

import re
import shutil
import warnings
from types import SimpleNamespace

import pytest
from aiida import orm
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.vasp.sets import MPRelaxSet

from aiida_fuse2.launch.refinement import warning_of
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.tiers import TierChoice, energy_identity, load_tier
from aiida_fuse2.tiers.correlation import hubbard_u, mixed_functionals, moments
from tests.potcars import potcar

from .conftest import COARSE, PSEUDOS, default_settings, jobs_below, needs_pw, relax, tier_inputs

COMPOUNDS = ["Fe2O3", "LiCoO2", "NiF2", "MnO", "WCl2", "VS2", "MgO", "Cr2O3", "BaMoO4", "CoAs2", "FeOF", "Fe"]


def materials_project(formula):
    """INCAR of pymatgen's set for a structure of a composition, and its elements in the order of POSCAR."""
    symbols = [str(el) for el, number in Composition(formula).items() for _ in range(int(number))]
    places = [[i / len(symbols), 0.1 * i, 0.0] for i in range(len(symbols))]
    structure = Structure(Lattice.cubic(9.0), symbols, places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MPRelaxSet(structure).incar, list(dict.fromkeys(symbols)), symbols


@pytest.mark.parametrize("formula", COMPOUNDS)
def test_values_are_those_of_pymatgens_set(formula):
    incar, elements, symbols = materials_project(formula)
    values = hubbard_u(elements)
    assert [values.get(symbol, 0.0) for symbol in elements] == incar.get("LDAUU", [0.0] * len(elements))
    assert [moments(elements)[symbol] for symbol in symbols] == incar["MAGMOM"]


def test_values_of_iron_oxide():
    assert hubbard_u(["Fe", "O"]) == {"Fe": 5.3}
    assert moments(["Fe", "O"]) == {"Fe": 5.0, "O": 0.6}
    assert hubbard_u(["Fe", "S"]) == {}


NIO = Atoms(
    "Ni2O2", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)], cell=[3, 3, 3], pbc=True
)


@pytest.fixture
def oxide_pseudos(aiida_profile, tmp_path):
    """Pseudopotentials of Debian for Ni and O."""
    pytest.importorskip("aiida_pseudo")
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily

    folder = tmp_path / "pseudos"
    folder.mkdir()
    for name in ("Ni.pbe-nd-rrkjus.UPF", "O.pbe-rrkjus.UPF"):
        shutil.copy(PSEUDOS / name, folder / f"{name.partition('.')[0]}.upf")
    made = CutoffsPseudoPotentialFamily.create_from_folder(folder, "oxide-pbe", pseudo_type=UpfData)
    made.set_cutoffs({symbol: {"cutoff_wfc": 30.0, "cutoff_rho": 240.0} for symbol in ("Ni", "O")}, "normal", unit="Ry")
    return "oxide-pbe"


@pytest.fixture
def oxide_potcars(aiida_profile, tmp_path):
    """POTCARs of Ni and O."""
    pytest.importorskip("aiida_vasp")
    from aiida_vasp.data.potcar import PotcarData

    for element in ("Ni", "O"):
        (tmp_path / "files" / element).mkdir(parents=True)
        (tmp_path / "files" / element / "POTCAR").write_text(potcar(element, 400.0))
    PotcarData.upload_potcar_family(str(tmp_path / "files"), "oxide", "files without data", stop_if_existing=False)
    return {"potential_family": "oxide", "potentials": {"Ni": "Ni", "O": "O"}}


def incar_of(job):
    lines = [line.split("=") for line in job.base.repository.get_object_content("INCAR").splitlines() if "=" in line]
    return {tag.strip(): value.split() for tag, value in lines}


def test_vasp_is_given_u_and_moments(oxide_potcars, vasp_code):
    given = tier_inputs("vasp", vasp_code(), **oxide_potcars, hubbard="mp", fmax=9.0, stages=1)
    load_tier("vasp").check(given, ["Ni", "O"])
    _, node = relax(given, NIO)
    incar = incar_of(jobs_below(node)[0])
    expected, _, _ = materials_project("Ni2O2")
    assert [float(value) for value in incar["LDAUU"]] == expected["LDAUU"] == [6.2, 0.0]
    assert [int(value) for value in incar["LDAUL"]] == [2, -1]  # -1: none; pymatgen writes 0, with U = 0
    assert (incar["LDAU"], incar["LDAUTYPE"], incar["LASPH"]) == ([".TRUE."], ["2"], [".TRUE."])
    assert [float(value) for value in incar["MAGMOM"]] == expected["MAGMOM"] == [5.0, 5.0, 0.6, 0.6]
    assert (incar["LMAXMIX"], incar["ISPIN"]) == (["4"], ["2"])


def test_vasp_computes_plain_pbe_by_default(oxide_potcars, vasp_code):
    given = tier_inputs("vasp", vasp_code(), **oxide_potcars)
    _, made = load_tier("vasp").inputs(given, orm.StructureData(ase=NIO))
    assert "ldau_mapping" not in made["vasp"]
    assert made["vasp"]["parameters"]["incar"]["gga"] == "pe"


@needs_pw
def test_quantum_espresso_is_given_u_and_moments(oxide_pseudos, pw_code):
    given = tier_inputs("qe", pw_code("exit 1"), **COARSE | {"pseudo_family": oxide_pseudos, "hubbard": "mp"})
    load_tier("qe").check(given, ["Ni", "O"])
    _, node = relax(given, NIO, store=True)
    job = jobs_below(node)[0]
    text = job.base.repository.get_object_content("aiida.in")
    card = text.partition("HUBBARD")[2].split()
    assert card[:4] == ["ortho-atomic", "U", "Ni-3d", "6.2"]
    system = job.inputs.parameters["SYSTEM"]
    assert system["nspin"] == 2
    assert system["starting_magnetization"]["Ni"] == pytest.approx(5.0 / 10.0)  # of its ten valence electrons
    (maker,) = [job.inputs.structure.creator]
    assert maker.process_label == "with_hubbard_u"  # so that the lineage of a structure goes on


@needs_pw
@pytest.mark.slow
@pytest.mark.timeout(1800)  # the machine may be busy
def test_pw_computes_with_u_in_the_namelist_of_earlier_versions(oxide_pseudos, pw_code):
    """Debian's pw.x 6.7 does not know the card HUBBARD; this is what the documentation tells its users to give."""
    system = {"lda_plus_u": True, "Hubbard_U": {"Ni": 6.2}, "starting_magnetization": {"Ni": 0.5}}
    rough = {"protocol": "fast", "kpoints_distance": 2.0, "fmax": 9.0, "pressure_tolerance": 100.0}
    given = tier_inputs(
        "qe", pw_code(), **rough, pseudo_family=oxide_pseudos, spin_polarised=True, parameters={"SYSTEM": system}
    )
    load_tier("qe").check(given, ["Ni", "O"])
    found, node = relax(given, bulk("NiO", "rocksalt", a=4.17))
    assert (found.status, found.detail) == ("converged", "")
    job = jobs_below(node)[-1]
    assert re.search(r"(?i)hubbard_u\(\d\) = +6\.2", job.base.repository.get_object_content("aiida.in"))
    printed = job.outputs.retrieved.get_object_content("aiida.out")
    energies = [float(value) for value in re.findall(r"Hubbard energy += +(\S+) Ry", printed)]
    assert energies
    assert all(0 < energy < 1 for energy in energies)  # Ry; U Tr[n(1 - n)] / 2 is never negative


def test_energies_with_and_without_u_are_not_compared(oxide_potcars):
    plain, with_u = (dict(tier_inputs("vasp", None, **oxide_potcars, hubbard=u).settings) for u in (None, "mp"))
    assert energy_identity("vasp", plain, None) != energy_identity("vasp", with_u, None)
    del plain["hubbard"]  # as a search of an earlier version has stored it
    assert energy_identity("vasp", plain, None) == energy_identity("vasp", {**plain, "hubbard": None}, None)


def tiers(*names, **changes):
    return [(name, default_settings(name) | (changes if name != "chgnet" else {})) for name in names]


@pytest.mark.parametrize(
    ("names", "changes", "elements", "is_warned"),
    [
        (("chgnet", "vasp"), {}, ["Fe", "O"], True),
        (("chgnet", "qe"), {}, ["Ni", "F"], True),
        (("chgnet", "vasp"), {"hubbard": "mp"}, ["Fe", "O"], False),
        (("chgnet", "qe"), {"hubbard": "mp"}, ["Fe", "O"], False),
        (("chgnet", "qe"), {"parameters": {"SYSTEM": {"Hubbard_U": {"Ni": 6.2}}}}, ["Ni", "O"], False),
        (("chgnet", "vasp"), {}, ["Fe", "S"], False),
        (("chgnet", "vasp"), {}, ["Mg", "O"], False),
        (("vasp",), {}, ["Fe", "O"], False),
        (("chgnet",), {}, ["Fe", "O"], False),
    ],
)
def test_plain_pbe_after_chgnet_is_warned_of(names, changes, elements, is_warned):
    pytest.importorskip("aiida_vasp")
    pytest.importorskip("aiida_quantumespresso")
    found = mixed_functionals(tiers(*names, **changes), elements)
    assert (found is not None) == is_warned
    if found is not None:
        assert elements[0] in found


@pytest.mark.parametrize("hubbard", [None, "mp"])
def test_a_search_is_warned_of_before_it_is_submitted(oxide_potcars, worker_code, vasp_code, hubbard):
    names = ["chgnet", "vasp"]
    changes = {"settings": {**oxide_potcars, "hubbard": hubbard}, "options": {"withmpi": False}}
    prepared = prepare_search(
        "NiO",
        code=worker_code,
        overrides={"settings": {"starts": "fgen"}, "tiers": {"vasp": changes}},
        tiers=TierChoice(names=names, codes={"vasp": vasp_code()}),
    )
    assert any("PBE with U for Ni" in text for text in prepared.warnings) == (hubbard is None)


@pytest.mark.parametrize(("hubbard", "is_warned"), [(None, True), ("mp", False)])
def test_a_refinement_of_what_chgnet_found_is_warned_of(monkeypatch, hubbard, is_warned):
    def inputs(name, **changes):
        return {"tiers": {"t00": {"name": orm.Str(name), "settings": orm.Dict(default_settings(name) | changes)}}}

    search = SimpleNamespace(inputs=inputs("chgnet"))
    monkeypatch.setattr("aiida_fuse2.query.single_searches", lambda node: [node])
    unit = SimpleNamespace(elements=("Fe", "O"))
    monkeypatch.setattr("aiida_fuse2.query.search_settings", lambda _: SimpleNamespace(unit=unit))
    assert (warning_of([search], inputs("vasp", hubbard=hubbard)) is not None) == is_warned

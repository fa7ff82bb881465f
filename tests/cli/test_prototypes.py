"""``prototypes`` and ``--prototypes``: libraries of structure types of all kinds."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.engine import run_get_node
from aiida.tools import delete_nodes
from aiida.tools.archive import create_archive
from aiida.tools.archive.abstract import get_format
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.spacegroup import crystal

from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.prototypes.library import PrototypeError, make_prototype
from aiida_fuse2.environment import prototypes as nodes
from aiida_fuse2.io import prototypes as texts
from aiida_fuse2.io.prototypes import formulas_of, library_from_text, library_to_text, prototypes_of
from aiida_fuse2.launch import libraries, library_sources, optimade
from aiida_fuse2.launch.inputs import check_inputs
from aiida_fuse2.launch.libraries import find_library, make_library
from aiida_fuse2.launch.library_sources import source_of
from tests.optimade_stand_in import perovskite, serving

needs_client = pytest.mark.skipif(find_spec("optimade") is None, reason="needs the extra optimade")
needs_package = pytest.mark.skipif(find_spec("kim_tools") is None, reason="needs the extra prototypes")

LATEST = get_format().latest_version
EMT = ("--protocol", "fast", "--set", "relax.settings.calculator=ase.calculators.emt.EMT")


def l12(symbols="AuCu3", a=3.75):
    (one, three) = ("Au", "Cu") if symbols == "AuCu3" else ("Pt", "Ni")
    places = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms([one, three, three, three], scaled_positions=places, cell=[a] * 3, pbc=True)


def rutile():
    return crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90])


def alloy():
    node = orm.StructureData(cell=np.eye(3) * 4)
    node.append_atom(position=(0, 0, 0), symbols=("Au", "Cu"), weights=(0.5, 0.5))
    return node


@pytest.fixture
def a_group(aiida_profile):
    """A group of two good structures, two bad ones, and a node that is no structure."""

    def make(label):
        group = orm.Group(label).store()
        close = Atoms("Cu2", positions=[(0, 0, 0), (0, 0, 0.3)], cell=[5, 5, 5], pbc=True)
        good = [orm.StructureData(ase=l12(), label="L1_2 \x1b[31m"), orm.StructureData(ase=rutile())]
        bad = [alloy(), orm.StructureData(ase=close)]
        group.add_nodes([node.store() for node in (*good, *bad, orm.Int(1))])
        return group, [node.uuid for node in good], [node.uuid for node in bad]

    return make


@pytest.fixture
def folder(tmp_path):
    """A folder of structure files, some of them bad."""
    path = tmp_path / "my cifs"
    path.mkdir()
    write(path / "au cu3.cif", l12())
    write(path / "two.xyz", [l12("PtNi3", 3.6), rutile()], format="extxyz")
    write(path / "slab.xyz", Atoms("Cu", cell=[3, 3, 3], pbc=[True, True, False]), format="extxyz")
    (path / "broken.cif").write_text("data_x\nloop_\n")
    return path


def keys_of(node):
    return [prototype.key for prototype in library_from_text(node.get_content())]


def test_library_of_a_group_leads_back_to_its_structures(call, a_group):
    group, good, bad = a_group("types to adopt")
    result = call("prototypes", "build", "mine", "--from", group.label)
    assert "2 of 4 structures" in result.stdout
    assert "Left out: partial_occupancy 1, short_contact 1" in result.stderr
    assert all(uuid in result.stderr for uuid in bad)
    library = find_library("mine")
    assert keys_of(library.node) == good
    (first, second) = library_from_text(library.node.get_content())
    assert (first.compound, second.compound) == (first.name, second.name) == ("Cu3Au", "TiO2")
    assert good[0] in first.source
    assert "types to adopt" in first.source
    assert "L1_2 /x1b[31m" in first.source
    source = library.source
    assert (source["kind"], source["where"], source["structures"]) == ("group", group.label, 4)
    assert source["left_out"] == {"partial_occupancy": 1, "short_contact": 1}
    assert len(source["sha256"]) == 64
    assert source["date"].startswith("20")


def test_a_library_is_made_again_only_if_its_structures_changed(a_group):
    group, *_ = a_group("grows")
    first = find_library("grows")
    assert first.is_new
    assert not find_library("grows").is_new
    assert find_library("grows").node.pk == find_library(str(first.node.pk)).node.pk == first.node.pk
    assert find_library(first.node.uuid).node.pk == find_library("group grows").node.pk == first.node.pk
    group.add_nodes(orm.StructureData(ase=l12("PtNi3")).store())
    second = find_library("grows")
    assert second.is_new
    assert second.prototypes == first.prototypes + 1


def test_archive_is_read_without_an_import(call, tmp_path, a_group):
    group, good, _ = a_group("exported")
    path = tmp_path / "some.aiida"
    create_archive([group], filename=path)
    for node in list(group.nodes):
        group.remove_nodes(node)
    delete_nodes([orm.load_node(uuid).pk for uuid in good], dry_run=False)
    before = orm.QueryBuilder().append(orm.StructureData).count()
    found = json.loads(call("prototypes", "build", "--from", path, "--json").stdout)
    assert (found["kind"], found["name"], found["prototypes"]) == ("archive", "archive some.aiida", 2)
    assert {row["reason"] for row in found["structures_left_out"]} == {"partial_occupancy", "short_contact"}
    assert sorted(keys_of(orm.load_node(found["pk"]))) == sorted(good)
    assert orm.QueryBuilder().append(orm.StructureData).count() == before
    assert not json.loads(call("prototypes", "build", "--from", path, "--json").stdout)["is_new"]


def test_folder_of_files(call, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = json.loads(call("prototypes", "build", "--from", folder.name, "--json").stdout)
    assert (found["kind"], found["where"], found["name"]) == ("folder", "my cifs", "folder my cifs")
    assert Counter(row["reason"] for row in found["structures_left_out"]) == {"unreadable": 1, "not_periodic": 1}
    library = find_library("folder my cifs")
    assert keys_of(library.node) == ["au_cu3.cif", "two.xyz", "two.xyz[1]"]
    assert [p.source for p in library_from_text(library.node.get_content())][::2] == [
        "file my cifs/au cu3.cif",
        "file my cifs/two.xyz[1]",
    ]
    assert find_library("my cifs").node.pk == library.node.pk
    write(folder / "more.cif", rutile())
    assert find_library("my cifs").is_new


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("data_a\n_cell_length_a 3\n", "unreadable"),
        ("\x00\xff", "unreadable"),
        ("", "unreadable"),
        ("data_a\n" + "_x '" + "y" * 10**6, "unreadable"),
    ],
)
def test_hostile_files_beside_a_good_one_are_named(call, tmp_path, content, reason):
    write(tmp_path / "good.cif", l12())
    bad = tmp_path / "evil\x1b[31m\n'\".cif"
    bad.write_text(content)
    result = call("prototypes", "build", "--from", tmp_path)
    assert f"Left out: {reason} 1" in result.stderr
    assert "\x1b" not in result.output
    assert "1 of 2 structures" in result.stdout
    hostile = tmp_path / "odd = \"a\" [1] 'b' {}.cif"
    write(hostile, rutile())
    assert sorted(p.compound for p in library_from_text(find_library(str(tmp_path)).node.get_content())) == [
        "Cu3Au",
        "TiO2",
    ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("no such group", "must be a library"),
        ("\x00", "must be a library"),
        ("x" * 5000, "must be a library"),
        ("", "must be a library"),
        ("empty", "holds no structure"),
        ("ALLOY", "can be a prototype"),
        ("EMPTY_FOLDER", "directory without files"),
        ("NODE", "no library of prototypes"),
        ("FORGED", "no library of prototypes"),
        ("TEXT_ARCHIVE", "no archive of AiiDA"),
        ("ZIP_ARCHIVE", "no archive of AiiDA"),
        ("BROKEN_ARCHIVE", "archive"),
        ("NO_STRUCTURE", "archive without a structure"),
        ("/dev/zero", "not a regular file"),
    ],
)
def test_bad_libraries_are_refused_in_one_line_before_anything_is_submitted(call, worker_code, tmp_path, given, text):
    result = call("run", "Cu3Au", *EMT, "--dry-run", "--prototypes", bad_library(given, tmp_path), code=2)
    assert text in result.stderr
    assert "--prototypes = " in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "\x00" not in result.stderr


def bad_library(name, folder):
    """Return something that is no library, which is made if its name is in capitals."""
    made = {
        "ALLOY": a_group_of_alloys,
        "EMPTY_FOLDER": empty_folder,
        "NODE": lambda _: orm.Int(1).store().pk,
        "FORGED": forged,
        "TEXT_ARCHIVE": lambda path: file_of(path, b"no zip"),
        "ZIP_ARCHIVE": lambda path: file_of(path, zipped({"db.sqlite3": "no database"})),
        "BROKEN_ARCHIVE": lambda path: file_of(
            path, zipped({"db.sqlite3": "none", "metadata.json": json.dumps({"export_version": LATEST})})
        ),
        "NO_STRUCTURE": archive_without_structures,
    }
    if name == "empty":
        orm.Group.collection.get_or_create("empty")
    return made[name](folder) if name in made else name


def a_group_of_alloys(_):
    orm.Group.collection.get_or_create("nothing but alloys")[0].add_nodes(alloy().store())
    return "nothing but alloys"


def empty_folder(folder):
    (folder / "nothing").mkdir()
    return folder / "nothing"


def forged(_):
    return orm.SinglefileData.from_string("-5\nlabel=AB_x\n", filename="prototypes.extxyz").store().pk


def file_of(folder, content):
    (folder / "a.aiida").write_bytes(content)
    return folder / "a.aiida"


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def archive_without_structures(folder):
    create_archive([orm.Int(1).store()], filename=folder / "a.aiida")
    return folder / "a.aiida"


def test_archive_of_another_version_says_how_to_migrate(tmp_path):
    old = zipped({"metadata.json": json.dumps({"export_version": "main_0000"}), "db.sqlite3": ""})
    with pytest.raises(InputError, match="verdi archive migrate"):
        source_of(str(file_of(tmp_path, old)), "--from")


def test_archive_that_does_not_fit_is_refused(tmp_path, a_group, monkeypatch):
    path = tmp_path / "some.aiida"
    create_archive([a_group("too large")[0]], filename=path)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(library_sources.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="10 are free"):
        source_of(str(path), "--from")


def test_repeated_keys_gigantic_cells_and_odd_formulas(tmp_path):
    write(tmp_path / "inf.xyz", bulk("NaCl", "rocksalt", a=5.4), format="extxyz")
    text = (tmp_path / "inf.xyz").read_text()
    (tmp_path / "inf.xyz").write_text(
        text.replace("Na ", "In ").replace("Cl ", "F ")
    )  # InF, which floats call infinite
    (tmp_path / "nan.xyz").write_text(text.replace("Cl ", "N "))
    (tmp_path / "a b.xyz").write_text(text)
    (tmp_path / "a_b.xyz").write_text(text)
    big = Atoms("H4001", positions=np.random.default_rng(0).random((4001, 3)) * 100, cell=[100] * 3, pbc=True)
    group, _ = orm.Group.collection.get_or_create("big ones")
    group.add_nodes(orm.StructureData(ase=big).store())
    library = make_library(source_of(str(tmp_path), "--from"), option="--from")
    assert [reason for _, reason, _ in library.left_out] == ["repeated_key"]
    found = library_from_text(library.node.get_content())
    assert sorted((p.compound, p.name) for p in found) == [("InF", "InF"), ("NaCl", "NaCl"), ("NaN", "NaN")]
    with pytest.raises(InputError, match="4001 atoms"):
        find_library("big ones")


def test_large_groups_are_announced(a_group, monkeypatch):
    a_group("slow")
    monkeypatch.setattr(libraries, "SECONDS_PER_STRUCTURE", 10)
    said = []
    find_library("slow", said.append)
    assert said == ["4 structures of the group become prototypes, once: about 40 s"]
    find_library("slow", said.append)
    assert len(said) == 1


# --- list and show --------------------------------------------------------------------------------


def test_list_and_show(call, folder):
    made = json.loads(call("prototypes", "build", "shown", "--from", folder, "--json").stdout)
    listed = json.loads(call("prototypes", "list", "--json").stdout)
    assert made["uuid"] in {row["uuid"] for row in listed["libraries"]}
    assert "shown  (3 prototypes, folder" in call("prototypes", "list").stdout
    shown = json.loads(call("prototypes", "show", "shown", "--json").stdout)
    assert shown["formulas"] == {"AB3": 2, "AB2": 1}
    text = call("prototypes", "show", made["pk"]).stdout
    assert "kind: folder" in text
    assert "       2  AB3" in text
    rows = json.loads(call("prototypes", "show", "shown", "--composition", "Pd3Pt", "--json").stdout)
    # AuCu3 is the same type; its elements are less similar
    assert [(row["key"], row["decoration"]) for row in rows] == [("two.xyz", "Ni>Pd, Pt>Pt")]
    text = call("prototypes", "show", "shown", "--composition", "Pd3Pt").stdout
    assert "Ni3Pt (cP4): Ni>Pd, Pt>Pt  [two.xyz]" in text
    few = call("prototypes", "show", "shown", "--composition", "Pd3Pt", "--max-atoms", 3).stdout
    assert few.startswith("0 prototypes, 0 decorations")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("show", "nothing"), "there is none of this name"),
        (("show", "shown", "--max-atoms", 3), "give --composition"),
        (("show", "shown", "--composition", "SrTi03"), "SrTi03"),
        (("build", "mine"), "give --from"),
        (("build", "--from", "no such group"), "--from = "),
    ],
)
def test_bad_arguments(call, folder, arguments, text):
    call("prototypes", "build", "shown", "--from", folder)
    assert text in call("prototypes", *arguments, code=2).stderr


@pytest.mark.parametrize(
    "text", ["x", "2\n", "-5\nlabel=AB_x\n", "1\nlabel=AB_x\n", "9" * 5000, "1\nname=x\nCu 0 0 0\n"]
)
def test_text_that_is_no_library_is_refused(text):
    for read in (formulas_of, lambda content: prototypes_of(content, [1, 1])):
        with pytest.raises(PrototypeError, match="not_a_library"):
            read(text)


# --- searches and pools ---------------------------------------------------------------------------


def test_search_has_the_library(call, worker_code, folder):
    shown = yaml.safe_load(call("run", "Pd3Pt", *EMT, "--prototypes", folder, "--dry-run").stdout)
    assert shown["prototypes"] == "prototypes.extxyz"


def test_pool_has_the_types_of_the_composition(call, worker_code, daemon_up, monkeypatch, folder):
    ran = []
    monkeypatch.setattr("aiida.engine.submit", lambda builder: ran.append(run_get_node(builder)[1]) or ran[-1])
    options = ("--starts", "prototypes", "--max-atoms", 8, "--prototypes", folder, "--json")
    found = json.loads(call("generate", "Pd3Pt", *EMT, *options).stdout)
    assert found["summary"]["kept"] > 0
    (node,) = ran
    own = node.inputs.prototypes
    assert keys_of(own) == ["au_cu3.cif", "two.xyz"]  # rutile is of another anonymous formula
    (library,) = own.creator.base.links.get_incoming(link_label_filter="library").all_nodes()
    assert library.pk == find_library(str(folder)).node.pk


def test_library_from_python_that_is_none_is_refused(emt_builder):
    builder = emt_builder()
    builder.prototypes = orm.SinglefileData(io.BytesIO(b"no library"))
    with pytest.raises(RefusedInputsError, match="is no library of prototypes"):
        check_inputs(builder)


# --- the packaged library -------------------------------------------------------------------------


@pytest.fixture
def no_package(monkeypatch):
    def missing():
        raise PrototypeError("not_installed", "kim-tools is not installed: pip install aiida-fuse2[prototypes]")

    for module in (nodes, libraries):
        monkeypatch.setattr(module, "packaged_name", missing)
    for module in (texts, libraries):
        monkeypatch.setattr(module, "build_packaged_library", missing, raising=False)


SHARED = ("--set", "settings.starts={prototypes: 0.5, fgen: 0.5}")


def test_without_the_package_the_command_that_installs_it_is_named(call, worker_code, no_package, monkeypatch):
    assert "pip install 'aiida-fuse2[prototypes]'" in call("prototypes", "list").stdout
    assert "pip install" in call("prototypes", "build", code=2).stderr
    assert "prototypes" not in call("run", "Cu3Au", *EMT, "--starts", "fgen", "--dry-run").stderr
    inputs = libraries.protocol_inputs
    shares = {"settings": {"starts": {"prototypes": 0.5, "fgen": 0.5}}}
    monkeypatch.setattr(libraries, "protocol_inputs", lambda *given: {**inputs(*given), **shares})
    said = call("run", "Cu3Au", *EMT, "--dry-run").stderr
    assert "begins with fgen alone: prototypes are not installed (pip install 'aiida-fuse2[prototypes]')" in said
    assert "--prototypes" in call("run", "Cu3Au", *EMT, "--starts", "prototypes", "--dry-run", code=2).stderr


@pytest.fixture
def small_package(monkeypatch, tmp_path):
    """A packaged library of one entry that is kept in an empty folder."""
    monkeypatch.setenv("AIIDA_FUSE2_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = make_prototype(l12(), key="AB3_cP4_221_a_c-001", source="test", name="L12")
    monkeypatch.setattr(texts, "build_encyclopedia", lambda _: ([made], Counter(contact=2)))
    for module in (nodes, libraries):
        monkeypatch.setattr(module, "packaged_name", lambda: f"kim-tools of {tmp_path}")
    monkeypatch.setattr(libraries, "packaged_is_built", texts.packaged_is_built)
    monkeypatch.setattr("aiida_fuse2.workchains.search_builder.packaged_library_node", nodes.packaged_library_node)
    texts.packaged_library.cache_clear()
    yield library_to_text([made])
    texts.packaged_library.cache_clear()


@needs_package
def test_building_is_announced_once(call, worker_code, small_package):
    assert libraries.packaged_state() == "installed"
    assert "prototypes build" in call("prototypes", "list").stdout
    first = call("run", "Cu3Au", *EMT, "--starts", "fgen", "--dry-run")
    assert "is built once" in first.stderr
    assert yaml.safe_load(first.stdout)["prototypes"] == "prototypes.extxyz"
    assert libraries.packaged_state() == "stored"
    assert "is built once" not in call("run", "Cu3Au", *EMT, "--starts", "fgen", "--dry-run").stderr
    (library,) = nodes.libraries(libraries.packaged_name())
    assert library.get_content() == small_package


@needs_package
def test_build_says_what_became_of_the_entries(call, small_package):
    text = call("prototypes", "build").stdout
    assert "1 of 3 entries built; left out: contact 2" in text
    assert "100.0% have the label" in text
    assert libraries.packaged_state() == "stored"
    found = json.loads(call("prototypes", "build", "--json").stdout)
    assert (found["entries"], found["left_out"], found["is_new"]) == (3, {"contact": 2}, False)
    assert found["licence"] == "CDDL-1.0"


# --- OPTIMADE -------------------------------------------------------------------------------------

FILTER = 'elements HAS "O" AND nelements=3'


@needs_client
def test_server_is_asked_and_what_it_says_is_stored(call):
    with serving() as server:
        result = call("prototypes", "fetch", server.address, "--filter", FILTER, "--name", "from a server")
    assert "Licence of the data: CC-BY-4.0, https://example.org/licence" in result.stderr
    assert "Left out: partial_occupancy 1, short_contact 1, unreadable 1" in result.stderr
    library = find_library("from a server")
    assert keys_of(library.node) == ["standin:0012", "standin:0013"]
    source = library.source
    assert (source["kind"], source["where"], source["filter"]) == ("optimade", server.address, FILTER)
    assert (source["licence"], source["structures"]) == ("CC-BY-4.0, https://example.org/licence", 5)
    assert source["date"].startswith("20")
    first = library_from_text(library.node.get_content())[0]
    assert first.source == f"Stand-in 0012, {server.address}"
    assert len(server.asked) == 4  # one for the licence, three pages
    assert "species_at_sites" in server.asked[1]


@needs_client
def test_only_so_many_structures_are_taken(call):
    with serving([perovskite(i) for i in range(9)]) as server:
        options = ("--filter", FILTER, "--limit", 3, "--json")
        result = call("prototypes", "fetch", server.address, *options)
    assert "has 9 structures" in result.stderr
    assert json.loads(result.stdout)["prototypes"] == 3


@needs_client
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (500, "500"),
        (429, "too many requests"),
        (b"<html>", "JSON"),
        (b"[1, 2]", "no OPTIMADE server"),
        (b"null", "no OPTIMADE server"),
        (b'{"data": [], "meta": null}', "no OPTIMADE server"),
        (b'{"data": {}, "meta": {}}', "no OPTIMADE server"),
        (b"[" * 100_000, "no OPTIMADE server"),
        ("huge", "more than 1 MB"),
        ("bomb", "more than 1 MB"),
        ("slow", "within 2 s"),
        ("http://localhost:9/other", "leads to another server"),
        ("file:///etc/passwd", "leads to another server"),
        ("/round", "in a circle"),
    ],
)
def test_server_that_misbehaves(call, monkeypatch, fault, text):
    monkeypatch.setattr(optimade, "MAX_ANSWER_BYTES", 1024**2)
    monkeypatch.setattr(optimade, "TOTAL_SECONDS", 2.0 if fault == "slow" else 60.0)
    monkeypatch.setattr(optimade, "RETRIES", 1)
    with serving(fault=fault) as server:
        result = call("prototypes", "fetch", server.address, "--filter", FILTER, code=2)
    assert text in result.stderr
    assert f"ADDRESS = '{server.address}'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "\x1b" not in result.output


@needs_client
def test_server_that_names_another_one_for_the_next_page(call):
    with serving() as other, serving(elsewhere=other.address.replace("127.0.0.1", "localhost")) as server:
        result = call("prototypes", "fetch", server.address, "--filter", FILTER, code=2)
    assert "leads to another server" in result.stderr
    assert other.asked == []


@needs_client
def test_server_with_broken_entries(call):
    strange = [None, {"id": 3}, {"id": "\x1b[31m", "attributes": {}}, perovskite("a", species_at_sites=["Ca"])]
    with serving(strange) as server:
        result = call("prototypes", "fetch", server.address, "--filter", FILTER, code=2)
    assert "none of 4 structures can be a prototype" in result.stderr
    assert "\x1b" not in result.output


@needs_client
@pytest.mark.parametrize(
    ("address", "options", "text"),
    [
        ("http://127.0.0.1:9", ("--filter", FILTER), "no OPTIMADE server"),
        ("file:///etc/passwd", ("--filter", FILTER), "base address"),
        ("nothing", ("--filter", FILTER), "base address"),
        ("http://[", ("--filter", FILTER), "base address"),
        ("http://127.0.0.1:9", ("--filter", "elements HAS"), "filter of OPTIMADE"),
        ("http://127.0.0.1:9", ("--filter", 'elements HAS "O&x"'), "without the characters"),
        ("http://127.0.0.1:9", ("--filter", FILTER, "--limit", 0), "between 1 and"),
    ],
)
def test_what_is_refused_before_a_server_is_asked(call, address, options, text):
    assert text in call("prototypes", "fetch", address, *options, code=2).stderr


def test_without_the_client_the_command_that_installs_it_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "optimade.client", None)
    result = call("prototypes", "fetch", "http://127.0.0.1:9", "--filter", FILTER, code=2)
    assert "pip install 'aiida-fuse2[optimade]'" in result.stderr

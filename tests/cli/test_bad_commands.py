"""Commands given bad input: one line on the standard error, exit code 2, or 1 where the environment is wrong."""

from __future__ import annotations

import errno

import pytest
from aiida import orm
from ase.io import write

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import printable
from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.environment.profile import SetupError
from tests.test_bad_input import BILLION_LAUGHS, bounded, is_one_line  # noqa: F401 - a fixture that is always used

EMT_OPTIONS = ("--protocol", "fast", "--set", "relax.settings.calculator=ase.calculators.emt.EMT", "--dry-run")

NAMES = [
    "a\nb.cif",
    "a@1.cif",
    "*.cif",
    "%s.cif",
    "Å₃.cif",
    "\x1b[31mred\x1b[0m.cif",
    "\u202egpj.cif",
    "-n.cif",
    "a b.cif",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_reach_the_terminal_escaped(call, worker_code, tmp_path, perovskite, name):
    name += ".cif"
    write(tmp_path / "good.cif", perovskite)
    (tmp_path / name).write_text("nonsense")
    result = call("run", "SrTiO3", *EMT_OPTIONS, "--structures", tmp_path)
    assert "1 starting structure, 1 skipped" in result.stderr
    assert all(line.isprintable() for line in result.stderr.splitlines())
    assert printable(tmp_path / name) in result.stderr
    alone = call("run", "SrTiO3", *EMT_OPTIONS, "--structures", tmp_path / name, code=2)
    assert is_one_line(alone.stderr.strip())


def test_code_of_another_kind(call, aiida_localhost, worker_path):
    other = orm.InstalledCode(
        label="pw",
        computer=aiida_localhost,
        filepath_executable=worker_path,
        default_calc_job_plugin="core.arithmetic.add",
    ).store()
    message = call("run", "Cu3Au", "--code", "pw", code=1).stderr
    assert "is for 'core.arithmetic.add'" in message
    with pytest.raises(SetupError, match="is for"):
        load_code(str(other.pk))


def test_code_that_is_a_structure(call, aiida_profile, perovskite):
    node = orm.StructureData(ase=perovskite).store()
    assert is_one_line(call("run", "Cu3Au", "--code", node.pk, code=1).stderr.strip())


@pytest.mark.parametrize(
    "arguments",
    [("show", "9" * 30), ("watch", "9" * 30), ("stop", "nothing"), ("structures", "nothing"), ("show", "\x1b[31m")],
)
def test_searches_that_are_none(call, arguments):
    assert is_one_line(call(*arguments, code=1).stderr.strip())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--set", f"settings.seed={BILLION_LAUGHS}"), "--set"),
        (("--set", "settings.seed=true"), "settings.seed"),
        (("--set", "settings.move_weights={1: .nan}"), "settings.move_weights"),
        (("--set", "settings.radii={Cu: 1, Cu: 2}"), "--set"),
        (("--set", "relax.settings.model=9.9"), "relax.settings"),
        (("--pressure", "nan"), "relax.settings.pressure"),
        (("--walkers", "1000000000"), "settings.walkers"),
        (("--seed", "-1"), "settings.seed"),
        (("--seed", "9" * 30), "settings.seed"),
        (("--overrides", "/dev/zero"), "--overrides"),
        (("--overrides", "/nonexistent"), "--overrides"),
        (("--group", "9" * 30), "--group"),
        (("--structures", "/dev/zero"), "is not a regular file"),
    ],
)
def test_run_names_the_field(call, worker_code, options, field):
    result = call("run", "Cu3Au", "--dry-run", *options, code=2)
    assert result.stderr.startswith("Error: ")
    assert field in result.stderr
    assert is_one_line(result.stderr.strip())


@pytest.fixture
def found(monkeypatch, aiida_profile, perovskite):
    """A search that seems to have found one structure."""
    from aiida_fuse2 import query

    node = orm.StructureData(ase=perovskite).store()
    row = {
        "uuid": node.uuid,
        "pk": node.pk,
        "rank": 1,
        "energy": -8.4,
        "label": "g0",
        "found": 1,
        "spacegroup": 221,
        "spacegroup_loose": 221,
        "spacegroup_symbol": "Pm-3m",
        "spacegroup_symbol_loose": "Pm-3m",
    }
    monkeypatch.setattr(query, "load_results", lambda _: node)
    monkeypatch.setattr("aiida_fuse2.query.ranking.best_of", lambda *_: [row])
    monkeypatch.setattr("aiida_fuse2.query.results.settings_of", lambda _: Settings())
    return "SrTiO3_01_Pm-3m_-8.4000.cif"


class Settings:
    unit = parse_composition("SrTiO3")


def test_output_that_is_a_file(call, found, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    assert "is a file" in call("structures", "-o", path, code=2).stderr
    message = call("structures", "-o", path / "deeper", code=1).stderr.strip()
    assert message.startswith("Error: cannot write to")
    assert is_one_line(message)
    assert path.read_text() == "mine"


def test_output_that_cannot_be_written(call, found, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(type(tmp_path), "mkdir", refuse)
    assert "Permission denied" in call("structures", "-o", tmp_path / "new", code=1).stderr
    assert "File name too long" in call("structures", "-o", "x" * 5000, code=1).stderr


def test_output_onto_a_folder_or_a_link(call, found, tmp_path):
    (tmp_path / found).symlink_to(tmp_path / "elsewhere")
    assert "exists; overwrite with --force" in call("structures", "-o", tmp_path, code=1).stderr
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / found).unlink()
    (tmp_path / found).mkdir()
    assert "cannot write to" in call("structures", "-o", tmp_path, "--force", code=1).stderr


@pytest.mark.parametrize("command", [("doctor",), ("status",), ("show",), ("run", "Cu")])
def test_a_full_disk_is_told_with_what_mends_it(call, monkeypatch, command):
    """AiiDA writes a file when it opens a profile, so no command gets further."""

    def no_room(name):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/access.pid")

    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", no_room)
    result = call(*command, code=1)
    assert is_one_line(result.stderr.strip())
    assert "no space is left on the disk (/data/access.pid)" in result.stderr
    assert "do what `aiida-fuse2 doctor` says" in result.stderr


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "Bad file descriptor"), KeyError("x"), AttributeError("y")])
def test_errors_that_may_be_faults_of_ours_are_not_hidden(call, monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", fail)
    assert call("doctor", code=None).exception is error

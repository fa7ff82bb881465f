"""What `docs/howto/extend.md` says works: its code blocks are a package, and a search is run with it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aiida_fuse2
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import generator_names, get_generator
from aiida_fuse2.core.moves import OWN, find_move, get_move, move_names
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.software import software_versions

from .linting import complaints
from .plugins import forget, install

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "extend.md"

BLOCKS = dict(re.findall(r"```\{code-block\} \w+\n:caption: (.+?)\n\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))
"""Code blocks of the page by the name of their file."""

WEIGHTS = {"1": 1, "stretch": 3}


@pytest.fixture
def extras(tmp_path, monkeypatch):
    """The package of the page, installed."""
    modules = {name: text for name, text in BLOCKS.items() if name.startswith("fuse2_extras/")}
    groups = tomllib.loads(BLOCKS["pyproject.toml"])["project"]["entry-points"]
    with monkeypatch.context() as patch:
        install(tmp_path / "site", patch, modules, groups)
        yield
    for name in [name for name in sys.modules if name.startswith("fuse2_extras")]:
        del sys.modules[name]
    forget()


@pytest.mark.usefixtures("extras")
def test_a_search_with_the_package_of_the_page(worker_code):
    from aiida.engine import run_get_node

    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.tables import origin_text
    from aiida_fuse2.environment.trust import parts_of
    from aiida_fuse2.export.archive import works_to_cite
    from aiida_fuse2.tiers import TierChoice
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    from .conftest import emt_overrides

    overrides = emt_overrides(starts="alloy", move_weights=WEIGHTS, new_share=0, seed=3, max_structures=10)
    del overrides["relax"]["settings"]["calculator"]
    builder = Fuse2WorkChain.get_builder_from_protocol(
        "Cu3Au", worker_code, "fast", overrides, tiers=TierChoice(names=["emt"])
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    rows = query.explored(search).to_dict("records")
    assert {row["origin"] for row in rows[:4]} == {"alloy"}
    stretched = next(row for row in rows if row["move"] == "stretch")
    assert stretched["parent"]
    assert origin_text(stretched) == "move stretch longer along one axis"
    assert set(search.outputs.state["moves"]) <= {*WEIGHTS, "14"}
    assert query.relaxed_to(search).startswith("relaxed to 0.1 eV/Å with EMT;")
    cited = " ".join(works_to_cite(search))
    assert "A. Author" in cited
    assert "Jacobsen" in cited
    assert search.inputs.settings["move_weights"] == WEIGHTS
    foreign = {str(part.where) for part in parts_of(search)}
    assert {"settings.starts", "settings.move_weights", "tiers.t00.settings"} <= foreign


@pytest.mark.usefixtures("extras")
def test_names_versions_and_checks_of_another_package(search_settings):
    assert "stretch" in move_names()
    assert "stretch" not in protocol_inputs()["settings"]["move_weights"]  # a search names what it uses
    assert software_versions()["fuse2-extras"] == "0.0.7"
    assert get_generator("alloy").in_process is False
    check_search(search_settings("Cu3Au", starts="alloy", move_weights=WEIGHTS))


def test_what_is_not_installed_is_named(search_settings):
    known = ", ".join(move_names())
    assert known.startswith("1, 2, 3")
    with pytest.raises(InputError, match=f"stretch.: must be one of {known}$") as caught:
        check_search(search_settings("Cu3Au", move_weights=WEIGHTS))
    assert caught.value.field == "settings.move_weights"
    with pytest.raises(InputError, match=f"must be one of {', '.join(generator_names())}$"):
        check_search(search_settings("Cu3Au", starts="alloy"))
    assert find_move("stretch") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other", 'MOVE = Move(name="stretch", title="", function=print)'),
        ("15", 'MOVE = Move(name="15", title="", function=print)'),
        ("word", "MOVE = 1"),
        ("word", "import no_such_package"),
        ("word", ""),
    ],
)
def test_a_move_that_is_none_is_refused(tmp_path, monkeypatch, name, text):
    with monkeypatch.context() as patch:
        modules = {"fuse2_wrong.py": f"from aiida_fuse2.core.moves import Move\n{text}\n"}
        install(tmp_path / "site", patch, modules, {"aiida_fuse2.moves": {name: "fuse2_wrong:MOVE"}})
        with pytest.raises(InputError, match="cannot be used"):
            get_move(name)
        assert find_move(name) is None
    sys.modules.pop("fuse2_wrong", None)
    forget()


def test_a_package_cannot_replace_what_is_there(tmp_path, monkeypatch):
    from aiida_fuse2.tiers import load_tier, own_tier_names
    from aiida_fuse2.tiers.worker import AseTier

    with monkeypatch.context() as patch:
        groups = {f"aiida_fuse2.{kind}": {name: "fuse2_wrong:X"} for kind, name in (("moves", "1"), ("tiers", "ase"))}
        install(tmp_path / "site", patch, {}, groups)
        assert get_move("1") is OWN["1"]
        assert load_tier("ase") is AseTier
        assert "ase" in own_tier_names()
    forget()


def test_one_file_and_one_line_in_this_package(tmp_path):
    """Move, generator and command of the page, in a copy of this package; the command lists the move."""
    package = tmp_path / "aiida_fuse2"
    shutil.copytree(Path(aiida_fuse2.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "cli" / "commands" / "moves.py").write_text(BLOCKS["aiida_fuse2/cli/commands/moves.py"])
    _add(package / "cli" / "registry.py", '    "model",\n', '    "moves",\n')
    for room, name in (("moves", "stretch"), ("generators", "alloy")):
        (package / "core" / room / f"{name}.py").write_text(_inside(room, name))
    generators = package / "core" / "generators" / "registry.py"
    _add(generators, "    FGen(),\n", "    Alloy(),\n")
    _add(generators, "from .base import", "from .alloy import Alloy\n", before=True)
    moves = package / "core" / "moves" / "registry.py"
    _add(moves, "    NEW_STRUCTURE,\n", "    stretch.STRETCH,\n")
    _add(moves, "from .base import", "from . import stretch\n", before=True)
    code = (
        "from aiida_fuse2.protocols import protocol_inputs; from aiida_fuse2.cli import cmd_root; "
        "assert 'stretch' not in protocol_inputs()['settings']['move_weights']; "
        "from aiida_fuse2.core.generators import OWN; assert not OWN['alloy'].in_process; cmd_root(['moves'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 swap atoms"
    assert "stretch longer along one axis" in lines


@pytest.mark.parametrize("name", [name for name in BLOCKS if name.endswith(".py")])
def test_the_code_of_the_page_passes_the_lint(name):
    assert complaints(BLOCKS[name], name.replace("fuse2_extras", "aiida_fuse2")) == ""


@pytest.mark.parametrize(("room", "name"), [("moves", "stretch"), ("generators", "alloy")])
def test_the_code_passes_the_lint_in_this_package_too(room, name):
    assert complaints(_inside(room, name), f"aiida_fuse2/core/{room}/{name}.py") == ""


@pytest.mark.usefixtures("extras")
def test_the_command_that_tries_the_package(tmp_path, monkeypatch):
    """The benchmark of the page, shorter."""
    from click.testing import CliRunner

    from aiida_fuse2.cli import cmd_root

    text = PAGE.read_text().partition("$ aiida-fuse2 benchmark ")[2].partition("```")[0]
    assert "--cpu-seconds 12 " in text
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(text.replace("--cpu-seconds 12 ", "--cpu-seconds 0.5 ").replace("\\\n", " "))
    result = CliRunner().invoke(cmd_root, ["benchmark", *arguments])
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "results.jsonl").read_text())
    assert row["generator"] == "alloy"
    assert json.loads(row["overrides"])["settings"]["move_weights"] == {"stretch": 20, "5": 1}
    assert row["best"]["energy"] < 1
    assert "move" in row["best"]


def _inside(room, name):
    """Return the example as a file of this package."""
    outside = f"from aiida_fuse2.core.{room} import"
    text = BLOCKS[f"fuse2_extras/{name}.py"]
    line = next(line for line in text.splitlines() if line.startswith(outside)).replace(outside, "from .base import")
    assert f"`{line}`" in PAGE.read_text()
    return text.replace(outside, "\nfrom .base import")


def _add(path, beside, line, *, before=False):
    text = path.read_text()
    assert text.count(beside) == 1
    path.write_text(text.replace(beside, line + beside if before else beside + line))

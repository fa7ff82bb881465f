"""Examples run, with a cheap potential in place of CHGNet, and what the pages tell the reader to type works."""

import os
import re
import runpy
import shlex
from pathlib import Path

import click
import nbformat
import pytest
import yaml
from aiida import orm
from aiida.engine import run_get_node
from ase import Atoms
from nbclient import NotebookClient

from aiida_fuse2 import query
from aiida_fuse2.cli import cmd_root
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.protocols.models import find_model

from .conftest import emt_overrides

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "first_search.ipynb"
COMPOSITION = "Cu3Au"
L12 = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
MAX_SECONDS = 300


def main_of(name):
    return runpy.run_path(str(EXAMPLES / name))["main"]


def printed_by_example(capsys):
    """The lines of an example; AiiDA's log, which may share the stream, left out."""
    return [line for line in capsys.readouterr().out.splitlines() if not re.search(r"\[REPORT\]|^Report:", line)]


def test_every_example_is_tested():
    tested = set(re.findall(r"\w+\.(?:py|ipynb|yaml)", Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} <= tested


def test_a_potential_of_ones_own():
    model = find_model(EXAMPLES / "upet.yaml")
    assert (model.name, model.code_label) == ("upet-mad-s", "fuse2-upet")
    values = protocol_inputs("fast", {"relax": {"settings": model.settings_with("0.3.1", None)}})["relax"]["settings"]
    settings = parse_settings(RelaxSettings, values)
    assert settings.weights.version == "0.3.1"
    assert settings.arguments == {"model": "pet-mad-s", "version": "1.6.0", "device": "{device}"}


@pytest.mark.slow
def test_first_search(worker_code, capsys):
    search = main_of("01_first_search.py")(COMPOSITION, overrides=emt_overrides(max_structures=4))
    assert search.is_finished_ok, search.exit_message
    title, *rows = printed_by_example(capsys)[1:]
    assert title.split()[-1] == "PK"
    assert 1 <= len(rows) <= 5
    assert rows[0].split()[0] == f"{search.outputs.energy.value:.4f}"
    assert int(rows[0].split()[-1]) == search.outputs.structure.pk


@pytest.mark.slow
def test_own_structures(worker_code, capsys):
    ordered = Atoms("AuCu3", scaled_positions=L12, cell=[3.75] * 3, pbc=True)
    wrong = Atoms("Au2Cu2", scaled_positions=L12, cell=[3.9] * 3, pbc=True)
    overrides = emt_overrides(starts="provided", population_size=2, max_structures=4)
    search = main_of("02_own_structures.py")(COMPOSITION, guesses=[ordered, wrong], overrides=overrides)
    assert search.is_finished_ok, search.exit_message
    summary, best, ancestors = printed_by_example(capsys)
    assert summary == "1 of 2 structures can be used; the others: [['s00001', 'wrong_composition']]"
    assert f"{search.outputs.energy.value:.4f} eV/atom (PK {search.outputs.structure.pk})" in best
    assert ancestors.split(" <- ")[-1] == "g00000_w000_t000"  # L1_2, the ground state, is the guess itself


def test_own_structures_are_valid(search_settings):
    from aiida_fuse2.calculations.conversions import provided_pool

    guesses = runpy.run_path(str(EXAMPLES / "02_own_structures.py"))["GUESSES"]
    _, summary = provided_pool(search_settings("SrTiO3"), [(str(atoms.symbols), atoms) for atoms in guesses])
    assert summary["kept"] == len(guesses) == 2


@pytest.mark.slow
def test_notebook(worker_code, aiida_config, aiida_profile, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if cell.source.startswith("composition ="))
    parameters.source = f"composition = {COMPOSITION!r}\noverrides = {emt_overrides(max_structures=4)!r}"
    (start,) = (cell for cell in notebook.cells if "load_profile();" in cell.source)
    start.source = start.source.replace("load_profile()", f"load_profile({aiida_profile.name!r})")
    environment = {**os.environ, "AIIDA_PATH": str(Path(aiida_config.dirpath).parent)}
    NotebookClient(notebook, timeout=MAX_SECONDS, kernel_name="python3").execute(env=environment)
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert all(shown["output_type"] != "error" for cell in outputs for shown in cell)
    table = "".join(shown["text"] for cell in outputs for shown in cell if shown.get("name") == "stdout")
    search = query.load_search()
    assert search.is_finished_ok
    assert table.splitlines()[0].startswith(f"{search.outputs.energy.value:9.4f} eV/atom")


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 4
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


# --- what a reader copies from the pages ---------------------------------------------------------


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def documented_commands():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in blocks(page, "(?:console|text)"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True) if line[:2] == "$ " else [""]
                command, *arguments = words[: words.index("|")] if "|" in words else words
                if command == "aiida-fuse2":
                    yield pytest.param(*arguments[:1], arguments[1:], id=f"{page.name}: {' '.join(arguments)}")


@pytest.mark.parametrize(("name", "arguments"), documented_commands())
def test_documented_command_has_these_options(aiida_profile, name, arguments):
    command = cmd_root.get_command(click.Context(cmd_root), name)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
    left = command.make_parser(click.Context(command)).parse_args(list(arguments))[1]
    assert len(left) <= len([p for p in command.params if isinstance(p, click.Argument)])


@pytest.mark.parametrize(
    "block", [b for page in ("change_settings", "cluster", "known") for b in blocks(f"docs/howto/{page}.md", "yaml")]
)
def test_documented_overrides_are_inputs(block):
    inputs = protocol_inputs("fast", yaml.safe_load(block))
    check_search(parse_settings(SearchSettings, {**inputs["settings"], "composition": "SrTiO3"}))
    parse_settings(RelaxSettings, inputs["relax"]["settings"])


def test_documented_calculator_runs():
    (block,) = blocks("docs/howto/calculators.md", "python")
    namespace = {}
    exec(block, namespace)  # noqa: S102 - our own page
    assert namespace["energy"] == pytest.approx(-12.962, abs=0.002)
    assert abs(namespace["forces"]).max() < 0.01
    assert abs(namespace["stress"]).max() < 1e-3
    assert namespace["moments"][0] > 1 > namespace["moments"][1]


@pytest.mark.slow
def test_documented_python_runs(emt_builder, capsys):
    _, search = run_get_node(emt_builder(relax={"max_steps": 35}, max_structures=8))
    failures = search.outputs.state["failures"]
    assert failures
    namespace = {"orm": orm}
    (query,) = (b for b in blocks("docs/howto/python.md", "python") if "load_search(" in b)
    exec(query.replace("load_search(65)", f"load_search({search.pk})"), namespace)  # noqa: S102 - our own page
    assert namespace["reached"].state.tried == 8
    assert namespace["atoms"] == search.outputs.structure.get_ase()
    (failed,) = blocks("docs/howto/trouble.md", "python")
    exec(failed.replace("load_node(65)", f"load_node({search.pk})"), namespace)  # noqa: S102
    assert capsys.readouterr().out.count("step_limit") == failures["step_limit"]

"""What a forge reads: workflows, issue forms, set-up of the documentation, the public interface."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from aiida_fuse2 import query
from aiida_fuse2.cli import cmd_root
from aiida_fuse2.core import errors
from aiida_fuse2.core.generators.registry import GROUP as GENERATORS
from aiida_fuse2.core.moves.registry import GROUP as MOVES

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
TARGETS = {
    name
    for names in re.findall(r"^([a-z][\w -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name in names.split()
}
PROGRAMS = {"aiida-fuse2-worker", "ls", "make", "mkdir", "python", "sudo", "test", "uv", ".venv/bin/python"}
MODULES = {"build", "cibuildwheel", "pip", "pytest"}


def load(path):
    """A file of YAML; the key `on` is read as a truth value, which is YAML 1.1."""
    content = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in content.items()}


def steps(path):
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def commands():
    """The commands of all workflows, word by word; of a pipe its first."""
    for path in WORKFLOWS:
        for step in steps(path):
            for line in step.get("run", "").splitlines():
                words = shlex.split(line)
                yield pytest.param(words[1:] if words[0] == "!" else words, id=f"{path.stem}: {line[:60]}")


def extras(words):
    """The extras that a command names, of the project or as a setting of make."""
    named = [found for word in words for found in re.findall(r"^\.\[(.+)\]$|^EXTRAS=(.+)$", word)]
    return {name for pair in named for part in pair for name in part.split(",") if name}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_complete(path):
    workflow = load(path)
    assert set(workflow) <= {"name", "on", "permissions", "concurrency", "env", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}  # what a job may do more, it says
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 180
        assert job["steps"]
        assert set(job.get("needs", [])) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@[\w/.]+", step.get("uses", "actions/checkout@v4"))


@pytest.mark.parametrize("words", list(commands()))
def test_commands_of_workflows_are_there(words):
    program, *arguments = words
    assert program in PROGRAMS | {"grep"}
    assert extras(words) <= set(PROJECT["optional-dependencies"])
    for argument in arguments:
        if argument.startswith("tests/"):
            assert (ROOT / argument).is_dir()
        if argument.endswith(".txt"):
            assert (ROOT / argument).is_file()
    if program == "make":
        (target, *_) = arguments
        assert target in TARGETS
    if program.endswith("python"):
        assert (arguments[0], arguments[1] in MODULES) == ("-m", True)


def test_a_command_that_is_not_there_would_be_noticed():
    with pytest.raises(AssertionError):
        test_commands_of_workflows_are_there(["make", "everything"])
    with pytest.raises(AssertionError):
        test_commands_of_workflows_are_there(["make", "test", "EXTRAS=chgnet,unknown"])
    with pytest.raises(AssertionError):
        test_commands_of_workflows_are_there(["python", "-m", "nose"])


def test_all_versions_of_python_are_tested():
    tested = load(ROOT / ".github/workflows/ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"]
    stated = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", text)]
    assert tested == stated
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_release_needs_no_password():
    publish = load(ROOT / ".github/workflows/release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert set(publish["needs"]) == {"wheels", "sdist"}
    assert not any("secrets." in path.read_text() for path in WORKFLOWS)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_form_asks_for_what_is_there(path):
    form = load(path)
    if path.stem == "config":
        assert set(form) == {"blank_issues_enabled"}
        return
    assert {"name", "description", "body"} <= set(form)
    names = [field["id"] for field in form["body"]]
    assert len(names) == len(set(names))
    assert all(field["attributes"]["label"] for field in form["body"])
    named = re.findall(r"\baiida-fuse2 ([a-z]+)", path.read_text())
    assert set(named) <= set(cmd_root.commands)


def test_documentation_is_built_as_by_make():
    config = load(ROOT / ".readthedocs.yaml")
    assert (ROOT / config["sphinx"]["configuration"]).is_file()
    assert config["sphinx"]["fail_on_warning"] is True
    (install,) = config["build"]["jobs"]["install"]
    makefile = (ROOT / "Makefile").read_text()
    assert extras(shlex.split(install)) == set(re.search(r"^EXTRAS +\?= (.*)$", makefile, re.MULTILINE)[1].split(","))
    assert "-c constraints.txt" in install


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert {target for target in re.findall(r"`make ([a-z-]+)`|\$ make ([a-z-]+)", text) if "".join(target)} <= {
        pair for name in TARGETS for pair in ((name, ""), ("", name))
    }


def test_public_interface_is_there():
    text = (ROOT / "docs" / "reference" / "public_api.md").read_text()
    processes = re.findall(r"`(fuse2\.[a-z_.]+)`", text)
    points = PROJECT["entry-points"]
    assert set(processes) <= {*points["aiida.calculations"], *points["aiida.workflows"]}
    assert set(points["aiida.workflows"]) <= set(processes)
    for name in re.findall(r"`(aiida_fuse2\.[a-z_.]+)`", text):
        assert name in {*points, GENERATORS, MOVES} or importlib.import_module(name)
    for name in query.__all__:
        assert getattr(query, name).__doc__
    error = errors.InputError("seed", -1, "must be positive")
    assert isinstance(error, errors.Fuse2Error)
    assert (error.field, error.value, error.expected) == ("seed", -1, "must be positive")
    chains = re.findall(r"`(Fuse2\w+WorkChain|Fuse2WorkChain)`", text)
    modules = dict(value.split(":")[::-1] for value in points["aiida.workflows"].values())
    assert len(chains) == 3
    for name in chains:
        assert callable(getattr(importlib.import_module(modules[name]), name).get_builder_from_protocol)

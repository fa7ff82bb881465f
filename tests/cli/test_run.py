"""`run`: inputs from options, errors in one line, nothing submitted that is wrong."""

from __future__ import annotations

import json

import pytest
import yaml
from aiida import orm
from ase.io import write

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.launch.overrides import merge_all, parse_assignment, read_overrides
from aiida_fuse2.launch.search import prepare_search

EMT_OPTIONS = ("--protocol", "fast", "--set", "relax.settings.calculator=ase.calculators.emt.EMT")


def n_nodes():
    return orm.QueryBuilder().append(orm.Node).count()


def test_assignment_is_nested_and_typed():
    assert parse_assignment("settings.acceptance.temperature=0.05") == {
        "settings": {"acceptance": {"temperature": 0.05}}
    }
    assert parse_assignment("settings.move_weights={1: 2}") == {"settings": {"move_weights": {"1": 2}}}
    assert parse_assignment("a=b=c") == {"a": "b=c"}


def test_keys_are_texts_as_they_are_written(tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text(
        "settings: {move_weights: {1: 1, stretch: 2}, radii: {No: 1.9, 1.50: [{~: 1}], <<: {2024-01-01: 2}}}"
    )
    settings = read_overrides(path)["settings"]
    assert settings["move_weights"] == {"1": 1, "stretch": 2}
    assert settings["radii"] == {"No": 1.9, "1.50": [{"~": 1}], "2024-01-01": 2}


@pytest.mark.parametrize("text", ["", "settings", "=3", "settings..x=1", "settings.x={"])
def test_bad_assignment(text):
    with pytest.raises(InputError, match="--set"):
        parse_assignment(text)


def test_last_change_wins():
    assert merge_all({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}}, {"b": 3}) == {"a": {"x": 1, "y": 2}, "b": 3}


@pytest.mark.parametrize("content", ["- 1", "a: [", "\xff\xfe"])
def test_bad_overrides_file(tmp_path, content):
    path = tmp_path / "overrides.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="--overrides"):
        read_overrides(path)


def test_empty_overrides_file(tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("# nothing\n")
    assert read_overrides(path) == {}


def test_dry_run_shows_what_options_set_and_stores_nothing(call, worker_code, tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("settings: {seed: 5, walkers: 9}\nrelax: {settings: {fmax: 0.02}}\n")
    before = n_nodes()
    options = ["--overrides", path, "--seed", 6, "--pressure", 5, "--jobs", 2, "--set", "settings.seed=7"]
    options += ["--set", "relax.metadata.options.queue_name=short", "--stop-chance", 0.1]
    result = call("run", "Cu6Au2", *EMT_OPTIONS, "--dry-run", *options)
    inputs = yaml.safe_load(result.stdout)
    assert (inputs["settings"]["seed"], inputs["settings"]["walkers"]) == (7, 9)
    assert inputs["settings"]["composition"] == "Cu3Au"
    assert (inputs["settings"]["relax_jobs"], inputs["settings"]["stop_chance"]) == (2, 0.1)
    assert "stop_chance = 0.1 takes at least 37 random structures" in result.stderr
    tier = inputs["tiers"]["t00"]
    assert (tier["settings"]["fmax"], tier["settings"]["pressure"]) == (0.02, 5)
    assert tier["options"]["queue_name"] == "short"
    assert "Cu6Au2 is 2 x Cu3Au" in result.stderr
    assert n_nodes() == before


def test_dry_run_as_json(call, worker_code):
    result = call("run", "Cu3Au", *EMT_OPTIONS, "--dry-run", "--json")
    assert json.loads(result.stdout)["tiers"]["t00"]["codes"]["worker"] == worker_code.full_label


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Cu3Xx",), "'Xx' is not an element"),
        (("Cu3Au", "--max-atoms", 2), "settings.max_atoms = 2"),
        (("Cu3Au", "--protocol", "nope"), "fast, balanced, stringent"),
        (("Cu3Au", "--starts", "nope"), "fgen"),
        (("Cu3Au", "--starts", "provided"), "needs structures"),
        (("Cu3Au", "--starts", "provided,fgen"), "needs structures"),
        (("Cu3Au", "--starts", "fgen=0.5,symmetric=-1"), "settings.starts.symmetric"),
        (("Cu3Au", "--starts", "fgen,fgen"), "each once"),
        (("Cu3Au", "--set", "settings.starts={}"), "at least one generator"),
        (("Cu3Au", "--set", "setings.seed=1"), "setings"),
        (("Cu3Au", "--set", "settings.sed=1"), "settings.sed"),
        (("Cu3Au", "--set", "settings=1"), "must be a mapping"),
        (("Cu3Au", "--set", "relax.metadata.options.nope=1"), "nope"),
        (("Cu3Au", "--set", "relax.metadata.options.resources.nope=1"), "nope"),
        (("Cu3Au", "--stop-chance", 0.05), "takes at least 75 structures, but max_structures = 60"),
        (("Cu3Au", "--stop-chance", 1), "settings.stop_chance"),
        (("Cu3Au", "--group", "nope"), "--group"),
        (("Cu3Au", "--structures", "/nonexistent.cif"), "cannot be found"),
        (("Cu3Au", "--structures", "x", "--group", "y"), "not both"),
    ],
)
def test_bad_input_is_one_line(call, worker_code, arguments, message):
    result = call("run", *EMT_OPTIONS, *arguments, "--dry-run", code=2)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_missing_code_points_to_setup(call):
    result = call("run", "Cu3Au", "--code", "nope", code=1)
    assert "aiida-fuse2 setup" in result.stderr


def test_stale_code(call, aiida_localhost, tmp_path):
    program = tmp_path / "worker"
    orm.InstalledCode(label="stale", computer=aiida_localhost, filepath_executable=str(program)).store()
    result = call("run", "Cu3Au", "--code", "stale", code=1)
    assert f"{program}, which is not a program" in result.stderr
    program.write_text("not executable")
    call("run", "Cu3Au", "--code", "stale", code=1)


def test_calculator_that_is_not_installed(call, worker_code):
    result = call("run", "Cu3Au", "--set", "relax.settings.calculator=nopackage.Potential", "--dry-run", code=1)
    assert "no Python package 'nopackage'" in result.stderr


def test_daemon_that_does_not_run(call, worker_code, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.daemon.daemon_problem", lambda: "the daemon is not running; start it")
    result = call("run", "Cu3Au", *EMT_OPTIONS, code=1)
    assert "the daemon is not running" in result.stderr


@pytest.fixture
def files(tmp_path, perovskite):
    """Two structures of which one fits SrTiO3, and a broken file."""
    other = perovskite.copy()
    other.symbols[0] = "Ba"
    write(tmp_path / "a.cif", perovskite)
    write(tmp_path / "b.cif", other)
    (tmp_path / "c.cif").write_text("broken")
    return tmp_path


def test_structures_of_files(worker_code, files):
    prepared = prepare_search("SrTiO3", code=worker_code, protocol="fast", paths=[files], store=False)
    assert prepared.kept == 1
    assert [name for name, _ in prepared.skipped] == [str(files / "c.cif"), str(files / "b.cif")]
    assert prepared.settings.starts == {"provided": 1.0}
    assert not prepared.builder.pool.is_stored
    assert "Sr" in prepared.builder.pool.get_content()


def test_generator_beside_structures_is_kept(worker_code, files):
    overrides = {"settings": {"starts": "symmetric"}}
    prepared = prepare_search(
        "SrTiO3", code=worker_code, protocol="fast", overrides=overrides, paths=[files / "a.cif"], store=False
    )
    assert prepared.settings.starts == {"symmetric": 1.0}
    assert prepared.builder.generate.code.pk == worker_code.pk


def test_skipped_structures_are_listed(call, worker_code, files):
    result = call("run", "SrTiO3", *EMT_OPTIONS, "--structures", files, "--dry-run")
    assert "1 starting structure, 2 skipped" in result.stderr
    assert "c.cif" in result.stderr


def test_number_of_starting_structures(call, worker_code, files, perovskite):
    write(files / "d.vasp", perovskite, format="vasp")
    result = call("run", "SrTiO3", *EMT_OPTIONS, "--structures", files, "--dry-run")
    assert "2 starting structures, 2 skipped" in result.stderr
    one = call("run", "SrTiO3", *EMT_OPTIONS, "--structures", files / "b.cif", "--dry-run", code=2)
    assert "the starting structure cannot be used for SrTiO3" in one.stderr
    both = [option for name in ("b.cif", "c.cif") for option in ("--structures", files / name)]
    two = call("run", "SrTiO3", *EMT_OPTIONS, *both, "--dry-run", code=2)
    assert "none of 2 starting structures can be used for SrTiO3" in two.stderr


def test_group_enters_with_its_provenance(worker_code, perovskite):
    node = orm.StructureData(ase=perovskite).store()
    group, _ = orm.Group.collection.get_or_create("perovskites")
    group.add_nodes([node])
    prepared = prepare_search("SrTiO3", code=worker_code, protocol="fast", group="perovskites")
    assert prepared.kept == 1
    assert node in [link.node for link in prepared.builder.pool.creator.base.links.get_incoming().all()]


def test_empty_group(call, worker_code):
    orm.Group.collection.get_or_create("empty")
    result = call("run", "SrTiO3", *EMT_OPTIONS, "--group", "empty", "--dry-run", code=2)
    assert "holds no structure" in result.stderr


def test_submission_prints_the_key(call, worker_code, daemon_up, search, monkeypatch):
    submitted = []
    monkeypatch.setattr("aiida.engine.submit", lambda builder: submitted.append(builder) or search)
    result = call("run", "Cu3Au", *EMT_OPTIONS, "--starts", "fgen", "--no-wait")
    assert f"PK {search.pk}" in result.stdout
    result = call("run", "Cu3Au", *EMT_OPTIONS, "--starts", "fgen", "--no-wait", "--json")
    assert json.loads(result.stdout) == {"pk": search.pk, "uuid": search.uuid}
    assert [b.settings["starts"] for b in submitted] == [{"fgen": 1.0}] * 2


def test_the_composition_is_shown_as_it_was_understood_before_it_is_submitted(
    call, worker_code, daemon_up, monkeypatch
):
    def submit(builder):
        raise ValueError("not today")

    monkeypatch.setattr("aiida.engine.submit", submit)
    options, understood = (*EMT_OPTIONS, "--starts", "fgen"), "Composition: Cu3 Au1, formula unit of 4 atoms\n"
    printed = call("run", "Cu3Au", *options, code=2).stdout
    assert printed == f"{understood}Cost: at most 60 structures, the cost of ase is not estimated\n"
    assert understood in call("run", "Cu6Au2", *options, "--runs", 2, code=2).stdout
    assert call("generate", "Cu3Au", *options, code=2).stdout == understood
    learn = ("potential", "learn", "Cu3Au", "--set", "relax.calculator=ase.calculators.emt.EMT")
    assert call(*learn, code=2).stdout == understood
    as_json = call("run", "Cu3Au", *options, "--json", code=2)
    assert (as_json.stdout, understood in as_json.stderr) == ("", True)


@pytest.mark.parametrize("command", [("run",), ("generate",), ("potential", "learn")])
def test_a_zero_for_the_letter_is_refused_before_anything_is_submitted(call, worker_code, daemon_up, command):
    before = n_nodes()
    assert "did you mean SrTiO3?" in call(*command, "SrTi03", "--no-wait", code=2).stderr
    assert n_nodes() == before


def test_a_zero_for_the_letter_is_refused_everywhere_else(call, search, worker_code, tmp_path):
    benchmark = ("benchmark", "search", "SrTi03:20", "--out", tmp_path / "rows")
    assert "did you mean SrTiO3?" in call(*benchmark, code=2).stderr
    starts = ("benchmark", "relax", "FIRE", "--starts", "SrTi03:20", "--out", tmp_path / "rows")
    assert "did you mean SrTiO3?" in call(*starts, code=2).stderr
    assert "did you mean SrTiO3?" in call("hull", search.pk, "--end", "SrTi03", code=2).stderr
    with pytest.raises(InputError, match="did you mean SrTiO3"):
        prepare_search("SrTi03", code=worker_code)
    with pytest.raises(InputError, match="there is no such input"):
        prepare_search("SrTiO3", code=worker_code, overrides={"settings": {"composition": "SrTi03"}})


def test_refused_submission_is_bad_input(call, worker_code, daemon_up, monkeypatch):
    def refuse(builder):
        raise ValueError("no such\nthing")

    monkeypatch.setattr("aiida.engine.submit", refuse)
    result = call("run", "Cu3Au", *EMT_OPTIONS, "--starts", "fgen", code=2)
    assert result.stderr.strip() == "Error: no such thing"


def test_targets_are_inputs(call, worker_code, perovskite, tmp_path):
    write(tmp_path / "known (1).cif", perovskite)
    before = n_nodes()
    result = call("run", "SrTiO3", "--target", tmp_path / "known (1).cif", "--stop-at-target", "--dry-run", "--json")
    inputs = json.loads(result.stdout)
    assert list(inputs["targets"]) == ["known_1"]
    assert inputs["settings"]["target"] == {"stop": True, "relax": True, "stol": 0.1}
    options = ("--target", tmp_path / "known (1).cif", "--runs", 2)
    of_runs = json.loads(call("run", "SrTiO3", *options, "--dry-run", "--json").stdout)
    assert list(of_runs["search"]["targets"]) == ["known_1"]
    assert n_nodes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "none.cif"), "target = 'none.cif'"),
        (("--target", "two.xyz"), "holds 2 structures; give each in a file"),
        (("--target", "good.cif", "--target", "./good.cif"), "a target 'good' already"),
        (("--target", "other.cif"), "the search is one for SrTiO3"),
        (("--target", "large.cif", "--max-atoms", 10), "more atoms in its primitive cell than max_atoms = 10"),
        (("--stop-at-target",), "there is no target to stop at"),
    ],
)
@pytest.mark.usefixtures("worker_code", "target_files")
def test_bad_targets(call, options, message):
    result = call("run", "SrTiO3", *options, "--dry-run", code=2)
    assert message in " ".join(result.stderr.split())


@pytest.fixture
def target_files(perovskite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("good.cif", perovskite)
    write("two.xyz", [perovskite, perovskite], format="extxyz")
    other = perovskite.copy()
    other.numbers[0] = 20
    write("other.cif", other)
    large = perovskite.repeat((3, 1, 1))
    large.positions[0] += 0.3
    write("large.cif", large)


def test_what_is_known_of_the_structure(call, worker_code):
    options = ("--known", "cell=3.75,3.75,3.75,90,90,90", "--known", "space_groups=195-230", "--known", "z=1,4")
    shown = call("run", "Cu3Au", *EMT_OPTIONS, *options, "--known", "density=12", "--dry-run").stdout
    known = yaml.safe_load(shown)["settings"]["known"]
    assert (known["cell"], known["z"]) == ([3.75, 3.75, 3.75, 90, 90, 90], [1, 4])
    assert (known["space_groups"], known["density"], known["density_tolerance"]) == ("195-230", 12.0, 0.05)
    wrong = [
        ("colour=red", "keys are cell"),
        ("z", "KEY=VALUE"),
        ("z=[", "YAML"),
        ("density=3", "settings.known.density"),
    ]
    for text, message in wrong:
        assert message in call("run", "Cu3Au", *EMT_OPTIONS, *options, "--known", text, "--dry-run", code=2).stderr


def test_several_starts_with_their_shares(call, worker_code):
    shown = call("run", "Cu3Au", *EMT_OPTIONS, "--starts", "symmetric=0.25,fgen=0.75", "--dry-run").stdout
    inputs = yaml.safe_load(shown)
    assert inputs["settings"]["starts"] == {"symmetric": 0.25, "fgen": 0.75}
    assert inputs["generate"]["code"]
    alone = call("run", "Cu3Au", *EMT_OPTIONS, "--set", "settings.starts=fgen", "--dry-run").stdout
    assert yaml.safe_load(alone)["settings"]["starts"] == {"fgen": 1.0}
    assert "No such option" in call("run", "Cu3Au", "--generator", "fgen", code=2).stderr


def test_policy_of_another_search(call, worker_code, finished):
    taught = finished(policy="bandit", max_structures=6)
    arguments = ("run", "Cu3Au", "--policy-from", taught.pk, "--dry-run", "--json")
    inputs = json.loads(call(*arguments).stdout)
    assert inputs["settings"]["policy"] == "bandit"
    assert inputs["policy"]["learned"] == taught.outputs.state["learned"]
    assert json.loads(call(*arguments, "--runs", 2).stdout)["search"]["policy"] == inputs["policy"]
    alone = json.loads(call("run", "Cu3Au", "--policy", "bandit", "--dry-run", "--json").stdout)
    assert alone["settings"]["policy"] == "bandit"
    assert "no effect with settings.policy: fixed" in call(*arguments, "--policy", "fixed", code=2).stderr


def test_policy_of_a_search_that_has_learned_nothing(call, worker_code, search):
    message = call("run", "Cu3Au", "--policy-from", search.pk, "--dry-run", code=2).stderr
    assert f"--policy-from = '{search.pk}'" in message
    assert "has learned nothing" in message
    assert "there is no node" in call("run", "Cu3Au", "--policy-from", 10**8, "--dry-run", code=1).stderr

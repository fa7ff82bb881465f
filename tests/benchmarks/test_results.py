"""Files of results: what is read back, what is refused, and what a kill leaves."""

import json
from pathlib import Path

import pytest

from aiida_fuse2.benchmarks.defaults import defaults, read_targets
from aiida_fuse2.benchmarks.relaxations import row_key
from aiida_fuse2.benchmarks.results import RelaxationRow, ResultsError, ResultsFile, SearchRow
from aiida_fuse2.core.errors import InputError

from .rows import RELAXATION, relaxation, search

ROOT = Path(__file__).resolve().parents[2]


def test_rows_come_back(tmp_path):
    path = tmp_path / "rows.jsonl"
    file = ResultsFile(path, SearchRow)
    rows = [search((1.5, 2, -5.5)), search(seed=2)]
    for row in rows:
        file.append(row)
    assert ResultsFile(path, SearchRow).rows == rows == file.rows
    assert len(path.read_text().splitlines()) == 2


def test_line_that_a_kill_cut_off_is_replaced(tmp_path):
    path = tmp_path / "rows.jsonl"
    ResultsFile(path, RelaxationRow).append(relaxation())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    file = ResultsFile(path, RelaxationRow)
    assert len(file.rows) == 1
    file.append(relaxation(start=1))
    assert [row.start for row in ResultsFile(path, RelaxationRow).rows] == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json\n", "line 1"),
        (b"not json", "line 1"),
        (json.dumps(RELAXATION).encode() + b"\n{}\n", "line 2: method: Field required"),
        (json.dumps({**RELAXATION, "energy": "low"}).encode() + b"\n", "line 1: energy"),
        (b"\xff\xfe\n", "line 1"),
        (b"[1, 2]\n", "line 1"),
    ],
)
def test_other_files_are_refused_and_left_alone(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no file of these results") as caught:
        ResultsFile(path, RelaxationRow)
    assert message in str(caught.value)
    assert path.read_bytes() == content


def test_results_of_the_other_benchmark_are_refused(tmp_path):
    ResultsFile(tmp_path / "rows", RelaxationRow).append(relaxation())
    with pytest.raises(InputError, match="is no file of these results: line 1"):
        ResultsFile(tmp_path / "rows", SearchRow)


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(ResultsError, match="there is no folder"):
        ResultsFile(tmp_path / "none" / "rows", RelaxationRow).check_writable()
    with pytest.raises(InputError, match="is not a file"):
        ResultsFile(tmp_path, RelaxationRow)
    with pytest.raises(InputError, match="is not a file"):
        ResultsFile(Path("/dev/zero"), RelaxationRow)
    file = ResultsFile(tmp_path / "rows", RelaxationRow)
    file.check_writable()
    (tmp_path / "rows").mkdir()
    with pytest.raises(ResultsError, match="cannot write"):
        file.append(relaxation())


def test_rows_of_earlier_versions_had_the_default_starts():
    path = ROOT / "benchmarks" / "results" / "relax.jsonl"
    if not path.exists():
        pytest.skip("not a checkout")
    rows = ResultsFile(path, RelaxationRow).rows
    assert len(rows) >= 400
    assert len({row_key(row) for row in rows}) == len(rows)
    assert row_key(rows[0])[:3] == (rows[0].method, "SrTiO3", defaults("relax")["starts"]["SrTiO3"])


def test_targets_of_the_package():
    targets = read_targets()
    assert targets.of("CoAs2") == -5.718
    assert targets.of("As2Co") == targets.of("Co2As4") == -5.718
    assert targets.of("NaCl") is None
    assert all(targets.of(formula) is not None for formula in defaults("search")["compositions"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must be a YAML file"),
        ("{", "must be a YAML file"),
        ("targets: {}", "must be a YAML file"),
        ("targets: {SrTiO3: low}", "must be an energy"),
        ("targets: {SrTiO3: .nan}", "must be an energy"),
        ("targets: {Xx: -1}", "composition"),
        ("#" * 200_000, "is longer than"),
    ],
)
def test_bad_targets(tmp_path, text, message):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_targets(tmp_path / "t.yaml")


def test_targets_that_cannot_be_read(tmp_path):
    (tmp_path / "t.yaml").write_bytes(b"\xff")
    for path, message in (("t.yaml", "cannot be read"), ("none", "no such file"), ("/dev/zero", "is not a file")):
        with pytest.raises(InputError, match=message):
            read_targets(tmp_path / path)

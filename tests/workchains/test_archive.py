"""A finished search goes into an archive and comes out of it whole; and the documented queries work on it."""

from __future__ import annotations

import re
from pathlib import Path

from aiida import orm
from aiida.orm import CalcFunctionNode, CalcJobNode
from aiida.tools.archive import create_archive, import_archive

from aiida_fuse2.query import ranked

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto" / "query.md"


def test_archive_round_trip(search, tmp_path, aiida_config_tmp, aiida_profile_factory):
    archive = tmp_path / "search.aiida"
    uuid, energy = search.uuid, search.outputs.energy.value
    group = orm.Group.collection.get(label="fuse2/" + uuid)
    members = {node.uuid for node in group.nodes}
    called = {node.uuid for node in search.called_descendants}
    numbers = {k: sum(isinstance(n, k) for n in search.called_descendants) for k in (CalcJobNode, CalcFunctionNode)}
    create_archive([search, group], filename=archive)
    with aiida_profile_factory(aiida_config_tmp):
        import_archive(archive)
        imported = orm.load_node(uuid)
        assert imported.outputs.energy.value == energy
        assert {node.uuid for node in imported.called_descendants} == called
        assert {kind: orm.QueryBuilder().append(kind).count() for kind in numbers} == numbers
        explored = list(orm.load_group("fuse2/" + uuid).nodes)
        assert {node.uuid for node in explored} == members
        assert min(node.base.extras.get("fuse2")["energy"] for node in explored) == energy
        assert ranked(imported)[0]["energy"] == energy


def test_documented_queries_run(search):
    blocks = re.findall(r"```python\n(.*?)```", HOWTO.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 4
    namespace = {"search_pk": search.pk}
    for block in blocks:
        exec(compile(block, str(HOWTO), "exec"), namespace)  # noqa: S102 - the documentation is ours
    below, explored = namespace["below"], namespace["explored"]
    assert below == sorted(below, key=lambda row: row[1])
    assert {pk for pk, _ in below} <= {n.pk for n in namespace["group"].nodes}
    assert len(below) >= 1
    assert namespace["best"].uuid == search.outputs.structure.uuid
    assert namespace["lineage"][0] == search.outputs.structure.label
    assert len(namespace["history"]) == 8
    assert [node.pk for node in namespace["best_three"]] == [row["pk"] for row in ranked(search)[:3]]
    assert len(namespace["every_one"]) == len(namespace["frame"]) == len(explored)
    assert namespace["line"]["label"].tolist()[::-1] == namespace["lineage"]
    assert {row[0] for row in namespace["of_composition"]} <= set(namespace["table"]["pk"])
    assert explored[0][1]["energy"] == search.outputs.energy.value

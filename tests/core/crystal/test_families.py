import numpy as np
import pytest
from ase.geometry import cell_to_cellpar

from aiida_fuse2.core.crystal.families import (
    FREE_ANGLE_RANGE,
    MIN_RELATIVE_VOLUME,
    BravaisFamily,
    aspect,
    box_cell,
    draw_angles,
    families_for,
    grid_allowed,
    grids,
    relative_volume,
)

FIXED = {
    BravaisFamily.CUBIC: (90, 90, 90),
    BravaisFamily.TETRAGONAL: (90, 90, 90),
    BravaisFamily.ORTHORHOMBIC: (90, 90, 90),
    BravaisFamily.HEXAGONAL: (90, 90, 120),
}


@pytest.mark.parametrize("family", BravaisFamily)
def test_angles_are_those_of_the_family(family):
    rng = np.random.default_rng(1)
    angles = np.array([draw_angles(family, rng) for _ in range(500)])
    if family in FIXED:
        assert np.array_equal(angles, np.tile(FIXED[family], (500, 1)))
        return
    free = [1] if family == BravaisFamily.MONOCLINIC else [0, 1, 2]
    fixed = [axis for axis in range(3) if axis not in free]
    assert (angles[:, fixed] == 90).all()
    assert angles.min() >= FREE_ANGLE_RANGE[0]
    assert angles.max() <= FREE_ANGLE_RANGE[1]
    assert (np.ptp(angles[:, free], axis=0) > 50).all()  # the range is used
    assert min(relative_volume(tuple(row)) for row in angles) >= MIN_RELATIVE_VOLUME


@pytest.mark.parametrize("angles", [(90, 90, 90), (60, 60, 60), (75, 100, 110), (90, 90, 120)])
def test_relative_volume_is_that_of_the_cell(angles):
    cell = box_cell((2, 3, 4), 4.0, angles)
    assert np.linalg.det(cell) == pytest.approx(8 * 12 * 8 * relative_volume(angles))
    assert cell_to_cellpar(cell) == pytest.approx([8, 12, 8, *angles])


def test_a_flat_cell_has_no_volume():
    assert relative_volume((60, 60, 120)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("n_boxes", range(1, 61))
@pytest.mark.parametrize("family", BravaisFamily)
def test_grids_are_all_that_the_family_allows(n_boxes, family):
    span = range(1, n_boxes + 1)
    every = [(x, y, n_boxes // (x * y)) for x in span for y in span if n_boxes % (x * y) == 0]
    assert grids(n_boxes, family) == [grid for grid in every if grid_allowed(family, grid)]
    for nx, ny, nz in grids(n_boxes, family):
        a, b, c = cell_to_cellpar(box_cell((nx, ny, nz), 4.0, (90, 90, 90)))[:3]
        if family in (BravaisFamily.CUBIC, BravaisFamily.TETRAGONAL, BravaisFamily.HEXAGONAL):
            assert a == b
        if family == BravaisFamily.CUBIC:
            assert a == c
        assert aspect((nx, ny, nz)) == pytest.approx(max(a, b, c) / min(a, b, c))


def test_only_some_numbers_of_boxes_can_be_cubic():
    cubic = [n for n in range(1, 130) if BravaisFamily.CUBIC in families_for(n)]
    assert cubic == [2, 16, 54, 128]
    assert BravaisFamily.TRICLINIC in families_for(1)

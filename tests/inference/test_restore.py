from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.geometry import Geometry
from medcl.data.grid import Grid
from medcl.data.prepare import restore_probabilities
from medcl.inference.restore import restore_slabs

_sizes = st.tuples(*[st.integers(1, 13)] * 3)


@given(
    _sizes, _sizes, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.integers(1, 5), st.integers(0, 99)
)
def test_same_numbers_as_the_reference_in_any_orientation(size, plan_size, order, flips, depth, seed):
    grid = Grid(Geometry(size=size), tuple(order), flips, plan_size)
    values = np.random.default_rng(seed).dirichlet(np.ones(3), size=plan_size).astype(np.float32)
    values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    slabs = (torch.from_numpy(values[:, z : z + depth]) for z in range(0, plan_size[0], depth))
    restored = np.concatenate([slab.numpy() for slab in restore_slabs(slabs, grid)], axis=1)
    assert restored.shape[1:] == grid.turned_size
    assert np.allclose(grid.turn_back(restored), restore_probabilities(values, grid), atol=1e-5)
    assert np.allclose(restored.sum(0), 1, atol=1e-5)

"""Near and far from structures, slice by slice."""

from __future__ import annotations

import numpy as np

from medcl.data.regions import band_of, plane_distance


def test_the_band_is_a_disc_in_its_own_slice() -> None:
    mask = np.zeros((2, 21, 21), int)
    mask[0, 10, 10] = 2
    y, x = np.mgrid[-10:11, -10:11]
    np.testing.assert_array_equal(band_of(mask)[0], x**2 + y**2 <= 25)
    assert not band_of(mask)[1].any()
    np.testing.assert_allclose(plane_distance(mask)[0], np.hypot(y, x), rtol=1e-6)
    assert np.isinf(plane_distance(mask)[1]).all()

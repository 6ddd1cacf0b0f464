"""Headings that a body can take, from how far away things are: what scripted players of games and robots share."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def is_free(bearings: Floats, ranges: Floats, *, body: float, reach: float) -> NDArray[np.bool_]:
    """bool (R,): headings along which a body of radius `body` can move by `reach`.

    bearings: degrees; ranges: to the nearest thing along each bearing, in the unit of `body` and `reach`; both (R,).
    """
    apart = np.radians(np.abs(bearings[:, None] - bearings[None]))  # heading, ray
    ahead, aside = ranges[None] * np.cos(apart), ranges[None] * np.sin(apart)
    return np.asarray(~((aside < body) & (ahead < reach)).any(axis=1))

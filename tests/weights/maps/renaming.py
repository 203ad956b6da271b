"""What a layout makes of one key."""

import numpy as np

from sdbatch.weights.maps import KeyMap, Layout


def renamed(layout: Layout | KeyMap, key: str) -> str:
    """The one name a key gets; its array must be passed through as it is."""
    array = np.zeros((2, 2))
    rename = layout.rename if isinstance(layout, Layout) else layout
    ((name, value),) = rename(key, array)
    assert value is array
    return name

"""Where one call of an sdbatch network goes, by oneDNN's own report of its primitives."""

from __future__ import annotations

import re
from collections import defaultdict

from comparison import Load
from peers import Peer, Setting
from reports import Row

# Which stage a primitive belongs to; what oneDNN does besides, and what it never sees, follow.
STAGES = {
    "convolution": "convolution",
    "matmul": "matmul",
    "inner_product": "matmul",
    "softmax": "softmax",
    "reorder": "reorder",
}
# onednn_verbose,v1,primitive,exec,cpu,convolution,...,0.123 (milliseconds); 2.x has no version.
_LINE = re.compile(r"^(?:onednn|dnnl)_verbose,(?:.*,)?exec,[^,]+,(\w+),.*,([\d.e+-]+)$", re.M)


def profile(name: str, setting: Setting, load: Load, batch: int) -> Row:
    """Run a peer of its own with the report, which slows it down a little.

    Raises:
        PeerFailed: it died.
    """
    asked = {"network": load.network, "batch": batch, "side": load.side}
    with Peer(name, setting, {"ONEDNN_VERBOSE": "1"}) as peer:
        peer.ask("load", networks=[load.network])
        peer.ask("run", **asked)
        peer.ask("run", **asked)
        before = len(peer.log.read_text(errors="replace"))
        seconds = peer.ask("run", **asked)["seconds"]
        text = peer.log.read_text(errors="replace")[before:]
    return {"peer": name, "batch": batch, "ms": 1000 * seconds, **shares(text, seconds)}


def shares(text: str, seconds: float) -> dict[str, str]:
    """The share of each stage in a call.

    Args:
        text: what oneDNN reported of it.
        seconds: that it took.
    """
    spent: dict[str, float] = defaultdict(float)
    for primitive, milliseconds in _LINE.findall(text):
        spent[STAGES.get(primitive, "other oneDNN")] += float(milliseconds) / 1000
    outside = max(0.0, seconds - sum(spent.values()))
    stages = [*dict.fromkeys(STAGES.values()), "other oneDNN"]
    parts = {stage: spent[stage] for stage in stages} | {"outside oneDNN": outside}
    return {stage: f"{part / seconds:.1%}" for stage, part in parts.items()}

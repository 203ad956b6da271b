"""Which network calls are guided and which are whole; what of it a dataset's fingerprint covers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.shortcuts import NO_SHORTCUTS, Shortcuts

shares = st.floats(0, 1)
intervals = st.none() | st.tuples(shares, shares).filter(lambda pair: pair[0] < pair[1])
any_shortcuts = st.builds(Shortcuts, guidance_interval=intervals, feature_reuse=st.integers(1, 12))


def drawn(shortcuts: Shortcuts, count: int, first: int = 0) -> str:
    """Calls as letters: G guided and whole, g guided with kept features; C, c without guidance."""
    letters = {(True, True): "G", (True, False): "g", (False, True): "C", (False, False): "c"}
    return "".join(
        letters[call.guided, call.whole] for call in shortcuts.calls(count, first, guided=True)
    )


class TestCalls:
    @pytest.mark.parametrize(
        ("shortcuts", "letters"),
        [
            (NO_SHORTCUTS, "GGGGGGGGGG"),
            (Shortcuts(guidance_interval=(0.0, 1.0)), "GGGGGGGGGG"),
            (Shortcuts(guidance_interval=(0.2, 0.8)), "CCGGGGGGCC"),
            (Shortcuts(guidance_interval=(0.0, 0.3)), "GGGCCCCCCC"),
            (Shortcuts(guidance_interval=(0.61, 0.64)), "CCCCCCCCCC"),  # no call lies within
            (Shortcuts(feature_reuse=2), "GgGgGgGgGg"),
            (Shortcuts(feature_reuse=4), "GgggGgggGg"),
            (Shortcuts(feature_reuse=99), "Gggggggggg"),
            # Guidance ends between whole calls; it begins with one.
            (Shortcuts(guidance_interval=(0.0, 0.5), feature_reuse=4), "GgggGcccCc"),
            (Shortcuts(guidance_interval=(0.3, 1.0), feature_reuse=5), "CccGgGgggg"),
        ],
    )
    def test_follow_the_options(self, shortcuts, letters):
        assert drawn(shortcuts, 10) == letters

    def test_of_image_to_image_keep_their_shares_of_the_whole_trajectory(self):
        shortcuts = Shortcuts(guidance_interval=(0.0, 0.8), feature_reuse=3)
        assert drawn(shortcuts, 10, first=6) == "GgcC"

    @given(any_shortcuts, st.integers(1, 60), st.data())
    def test_are_as_many_as_there_are_left_and_begin_whole(self, shortcuts, count, data):
        first = data.draw(st.integers(0, count - 1))
        calls = shortcuts.calls(count, first, guided=True)
        assert len(calls) == count - first
        assert calls[0].whole

    @given(any_shortcuts, st.integers(1, 60))
    def test_never_need_a_half_that_was_not_kept(self, shortcuts, count):
        kept = None
        for call in shortcuts.calls(count, guided=True):
            kept = call if call.whole else kept
            assert kept.guided or not call.guided

    @given(any_shortcuts, st.integers(1, 60))
    def test_of_pictures_without_guidance_have_none(self, shortcuts, count):
        assert not any(call.guided for call in shortcuts.calls(count, guided=False))


class TestSettings:
    def test_are_none_where_nothing_is_left_out(self):
        assert NO_SHORTCUTS.settings == Shortcuts(None, 0.0, 1).settings == {}

    def test_are_those_that_are_on_as_json_gives_them_back(self):
        assert Shortcuts((0.2, 0.8)).settings == {"guidance_interval": [0.2, 0.8]}
        assert Shortcuts(None, 0.5, 3).settings == {"token_merging": 0.5, "feature_reuse": 3}

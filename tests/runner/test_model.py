"""What a model gives a dataset's settings: its shortcuts, where there are any."""

import pytest

from sdbatch.runner.model import open_model
from sdbatch.shortcuts import NO_SHORTCUTS, Shortcuts
from tests.composing import folder, job

pytestmark = pytest.mark.usefixtures(folder.__name__)


def test_without_shortcuts_there_are_none_in_the_settings():
    model = open_model(job())
    assert model.shortcuts == NO_SHORTCUTS
    assert model.settings("fp32")["shortcuts"] == {}


def test_shortcuts_are_those_of_the_config():
    keys = ("guidance_interval=[0,0.5]", "token_merging=0.25", "feature_reuse=3")
    model = open_model(job(*(f"shortcuts.{key}" for key in keys)))
    assert model.shortcuts == Shortcuts((0.0, 0.5), 0.25, 3)
    assert model.settings("fp32")["shortcuts"] == {
        "guidance_interval": [0.0, 0.5],
        "token_merging": 0.25,
        "feature_reuse": 3,
    }


def test_a_choice_of_the_group_turns_some_on():
    shortcuts = open_model(job("shortcuts=quick")).shortcuts
    assert shortcuts == Shortcuts(guidance_interval=(0.0, 0.8), feature_reuse=2)

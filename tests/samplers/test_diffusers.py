"""Number for number as diffusers: every solver, schedule and prediction type, in float64.

The bound below is far under the promise of 1e-6, which leaves room for other processors' libm.
"""

from __future__ import annotations

import numpy as np
import pytest

from sdbatch.samplers import SIGMA_NAMES, SOLVER_NAMES, UnsupportedSchedule
from tests.conftest import relative_error
from tests.samplers.records import (
    SAMPLE,
    draws,
    network,
    read,
    sampler,
    with_states,
    with_timesteps,
)

BOUND = 1e-9


def states_of(record: dict) -> list[np.ndarray]:
    """Latents before the first and after every network call, with the record's wishes."""
    found, draw = sampler(record), draws()
    trajectory = found.trajectory(record["steps"])
    first, x = 0, trajectory.initial(draw())
    if "strength" in record:
        first = trajectory.first_call(record["strength"])
        x = trajectory.noised(SAMPLE, draws()(), first)
    states = [x]
    result = found.run(
        network,
        x,
        record["steps"],
        draw,
        first_call=first,
        between=lambda latents, _: states.append(latents) or latents,
    )
    assert result is states[-1]
    return states


@pytest.mark.parametrize("solver", [*SOLVER_NAMES, None])
def test_every_state_of_every_trajectory(solver):
    followed = 0
    for record, expected in with_states("trajectories"):
        if record["options"].get("solver") != solver:
            continue
        states = states_of(record)
        found = states if record["kept"] > 1 else states[-1:]
        assert len(found) == len(expected), record
        for state, wanted in zip(found, expected, strict=True):
            assert relative_error(state.ravel(), wanted) < BOUND, record
        followed += 1
    assert followed >= 15


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_every_start_from_a_picture(solver):
    """The noised sample, then the way from there with an empty history."""
    followed = 0
    for record, expected in with_states("starts"):
        if record["options"]["solver"] != solver:
            continue
        states = states_of(record)
        found = states if record["kept"] > 2 else [states[0], states[-1]]
        assert len(found) == len(expected), record
        for state, wanted in zip(found, expected, strict=True):
            assert relative_error(state.ravel(), wanted) < BOUND, record
        followed += 1
    assert followed == 3


def test_timesteps_for_1_to_100_steps():
    """Those of unpatched diffusers: whole ones exactly, fractional ones within 1e-3."""
    followed = 0
    for record, expected in with_timesteps():
        found = sampler(record)
        for steps in range(1, 101):
            if steps not in expected:
                with pytest.raises(UnsupportedSchedule, match=f"steps={steps}: expected at"):
                    found.trajectory(steps)
                continue
            timesteps = found.trajectory(steps).timesteps
            assert all(type(t) is float for t in timesteps)
            tolerance = 0 if record["scale"] == 1 else 1e-3 + 0.5 / record["scale"]
            assert len(timesteps) == len(expected[steps]), (record["options"], steps)
            distance = np.abs(np.array(timesteps) - expected[steps]).max()
            assert distance <= tolerance, (record["options"], steps)
            followed += 1
    assert followed > 7000


def test_the_records_cover_every_name():
    records, _ = read("trajectories")
    options = [record["options"] for record in records]
    assert {o.get("solver") for o in options} == {*SOLVER_NAMES, None}
    assert {o.get("sigmas") for o in options} == {*SIGMA_NAMES, None}
    kinds = {record["config"].get("prediction_type") for record in records}
    assert kinds == {None, "epsilon", "v_prediction", "sample"}
    assert {record["steps"] for record in records} == {5, 20, 50}

import numpy as np
import pytest
import torch

from tiny import seeded
from trailward.data.episode import DataError, Episode
from trailward.data.plan import PlanSpec


def test_an_episode_has_as_many_steps_as_actions() -> None:
    assert len(Episode(np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(3))) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    observations, actions = np.zeros((4, 2)), np.zeros((3, 1))
    observations[2, 1] = value
    with pytest.raises(DataError, match=rf"observations\[2, 1\] is {value}; every value must be"):
        Episode(observations, actions)
    actions[1, 0] = value
    with pytest.raises(DataError, match=rf"actions\[1, 0\] is {value}"):
        Episode(np.zeros((4, 2)), actions)


@pytest.mark.parametrize("num_actions", [2, 4, 5])
def test_counts_that_do_not_fit_are_refused(num_actions: int) -> None:
    with pytest.raises(DataError, match=f"4 observations and {num_actions} actions; an episode"):
        Episode(np.zeros((4, 2)), np.zeros((num_actions, 1)))


@pytest.mark.usefixtures("without_type_checks")
def test_arrays_without_a_time_axis_are_refused() -> None:
    with pytest.raises(DataError, match=r"observations have shape \(4,\); expected two axes"):
        Episode(np.zeros(4), np.zeros((3, 1)))
    with pytest.raises(DataError, match=r"actions have shape \(3,\); .* \(time, action\)"):
        Episode(np.zeros((4, 1)), np.zeros(3))


@pytest.mark.usefixtures("without_type_checks")
def test_rewards_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"rewards have shape \(4,\); expected \(3,\)"):
        Episode(np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(4))


@pytest.mark.parametrize("name", ["horizon", "stride", "observation_dim"])
def test_a_count_below_one_is_refused(name: str) -> None:
    counts = {"horizon": 2, "stride": 2, "observation_dim": 2, "action_dim": 2, name: 0}
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        PlanSpec(**counts)


def test_dimensions_of_plans_over_states(spec: PlanSpec) -> None:
    assert spec.transition_dim == 2
    assert spec.num_observations == 9


def test_dimensions_of_plans_with_actions(action_spec: PlanSpec) -> None:
    assert action_spec.transition_dim == 2 + 2 * 2
    assert action_spec.num_observations == 9


def test_split_inverts_join_with_actions(action_spec: PlanSpec) -> None:
    observations = torch.randn((3, 4, 2), generator=seeded())
    actions = torch.randn((3, 4, 2, 2), generator=seeded(1))
    transitions = action_spec.join(observations, actions)
    assert transitions.shape == (3, 4, 6)
    back = action_spec.split(transitions)
    assert torch.equal(back[0], observations)
    assert torch.equal(back[1], actions)


def test_split_inverts_join_of_plans_over_states(spec: PlanSpec) -> None:
    observations = torch.randn((3, 5, 2), generator=seeded())
    joined = spec.join(observations, torch.zeros(3, 5, 2, 2))
    assert torch.equal(joined, observations)
    assert torch.equal(spec.split(joined)[0], observations)
    assert spec.split(joined)[1] is None


def test_a_spec_comes_back_from_its_configuration(action_spec: PlanSpec) -> None:
    assert PlanSpec(**action_spec.to_config()) == action_spec

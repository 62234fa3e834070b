import numpy as np
import pandas
import pytest
import torch

from refusals import refused
from tiny import seeded
from trailward.data.episode import Episode, check_array
from trailward.data.plan import PlanSpec
from trailward.errors import DataError, SettingsError


def test_an_episode_has_as_many_steps_as_actions() -> None:
    assert len(Episode(np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(3))) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    observations, actions = np.zeros((4, 2)), np.zeros((3, 1))
    observations[2, 1] = value
    same = pytest.approx(value, nan_ok=True)
    with refused(place="observations[2, 1]", value=same, remedy="finite"):
        Episode(observations, actions)
    actions[1, 0] = value
    with refused(place="actions[1, 0]", value=same):
        Episode(np.zeros((4, 2)), actions)


@pytest.mark.parametrize("num_actions", [2, 4, 5])
def test_counts_that_do_not_fit_are_refused(num_actions: int) -> None:
    with refused(place="observations and actions", value=(4, num_actions), remedy="last one"):
        Episode(np.zeros((4, 2)), np.zeros((num_actions, 1)))


@pytest.mark.usefixtures("without_type_checks")
def test_arrays_without_a_time_axis_are_refused() -> None:
    with refused(place="observations", value=(4,), remedy="two axes"):
        Episode(np.zeros(4), np.zeros((3, 1)))
    with refused(place="actions", value=(3,), remedy="(time, action)"):
        Episode(np.zeros((4, 1)), np.zeros(3))


@pytest.mark.usefixtures("without_type_checks")
def test_rewards_of_another_length_are_refused() -> None:
    with refused(place="rewards", value=(4,), remedy="(3,)"):
        Episode(np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(4))


@pytest.mark.parametrize("name", ["horizon", "stride", "observation_dim"])
def test_a_count_below_one_is_refused(name: str) -> None:
    counts = {"horizon": 2, "stride": 2, "observation_dim": 2, "action_dim": 2, name: 0}
    with refused(SettingsError, place=name, value=0, remedy="at least 1"):
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


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "given",
    [
        [[0, 1], [1, 3], [2, 5]],
        pandas.DataFrame({"x": [0.0, 1, 2], "y": [1, 3, 5]}),
        pandas.DataFrame({"x": [0, 1, 2], "y": [1, 3, 5]}, dtype=object),
        np.array([[0, 1], [1, 3], [2, 5]], ">f8"),
        np.array([[2, 5], [1, 3], [0, 1]], np.int16)[::-1],
        torch.tensor([[0.0, 1], [1, 3], [2, 5]]),
    ],
    ids=["lists", "frame", "objects", "big-endian", "backwards", "tensor"],
)
def test_an_episode_takes_what_numpy_takes(given: object) -> None:
    episode = Episode(given)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(episode.observations, [[0, 1], [1, 3], [2, 5]])
    assert episode.observations.dtype == np.dtype(np.float64)
    assert episode.actions.shape == (2, 0)
    assert Episode(given, None).actions.shape == (2, 0)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("given", "value"),
    [
        (np.zeros((3, 2), complex), "complex128"),
        (np.ones((3, 2), bool), "bool"),
        (np.array([["a", "b"]] * 3), "<U1"),
        (np.array([["0.5", "1"]] * 3, object), "'0.5'"),
        (np.array([[True, False]] * 3, object), "True"),
        (np.array([["2020-01-01"]] * 3, "datetime64[s]"), "datetime64[s]"),
        (np.array([[1, 2]] * 3, "timedelta64[s]"), "timedelta64[s]"),
        ([[0, 1], [1]], "list"),
        (np.full((3, 2), 1e300), 1e300),
    ],
)
def test_what_is_no_real_number_is_refused_and_not_cast(given: object, value: object) -> None:
    for attempt in (
        lambda: Episode(given),  # pyright: ignore[reportArgumentType]
        lambda: check_array("observations", given, 2),  # pyright: ignore[reportArgumentType]
    ):
        with refused(value=value) as caught:
            attempt()
        assert caught.value.place.startswith("observations")
        assert caught.value.remedy


@pytest.mark.usefixtures("without_type_checks")
def test_masked_values_are_refused() -> None:
    masked = np.ma.array(np.zeros((3, 2)), mask=np.eye(3, 2, dtype=bool))
    with refused(place="observations", value=2, remedy="masked"):
        Episode(masked)


def test_arrays_backwards_keep_their_order() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        torch.as_tensor(check_array("observations", rows[::-1], 2)), rows[::-1]
    )


def test_an_error_says_place_value_and_remedy_in_one_sentence() -> None:
    error = DataError(place="x.csv, row 3", value=7, remedy="drop it")
    assert str(error) == "x.csv, row 3 is 7; drop it"
    inside = error.within("folder")
    assert str(inside) == "folder: x.csv, row 3 is 7; drop it"
    assert (inside.place, inside.value, inside.remedy) == ("folder: x.csv, row 3", 7, "drop it")

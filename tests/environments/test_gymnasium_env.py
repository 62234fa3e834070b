"""Any environment of Gymnasium: spaces, early ends, and data recorded with a ladder."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Text
from gymnasium.spaces import Dict as DictSpace

import falling
from falling import Falling
from refusals import refused
from trailward.acting.named_policy import FunctionPolicy
from trailward.acting.network_policy import BOUNDS, NetworkPolicy, save_ladder
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.environments import find_environment
from trailward.environments.gymnasium_env import GymnasiumEnvironment, flat
from trailward.environments.recipes import ROLL_OUTS, OnePolicy
from trailward.errors import SettingsError
from trailward.judging.config import EvaluationConfig

FALLING = GymnasiumEnvironment(falling.ID)


def with_spaces(observations: gymnasium.Space, actions: gymnasium.Space) -> gymnasium.Env:
    env = Falling()
    env.observation_space, env.action_space = observations, actions
    return env


def test_a_dictionary_is_flattened_and_gives_names() -> None:
    env = FALLING.make()
    assert FALLING.columns.observations == ("place 0", "place 1", "velocity")
    now, _ = env.reset(seed=3)
    x = env.unwrapped.x  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(now, [x, x**2, 0], rtol=1e-6)


def test_a_flat_observation_has_no_names() -> None:
    assert GymnasiumEnvironment("Hopper-v5").columns.observations == ()


FLAT = Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("observations", "place", "value"),
    [
        (Box(0, 255, (8, 8, 3), np.uint8), "", Box(0, 255, (8, 8, 3), np.uint8)),
        (Discrete(4), "", Discrete(4)),
        (DictSpace({"a": FLAT, "word": Text(3)}), "part 'word' of ", Text(3)),
        (DictSpace({"a": DictSpace({"b": FLAT})}), "part 'a' of ", DictSpace({"b": FLAT})),
    ],
    ids=["picture", "number", "text", "nested"],
)
def test_other_observations_are_refused_with_what_to_do(
    observations: gymnasium.Space, place: str, value: gymnasium.Space
) -> None:
    whole = f"{place}the observation space of 'Odd'"
    with refused(place=whole, value=value, remedy="FlattenObservation") as caught:
        flat(with_spaces(observations, FLAT), "Odd")
    assert "module:Env-v0" in caught.value.remedy


@pytest.mark.parametrize(
    "actions", [MultiDiscrete([3, 2]), Box(-1, 1, (2, 2))], ids=["several", "matrix"]
)
def test_other_actions_are_refused_with_what_to_do(actions: gymnasium.Space) -> None:
    place = "the action space of 'Odd'"
    with refused(place=place, value=actions, remedy="ActionWrapper") as caught:
        flat(with_spaces(FLAT, actions), "Odd")
    assert "module:Env-v0" in caught.value.remedy


def test_discrete_actions_are_whole_numbers_outside_and_one_hot_in_episodes() -> None:
    cart = GymnasiumEnvironment("CartPole-v1")
    assert cart.columns.choices == (0, 1)
    by_number = FunctionPolicy(lambda seen: (seen[:, 2] > 0).astype(int))
    by_score = FunctionPolicy(lambda seen: np.stack([-seen[:, 2], seen[:, 2]], 1))
    one, other = (rollout([cart.make()], p, seeds=[1])[0] for p in (by_number, by_score))
    assert one.actions.shape == (len(one), 2)
    assert len(one) > 20
    np.testing.assert_array_equal(one.actions.argmax(1), one.observations[:-1, 2] > 0)
    np.testing.assert_array_equal(one.actions, other.actions)


def test_collecting_discrete_actions_says_how_else() -> None:
    recipe = OnePolicy(policy="random", num_episodes=1)
    with refused(place="the actions of 'CartPole-v1'", value=Discrete(2), remedy="rollout"):
        recipe.record(GymnasiumEnvironment("CartPole-v1"), seed=0)


def test_an_id_that_is_not_there_is_refused() -> None:
    with refused(place="environment", value="Hoper-v5", remedy="check the id"):
        GymnasiumEnvironment("Hoper-v5").make()


def test_recorded_rewards_are_the_task_and_data_without_them_cannot_be_judged() -> None:
    episode = Episode(np.zeros((3, 2)), np.zeros((2, 1)), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(FALLING.task().step_rewards(episode), [1, 2])
    bare = Episode(np.zeros((3, 2)), np.zeros((2, 1)))
    with refused(place="rewards", value=None, remedy="--env none"):
        FALLING.task().step_rewards(bare)


def policy(gain: float, mean_return: float, step: int) -> NetworkPolicy:
    """Pushes against the place by a gain, within the environment's bounds."""
    layers = [
        (np.array([[-gain, 0, 0]], np.float32), np.zeros(1, np.float32)),
    ]
    facts = {"step": step, "return": {"mean": mean_return}, BOUNDS: [[-2.0], [2.0]]}
    return NetworkPolicy(layers, facts)


LADDER = [policy(-6.0, 3.0, 0), policy(-1.0, 9.0, 1), policy(3.0, 24.0, 2)]


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    return save_ladder(tmp_path / "ladder", LADDER, {}, environment=falling.ID)


def recorded(what: str, ladder: Path, **settings) -> Dataset:
    return ROLL_OUTS[what](**{"policies": ladder}, **settings).record(FALLING, seed=0)


def test_play_has_as_many_steps_of_each_policy_though_episodes_end_early(ladder: Path) -> None:
    play = recorded("play", ladder, num_steps=400, action_noise=0.05)
    assert play.num_steps >= 400
    lengths = np.array([len(episode) for episode in play.episodes])
    assert lengths.min() < 10
    first, second = play.provenance["policies"]
    assert first["episodes"] > 1.5 * second["episodes"]  # they are shorter
    assert (first["episodes"] + second["episodes"]) == len(play.episodes)
    assert all(episode.terminated for episode in play.episodes if len(episode) < 25)
    assert all(np.abs(episode.actions).max() <= 2 for episode in play.episodes)
    assert max(np.abs(episode.actions).max() for episode in play.episodes) > 1


def test_the_best_of_a_mixture_have_three_percent_of_its_steps(ladder: Path) -> None:
    mixture = recorded("mixture", ladder, num_steps=2000)
    best = mixture.provenance["best"]
    assert best == {"step": 2, "return": 24.0, "episodes": 2}
    whole = [episode for episode in mixture.episodes if len(episode) == 25]
    assert len(whole) >= 2


def test_returns_of_data_are_of_whole_episodes(ladder: Path) -> None:
    expert = recorded("expert", ladder, num_episodes=4)
    sums = [episode.rewards.sum() for episode in expert.episodes if episode.rewards is not None]
    assert expert.provenance["returns"]["mean"] == pytest.approx(np.mean(sums))
    assert "score" not in expert.provenance["returns"]
    assert expert.provenance["environment"] == falling.ID


def test_a_ladder_of_another_environment_is_refused(ladder: Path) -> None:
    other = GymnasiumEnvironment("Hopper-v5")
    with refused(place=str(ladder), value="falling:Falling-v0", remedy="Hopper-v5"):
        ROLL_OUTS["expert"](**{"policies": ladder}).record(other, seed=0)


def test_without_a_ladder_the_command_that_makes_one_is_named() -> None:
    with refused(place="policies", value=None, remedy="trailward policies --env Hopper-v5"):
        ROLL_OUTS["play"]().record(GymnasiumEnvironment("Hopper-v5"), seed=0)


@pytest.mark.parametrize(
    ("name", "steps"), [("Hopper-v5", 1000), ("Pendulum-v1", 200), ("maze", 300)]
)
def test_roll_outs_are_as_long_as_episodes_usually_are(name: str, steps: int) -> None:
    environment = find_environment(name)
    assert EvaluationConfig().steps_in(environment) == steps
    assert EvaluationConfig(episode_steps=7).steps_in(environment) == 7


def test_episodes_that_never_end_need_a_limit() -> None:
    from trailward.environments.pointmaze.environment import PointMaze

    with refused(SettingsError, place="episode_steps", value=None, remedy="no usual end"):
        ROLL_OUTS["policy"]().record(PointMaze(), seed=0)

"""One battery for every environment: what recording and judging rely on."""

import functools
from collections.abc import Callable, Mapping

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import falling
from refusals import refused
from tiny import tiny_diffuser, tiny_reward
from trailward.acting.named_policy import RandomPolicy
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.environments import (
    ENVIRONMENTS,
    Environment,
    Evaluation,
    Recipe,
    Task,
    Trial,
    find_environment,
)
from trailward.environments.gymnasium_env import GymnasiumEnvironment
from trailward.environments.halfcheetah.environment import HalfCheetah
from trailward.environments.pointmaze.environment import PointMaze
from trailward.interop.gymnasium_wrapper import LearntRewardWrapper

NAMES = ("maze", "HalfCheetah-v5", "Hopper-v5", falling.ID)


@functools.cache
def opened(name: str) -> Environment:
    return find_environment(name)


@functools.cache
def episodes(name: str) -> tuple[Episode, ...]:
    """Random actions from two starts."""
    envs = [opened(name).make(episode_steps=15) for _ in range(2)]
    space = envs[0].action_space
    assert isinstance(space, gymnasium.spaces.Box)
    return tuple(rollout(envs, RandomPolicy(space, 3), seeds=[1, 2]))


def rewarded(name: str) -> LearntRewardWrapper:
    """The environment with a learnt reward."""
    env = opened(name).make(episode_steps=15)
    (observation_dim,), (action_dim,) = env.observation_space.shape, env.action_space.shape
    return LearntRewardWrapper(
        env, tiny_reward(tiny_diffuser(PlanSpec(3, 1, observation_dim, action_dim)))
    )


@pytest.mark.parametrize("name", NAMES)
class TestEnvironments:
    def test_it_is_found_by_its_name(self, name: str) -> None:
        assert opened(name).name == name
        assert opened(name) == find_environment(opened(name).name)

    def test_observations_are_flat_and_actions_continuous(self, name: str) -> None:
        env = opened(name).make()
        assert isinstance(env.action_space, gymnasium.spaces.Box)
        assert env.observation_space.shape == (len(env.reset(seed=0)[0]),)
        assert len(env.action_space.shape) == 1

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("check", [check_env, check_env_of_sb3])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_official_checkers_find_nothing_wrong(
        self, name: str, wrapped: bool, check: Callable[..., object]
    ) -> None:
        check(rewarded(name) if wrapped else opened(name).make(), skip_render_check=True)

    def test_it_is_made_anew_from_its_spec_also_with_a_learnt_reward(self, name: str) -> None:
        env = rewarded(name)
        many = gymnasium.make_vec(env.spec, num_envs=2)
        again, one = many.reset(seed=[3, 3])[0], env.reset(seed=3)[0]
        np.testing.assert_array_equal(again, np.stack([one, one]))
        action = env.action_space.sample()
        np.testing.assert_allclose(many.step(np.stack(2 * [action]))[1], 2 * [env.step(action)[1]])
        many.close()

    def test_columns_name_every_entry_or_none(self, name: str) -> None:
        (episode, _), columns = episodes(name), opened(name).columns
        for names, array in (
            (columns.observations, episode.observations),
            (columns.actions, episode.actions),
        ):
            assert len(names) in (0, array.shape[1])

    def test_episodes_end_by_themselves_or_after_the_steps_given(self, name: str) -> None:
        for episode in episodes(name):
            assert len(episode) <= 15
            assert episode.truncated == (len(episode) == 15)
            assert episode.terminated != episode.truncated

    def test_a_seed_decides_the_start(self, name: str) -> None:
        env = opened(name).make()
        one, again, other = (env.reset(seed=seed)[0] for seed in (7, 7, 8))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    def test_the_usual_task_rewards_every_step(self, name: str) -> None:
        task = opened(name).task()
        assert isinstance(task, Task)
        for episode in episodes(name):
            rewards = task.step_rewards(episode)
            assert rewards.shape == (len(episode),)
            assert np.isfinite(rewards).all()
            assert task.succeeded(episode) in (None, True, False)
            if task.transition_rewards is not None:
                told = task.transition_rewards(*episode.transitions)
                assert told.shape == rewards.shape

    def test_a_task_is_found_by_its_name_and_another_refused(self, name: str) -> None:
        task = opened(name).task()
        assert opened(name).task(task.name).name == task.name
        with refused(place="task", value="juggle"):
            opened(name).task("juggle")

    def test_recipes_are_settings_with_a_default_for_each(self, name: str) -> None:
        recipes: Mapping[str, type[Recipe]] = opened(name).recipes
        assert recipes
        for kind in recipes.values():
            assert kind() == kind()
            assert kind.__doc__

    def test_one_policy_can_be_rolled_out_anywhere(self, name: str) -> None:
        recipe = opened(name).recipes["policy"](**{"num_episodes": 3, "episode_steps": 8})
        one, again, other = (recipe.record(opened(name), seed=seed) for seed in (0, 0, 1))
        assert len(one.episodes) == 3
        assert max(len(episode) for episode in one.episodes) <= 8
        assert one.fingerprint == again.fingerprint != other.fingerprint
        assert one.columns == opened(name).columns
        assert (one.returns != 0).any()

    def test_where_there_is_a_position_any_state_can_be_taken_up(self, name: str) -> None:
        environment, (_, episode) = opened(name), episodes(name)
        env = environment.make(episode_steps=15)
        env.reset(seed=0)
        if isinstance(environment, GymnasiumEnvironment):
            assert not environment.position
            with pytest.raises(NotImplementedError, match="cannot be put into a given state"):
                environment.set_state(env, episode.observations[0])
            return
        state, action = episode.observations[4], episode.actions[4]
        environment.set_state(env, state)
        then, *_ = env.step(action)
        np.testing.assert_allclose(then, episode.observations[5], atol=1e-4)

    def test_it_measures_and_draws_what_it_measured(self, name: str) -> None:
        trial = _trial(name)
        found = opened(name).measure(trial)
        assert isinstance(found, Evaluation)
        figures = {"wall_fraction": {}, **found.figures}
        if not opened(name).position:
            assert list(opened(name).rows(figures)) == []
        for caption, picture in opened(name).panels(found).values():
            assert caption.title
            assert picture.axes


def _trial(name: str) -> Trial:
    shown = episodes(name)
    observation_dim, action_dim = shown[0].observations.shape[1], shown[0].actions.shape[1]
    spec = PlanSpec(3, 1, observation_dim, action_dim)
    starts = np.stack([episode.observations[:3] for episode in shown])
    followed = {"unguided": starts, "learnt": starts} if opened(name).position else {}
    return Trial(
        tiny_reward(tiny_diffuser(spec)),
        opened(name).task(),
        Dataset(shown),
        Dataset(shown),
        dict.fromkeys(("unguided", "learnt", "demonstrator"), shown),
        {"unguided": starts, "learnt": starts},
        followed,
        num_samples=20,
        seed=0,
    )


def test_names_lead_to_the_classes_that_know_more() -> None:
    assert isinstance(find_environment("maze"), PointMaze)
    assert isinstance(find_environment("halfcheetah"), HalfCheetah)
    assert isinstance(find_environment("HalfCheetah-v5"), HalfCheetah)
    assert find_environment("Hopper-v5") == GymnasiumEnvironment("Hopper-v5")
    assert {"maze", "halfcheetah"} <= set(ENVIRONMENTS)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with refused(place="environment", value="swamp", remedy="maze") as caught:
        find_environment("swamp")
    assert "Hopper-v5" in caught.value.remedy


def test_a_class_of_ones_own_is_found_by_module_and_name() -> None:
    name = "trailward.environments.pointmaze.environment:PointMaze"
    assert find_environment(name) == PointMaze()
    with refused(place="environment", value="nowhere:Environment", remedy="import nowhere"):
        find_environment("nowhere:Environment", may_import=False)

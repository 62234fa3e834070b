"""One battery for all rewards that baselines give."""

from collections.abc import Callable

import numpy as np
import pytest
from adversaries import demonstrations, trained

from refusals import refused
from trailward.baselines.episode_reward import EpisodeReward, TransitionReward
from trailward.baselines.nearest import NearestReward
from trailward.baselines.optimal_transport import TransportReward
from trailward.data.episode import Episode

REWARDS: dict[str, Callable[[], EpisodeReward]] = {
    "gail": lambda: trained("gail", "maze").reward,
    "airl": lambda: trained("airl", "maze").reward,
    "nearest": lambda: NearestReward(demonstrations("maze")),
    "nearest, observations only": lambda: NearestReward(demonstrations("maze"), with_actions=False),
    "transport": lambda: TransportReward(demonstrations("maze")),
}
OF_TRANSITIONS = [name for name in REWARDS if name != "transport"]


def episode(*, length: int = 12, observation_dim: int = 4) -> Episode:
    generator = np.random.default_rng(0)
    observations = generator.standard_normal((length + 1, observation_dim))
    return Episode(observations, generator.uniform(-1, 1, (length, 2)))


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("length", [1, 12])
def test_every_step_gets_a_reward(name: str, length: int) -> None:
    reward, asked = REWARDS[name](), episode(length=length)
    before = asked.observations.copy(), asked.actions.copy()
    assert isinstance(reward, EpisodeReward)
    first = reward(asked)
    assert first.shape == (length,)
    assert first.dtype == np.float64
    assert np.isfinite(first).all()
    assert np.array_equal(reward(asked), first)
    assert np.array_equal(REWARDS[name]()(asked), first)
    assert np.array_equal(asked.observations, before[0])
    assert np.array_equal(asked.actions, before[1])


@pytest.mark.parametrize("name", REWARDS)
def test_only_some_judge_every_transition_by_itself(name: str) -> None:
    reward, asked = REWARDS[name](), episode()
    assert isinstance(reward, TransitionReward) == (name in OF_TRANSITIONS)
    if isinstance(reward, TransitionReward):
        now, then = asked.observations[:-1], asked.observations[1:]
        alone = [
            reward.step_rewards(now[[t]], asked.actions[[t]], then[[t]]) for t in range(len(asked))
        ]
        np.testing.assert_allclose(np.concatenate(alone), reward(asked), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [("nearest", "observations and actions", (3, 2)), ("transport", "observations", 3)],
)
def test_episodes_of_another_environment_are_refused(name: str, place: str, value: object) -> None:
    with refused(place=place, value=value, remedy="same environment"):
        REWARDS[name]()(episode(observation_dim=3))

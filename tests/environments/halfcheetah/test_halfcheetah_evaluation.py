"""Judging rewards on HalfCheetah: what is a function of the true reward must come out as such."""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from refusals import refused
from tiny import random_walks, tiny_diffuser, tiny_reward
from trailward.acting.network_policy import (
    NetworkPolicy,
    ladder_of,
    recorded_from,
    save_ladder,
)
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import SamplingConfig
from trailward.environments import Evaluation
from trailward.environments.halfcheetah import environment as halfcheetah
from trailward.environments.halfcheetah.environment import (
    ENV_ID,
    FORWARD_VELOCITY,
    HalfCheetah,
    film,
    make_env,
    reward_by_velocity,
)
from trailward.environments.recipes import ROLL_OUTS
from trailward.judging.config import EvaluationConfig
from trailward.judging.evaluate import evaluate, reward_pairs
from trailward.learning.learnt_reward import LearntReward
from trailward.report.page import table
from trailward.rewards import AdditiveSettings, ConvSettings, RewardModel, RewardSettings

DIFFUSER = tiny_diffuser(PlanSpec(4, 1, 17, 6, with_actions=True))
LADDER = ladder_of(ENV_ID)[:3]
OWN = HalfCheetah().task()
BRIEF = EvaluationConfig(num_episodes=2, episode_steps=20, num_windows=300, num_transitions=300)
ACTING = AdditiveSettings(hidden=(8,), sees_actions=True)


def recorded(what: str, *, seed: int, **settings) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        save_ladder(Path(folder), LADDER, {}, environment=ENV_ID)
        recipe = ROLL_OUTS[what](**{"policies": Path(folder)}, **settings)
        return recipe.record(HalfCheetah(), seed=seed)


@functools.cache
def collected() -> Dataset:
    return recorded("play", num_steps=1000, seed=0, episode_steps=100)


@functools.cache
def shown() -> Dataset:
    return recorded("expert", num_episodes=2, seed=1, episode_steps=30)


class TrueReward(RewardModel):
    """As if it had been learnt, with a sign: forward velocity, less a share of squared actions."""

    def __init__(self, sign: float, spec: PlanSpec, control: float) -> None:
        super().__init__(spec)
        self.sign, self.control = sign, control
        self.normalizer = tiny_diffuser(spec).normalizer

    def step_rewards(self, plan: Tensor, past: Tensor | None = None) -> Tensor:
        observations, actions = self.spec.split(self.normalizer.unnormalize(plan))
        cost = 0 if actions is None else self.control * actions.square().sum(-1).mean(-1)
        return self.sign * (observations[..., FORWARD_VELOCITY] - cost)


def as_learnt(sign: float, spec: PlanSpec = DIFFUSER.spec, *, control: float = 0.1) -> LearntReward:
    return replace(
        tiny_reward(tiny_diffuser(spec)),
        model=TrueReward(sign, spec, control),
        sampling=SamplingConfig(num_steps=3, stop_step=0),
    )


def evaluated(learnt: LearntReward, **options) -> Evaluation:
    data = (options.pop("play", collected()), options.pop("demonstrations", shown()))
    return evaluate(learnt, DIFFUSER, HalfCheetah(), OWN, *data, BRIEF, **options)


@pytest.fixture(scope="module")
def perfect() -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halfcheetah, "film", lambda episode, tell: None)
        return evaluated(as_learnt(1.0), demonstrator=LADDER[-1])


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halfcheetah, "film", lambda episode, tell: None)


def rewarded(*lengths: int) -> Dataset:
    """Random walks whose true reward is the forward velocity at the beginning of each step."""
    walks = random_walks(lengths, observation_dim=17, action_dim=6)
    return Dataset(
        [
            Episode(e.observations, e.actions, e.observations[:-1, FORWARD_VELOCITY])
            for e in walks.episodes
        ]
    )


def test_the_true_reward_ranks_episodes_as_itself_and_its_negative_the_other_way(
    perfect: Evaluation,
) -> None:
    """But for what changes within a step."""
    assert perfect.figures["erc_episodes"]["pearson"]["count"] == 10
    assert perfect.figures["erc_episodes"]["distance"]["value"] == pytest.approx(0, abs=0.03)
    assert perfect.figures["erc_windows"]["distance"]["value"] < 0.25
    worst = reward_pairs(as_learnt(-1.0), OWN, collected(), BRIEF)["episodes"]
    np.testing.assert_allclose(worst[0], -perfect.arrays["erc_episodes"][0], rtol=1e-6)
    np.testing.assert_array_equal(worst[1], perfect.arrays["erc_episodes"][1])


def test_single_transitions_are_judged_by_recorded_rewards_and_by_what_observations_tell(
    perfect: Evaluation,
) -> None:
    """The model's velocity is that of where a step begins: to EPIC that is the same."""
    epic, steps = perfect.figures["epic"], perfect.figures["step_pearson"]
    assert epic["value"] == pytest.approx(0, abs=0.02)
    assert epic["low"] <= epic["value"] <= epic["high"]
    assert epic["count"] == steps["count"] == 10
    begins = np.concatenate([e.observations[:-1, FORWARD_VELOCITY] for e in collected().episodes])
    cost = np.concatenate([0.1 * (e.actions**2).sum(-1) for e in collected().episodes])
    true = np.concatenate([e.rewards for e in collected().episodes])
    assert steps["value"] == pytest.approx(np.corrcoef(begins - cost, true)[0, 1], abs=0.06)
    rows = dict(row[:2] for row in table(perfect.figures, HalfCheetah()))
    assert rows["EPIC distance"].startswith(f"{epic['value']:.3f} [")
    assert rows["Pearson, single steps"].startswith(f"{steps['value']:.3f} [")


def test_whole_episodes_are_correlated_by_means_over_all_their_steps(perfect: Evaluation) -> None:
    learnt, true = perfect.arrays["erc_episodes"]
    by_hand = [
        np.mean(e.observations[:-1, FORWARD_VELOCITY] - 0.1 * (e.actions**2).sum(-1))
        for e in collected().episodes
    ]
    np.testing.assert_allclose(learnt, by_hand, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(true, [e.rewards.mean() for e in collected().episodes])


def test_returns_are_sums_of_the_rewards_of_the_simulator_not_discounted(
    perfect: Evaluation,
) -> None:
    envs = [make_env(episode_steps=20) for _ in range(2)]
    episodes = rollout(envs, LADDER[-1], seeds=[1000, 1001], num_steps=20)
    expected = np.mean([sum(episode.rewards) for episode in episodes])
    assert perfect.figures["return"]["demonstrator"]["value"] == pytest.approx(expected)
    assert all(found["count"] == 2 for found in perfect.figures["return"].values())
    starts = [e.observations[0, FORWARD_VELOCITY] for e in episodes]
    for name in ("unguided", "learnt", "demonstrator"):
        np.testing.assert_array_equal(perfect.arrays[f"velocities_{name}"][:, 0], starts)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("with_actions", [True, False])
def test_windows_are_correlated_by_the_recorded_rewards_of_their_own_steps(
    stride: int, with_actions: bool
) -> None:
    """Found again by the learnt reward, which is the mean velocity over the window's plan steps."""
    play = rewarded(30, 3, 41, 17)
    spec = PlanSpec(4, stride, 17, 6, with_actions)
    learnt, true = reward_pairs(as_learnt(1.0, spec, control=0.0), OWN, play, BRIEF)["windows"]
    reach = spec.num_observations - 1
    expected = {}
    for episode in play.episodes:
        velocity = episode.observations[:, FORWARD_VELOCITY]
        for first in range(len(episode) + 1 - reach):
            planned = velocity[first : first + 4 * stride : stride].mean()
            expected[planned] = velocity[first : first + reach].mean()
    assert len(learnt) > 200
    wanted = [expected[min(expected, key=lambda each: abs(each - value))] for value in learnt]
    np.testing.assert_allclose(true, wanted, atol=1e-3)
    if with_actions and stride == 1:
        np.testing.assert_allclose(learnt, true, atol=1e-3)


def test_what_was_judged_and_how_is_told(perfect: Evaluation) -> None:
    figures = perfect.figures
    assert figures["environment"] == "HalfCheetah-v5"
    assert figures["sampling"]["num_steps"] == 3
    assert figures["planning"]["replan_every"] is None
    assert figures["num_demonstrations"] == 2
    assert figures["decision_ms"] > 0
    assert figures["decision_ms_together"] > 0
    assert "score" not in figures  # it is of 1000 steps
    fraction = figures["return_fraction"]
    values = [figures["return"][name]["value"] for name in ("unguided", "learnt", "demonstrator")]
    assert fraction["value"] == pytest.approx((values[1] - values[0]) / (values[2] - values[0]))


def test_velocities_are_of_every_step_of_every_policy(perfect: Evaluation) -> None:
    shapes = {name: perfect.arrays[f"velocities_{name}"].shape for name in ("learnt", "unguided")}
    assert shapes == {"learnt": (2, 21), "unguided": (2, 21)}
    speeds, rewards = perfect.arrays["reward_by_velocity"]
    assert (rewards <= speeds + 1e-3).all()
    assert np.corrcoef(speeds, rewards)[0, 1] > 0.9
    assert len(speeds) == 300


@pytest.mark.parametrize("config", [ACTING, ConvSettings()], ids=["acting", "conv"])
def test_every_kind_of_reward_can_be_judged(config: RewardSettings) -> None:
    learnt, play = tiny_reward(DIFFUSER, config), rewarded(30, 25)
    for pair in reward_pairs(learnt, OWN, play, BRIEF).values():
        assert np.isfinite(np.stack(pair)).all()
    drawn = reward_by_velocity(learnt, play, count=300, seed=0)
    assert drawn.shape[0] == 2
    assert np.isfinite(drawn).all()
    assert drawn[1].std() > 0


def test_without_a_demonstrator_there_is_no_scale_of_returns(no_pictures: None) -> None:
    told = []
    found = evaluated(as_learnt(1.0), stage=told.append)
    assert set(found.figures["return"]) == {"unguided", "learnt"}
    assert found.figures["return_fraction"] is None
    demonstrated = [e.observations[:, FORWARD_VELOCITY] for e in shown().episodes]
    np.testing.assert_array_equal(found.arrays["velocities_demonstrator"], demonstrated)
    assert told == ["roll-outs", "correlation with the true reward", "what the environment shows"]


def test_play_data_without_rewards_is_refused_before_anything_runs() -> None:
    bare = Dataset([Episode(e.observations, e.actions) for e in collected().episodes])
    told = []
    with refused(place="rewards", value=None):
        evaluated(as_learnt(1.0), play=bare, stage=told.append)
    assert told == []


@pytest.mark.parametrize("name", ["play", "demonstrations"])
def test_data_of_another_environment_is_refused_before_anything_runs(name: str) -> None:
    told = []
    with refused(place="observations and actions", value=(2, 2), remedy="the same environment"):
        evaluated(as_learnt(1.0), **{name: random_walks()}, stage=told.append)
    assert told == []


def test_the_demonstrator_is_the_policy_that_the_data_names() -> None:
    assert recorded_from(shown().provenance, LADDER) is LADDER[-1]
    assert recorded_from(shown().provenance, ladder_of(ENV_ID)).facts == LADDER[-1].facts
    mixture = recorded("mixture", num_steps=20, seed=0, episode_steps=5)
    for several_or_none in (mixture, random_walks()):
        assert recorded_from(several_or_none.provenance, LADDER) is None


def test_a_demonstrator_that_the_ladder_does_not_have_is_refused() -> None:
    others: list[NetworkPolicy] = LADDER[:-1]
    steps = [policy.facts["step"] for policy in others]
    with refused(place="policies", value=steps, remedy="--policies"):
        recorded_from(shown().provenance, others)


def test_frames_are_from_the_middle_of_an_episode_or_told_to_be_missing() -> None:
    told = []
    frames = film(collected().episodes[0], told.append)
    if frames is None:
        assert told[0].startswith("no frames, as MuJoCo cannot render here")
    else:
        assert frames.shape[0] == 8
        assert frames.std() > 1
        assert told == []

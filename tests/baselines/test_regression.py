"""Labels become a reward that plans can be guided by."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from refusals import refused
from trailward.baselines.regression import SCALE_FACTORS, RegressionConfig, regress_reward
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.learning.config import LearningConfig, ValueSchedule
from trailward.rewards import StagedSettings
from trailward.rewards.value import DISCOUNTED

SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.5)
SHORT = RegressionConfig(num_steps=300, batch_size=64)


def labels_of(play: Dataset) -> list[np.ndarray]:
    return [40 + 3 * episode.observations[1:, 0] for episode in play.episodes]


def test_the_reward_of_an_observation_is_the_label_of_the_step_that_led_there(
    diffuser: Diffuser,
) -> None:
    play = tiny.random_walks((60, 60, 60))
    learnt = regress_reward(
        labels_of(play), play, diffuser, tiny.random_walks(), sampling=SAMPLING, config=SHORT
    )
    found = np.concatenate([learnt.step_rewards(e.observations[1:]) for e in play.episodes])
    labels = np.concatenate(labels_of(play))
    assert np.corrcoef(found, labels)[0, 1] > 0.99
    assert found.mean() == pytest.approx(0, abs=0.1)
    assert found.std() == pytest.approx(1, abs=0.1)
    assert learnt.sampling.scale / SAMPLING.scale in SCALE_FACTORS


def test_it_is_a_function_of_the_seed(diffuser: Diffuser) -> None:
    play = tiny.random_walks((30, 30))
    make = lambda seed: regress_reward(
        labels_of(play), play, diffuser, tiny.random_walks(), sampling=SAMPLING,
        config=RegressionConfig(num_steps=5, batch_size=8, seed=seed),
    ).step_rewards(play.episodes[0].observations)  # fmt: skip
    assert np.array_equal(make(0), make(0))
    assert not np.array_equal(make(0), make(1))


def test_a_value_is_fitted_where_learning_has_one(
    diffuser: Diffuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(DISCOUNTED, width=8, num_steps=20, batch_size=32)
    monkeypatch.setattr("trailward.learning.problem.DISCOUNTED", small)
    walks = tiny.corridor_walks(0.5, count=8)
    play = Dataset([Episode(e.observations.round(1), e.actions) for e in walks.episodes])
    for learning, discount in (
        (LearningConfig(value=ValueSchedule(num_rounds=2)), 0.0),
        (LearningConfig(value=ValueSchedule(discount=0.9)), 0.9),
    ):
        learnt = regress_reward(
            labels_of(play), play, diffuser, tiny.random_walks(), sampling=SAMPLING,
            learning=learning, config=RegressionConfig(num_steps=2, batch_size=8),
        )  # fmt: skip
        assert learnt.value is not None
        assert learnt.value.discount == discount


def test_a_staged_reward_becomes_an_additive_one_and_one_demonstration_is_enough(
    diffuser: Diffuser,
) -> None:
    play = tiny.random_walks((30, 30))
    learnt = regress_reward(
        labels_of(play), play, diffuser, tiny.random_walks((20,)), sampling=SAMPLING,
        reward=StagedSettings(hidden=(8,)),
        config=RegressionConfig(num_steps=2, batch_size=8),
    )  # fmt: skip
    assert learnt.model.name == "additive"
    assert learnt.sampling == SAMPLING


def test_labels_that_do_not_fit_or_say_nothing_are_refused(diffuser: Diffuser) -> None:
    play = tiny.random_walks((30, 20))
    with refused(place="labels", value=[30, 19], remedy="[30, 20]"):
        regress_reward([np.zeros(30), np.zeros(19)], play, diffuser, play)
    with refused(place="labels", value=(2.0, 2.0)):
        regress_reward([np.full(30, 2.0), np.full(20, 2.0)], play, diffuser, play)

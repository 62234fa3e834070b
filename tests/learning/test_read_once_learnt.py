"""Once it is learnt a reward is read: by default, as settings say, and with a value of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from refusals import refused
from tiny import random_walks, tiny_diffuser
from trailward.acting.planner import Planner
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import SamplingConfig
from trailward.errors import SettingsError
from trailward.judging.readings import kept_figures
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings, MLPSettings
from trailward.rewards.avoided import Avoided, WayRound
from trailward.rewards.pace import Pace

pytestmark = pytest.mark.usefixtures("rough_values")

SPEC = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.1)
CONFIG = LearningConfig(
    num_steps=2, batch_size=4, selection=SelectionConfig(num_held_out=1, evaluate_every=1)
)


def resting(*end: float) -> list[Episode]:
    """Ways to a place from all sides, without noise, and a rest there."""
    starts = [(2.0, 0.3), (-1.6, 0.8), (0.2, -1.9), (-0.4, 1.7)]
    paths = [np.linspace(start, end, 9) for start in starts]
    paths = [np.concatenate([path, np.repeat(path[-1:], 6, 0)]) for path in paths]
    return [Episode(path, np.diff(path, axis=0)) for path in paths]


PLAY = Dataset([episode for end in ((0, 0), (1, 1), (-1, 0)) for episode in resting(*end)])
RESTING, RESTLESS = Dataset(resting(0.0, 0.0)), random_walks([14, 15, 16])


def learnt(
    demonstrations: Dataset = RESTING, *, reading: str = "default", **given: Any
) -> LearntReward:
    options = {"play": PLAY, "reward": AdditiveSettings(hidden=(4,)), **given}
    config = replace(CONFIG, reading=reading)
    return learn_reward(
        tiny_diffuser(SPEC), demonstrations, sampling=SAMPLING, config=config, **options
    )


def test_where_demonstrators_rest_amid_play_the_default_is_the_place_and_its_value_guides() -> None:
    found = learnt()
    assert found.reading == "place:1"
    assert found.value is not None
    assert found.guide_model is found.value
    at_rest, elsewhere = found(np.array([[0.0, 0.0], [2.0, 0.3]]))
    assert at_rest > elsewhere
    assert elsewhere == pytest.approx(0, abs=1e-6)


def test_where_they_do_not_rest_the_reward_is_read_as_it_is_and_guides() -> None:
    found = learnt(RESTLESS)
    assert found.reading == "as-is"
    assert found.value is None
    assert found.guide_model is found.readings.base


def test_a_reading_can_be_asked_for_and_what_is_not_there_is_refused() -> None:
    assert learnt(reading="link:2").reading == "link:2"
    with refused(SettingsError, place="reading", value="place:7"):
        learnt(reading="place:7")
    why = "demonstrations still move at their end"
    with refused(SettingsError, place="reading", value="place:1", remedy=why):
        learnt(RESTLESS, reading="place:1")


@pytest.mark.parametrize("given", [{"play": None}, {"reward": MLPSettings(hidden=(4, 4, 4))}])
def test_without_play_and_of_whole_plans_there_is_one_reading(given: dict[str, Any]) -> None:
    found = learnt(**given)
    assert found.reading == "as-is"
    with refused(place="readings", value=None, remedy="additive"):
        _ = found.readings
    with refused(SettingsError, place="reading", value="link:1", remedy="give play data"):
        learnt(reading="link:1", **given)


def test_where_nobody_stays_in_play_a_place_is_followed_by_the_reward_as_learnt() -> None:
    found = learnt(play=random_walks([40] * 5))
    assert found.value is None
    assert found.guide_model is found.readings.base


def test_the_least_reward_of_the_data_is_that_of_the_reading() -> None:
    found = learnt()
    assert found.known_region is not None
    assert found.known_region.floor.item() == pytest.approx(0, abs=1e-6)
    unread = found.with_reading("as-is")
    observations = np.concatenate([episode.observations for episode in PLAY.episodes])
    assert unread.known_region is not None
    floor = unread.known_region.floor.item()
    assert floor == pytest.approx(unread(observations).min(), abs=0.05)
    far = np.full((1, 2), 1e3)
    assert unread.pessimistic()(far)[0] == pytest.approx(floor)


def test_readings_come_back_from_disk(tmp_path: Path) -> None:
    config = replace(CONFIG, reading="link:4")
    found = learn_reward(
        tiny_diffuser(SPEC),
        RESTING,
        tmp_path,
        play=PLAY,
        reward=AdditiveSettings(hidden=(4,)),
        sampling=SAMPLING,
        config=config,
    )
    again = LearntReward.load(tmp_path)
    observations = PLAY.episodes[0].observations
    for name in found.readings.names:
        pair = [reward.with_reading(name)(observations) for reward in (found, again)]
        assert np.array_equal(*pair)
    assert again.reading == "link:4"
    assert again.readings.options == found.readings.options


def test_what_is_avoided_and_the_pace_come_back_from_disk_and_hold_in_every_reading(
    tmp_path: Path,
) -> None:
    bare = learnt()
    assert bare.avoided is None
    assert bare.pace is None
    avoided = Avoided(
        places=torch.tensor([[0.4, 0.1]]),
        tolls=torch.tensor([7.0]),
        width=torch.full((2,), 0.1),
        worth=torch.tensor(0.5),
        seen=torch.tensor([0, 1]),
        nodes=torch.zeros(1, 2),
        ahead=torch.tensor([0]),
        arrivals=torch.zeros(1, 2),
    )
    pace = Pace(torch.tensor(0.3), torch.tensor([0, 1]), torch.tensor([], dtype=torch.long))
    found = replace(bare, avoided=avoided, pace=pace).read_as(bare.readings)
    there = found.observation_normalizer.unnormalize(avoided.places).numpy()
    again = LearntReward.load(found.save(tmp_path))
    for name in ("place:1", "as-is", "link:2"):
        without = bare.with_reading(name)(there)
        assert found.with_reading(name)(there) == pytest.approx(without - 3.5, abs=1e-5)
        assert again.with_reading(name)(there) == found.with_reading(name)(there)
    assert isinstance(again.guide_model, WayRound)
    assert again.known_region is not None
    assert again.known_region.floor < -0.7
    planner = Planner.for_reward(again, tiny_diffuser(SPEC))
    plans = planner.plan(np.zeros((3, 2)))
    paths = again.observation_normalizer.unnormalize(plans)
    assert pace.lengths(paths).max() <= 0.3 + 1e-5
    assert kept_figures(again, paths.numpy(), stride=1)["too_fast"] == 0

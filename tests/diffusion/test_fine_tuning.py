"""A diffuser tuned to a reward: what it is trained on, and that its plans become like it."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from refusals import refused
from trailward.checkpoint import CheckpointError
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.diffusion import fine_tuning
from trailward.diffusion.conditioning import condition_on
from trailward.diffusion.denoiser import denoising_loss
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fine_tuning import (
    FineTuningConfig,
    _window_weights,
    anchored_returns,
    at_windows,
    fine_tune_diffuser,
    log_weights,
    step_log_weights,
    what_follows,
)
from trailward.diffusion.training import STATE
from trailward.errors import SettingsError
from trailward.judging.config import EvaluationConfig
from trailward.learning.config import LearningConfig
from trailward.learning.files import FINE_TUNED
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings

SHORT = FineTuningConfig(num_steps=40, batch_size=32)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0)


def drift(episode: Episode) -> np.ndarray:
    """A reward for walking towards larger first entries."""
    return np.diff(episode.observations[:, 0])


def loss_on(diffuser: Diffuser, data: Dataset) -> float:
    """How badly its denoiser knows the data, with the same noise at each call."""
    windows, generator = Windows(data, diffuser.spec), tiny.seeded()
    clean, mask = windows.batch(torch.arange(len(windows)), diffuser.normalizer)
    with torch.no_grad():
        return denoising_loss(
            diffuser.denoiser,
            diffuser.schedule,
            clean,
            mask,
            step=torch.randint(diffuser.schedule.num_steps, (len(clean),), generator=generator),
            noise=torch.randn(clean.shape, generator=generator),
            condition=condition_on(diffuser.spec, diffuser.spec.split(clean)[0][:, 0]),
        ).item()


def weights_of(diffuser: Diffuser) -> torch.Tensor:
    return torch.cat([each.flatten() for each in diffuser.denoiser.parameters()])


def test_an_episode_that_ended_is_worth_what_it_lived_and_one_cut_short_as_if_it_went_on() -> None:
    lived, fell, cut = tiny.random_walks([10, 4, 5]).episodes
    fell = replace(fell, terminated=True)
    returns = anchored_returns([lived, fell, cut], np.array([1.0, 3.0, 2.0]), least=-1.0)
    assert returns.tolist() == [2.0 * 10, 4.0 * 4, 3.0 * 10]


def test_where_no_episode_ends_returns_rank_and_weigh_as_means_do() -> None:
    episodes, means = tiny.random_walks([10, 4, 5, 9]).episodes, np.array([1.0, 3.0, 2.0, 2.5])
    returns = anchored_returns(episodes, means, least=-4.0)
    logs = log_weights(returns[:3], returns[3:], sharpness=0.3)
    assert logs == pytest.approx(log_weights(means[:3], means[3:], sharpness=0.3))


def test_an_episode_as_good_as_the_demonstrations_counts_whole_and_worse_ones_less() -> None:
    played = np.array([3.0, 2.0, 1.0, 0.0])
    found = log_weights(played, np.array([1.5, 2.5]), sharpness=0.5)
    assert found[:2].tolist() == [0.0, 0.0]
    assert found[2:] == pytest.approx(np.array([-1.0, -2.0]) / (0.5 * played.std()))


def test_the_best_count_whole_where_none_is_as_good_and_all_if_they_are_the_same() -> None:
    logs = log_weights(np.array([1.0, 0.0]), np.array([50.0]), sharpness=1e-3)
    found = np.exp(logs - logs.max())
    assert found[0] == 1.0
    assert found[1] < 1e-100
    same = log_weights(np.ones(3), np.ones(1), sharpness=0.1)
    assert np.exp(same).tolist() == [1.0, 1.0, 1.0]


def test_what_follows_is_a_discounted_mean_with_an_end() -> None:
    rewards = np.array([1.0, 2.0, 4.0])
    assert what_follows(rewards, 0.5, end=0.0).tolist() == [1.5, 2.0, 2.0]
    assert what_follows(rewards, 0.5).tolist() == [1.875, 2.75, 3.5]  # it ends as the last two
    assert what_follows(np.full(9, 3.0), 0.9) == pytest.approx(np.full(9, 3.0))
    assert what_follows(rewards, 0.0).tolist() == rewards.tolist()


def test_a_recording_of_two_behaviours_is_weighed_by_what_follows_each_step() -> None:
    both, shown = tiny.random_walks((200, 60)).episodes
    rewards = [np.repeat([0.0, 1.0], 100), np.ones(60)]
    config = FineTuningConfig(discount=0.9, sharpness=0.1)
    weights = np.exp(step_log_weights([both, shown], rewards, 1, config=config)[0])
    assert weights[150] == pytest.approx(1)
    assert weights[50] < 1e-3
    assert weights[85] < weights[95] < weights[100]  # something good is near


def test_where_none_is_as_good_as_the_demonstrations_the_best_twentieth_counts_whole() -> None:
    worse, shown = tiny.random_walks((1000, 60)).episodes
    rewards = [np.linspace(0, 1, 1000), np.full(60, 50.0)]
    config = FineTuningConfig(discount=0.01)
    weights = np.exp(step_log_weights([worse, shown], rewards, 1, config=config)[0])
    assert (weights > 1 - 1e-9).mean() == pytest.approx(0.05)
    assert weights[0] < 1e-9


def test_a_fall_weighs_on_all_that_came_before_it() -> None:
    fell, lived, shown = tiny.random_walks((40, 200, 200)).episodes
    fell = replace(fell, terminated=True)
    rewards = [np.full(len(each), 1.0) for each in (fell, lived, shown)]
    config = FineTuningConfig(discount=0.95)
    weigh = lambda first: [
        np.exp(logs)
        for logs in step_log_weights([first, lived, shown], rewards, 2, config=config, least=0.0)
    ]
    early, late = (weigh(fell)[0][time] for time in (0, 39))
    assert weigh(fell)[1].min() == pytest.approx(1)
    assert early < 1e-3
    assert late < early
    assert weigh(replace(fell, terminated=False))[0].tolist() == pytest.approx([1.0] * 40)


def test_without_a_discount_all_steps_of_an_episode_weigh_as_its_mean_does() -> None:
    episodes = tiny.random_walks((20, 30, 25)).episodes
    rewards = [np.linspace(0, 1, 20), np.ones(30), np.ones(25)]
    logs = step_log_weights(episodes, rewards, 2, config=FineTuningConfig())
    whole = log_weights(np.array([0.5, 1.0]), np.array([1.0]), sharpness=0.1)
    assert [len(each) for each in logs] == [20, 30]
    for each, log in zip(logs, whole, strict=True):
        assert each == pytest.approx(np.full(len(each), log))


def test_demonstrations_are_drawn_as_often_as_asked_and_play_by_its_steps_chances(
    diffuser: Diffuser,
) -> None:
    play, shown = tiny.random_walks((20, 30)), tiny.random_walks((25,))
    windows = Windows(Dataset([*play.episodes, *shown.episodes]), diffuser.spec)
    chances = [np.linspace(1, 0.5, 20), np.full(30, 0.25)]
    logs = np.log(at_windows(windows, chances))
    weights = _window_weights(windows, logs, 0.4)
    assert weights.sum().item() == pytest.approx(1)
    assert weights[windows.episode == 2].sum().item() == pytest.approx(0.4)
    first, second = (weights[windows.episode == each] for each in (0, 1))
    assert second[0].item() == pytest.approx(0.25 * first[0].item())
    assert torch.equal(second, second[:1].expand_as(second))
    count = min(20, len(first))
    assert (first / first[0])[:count].numpy() == pytest.approx(chances[0][:count], rel=1e-5)
    no_play = _window_weights(windows, logs, 1.0)
    assert no_play[windows.episode < 2].tolist() == [0.0] * len(logs)


def test_demonstrations_are_drawn_as_play_that_is_as_good_and_half_where_none_is(
    diffuser: Diffuser,
) -> None:
    windows = Windows(tiny.random_walks((20, 30, 25)), diffuser.spec)
    counts = torch.bincount(windows.episode)
    logs = np.repeat([0.0, np.log(0.5)], counts[:2])
    weights = _window_weights(windows, logs, None)
    (good,), (half,), (shown,) = (weights[windows.episode == n].unique() for n in range(3))
    assert shown.item() == pytest.approx(good.item())
    assert half.item() == pytest.approx(0.5 * good.item())
    assert weights.sum().item() == pytest.approx(1)
    far = _window_weights(windows, logs - 1e6, None)
    share = [far[windows.episode == n].sum().item() for n in range(3)]
    assert share[2] == pytest.approx(0.5)
    assert share[1] / share[0] == pytest.approx(0.5 * (counts[1] / counts[0]).item())
    many = Windows(tiny.random_walks((20, 30, 80, 9)), diffuser.spec)
    few = _window_weights(many, np.zeros(int((many.episode < 3).sum())), None)
    assert few[many.episode == 3].sum().item() == pytest.approx(0.25)


def test_each_play_window_has_a_chance_of_its_own(diffuser: Diffuser) -> None:
    windows = Windows(tiny.random_walks((20, 30)), diffuser.spec)
    played = int((windows.episode == 0).sum())
    with np.errstate(divide="ignore"):
        weights = _window_weights(windows, np.log(np.arange(played)), 0.2)
    assert weights[0] == 0
    assert weights[3].item() == pytest.approx(3 * weights[1].item())
    assert weights[played:].sum().item() == pytest.approx(0.2)


def test_windows_without_weight_are_never_drawn(diffuser: Diffuser) -> None:
    windows = Windows(tiny.random_walks((20, 30)), diffuser.spec)
    weights = (windows.episode == 1).float()
    drawn = windows.draw(500, tiny.seeded(), weights)
    assert set(windows.episode[drawn].tolist()) == {1}
    assert torch.equal(
        windows.draw(9, tiny.seeded(1), weights), windows.draw(9, tiny.seeded(1), weights)
    )


def test_it_comes_to_know_what_the_reward_likes_and_leaves_the_other_as_it_was(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    away, towards = (tiny.random_walks((30,) * 6, drift=d, seed=1) for d in (-0.8, 0.8))
    play, shown = Dataset([*away.episodes, *towards.episodes]), tiny.random_walks(drift=0.8)
    before = weights_of(diffuser)
    config = FineTuningConfig(num_steps=300, batch_size=32, demonstration_share=0.0)
    tuned = fine_tune_diffuser(diffuser, drift, play, shown, tmp_path, config=config)
    assert torch.equal(weights_of(diffuser), before)
    liked = tiny.random_walks((30,) * 6, drift=0.8, seed=2)
    disliked = tiny.random_walks((30,) * 6, drift=-0.8, seed=2)
    assert loss_on(tuned, liked) < 0.5 * loss_on(diffuser, liked)
    assert loss_on(tuned, liked) < loss_on(tuned, disliked)
    assert tuned.provenance["fine_tuned_from"] == diffuser.fingerprint
    assert tuned.fingerprint != diffuser.fingerprint


def test_interrupted_it_goes_on_to_the_same_bits(
    diffuser: Diffuser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = partial(fine_tuning.TrainingConfig, checkpoint_every=100)
    monkeypatch.setattr(fine_tuning, "TrainingConfig", often)
    play, shown = tiny.random_walks(), tiny.random_walks(drift=0.5)
    config = FineTuningConfig(num_steps=140, batch_size=4)

    def stop(done: int, **figures: float) -> None:
        if done > 120:
            raise KeyboardInterrupt

    whole = fine_tune_diffuser(diffuser, drift, play, shown, tmp_path / "a", config=config)
    with pytest.raises(KeyboardInterrupt):
        fine_tune_diffuser(diffuser, drift, play, shown, tmp_path / "b", config=config, report=stop)
    gone_on = fine_tune_diffuser(diffuser, drift, play, shown, tmp_path / "b", config=config)
    assert torch.equal(weights_of(whole), weights_of(gone_on))
    longer = replace(config, num_steps=142, learning_rate=1e-4)
    further = fine_tune_diffuser(diffuser, drift, play, shown, tmp_path / "b", config=longer)
    assert not torch.equal(weights_of(further), weights_of(gone_on))
    state = tmp_path / "b" / STATE
    changes = {"num_steps": (142, 140), "learning_rate": (1e-4, 1e-3)}
    with refused(CheckpointError, place=str(state), value=changes, remedy="num_steps above 142"):
        fine_tune_diffuser(diffuser, drift, play, shown, tmp_path / "b", config=config)
    with refused(CheckpointError, place=f"{state}: window weights"):
        fine_tune_diffuser(
            diffuser, lambda e: -drift(e), play, shown, tmp_path / "b", config=config
        )


@pytest.mark.parametrize("starts", ["demonstrations", "both"])
def test_a_learnt_reward_keeps_its_tuned_diffuser_and_the_planner_takes_it(
    diffuser: Diffuser, tmp_path: Path, starts: str
) -> None:
    play, shown = tiny.random_walks(seed=3), tiny.random_walks(drift=0.5)
    told: list[int] = []
    learn = lambda tuning, num_steps=2: learn_reward(
        diffuser,
        shown,
        tmp_path,
        play=play,
        reward=AdditiveSettings(hidden=(8,)),
        sampling=SAMPLING,
        config=LearningConfig(num_steps=num_steps, batch_size=4, starts=starts, fine_tuning=tuning),
        on_step=lambda state: told.append(state.step),
    )
    plain = learn(FineTuningConfig())
    assert plain.fine_tuned is None
    told.clear()
    learnt = learn(SHORT)
    assert told == sorted(told)
    assert told[-1] == 2 + SHORT.num_steps
    loaded = LearntReward.load(tmp_path)
    assert learnt.fine_tuned is not None
    assert loaded.fine_tuned is not None
    assert torch.equal(weights_of(loaded.fine_tuned), weights_of(learnt.fine_tuned))
    planner = EvaluationConfig().planner(diffuser, loaded, guided=True)
    assert planner.diffuser is loaded.fine_tuned
    assert planner.reward_model is None
    assert EvaluationConfig().planner(diffuser, loaded, guided=False).diffuser is diffuser
    place, changes = str(tmp_path / FINE_TUNED / STATE), {"num_steps": (40, 1)}
    with refused(CheckpointError, place=place, value=changes, remedy="num_steps above 40"):
        learn(replace(SHORT, num_steps=1))
    kept = LearntReward.load(tmp_path)
    assert kept.fine_tuned is not None
    assert kept.known_region is not None
    assert learn(FineTuningConfig()).fine_tuned is None
    assert LearntReward.load(tmp_path).fine_tuned is None
    anew = learn(SHORT, num_steps=4).fine_tuned
    assert anew is not None
    assert not torch.equal(weights_of(anew), weights_of(learnt.fine_tuned))


def test_tuning_needs_play_data(diffuser: Diffuser, tmp_path: Path) -> None:
    with refused(SettingsError, place="play", value=None, remedy="fine_tuning.num_steps to 0"):
        learn_reward(
            diffuser, tiny.random_walks(), tmp_path, config=LearningConfig(fine_tuning=SHORT)
        )


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("num_steps", -1, "at least 0"),
        ("demonstration_share", 1.5, "at most 1"),
        ("demonstration_share", -0.1, "at least 0"),
        ("discount", 1.0, "at least 0 and below 1"),
        ("sharpness", 0.0, "above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: Any, remedy: str) -> None:
    with refused(SettingsError, place=name, value=value, remedy=remedy):
        FineTuningConfig(**{name: value})

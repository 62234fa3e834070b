import math
import signal
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from processes import run_python
from refusals import refused
from tiny import corridor_walks, random_walks, seeded, shake, tiny_diffuser
from trailward.checkpoint import CheckpointError
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Columns, Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.adjoint import checkpointed
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.fitting import DivergedError
from trailward.diffusion.training import logged_losses
from trailward.errors import SettingsError
from trailward.judging.without_truth import held_out_demonstrations
from trailward.learning import finish, run
from trailward.learning import problem as matching
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem, matching_loss
from trailward.learning.run import STATE
from trailward.objectives.matching import MSE, OBJECTIVES
from trailward.registry import UnknownPartError
from trailward.rewards import (
    REWARDS,
    AdditiveSettings,
    MLPSettings,
    StagedReward,
    StagedSettings,
)
from trailward.rewards.value import DISCOUNTED, Value, ValueConfig, fit_discounted_value

SPEC = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
DEMONSTRATIONS = random_walks([12, 12, 6, 12], drift=0.4, seed=7)
OTHER_WAY = Dataset(
    [*DEMONSTRATIONS.episodes[:3], *random_walks([12], drift=-2.0, seed=9).episodes]
)
PLAY = random_walks([30] * 6, seed=3)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.5)
REWARD = AdditiveSettings(hidden=(8,))
LOCAL = replace(REWARD, num_local=8)
STAGED = StagedSettings(hidden=(8,), memory_radius=0.12)
SELECTION = SelectionConfig(evaluate_every=5, patience=99)
CONFIG = LearningConfig(num_steps=18, batch_size=8, selection=SELECTION)
KILLED_AT_STEP_13 = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from test_learn_reward import learn

def report(done, **figures):
    if done == 13:
        os.kill(os.getpid(), signal.SIGKILL)

learn(sys.argv[1], report=report)
"""


def learn(folder: Path | str, **changes) -> LearntReward:
    """A tiny run; ``changes`` are of its settings or, by other names, of its configuration."""
    report = changes.pop("report", lambda done, **figures: None)
    tell = changes.pop("on_step", lambda state: report(state.step, **state.figures))
    return learn_reward(
        changes.pop("diffuser", tiny_diffuser(SPEC)),
        changes.pop("demonstrations", DEMONSTRATIONS),
        folder,
        play=changes.pop("play", None),
        objective=changes.pop("objective", "mse"),
        reward=changes.pop("reward", REWARD),
        sampling=changes.pop("sampling", SAMPLING),
        on_step=tell,
        config=configured(**changes),
    )


def configured(**changes) -> LearningConfig:
    """The tiny run's configuration with changes, each in the group that it belongs to."""
    config = CONFIG
    for group in ("selection", "value", "expert", "fine_tuning", "planning"):
        inside = getattr(config, group)
        own = {each.name for each in fields(inside)} - {"num_steps", "batch_size", "learning_rate"}
        given = {name: changes.pop(name) for name in own & set(changes)}
        config = replace(config, **{group: replace(inside, **given)})
    return replace(config, **changes)


def corridor(*stops: float, count: int = 4, seed: int = 0) -> Dataset:
    """Walks along a corridor of model space, in environment units."""
    unnormalize = tiny_diffuser(SPEC).observation_normalizer.unnormalize
    return Dataset(
        [
            Episode(unnormalize(torch.from_numpy(e.observations)).numpy(), e.actions)
            for e in corridor_walks(*stops, count=count, seed=seed).episodes
        ]
    )


TURNING = corridor(-0.9, 0.9)
"""To one end of the corridor first, then to the other."""
TWO_ROUNDS = {"play": PLAY, "num_rounds": 2, "num_steps": 12, "evaluate_every": 3}


@pytest.fixture
def small_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that take no time to fit."""
    small = partial(
        ValueConfig, num_windows=60, num_prototypes=12, width=8, num_steps=20, batch_size=32
    )
    monkeypatch.setattr(matching, "ValueConfig", small)
    monkeypatch.setattr(run, "Value", partial(Value, width=8))


@pytest.fixture
def small_discounted_value(monkeypatch: pytest.MonkeyPatch) -> ValueConfig:
    small = replace(DISCOUNTED, width=8, num_steps=20, batch_size=32)
    monkeypatch.setattr(matching, "DISCOUNTED", small)
    return small


def local_size(learnt: LearntReward) -> torch.Tensor:
    """The mean square of the reward's local part over play data, of each stage if it has two."""
    windows, diffuser = Windows(PLAY, SPEC), tiny_diffuser(SPEC)
    plans, _ = windows.batch(torch.arange(len(windows)), diffuser.normalizer)
    model = learnt.model
    parts = [model.before, model.after] if isinstance(model, StagedReward) else [model]
    return torch.stack([part.local_rewards(plans).square().mean() for part in parts])


def loss_of(reward: torch.nn.Module, objective: str = "mse", **options) -> torch.Tensor:
    """The objective on all demonstrations, always with the same noise."""
    windows = Windows(DEMONSTRATIONS, SPEC)
    return matching_loss(
        tiny_diffuser(SPEC),
        reward,
        windows,
        torch.arange(len(windows)).repeat(8),
        objective=OBJECTIVES[objective],
        sampling=SAMPLING,
        noise=seeded(),
        **options,
    )


def improvement(folder: Path, **changes) -> float:
    """How much the objective falls from a reward with fresh weights to a learnt one."""
    objective = changes.get("objective", "mse")
    fresh = learn(folder / "fresh", **changes | {"num_steps": 1, "learning_rate": 0.0})
    learnt = learn(folder / "learnt", **changes)
    with torch.no_grad():
        return float(loss_of(fresh.model, objective) - loss_of(learnt.model, objective))


def assert_same_weights(ours: LearntReward, theirs: LearntReward) -> None:
    for name, weight in ours.model.state_dict().items():
        assert torch.equal(weight, theirs.model.state_dict()[name]), name


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_learning_lowers_the_objective(objective: str, tmp_path: Path) -> None:
    assert improvement(tmp_path, objective=objective) > 1e-3


def test_learning_with_the_noisy_guide_lowers_the_objective(tmp_path: Path) -> None:
    sampling = replace(SAMPLING, guide="noisy", use_variance=False)
    assert improvement(tmp_path, sampling=sampling) > 1e-3


@pytest.mark.parametrize("model", ["linear", "mlp", "conv"])
def test_every_reward_model_can_be_learnt(model: str, tmp_path: Path) -> None:
    assert (
        improvement(
            tmp_path,
            reward=REWARDS[model].Settings(**{} if model == "linear" else {"hidden": (8, 8)}),
        )
        > 1e-3
    )


def test_a_reward_knows_the_settings_that_it_was_learnt_with(tmp_path: Path) -> None:
    learnt = learn(tmp_path, num_held_out=1)
    assert learnt.provenance["learning"] == asdict(configured(num_held_out=1))
    held_out = held_out_demonstrations(LearntReward.load(tmp_path), DEMONSTRATIONS)
    assert held_out.episodes == DEMONSTRATIONS.episodes[-1:]


def test_data_with_other_names_than_the_diffusers_or_one_another_is_refused(tmp_path: Path) -> None:
    named = replace(tiny_diffuser(SPEC), columns=Columns(("x", "y")))
    play = replace(DEMONSTRATIONS, columns=Columns(("y", "x")))
    of = "the observations of the"
    with refused(place=f"{of} play data", value=("y", "x"), remedy="x, y"):
        learn(tmp_path, diffuser=named, play=play)
    with refused(place=f"{of} demonstrations", value=("x", "y"), remedy="y, x"):
        learn(tmp_path, demonstrations=replace(play, columns=named.columns), play=play)
    metres = Columns(("x", "y"), units={"x": "m", "y": "m"})
    learnt = learn(tmp_path, diffuser=named, demonstrations=replace(play, columns=metres))
    assert learnt.columns == metres


def test_learning_leaves_the_denoiser_as_it_is(tmp_path: Path) -> None:
    diffuser = tiny_diffuser(SPEC)
    before = {name: w.clone() for name, w in diffuser.denoiser.state_dict().items()}
    learn_reward(
        diffuser, DEMONSTRATIONS, tmp_path, reward=REWARD, sampling=SAMPLING, config=CONFIG
    )
    assert all(torch.equal(w, before[n]) for n, w in diffuser.denoiser.state_dict().items())
    assert all(weight.grad is None for weight in diffuser.denoiser.parameters())


def test_checkpointed_learning_gives_the_same_gradient() -> None:
    gradients = []
    for options in ({}, {"adjoint": checkpointed}):
        torch.manual_seed(0)
        reward = REWARD.build(SPEC)
        loss_of(reward, "mmd_gaussian", **options).backward()
        gradients.append(reward.network[0].weight.grad)
    assert gradients[0].norm() > 0
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-5)


def test_learning_killed_and_started_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    run_python(KILLED_AT_STEP_13, tmp_path / "killed", expect=-signal.SIGKILL)
    assert (tmp_path / "killed" / STATE).exists()
    resumed = []
    reward = learn(tmp_path / "killed", report=lambda done, **figures: resumed.append(done))
    assert resumed == [11, 12, 13, 14, 15, 16, 17, 18, 18]
    assert_same_weights(reward, learn(tmp_path / "whole"))
    killed, whole = (load_file(tmp_path / name / STATE) for name in ("killed", "whole"))
    assert list(killed) == list(whole)
    assert all(torch.equal(value, whole[name]) for name, value in killed.items())


@pytest.mark.parametrize("stopped_at", [5, 7, 10])
def test_learning_in_rounds_stopped_and_started_again_ends_with_the_same_bits(
    stopped_at: int, small_value: None, tmp_path: Path
) -> None:
    """Stopped in the first round, just after the second began, and well into it."""

    def stop(done: int, **figures: float) -> None:
        if done == stopped_at:
            raise KeyboardInterrupt

    options = {**TWO_ROUNDS, "reward": LOCAL}
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "stopped", **options, report=stop)
    reward, whole = (learn(tmp_path / name, **options) for name in ("stopped", "whole"))
    assert_same_weights(reward, whole)
    ours, theirs = (load_file(tmp_path / name / STATE) for name in ("stopped", "whole"))
    assert list(ours) == list(theirs)
    assert any(name.startswith("value.") for name in ours)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_second_round_is_learnt_with_a_value_of_the_first(
    small_value: None, tmp_path: Path
) -> None:
    """The rewards differ in nothing but the value, and so only from the second round on."""
    losses = {}
    for rounds in (1, 2):
        losses[rounds] = []
        options = {**TWO_ROUNDS, "num_rounds": rounds, "learning_rate": 0.0}
        note = lambda done, r=rounds, **figures: losses[r].extend(figures.values())
        learn(tmp_path / str(rounds), **options, report=note)
    assert losses[1][:6] == losses[2][:6]
    assert all(ours != theirs for ours, theirs in zip(losses[1][6:], losses[2][6:], strict=True))


def test_a_reward_learnt_in_rounds_comes_with_the_value_saved(
    small_value: None, tmp_path: Path
) -> None:
    learnt = learn(tmp_path, **TWO_ROUNDS)
    back = LearntReward.load(tmp_path)
    plans = torch.randn((3, 5, 2), generator=seeded())
    assert learnt.value is not None
    assert torch.equal(back.guide_model(plans), learnt.guide_model(plans))
    assert not torch.equal(learnt.guide_model(plans), learnt.model(plans))
    assert learn(tmp_path / "one", **TWO_ROUNDS | {"num_rounds": 1}).value is None


def test_in_the_first_round_the_folder_holds_a_reward_without_a_value(
    small_value: None, tmp_path: Path
) -> None:
    def stop(done: int, **figures: float) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, **TWO_ROUNDS, report=stop)
    back = LearntReward.load(tmp_path)
    assert back.guide_model is back.model


def test_the_value_is_not_learnt_with_the_reward(small_value: None, tmp_path: Path) -> None:
    learnt = learn(tmp_path, **TWO_ROUNDS)
    assert learnt.value is not None
    assert not any(weights.requires_grad for weights in learnt.value.parameters())


def test_the_first_round_does_not_use_up_the_patience_of_the_second(
    small_value: None, tmp_path: Path
) -> None:
    """With a learning rate of 0 nothing improves after the first look of a round."""
    done = []
    learn(
        tmp_path,
        **TWO_ROUNDS | {"num_steps": 24},
        learning_rate=0.0,
        patience=2,
        report=lambda step, **figures: done.append(step),
    )
    assert done[-1] == 21  # 12 steps, a look after 15, two more in vain


def test_a_discounted_value_is_fitted_to_the_reward_when_all_is_learnt(
    small_discounted_value: ValueConfig, tmp_path: Path
) -> None:
    learnt = learn(tmp_path / "ours", play=PLAY, discount=0.9)
    assert_same_weights(learnt, learn(tmp_path / "theirs"))
    expected = fit_discounted_value(
        learnt.model,
        Windows(PLAY, SPEC),
        tiny_diffuser(SPEC).normalizer,
        discount=0.9,
        config=small_discounted_value,
    )
    back, plans = LearntReward.load(tmp_path / "ours"), torch.randn((3, 5, 2), generator=seeded())
    assert back.value is not None
    assert back.value.discount == 0.9
    for found in (learnt.guide_model, back.guide_model):
        assert torch.equal(found(plans), expected(plans))


def test_the_guide_is_scaled_for_the_discounted_value_not_the_reward(
    small_discounted_value: ValueConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []
    monkeypatch.setattr(
        finish, "best_sampling", lambda problem, model: judged.append(model) or SAMPLING
    )
    learnt = learn(tmp_path, play=PLAY, discount=0.9)
    assert judged == [learnt.value]


@pytest.mark.parametrize(
    ("reward", "demonstrations"),
    [
        ("staged", TURNING),
        ("mlp", DEMONSTRATIONS),
        ("conv", DEMONSTRATIONS),
        ("linear", DEMONSTRATIONS),
    ],
    ids=["staged", "mlp", "conv", "linear"],
)
def test_a_discounted_value_of_anything_but_an_additive_reward_is_refused_before_learning(
    reward: str, demonstrations: Dataset, tmp_path: Path
) -> None:
    given = STAGED if reward == "staged" else reward
    with refused(SettingsError, place="reward", value=reward, remedy="'additive'"):
        learn(tmp_path, reward=given, demonstrations=demonstrations, play=PLAY, discount=0.9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("starts", ["play", "both"])
def test_starts_elsewhere_of_a_reward_that_remembers_are_refused_before_learning(
    starts: str, tmp_path: Path
) -> None:
    options = {"reward": STAGED, "demonstrations": TURNING, "play": PLAY, "objective": "energy"}
    with refused(SettingsError, place="starts", value=starts, remedy="the reward 'additive'"):
        learn(tmp_path, **options, starts=starts)
    assert list(tmp_path.iterdir()) == []


def test_starts_elsewhere_change_what_is_learnt_also_after_a_stop(tmp_path: Path) -> None:
    options = {"objective": "energy", "play": PLAY, "starts": "both"}
    learn(tmp_path / "stopped", **options, num_steps=10, evaluate_every=5)
    losses = []
    note = lambda done, **figures: losses.extend(figures.values())
    resumed = learn(tmp_path / "stopped", **options, report=note)
    assert len(losses) == 8
    usual = learn(tmp_path / "usual", objective="energy")
    assert not torch.equal(resumed.model.network[0].weight, usual.model.network[0].weight)


def test_a_staged_reward_remembers_the_place_that_demonstrations_turn_at(tmp_path: Path) -> None:
    learnt = learn(tmp_path, reward=STAGED, demonstrations=TURNING)
    model, facts = learnt.model, learnt.provenance["learnt"]
    assert isinstance(model, StagedReward)
    assert model.memory.place[0] == pytest.approx(-0.9, abs=0.12)
    assert 0 < facts["memory_error"] < 0.1 * facts["memory_error_without"]
    back = LearntReward.load(tmp_path)
    assert_same_weights(back, learnt)
    assert (back.model.settings, back.provenance["learnt"]) == (STAGED, facts)


def test_where_nothing_calls_for_a_memory_an_additive_reward_is_learnt(tmp_path: Path) -> None:
    straight = corridor(0.9, seed=4)
    ours = learn(tmp_path / "ours", reward=STAGED, demonstrations=straight)
    theirs = learn(tmp_path / "theirs", reward=REWARD, demonstrations=straight)
    assert ours.model.settings == REWARD
    facts = ours.provenance["learnt"]
    assert min(facts["memory_error"], facts["memory_error_without"]) > 0
    assert "memory_error" not in theirs.provenance["learnt"]
    assert list(ours.model.state_dict()) == list(theirs.model.state_dict())
    assert_same_weights(ours, theirs)
    assert_same_weights(LearntReward.load(tmp_path / "ours"), theirs)


def test_held_out_demonstrations_do_not_decide_what_is_remembered(tmp_path: Path) -> None:
    """The one held out never visits the place."""
    held_out = corridor(0.9, count=1, seed=5).episodes
    mixed = Dataset([*TURNING.episodes[:3], *held_out])
    learnt = learn(tmp_path / "a", reward=STAGED, demonstrations=mixed, num_steps=1)
    usual = learn(tmp_path / "b", reward=STAGED, demonstrations=TURNING, num_steps=1)
    assert torch.equal(learnt.model.memory.place, usual.model.memory.place)
    every = learn(tmp_path / "c", reward=STAGED, demonstrations=mixed, num_steps=1, num_held_out=0)
    assert every.model.name == "additive"


@pytest.mark.parametrize("stopped_at", [5, 7, 10])
def test_learning_stages_in_rounds_stopped_and_started_again_ends_with_the_same_bits(
    stopped_at: int, small_value: None, tmp_path: Path
) -> None:
    def stop(done: int, **figures: float) -> None:
        if done == stopped_at:
            raise KeyboardInterrupt

    reward = replace(STAGED, num_local=8)
    options = {**TWO_ROUNDS, "reward": reward, "demonstrations": TURNING}
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "stopped", **options, report=stop)
    learn(tmp_path / "stopped", **options)
    learn(tmp_path / "whole", **options)
    ours, theirs = (load_file(tmp_path / name / STATE) for name in ("stopped", "whole"))
    assert {"reward.memory.place", "best.memory.place"} < set(ours)
    assert list(ours) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_learning_that_asked_for_stages_in_vain_goes_on(tmp_path: Path) -> None:
    options = {"reward": STAGED, "demonstrations": corridor(0.9, seed=4)}
    learn(tmp_path / "stopped", **options, num_steps=10)
    resumed = []
    ours = learn(tmp_path / "stopped", **options, report=lambda done, **f: resumed.append(done))
    assert resumed[0] == 11
    assert ours.model.name == "additive"


def test_the_value_of_a_staged_reward_knows_the_stage(small_value: None, tmp_path: Path) -> None:
    learnt = learn(tmp_path, **TWO_ROUNDS, reward=STAGED, demonstrations=TURNING)
    back, plans = LearntReward.load(tmp_path), torch.randn((3, 5, 2), generator=seeded())
    assert back.value is not None
    assert back.value.num_stages == 2
    values = back.value.stage_rewards(plans)
    assert (values[..., 0] - values[..., 1]).abs().max() > 1e-2
    for past in (torch.zeros((3, 1), dtype=torch.long), torch.ones((3, 1), dtype=torch.long)):
        assert torch.equal(back.guide_model(plans, past), learnt.guide_model(plans, past))


def test_the_penalty_keeps_the_local_parts_of_both_stages_small(tmp_path: Path) -> None:
    options = {"reward": replace(STAGED, num_local=8), "play": PLAY, "demonstrations": TURNING}
    free, held = (
        local_size(learn(tmp_path / str(size), **options, local_penalty=size))
        for size in (0.0, 1e3)
    )
    assert (held < 0.5 * free).all()
    assert (held > 0).all()


def test_the_penalty_of_stages_is_the_sum_of_those_of_both() -> None:
    model = shake(replace(STAGED, num_local=8).build(SPEC), size=1.0)
    assert isinstance(model, StagedReward)
    demonstrations, play = Windows(DEMONSTRATIONS, SPEC), Windows(PLAY, SPEC)
    problem = MatchingProblem(
        diffuser=tiny_diffuser(SPEC),
        windows=demonstrations,
        num_learnt=3,
        play=play,
        objective=MSE(),
        sampling=SAMPLING,
        config=replace(CONFIG, local_penalty=2.0),
    )
    both, before, after = (problem.penalty(m, 0) for m in (model, model.before, model.after))
    torch.testing.assert_close(both, before + after)
    assert min(before, after) > 1e-4


def test_features_that_are_not_there_are_refused_in_stages_too(tmp_path: Path) -> None:
    with refused(SettingsError, place="features", value=(0, 7), remedy="0 to 1"):
        learn(tmp_path, reward=replace(STAGED, features=(0, 7)))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_rounds": 2},
        {"reward": LOCAL},
        {"starts": "both", "objective": "energy"},
        {"discount": 0.9},
    ],
    ids=["rounds", "local part", "starts", "discounted value"],
)
def test_what_needs_play_data_is_refused_without(changes: dict, tmp_path: Path) -> None:
    with refused(SettingsError, place="play", value=None, remedy="give it"):
        learn(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_local_part_without_penalty_needs_no_play_data(tmp_path: Path) -> None:
    assert local_size(learn(tmp_path, reward=LOCAL, local_penalty=0.0)) > 0


def test_the_penalty_keeps_the_local_part_small_on_play_data(tmp_path: Path) -> None:
    free, held = (
        local_size(learn(tmp_path / str(size), reward=LOCAL, play=PLAY, local_penalty=size))
        for size in (0.0, 1e3)
    )
    assert 0 < held < 0.5 * free


def test_a_value_of_rewards_of_whole_plans_is_refused(small_value: None, tmp_path: Path) -> None:
    reward = MLPSettings(hidden=(8, 8))
    with refused(SettingsError, place="reward", value="mlp"):
        learn(tmp_path, **TWO_ROUNDS, reward=reward)


@pytest.mark.parametrize(
    ("name", "value", "least"), [("num_rounds", 0, 1), ("local_penalty", -1.0, 0)]
)
def test_rounds_and_penalties_below_their_least_are_refused(
    name: str, value: float, least: int
) -> None:
    with refused(SettingsError, place=name, value=value, remedy=f"at least {least}"):
        configured(**{name: value})


def test_a_checkpoint_of_other_play_data_is_refused(small_value: None, tmp_path: Path) -> None:
    learn(tmp_path, **TWO_ROUNDS | {"num_steps": 3})
    other = random_walks([30] * 6, seed=4)
    place, value = f"{tmp_path / STATE}: play data", (PLAY.fingerprint, other.fingerprint)
    with refused(CheckpointError, place=place, value=value):
        learn(tmp_path, **TWO_ROUNDS | {"play": other})


def test_the_reward_returned_is_the_reward_saved(tmp_path: Path) -> None:
    learnt = learn(tmp_path)
    back = LearntReward.load(tmp_path)
    assert_same_weights(back, learnt)
    assert (back.model.settings, back.sampling, back.spec) == (REWARD, SAMPLING, SPEC)
    assert back.provenance["objective"] == "mse"


def test_the_folder_holds_the_best_reward_so_far_at_all_times(tmp_path: Path) -> None:
    def stop(done: int, **figures: float) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, report=stop)
    weights = load_file(tmp_path / STATE)
    for name, weight in LearntReward.load(tmp_path).model.state_dict().items():
        assert torch.equal(weight, weights[f"best.{name}"])


def test_learning_stops_when_held_out_demonstrations_no_longer_improve(tmp_path: Path) -> None:
    """With a learning rate of 0 nothing improves after the first look."""
    done = []
    learn(
        tmp_path,
        num_steps=500,
        learning_rate=0.0,
        patience=2,
        report=lambda step, **figures: done.append(step),
    )
    assert done[:-1] == list(range(1, 16))


def test_every_gradient_step_sees_other_demonstrations_and_noise(tmp_path: Path) -> None:
    losses = []
    learn(tmp_path, learning_rate=0.0, report=lambda done, **f: losses.extend(f.values()))
    assert len(set(losses)) == 18


def test_the_best_weights_on_held_out_demonstrations_are_kept(tmp_path: Path) -> None:
    """The one held out goes the other way: what helps the rest makes it worse and worse."""

    def stop(done: int, **figures: float) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "early", demonstrations=OTHER_WAY, report=stop)
    early = load_file(tmp_path / "early" / STATE)
    late = learn(tmp_path / "late", demonstrations=OTHER_WAY)
    losses = [value for _, value in logged_losses(tmp_path / "late", "learn/held_out_energy")]
    assert losses == sorted(losses)
    for name, weight in late.model.state_dict().items():
        assert torch.equal(weight, early[f"reward.{name}"])


def test_without_held_out_demonstrations_the_last_weights_are_kept(tmp_path: Path) -> None:
    learnt = learn(tmp_path / "a", num_held_out=0, patience=1)
    other = learn(tmp_path / "b", num_held_out=0, patience=1, num_steps=17)
    assert not torch.equal(learnt.model.network[0].weight, other.model.network[0].weight)


@pytest.mark.parametrize(
    ("ended", "remedy"),
    [
        ({"num_steps": 4}, "a num_steps above 4"),
        ({"learning_rate": 0.0, "patience": 1}, "more patience"),
    ],
)
def test_a_finished_run_refuses_settings_that_would_have_had_no_part_in_it(
    tmp_path: Path, ended: dict[str, float], remedy: str
) -> None:
    learnt = learn(tmp_path, **ended)
    changed = {"learning_rate": (ended.get("learning_rate", CONFIG.learning_rate), 0.5)}
    place, told = str(tmp_path / STATE), f"{remedy} to go on"
    with refused(CheckpointError, place=place, value=changed, remedy=told):
        learn(tmp_path, **ended | {"learning_rate": 0.5})
    kept = LearntReward.load(tmp_path)
    assert kept.provenance["learning"] == learnt.provenance["learning"]
    assert_same_weights(kept, learn(tmp_path, **ended, adjoint="checkpointed"))


def test_held_out_demonstrations_are_not_learnt_from(tmp_path: Path) -> None:
    ours = learn(tmp_path / "a", num_steps=5)
    theirs = learn(tmp_path / "b", num_steps=5, demonstrations=OTHER_WAY)
    assert_same_weights(ours, theirs)


def test_divergence_is_an_error_and_the_last_good_checkpoint_is_kept(tmp_path: Path) -> None:
    learn(tmp_path, num_steps=10)
    files = [tmp_path / name for name in (STATE, "weights.safetensors", "config.json")]
    before = [file.read_bytes() for file in files]
    with pytest.raises(DivergedError, match=r"diverged at step 11: loss (nan|inf), .* is kept in"):
        learn(tmp_path, learning_rate=1e38)
    assert [file.read_bytes() for file in files] == before
    with torch.no_grad():
        assert math.isfinite(loss_of(LearntReward.load(tmp_path).model))


def test_a_guide_that_is_off_where_gradients_flow_is_refused(tmp_path: Path) -> None:
    sampling = replace(SAMPLING, stop_step=7)
    with refused(SettingsError, place="stop_step", value=7, remedy="give adjoint"):
        learn(tmp_path, sampling=sampling, adjoint="last:2")


def test_a_gradient_above_the_limit_is_divergence(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"diverged at step 0: .*\(limit 1e-12\)"):
        learn(tmp_path, diverged_norm=1e-12)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"objective": "mmd_gaussian"}, "objective"),
        ({"seed": 1}, "learning"),
        ({"num_held_out": 2}, "learning"),
        ({"reward": AdditiveSettings(hidden=(9,))}, "reward"),
        ({"reward": StagedSettings(hidden=(8,))}, "reward"),
        ({"sampling": replace(SAMPLING, scale=0.1)}, "sampling"),
        ({"diffuser": tiny_diffuser(SPEC, config=DenoiserConfig(width=24, depth=1))}, "diffuser"),
        ({"demonstrations": OTHER_WAY}, "demonstrations"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    changes: dict, name: str, tmp_path: Path
) -> None:
    learn(tmp_path, num_steps=5)
    with refused(CheckpointError, place=f"{tmp_path / STATE}: {name}", remedy="another folder"):
        learn(tmp_path, **changes)


def test_an_unknown_objective_is_refused(tmp_path: Path) -> None:
    with refused(UnknownPartError, place="objective", value="mae", remedy="mse, mmd_gaussian"):
        learn(tmp_path, objective="mae")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_held_out", [4, 5])
def test_holding_out_every_demonstration_is_refused(num_held_out: int, tmp_path: Path) -> None:
    with refused(SettingsError, place="num_held_out", value=num_held_out, remedy="at most 3 of 4"):
        learn(tmp_path, num_held_out=num_held_out)


def test_demonstrations_of_another_environment_are_refused(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    with refused(place="observations and actions", value=(3, 2), remedy="same environment"):
        learn_reward(
            diffuser,
            random_walks(observation_dim=3),
            tmp_path,
            reward=REWARD,
            sampling=SAMPLING,
            config=CONFIG,
        )

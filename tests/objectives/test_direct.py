"""Objectives that sample no plans: closed forms, then learning."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_learn_reward import configured, corridor
from torch import Tensor, nn

import oracles
from refusals import refused
from tiny import random_walks, seeded, shake, tiny_diffuser
from trailward.checkpoint import CheckpointError
from trailward.cli.presets import PRESETS
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.conditioning import condition_on
from trailward.diffusion.denoiser import add_noise, denoising_loss
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.schedule import Move, cosine_schedule
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.errors import SettingsError
from trailward.learning import problem as matching
from trailward.learning import run
from trailward.learning.config import ExpertConfig, LearningConfig, SelectionConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.learning.run import STATE
from trailward.objectives import find_objective
from trailward.objectives.direct import (
    DIRECT_OBJECTIVES,
    DirectObjective,
    GuidedDenoiser,
    Noised,
    direct_loss,
    noise_windows,
)
from trailward.objectives.expert import train_expert
from trailward.rewards import AdditiveSettings, LinearReward, StagedSettings
from trailward.rewards.value import DISCOUNTED, Value, ValueConfig

SPEC = PlanSpec(horizon=3, stride=1, observation_dim=2, action_dim=1)
SCHEDULE = cosine_schedule(50)
MOVES = SCHEDULE.moves(5)[:4]
BASE = oracles.gaussian_world(SPEC, SCHEDULE, known=True)
EXPERT = replace(BASE, mean=BASE.mean + np.linspace(-0.8, 1.2, 6))
"""Another mean, the same covariance: all differences of the two are affine."""
CLEAN = SamplingConfig(num_steps=5, scale=0.7, stop_step=0)
NOISY = replace(CLEAN, guide="noisy", repeats=2)
NEED_PLAY = [name for name, objective in DIRECT_OBJECTIVES.items() if objective.needs_play]


def windows_of(world: oracles.GaussianWorld, count: int, seed: int) -> Tensor:
    draws = torch.randn((count, 6), generator=seeded(seed), dtype=torch.float64).numpy()
    flat = world.mean + draws @ np.linalg.cholesky(world.covariance).T
    return torch.from_numpy(flat).reshape(count, 3, 2)


def noised(clean: Tensor, move: Move, seed: int = 0) -> Noised:
    """In float64; the first observation is known and does not count."""
    condition = condition_on(SPEC, clean[:, 0])
    noise = torch.randn(clean.shape, generator=seeded(seed), dtype=torch.float64)
    signal = torch.full((len(clean),), move.alpha_bar, dtype=torch.float64)
    noisy = add_noise(clean, signal, noise, condition)
    return Noised(clean, noisy, condition, (~condition.known).double(), move)


def weight_of(move: Move) -> float:
    """How much an error at a move counts."""
    return min(5.0, max(0.2, move.alpha_bar / (1 - move.alpha_bar)))


def strength_of(move: Move) -> float:
    """What the clean guide multiplies a gradient by."""
    return 0.7 * 3 * min(1.0, (1 - move.alpha_bar) / move.alpha_bar**0.5)


def solution(objective: DirectObjective, batches: list[list[Noised]]) -> np.ndarray:
    """Weights of a linear reward at which the mean of quadratic losses is least; known ones 0."""
    reward = LinearReward(SPEC).double()
    guided = GuidedDenoiser(BASE.denoiser, CLEAN, reward, EXPERT.denoiser)

    def gradient(weights: Tensor) -> Tensor:
        reward.load_state_dict({"weight": weights.reshape(3, 2)})
        loss = torch.stack([objective(guided, *batch) for batch in batches]).mean()
        return torch.autograd.grad(loss, reward.weight)[0].flatten()

    at_zero = gradient(torch.zeros(6, dtype=torch.float64))
    columns = [gradient(column) - at_zero for column in torch.eye(6, dtype=torch.float64)]
    return -(torch.linalg.pinv(torch.stack(columns)) @ at_zero).numpy()


def least_squares(differences: list[np.ndarray]) -> np.ndarray:
    """The one weight that best makes ``strength * weight`` the difference of every move."""
    over = sum(weight_of(m) * strength_of(m) * d for m, d in zip(MOVES, differences, strict=True))
    return over / sum(weight_of(m) * strength_of(m) ** 2 for m in MOVES)


def mean_difference(move: Move) -> np.ndarray:
    """The expert's clean estimate less the base's: the same at every noisy plan."""
    gain, offset = BASE.affine_denoiser(move.alpha_bar)
    expert_gain, expert_offset = EXPERT.affine_denoiser(move.alpha_bar)
    np.testing.assert_allclose(gain, expert_gain)
    return np.where(BASE.known, 0.0, expert_offset - offset)


def test_the_relative_reward_is_the_difference_of_two_known_denoisers() -> None:
    batches = [
        [noised(windows_of(world, 5, seed), move) for seed, world in enumerate((EXPERT, BASE))]
        for move in MOVES
    ]
    found = solution(DIRECT_OBJECTIVES["relative_reward"], batches)
    expected = least_squares([mean_difference(move) for move in MOVES])
    assert np.abs(expected[2:]).min() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_correction_that_is_the_difference_costs_nothing() -> None:
    move, objective = MOVES[1], DIRECT_OBJECTIVES["relative_reward"]
    batch = [noised(windows_of(BASE, 5, seed), move) for seed in (0, 1)]
    reward = LinearReward(SPEC).double()
    weights = torch.from_numpy(mean_difference(move) / strength_of(move)).reshape(3, 2)
    guided = GuidedDenoiser(BASE.denoiser, CLEAN, reward, EXPERT.denoiser)
    assert objective(guided, *batch) > 1e-3
    reward.load_state_dict({"weight": weights})
    assert objective(guided, *batch) < 1e-12


def test_score_matching_finds_what_the_denoiser_lacks_of_demonstrations() -> None:
    """The mean of demonstrations less their clean estimates; 40,000 windows, 4 standard errors."""
    clean = windows_of(EXPERT, 40_000, 0)
    batches = [[noised(clean, move, seed)] for seed, move in enumerate(MOVES)]
    found = solution(DIRECT_OBJECTIVES["dlsm"], batches)
    expected = least_squares([mean_difference(move) for move in MOVES])
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_score_matching_is_the_denoising_loss_where_nothing_guides() -> None:
    clean, move = windows_of(EXPERT, 6, 0).float(), MOVES[2]
    mask = torch.arange(3).expand(6, 3) < torch.tensor([[3], [3], [2], [3], [1], [3]])
    noise = torch.randn(clean.shape, generator=seeded(5))
    condition = condition_on(SPEC, clean[:, 0])
    expected = denoising_loss(
        BASE.denoiser,
        SCHEDULE,
        clean,
        mask,
        step=torch.full((6,), move.step),
        noise=noise,
        condition=condition,
    )
    batch = noise_windows(tiny_world(), clean, mask, move, seeded(5))
    guided = GuidedDenoiser(BASE.denoiser, replace(CLEAN, scale=0.0), LinearReward(SPEC))
    torch.testing.assert_close(DIRECT_OBJECTIVES["dlsm"](guided, batch), expected)


class _Affine(nn.Module):
    """A linear reward with a bias, which a log-ratio needs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1).double()

    def forward(self, plan: Tensor) -> Tensor:
        return self.linear(plan.flatten(1)).squeeze(-1)


def log_ratio(move: Move, sampling: SamplingConfig) -> tuple[np.ndarray, float]:
    """Slope and offset of the log density ratio of what the guide sees, unknown entries only.

    Both densities are normal, of means m and n and the same covariance C: the slope is C^-1 (m -
    n), and the ratio is 1 half way between.
    """
    a, known = move.alpha_bar, BASE.known
    signal = np.diag(np.where(known, 1.0, a**0.5))
    spread = signal @ BASE.covariance @ signal + np.diag(np.where(known, 0.0, 1 - a))
    means = [signal @ world.mean for world in (EXPERT, BASE)]
    if sampling.guide == "clean":
        gain, offset = BASE.affine_denoiser(a)
        into = np.where(known[:, None], np.eye(6), gain)
        means = [into @ mean + np.where(known, 0.0, offset) for mean in means]
        spread = into @ spread @ into.T
    slope = np.linalg.solve(spread, means[0] - means[1])
    return slope, -slope @ (means[0] + means[1]) / 2


@pytest.mark.parametrize(
    ("sampling", "factor"), [(CLEAN, 0.7 * 3), (NOISY, 0.7 * 2)], ids=["clean", "noisy"]
)
def test_the_logit_of_two_normal_distributions_is_their_log_density_ratio(
    sampling: SamplingConfig, factor: float
) -> None:
    """What the guide multiplies the reward by is in the logit: 3 plan steps, or 2 repeats."""
    reward, move = _Affine(), MOVES[2]
    batch = [
        noised(windows_of(world, 40_000, seed), move, seed + 7)
        for seed, world in enumerate((EXPERT, BASE))
    ]
    slope, offset = log_ratio(move, sampling)
    guided = GuidedDenoiser(BASE.denoiser, sampling, reward)
    optimizer = torch.optim.LBFGS(
        reward.parameters(), max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = DIRECT_OBJECTIVES["logit"](guided, *batch)
        loss.backward()
        return loss

    before = closure().item()
    optimizer.step(closure)
    assert closure().item() < min(before, math.log(2)) - 0.02
    plans = batch[1].noisy if sampling.guide == "noisy" else batch[1].estimate(BASE.denoiser)
    expected = plans.flatten(1).numpy() @ slope + offset
    found = factor * reward(plans).detach().numpy()
    assert np.abs(expected).std() > 0.3
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()


def test_what_the_clean_guide_adds_is_the_gradient_of_the_logit() -> None:
    move, reward = MOVES[1], shake(AdditiveSettings(hidden=(8,)).build(SPEC), size=1.0).double()
    batch = noised(windows_of(BASE, 4, 0), move)
    guided = GuidedDenoiser(BASE.denoiser, CLEAN, reward)
    plans = batch.estimate(BASE.denoiser).requires_grad_()
    whole = replace(batch, noisy=plans)
    logit = GuidedDenoiser(lambda noisy, step: noisy, CLEAN, reward).logit(whole)
    (gradient,) = torch.autograd.grad(logit.sum(), plans)
    added = (guided.estimate(batch) - plans) * batch.counted
    weight = min(1.0, (1 - move.alpha_bar) / move.alpha_bar**0.5)
    torch.testing.assert_close(added, weight * gradient)
    assert added.abs().max() > 0.01


def tiny_world() -> Diffuser:
    return tiny_diffuser(SPEC, config=DenoiserConfig("mlp", width=16, depth=1))


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_no_gradient_goes_through_the_denoiser_unless_the_noisy_plan_is_corrected(
    name: str,
) -> None:
    asked = []

    def denoiser(noisy: Tensor, step: Tensor) -> Tensor:
        asked.append(noisy.requires_grad)
        return BASE.denoiser(noisy, step)

    batch = [noised(windows_of(BASE, 3, seed), MOVES[1]) for seed in range(2)]
    batch = batch[: 1 + DIRECT_OBJECTIVES[name].needs_play]
    for sampling in (CLEAN, NOISY):
        reward = shake(LinearReward(SPEC), size=1.0).double()
        guided = GuidedDenoiser(denoiser, sampling, reward, EXPERT.denoiser)
        (gradient,) = torch.autograd.grad(DIRECT_OBJECTIVES[name](guided, *batch), reward.weight)
        assert gradient.abs().max() > 1e-4
    clean = 1 + DIRECT_OBJECTIVES[name].needs_play
    assert not any(asked[:clean])
    assert asked[clean:] == ([] if name == "logit" else [True] * clean)


def test_a_loss_is_the_mean_over_the_moves_that_are_guided() -> None:
    @dataclass(frozen=True)
    class Step:
        needs_play: bool = False
        needs_expert: bool = False

        def __call__(self, guided: GuidedDenoiser, *windows: Noised) -> Tensor:
            return torch.tensor(float(windows[0].move.step))

    diffuser, sampling = tiny_world(), SamplingConfig(num_steps=4, stop_step=20)
    guided = GuidedDenoiser(diffuser.denoiser, sampling, LinearReward(SPEC))
    batch = (torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool))
    loss = direct_loss(Step(), guided, diffuser, [batch], generator=seeded())
    assert loss == (63 + 47 + 31) / 3
    late = replace(guided, sampling=replace(sampling, stop_step=64))
    with refused(SettingsError, place="stop_step", value=64, remedy="lower it") as caught:
        direct_loss(Step(), late, diffuser, [batch], generator=seeded())
    assert "63" in str(caught.value)


def test_a_relative_reward_without_an_expert_is_refused() -> None:
    guided = GuidedDenoiser(BASE.denoiser, CLEAN, LinearReward(SPEC).double())
    batch = [noised(windows_of(BASE, 3, 0), MOVES[1])] * 2
    with refused(SettingsError, place="expert", value=None, remedy="train_expert"):
        DIRECT_OBJECTIVES["relative_reward"](guided, *batch)


LONG = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
PLAY = random_walks([30] * 6, seed=3)
DEMONSTRATIONS = random_walks([12, 12, 6, 12], drift=0.4, seed=7)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.5)
REWARD = AdditiveSettings(hidden=(8,))


def expert_of(diffuser: Diffuser, **changes) -> nn.Module:
    windows = Windows(DEMONSTRATIONS, LONG)
    options = {"num_steps": 30, "batch_size": 8, "learning_rate": 3e-3, "seed": 0} | changes
    picks = windows.subset(lambda episode: episode < 3)
    return train_expert(diffuser, windows, picks, sampling=SAMPLING, **options)


def test_an_expert_denoises_demonstrations_better_and_is_always_the_same() -> None:
    diffuser, windows = tiny_diffuser(LONG), Windows(DEMONSTRATIONS, LONG)
    before = {name: w.clone() for name, w in diffuser.denoiser.state_dict().items()}
    state = torch.get_rng_state()
    expert, again, other = expert_of(diffuser), expert_of(diffuser), expert_of(diffuser, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    clean, mask = windows.batch(torch.arange(len(windows)), diffuser.normalizer)
    losses = [
        denoising_loss(
            denoiser,
            diffuser.schedule,
            clean,
            mask,
            step=torch.full((len(clean),), 4),
            noise=torch.randn(clean.shape, generator=seeded()),
            condition=condition_on(LONG, clean[:, 0]),
        ).item()
        for denoiser in (expert, diffuser.denoiser)
    ]
    assert losses[0] < 0.8 * losses[1]
    weights = expert.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in again.state_dict().items())
    assert not all(torch.equal(w, weights[name]) for name, w in other.state_dict().items())
    assert all(torch.equal(w, before[n]) for n, w in diffuser.denoiser.state_dict().items())
    assert not any(w.requires_grad for w in [*expert.parameters(), *diffuser.denoiser.parameters()])


def problem(name: str, **changes) -> MatchingProblem:
    return MatchingProblem(
        diffuser=tiny_diffuser(LONG),
        windows=Windows(DEMONSTRATIONS, LONG),
        num_learnt=3,
        play=Windows(PLAY, LONG),
        objective=DIRECT_OBJECTIVES[name],
        sampling=SAMPLING,
        config=LearningConfig(batch_size=7, expert=ExpertConfig(num_steps=3), **changes),
    )


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_windows_are_drawn_from_what_may_be_learnt_from_and_from_play(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    usual = matching.direct_loss

    def note(*arguments, **options) -> Tensor:
        seen.append(arguments[3])
        return usual(*arguments, **options)

    monkeypatch.setattr(matching, "direct_loss", note)
    asked = problem(name)
    for step in range(3):
        asked.loss(REWARD.build(LONG), step)
    diffuser, windows = tiny_diffuser(LONG), Windows(DEMONSTRATIONS, LONG)
    known = [windows.subset(lambda episode: episode < 3), torch.arange(len(Windows(PLAY, LONG)))]
    sources = [windows, Windows(PLAY, LONG)][: 1 + DIRECT_OBJECTIVES[name].needs_play]
    for batches in seen:
        for (clean, _), source, picks in zip(batches, sources, known, strict=False):
            rows = {
                tuple(row)
                for row in source.batch(picks, diffuser.normalizer)[0].flatten(1).tolist()
            }
            assert len(clean) == 7
            assert {tuple(row) for row in clean.flatten(1).tolist()} <= rows
    assert all(len(batches) == len(sources) for batches in seen)
    assert not torch.equal(seen[0][0][0], seen[1][0][0])


def learn(folder: Path | str, objective: str, **changes) -> LearntReward:
    expert = ExpertConfig(num_steps=changes.pop("num_expert_steps", 5))
    report = changes.pop("report", lambda done, **figures: None)
    return learn_reward(
        tiny_diffuser(LONG),
        changes.pop("demonstrations", DEMONSTRATIONS),
        folder,
        play=changes.pop("play", PLAY),
        reward=changes.pop("reward", REWARD),
        objective=objective,
        sampling=SAMPLING,
        on_step=lambda state: report(state.step, **state.figures),
        config=configured(weight_decay=0.0, expert=expert, **changes),
    )


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
@pytest.mark.parametrize("guide", ["clean", "noisy"])
def test_learning_lowers_the_objective(name: str, guide: str) -> None:
    asked = replace(problem(name), sampling=replace(SAMPLING, guide=guide, use_variance=False))
    model = REWARD.build(LONG)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    steps = range(100, 103)
    with torch.no_grad():
        before = sum(asked.loss(model, step).item() for step in steps)
    for step in range(20):
        optimizer.zero_grad()
        asked.loss(model, step).backward()
        optimizer.step()
    with torch.no_grad():
        assert sum(asked.loss(model, step).item() for step in steps) < before


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_learning_stopped_and_started_again_ends_with_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    def stop(done: int, **figures: float) -> None:
        if done == 13:
            raise KeyboardInterrupt

    resumed = []
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "stopped", name, report=stop)
    learn(tmp_path / "stopped", name, report=lambda done, **figures: resumed.append(done))
    assert resumed[0] == 11
    learn(tmp_path / "whole", name)
    ours, theirs = (load_file(tmp_path / folder / STATE) for folder in ("stopped", "whole"))
    assert list(ours) == list(theirs)
    assert all(torch.equal(value, theirs[part]) for part, value in ours.items())


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_the_loss_is_of_the_reward_alone_and_the_judgement_of_reward_and_value(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second of two rounds."""
    small = ValueConfig(num_windows=60, num_prototypes=12, width=8, num_steps=20, batch_size=32)
    monkeypatch.setattr(matching, "ValueConfig", lambda seed: replace(small, seed=seed))
    monkeypatch.setattr(run, "Value", lambda spec, **o: Value(spec, **o, width=8))
    learnt_by, judged_by = [], []
    loss, held_out_loss = MatchingProblem.loss, MatchingProblem.held_out_loss
    monkeypatch.setattr(
        MatchingProblem,
        "loss",
        lambda self, model, step: learnt_by.append(type(model)) or loss(self, model, step),
    )
    monkeypatch.setattr(
        MatchingProblem,
        "held_out_loss",
        lambda self, model: judged_by.append(type(model).__name__) or held_out_loss(self, model),
    )
    learnt = learn(tmp_path, name, num_rounds=2, num_steps=12, evaluate_every=3)
    facts = learnt.provenance["learnt"]
    assert learnt.value is not None
    assert facts["best_round"] == 1
    assert facts["best_loss"] == facts["round_losses"][-1]
    assert bool(facts["warning"]) == (facts["best_loss"] > facts["round_losses"][0])
    assert {kind.__name__ for kind in learnt_by} == {"AdditiveReward"}
    assert judged_by == ["AdditiveReward"] * 2 + ["RewardToGo"] * 2


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_where_sampled_plans_start_and_what_value_is_fitted_change_no_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the choice of the best weights, of which there is none without held-out ones."""
    monkeypatch.setattr(
        matching, "DISCOUNTED", replace(DISCOUNTED, width=8, num_steps=20, batch_size=32)
    )
    usual = learn(tmp_path / "a", name, num_held_out=0)
    other = learn(tmp_path / "b", name, num_held_out=0, starts="both", discount=0.9)
    assert usual.value is None
    assert other.guide_model is other.value
    weights = other.model.state_dict()
    assert all(torch.equal(w, weights[part]) for part, w in usual.model.state_dict().items())


@pytest.mark.parametrize("name", NEED_PLAY)
def test_play_data_must_be_there_where_it_is_compared_with(name: str, tmp_path: Path) -> None:
    with refused(SettingsError, place="objective", value=name, remedy="give play data"):
        learn(tmp_path, name, play=None)
    assert list(tmp_path.iterdir()) == []
    with refused(SettingsError, place="objective", value=name):
        replace(problem(name), play=None).loss(REWARD.build(LONG), 0)


def test_score_matching_needs_no_play_data(tmp_path: Path) -> None:
    assert learn(tmp_path, "dlsm", play=None).provenance["objective"] == "dlsm"


@pytest.mark.usefixtures("rough_values")
@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_a_reward_that_remembers_is_refused_where_no_plans_are_sampled(
    name: str, tmp_path: Path
) -> None:
    staged = StagedSettings(hidden=(8,), memory_radius=0.12)
    with refused(SettingsError, place="objective", value=name, remedy="mmd_gaussian"):
        learn(tmp_path, name, reward=staged, demonstrations=corridor(-0.9, 0.9))
    assert list(tmp_path.iterdir()) == []
    plain = learn(tmp_path, name, reward=staged, demonstrations=corridor(0.9, seed=4), num_steps=2)
    assert plain.model.base.name == "additive"


def test_another_expert_is_another_learning_only_where_there_is_one(tmp_path: Path) -> None:
    learn(tmp_path / "a", "relative_reward", num_steps=5)
    with refused(CheckpointError, place=f"{tmp_path / 'a' / STATE}: learning"):
        learn(tmp_path / "a", "relative_reward", num_expert_steps=6)
    learn(tmp_path / "b", "dlsm", num_steps=5)
    assert learn(tmp_path / "b", "dlsm", num_expert_steps=6).provenance["learnt"]["step"] == 18


@pytest.mark.parametrize("changes", [{"num_steps": 0}, {"learning_rate": -1.0}], ids=str)
def test_an_expert_that_cannot_be_is_refused(changes: dict) -> None:
    ((name, value),) = changes.items()
    with refused(SettingsError, place=name, value=value, remedy="at least"):
        ExpertConfig(**changes)


@pytest.mark.parametrize("preset", ["umaze", "large", "halfcheetah"])
@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_presets_accept_another_objective_in_place(name: str, preset: str) -> None:
    settings = replace(PRESETS[preset], objective=name)
    assert find_objective(settings.objective) is DIRECT_OBJECTIVES[name]
    assert not isinstance(find_objective(PRESETS[preset].objective), DirectObjective)


def walk(place: np.ndarray, generator: np.random.Generator) -> Episode:
    """A walker drawn to a place."""
    positions, actions = [generator.uniform(-1, 1, 2)], []
    for _ in range(30):
        actions.append(0.15 * (place - positions[-1]) + 0.02 * generator.standard_normal(2))
        positions.append(positions[-1] + actions[-1])
    return Episode(np.array(positions), np.array(actions))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> tuple[Diffuser, Dataset, Dataset]:
    """Walkers to any place, a diffuser of them, and walkers to one corner."""
    generator = np.random.default_rng(0)
    play = Dataset([walk(generator.uniform(-1, 1, 2), generator) for _ in range(100)])
    shown = Dataset([walk(np.array([0.8, 0.8]), generator) for _ in range(6)])
    diffuser = train_diffuser(
        play,
        PlanSpec(horizon=5, stride=5, observation_dim=2, action_dim=2, with_actions=True),
        tmp_path_factory.mktemp("diffuser"),
        denoiser_config=DenoiserConfig("mlp", width=64, depth=1),
        config=TrainingConfig(num_steps=250, num_warmup=20),
    )
    return diffuser, play, shown


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
def test_the_corner_that_was_demonstrated_is_rewarded_and_plans_go_there(
    name: str, field: tuple[Diffuser, Dataset, Dataset], tmp_path: Path
) -> None:
    diffuser, play, shown = field
    learnt = learn_reward(
        diffuser,
        shown,
        tmp_path,
        play=play,
        reward=AdditiveSettings(hidden=(32,)),
        sampling=SamplingConfig(num_steps=4),
        objective=name,
        config=LearningConfig(
            num_steps=40,
            learning_rate=1e-2,
            weight_decay=0.0,
            selection=SelectionConfig(num_held_out=0),
            expert=ExpertConfig(num_steps=60),
        ),
    )
    corners = np.array([[0.8, 0.8], [-0.8, 0.8], [0.8, -0.8], [-0.8, -0.8]])
    assert learnt.step_rewards(corners).argmax() == 0
    first = torch.zeros(50, 2)
    ends = [
        diffuser.sample_plans(first, learnt.sampling, generator=seeded(), reward_model=model)
        for model in (None, learnt.model)
    ]
    unguided, guided = (plans[:, -1, :2].sum(-1).mean().item() for plans in ends)
    assert guided > unguided + 0.15

"""Ensembles: members learnt side by side are those learnt alone; where they disagree is told."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_learn_reward import (
    CONFIG,
    DEMONSTRATIONS,
    LOCAL,
    PLAY,
    REWARD,
    SAMPLING,
    SPEC,
    STAGED,
    TURNING,
    TWO_ROUNDS,
    corridor,
    learn,
)
from torch import Tensor

from processes import run_python
from refusals import refused
from tiny import random_walks, seeded, shake, tiny_diffuser, tiny_reward
from trailward.checkpoint import CheckpointError
from trailward.cli.main import main
from trailward.data.dataset import Windows, write_dataset
from trailward.diffusion.fitting import DivergedError
from trailward.errors import SettingsError
from trailward.learning import problem as matching
from trailward.learning import run
from trailward.learning.disagreement import agreement, disagreement, members
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.learning.run import STATE
from trailward.learning.selection import clip
from trailward.objectives.matching import MSE, Apart, MMDGaussian
from trailward.rewards import AdditiveReward, EnsembleSettings
from trailward.rewards.ensemble import EnsembleReward, member_seeds
from trailward.rewards.value import RewardToGo, Value, ValueConfig

THREE = EnsembleSettings(member=REWARD, num_members=3)
KILLED_AT_STEP_13 = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from test_ensemble import THREE
from test_learn_reward import learn

def report(done, **figures):
    if done == 13:
        os.kill(os.getpid(), signal.SIGKILL)

learn(sys.argv[1], reward=THREE, report=report)
"""


def ensemble(*, num_members: int = 3) -> LearntReward:
    """Members whose weights are noise, each member's another."""
    learnt = tiny_reward(
        tiny_diffuser(SPEC), EnsembleSettings(member=REWARD, num_members=num_members)
    )
    for index, member in enumerate(learnt.model.members()):
        shake(member, seed=index, size=1.0)
    return learnt


def plans_of(count: int) -> Tensor:
    return torch.randn((count, SPEC.horizon, SPEC.transition_dim), generator=seeded())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "mmd_gaussian", "play": PLAY, "starts": "both"},
        {"objective": "energy", "play": PLAY, "starts": "play"},
        {"objective": "logit", "play": PLAY},
        {"reward": LOCAL, "play": PLAY},
    ],
    ids=["mse", "mmd from both", "energy from play", "logit", "local part"],
)
def test_members_are_what_is_learnt_alone_with_their_seeds_and_half_the_batch(
    options: dict, tmp_path: Path
) -> None:
    """Some windows of demonstrations are padded, so that masks are told apart too."""
    reward = options.get("reward", REWARD)
    common = options | {"num_held_out": 0, "seed": 5, "num_steps": 8}
    joint = learn(
        tmp_path / "j", **common | {"reward": EnsembleSettings(member=reward, num_members=3)}
    )
    assert isinstance(joint.model, EnsembleReward)
    for seed, member in zip(member_seeds(5, 3), joint.model.members(), strict=True):
        alone = learn(tmp_path / str(seed), **common | {"seed": seed, "batch_size": 4})
        for name, weight in alone.model.state_dict().items():
            found = member.state_dict()[name]
            torch.testing.assert_close(found, weight, atol=1e-5, rtol=1e-4)


def test_members_differ_and_their_seeds_are_no_other_ensembles() -> None:
    first, second, third = ensemble_of_fresh_weights()
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert not set(member_seeds(0, 5)) & set(member_seeds(1, 5))
    assert member_seeds(7, 1) == [7]


def ensemble_of_fresh_weights() -> list[Tensor]:
    model = THREE.build(SPEC, seed=0)
    assert isinstance(model, EnsembleReward)
    return [member.network[0].weight for member in model.members()]


def test_an_odd_batch_is_halved_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def note(diffuser, model, windows, indices, **options):
        seen.append(len(indices))
        return sum(weight.sum() for weight in reward.parameters())

    reward = AdditiveReward(SPEC, hidden=(8,))
    monkeypatch.setattr(matching, "matching_loss", note)
    demonstrations = Windows(DEMONSTRATIONS, SPEC)
    config = replace(CONFIG, batch_size=7)
    for num_members in (1, 3):
        problem = MatchingProblem(
            diffuser=tiny_diffuser(SPEC),
            windows=demonstrations,
            num_learnt=3,
            objective=MSE(),
            sampling=SAMPLING,
            config=config,
            num_members=num_members,
        )
        problem.loss(reward, 0)
    assert seen == [7, 12]


def test_the_reward_is_the_mean_of_its_members() -> None:
    learnt, walks = ensemble(), random_walks([12, 9]).episodes[0].observations
    told = [member.step_rewards(walks) for member in members(learnt)]
    np.testing.assert_allclose(learnt.step_rewards(walks), np.mean(told, axis=0), atol=1e-6)
    plans = plans_of(4)
    by_hand = torch.stack([member(plans) for member in learnt.model.members()]).mean(0)
    torch.testing.assert_close(learnt.model(plans), by_hand)
    torch.testing.assert_close(learnt.model.stage_rewards(plans)[..., 0].mean(1), by_hand)
    assert learnt.is_additive
    assert learnt.num_stages == 1


def test_apart_each_member_judges_its_own_part_of_the_batch() -> None:
    model, plans = ensemble().model, plans_of(6)
    expected = torch.cat([m(plans[2 * i : 2 * i + 2]) for i, m in enumerate(model.members())])
    torch.testing.assert_close(model.separately()(plans), expected)


@pytest.mark.parametrize("objective", [MSE(), MMDGaussian()])
def test_objectives_apart_are_the_sum_of_those_of_the_parts(objective) -> None:
    plans, shown = plans_of(6), plans_of(12)[6:]
    mask = torch.ones((6, SPEC.horizon), dtype=torch.bool)
    mask[4, 3:] = False
    first = objective(plans[:3], shown[:3])
    second = objective(plans[3:], shown[3:], mask[3:])
    torch.testing.assert_close(Apart(objective, 2)(plans, shown, mask), first + second)
    torch.testing.assert_close(
        Apart(objective, 2)(plans, shown), first + objective(plans[3:], shown[3:])
    )
    assert torch.equal(Apart(objective, 1)(plans, shown, mask), objective(plans, shown, mask))


def test_parts_of_a_batch_have_the_noise_of_their_own_generators() -> None:
    diffuser, first = tiny_diffuser(SPEC), torch.zeros(4, 2)
    sampling = replace(SAMPLING, sampler="ddpm")
    both = diffuser.sample_plans(first, sampling, generator=[seeded(1), seeded(2)])
    alone = [diffuser.sample_plans(first[:2], sampling, generator=seeded(s)) for s in (1, 2)]
    torch.testing.assert_close(both, torch.cat(alone))


def test_an_ensemble_killed_and_started_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    run_python(KILLED_AT_STEP_13, tmp_path / "killed", expect=-signal.SIGKILL)
    resumed = []
    learn(tmp_path / "killed", reward=THREE, report=lambda done, **_: resumed.append(done))
    assert resumed == [11, 12, 13, 14, 15, 16, 17, 18, 18]
    learn(tmp_path / "whole", reward=THREE)
    killed, whole = (load_file(tmp_path / name / STATE) for name in ("killed", "whole"))
    assert list(killed) == list(whole)
    assert all(torch.equal(value, whole[name]) for name, value in killed.items())


def test_an_ensemble_loads_as_it_was_saved(tmp_path: Path) -> None:
    learnt = learn(tmp_path, reward=THREE)
    back, plans = LearntReward.load(tmp_path), plans_of(3)
    assert back.model.to_config() == learnt.model.to_config()
    assert torch.equal(back.guide_model(plans), learnt.guide_model(plans))
    walk = PLAY.episodes[0].observations
    assert np.array_equal(disagreement(back, walk), disagreement(learnt, walk))
    assert disagreement(back, walk).min() > 0


def test_a_member_is_a_reward_of_its_own(tmp_path: Path) -> None:
    learnt = ensemble()
    second = members(learnt)[1]
    second.save(tmp_path)
    back, plans = LearntReward.load(tmp_path), plans_of(3)
    assert back.model.settings == REWARD
    assert torch.equal(back.model(plans), learnt.model.members()[1](plans))


def test_what_is_logged_is_the_mean_over_members(tmp_path: Path) -> None:
    losses = {}
    for name, options in {
        "joint": {"reward": THREE},
        **{str(seed): {"seed": seed, "batch_size": 4} for seed in member_seeds(0, 3)},
    }.items():
        note = lambda done, n=name, **figures: losses.setdefault(n, []).extend(figures.values())
        learn(tmp_path / name, **options, num_steps=3, report=note)
    joint = losses.pop("joint")
    np.testing.assert_allclose(joint, np.mean(list(losses.values()), axis=0), rtol=1e-4)


def test_one_value_is_fitted_to_the_mean_and_guides_every_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(
        ValueConfig, num_windows=60, num_prototypes=12, width=8, num_steps=20, batch_size=32
    )
    monkeypatch.setattr(matching, "ValueConfig", small)
    monkeypatch.setattr(run, "Value", partial(Value, width=8))
    guides, fitted = [], []
    loss, fit = MatchingProblem.loss, matching.fit_value
    monkeypatch.setattr(
        MatchingProblem,
        "loss",
        lambda self, model, step: guides.append(model) or loss(self, model, step),
    )
    monkeypatch.setattr(
        matching,
        "fit_value",
        lambda rewards, *a, **o: fitted.append(rewards) or fit(rewards, *a, **o),
    )
    learnt = learn(tmp_path, **TWO_ROUNDS, reward=EnsembleSettings(member=LOCAL, num_members=3))
    assert [isinstance(guide, RewardToGo) for guide in guides] == 6 * [False] + 6 * [True]
    assert isinstance(fitted[0], EnsembleReward)
    for name, weight in guides[-1].value.state_dict().items():
        assert torch.equal(learnt.value.state_dict()[name], weight)
    plans = plans_of(3)
    together = learnt.model(plans) + learnt.value(plans)
    torch.testing.assert_close(LearntReward.load(tmp_path).guide_model(plans), together)
    assert members(learnt)[0].value is None


def test_gradients_are_scaled_down_member_by_member() -> None:
    model = EnsembleReward([shake(REWARD.build(SPEC), seed=seed) for seed in (0, 1)])
    model.members()[0].network[0].weight.grad = torch.full((8, 2), 100.0)
    model.members()[1].network[0].weight.grad = torch.full((8, 2), 0.01)
    assert clip(model, 1.0) == pytest.approx(400.0)
    assert model.members()[0].network[0].weight.grad.norm() == pytest.approx(1.0, rel=1e-4)
    assert torch.equal(model.members()[1].network[0].weight.grad, torch.full((8, 2), 0.01))


def test_divergence_of_an_ensemble_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"diverged at step 0: .*\(limit 1e-12\)"):
        learn(tmp_path, reward=THREE, diverged_norm=1e-12)


def test_members_that_are_the_same_agree_whatever_their_scale_and_shift() -> None:
    learnt, walk = ensemble(), PLAY.episodes[0].observations
    first, second, third = learnt.model.members()
    for member in (second, third):
        member.load_state_dict(first.state_dict())
    with torch.no_grad():
        third.network[-1].weight.mul_(5.0)
        third.network[-1].bias.mul_(5.0).sub_(3.0)
    np.testing.assert_allclose(disagreement(learnt, walk), 0, atol=1e-5)
    assert agreement(learnt, walk) == pytest.approx(1, abs=1e-6)


def test_disagreement_is_the_deviation_over_members_standardised_over_the_reference() -> None:
    learnt, reference = ensemble(), PLAY.episodes[0].observations
    elsewhere = random_walks([30], seed=8).episodes[0].observations.reshape(31, 1, 2)
    told, over = (
        np.array([m.step_rewards(seen) for m in members(learnt)]) for seen in (elsewhere, reference)
    )
    mean, spread = over.mean(1).reshape(3, 1, 1), over.std(1).reshape(3, 1, 1)
    expected = ((told - mean) / spread).std(0)
    found = disagreement(learnt, elsewhere, reference=reference)
    assert found.shape == (31, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        disagreement(learnt, reference), disagreement(learnt, reference, reference=reference)
    )


def test_agreement_is_the_mean_correlation_of_pairs() -> None:
    learnt, walk = ensemble(), PLAY.episodes[0].observations
    told = [member.step_rewards(walk) for member in members(learnt)]
    pairs = [np.corrcoef(told[i], told[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert agreement(learnt, walk) == pytest.approx(np.mean(pairs))


def test_an_ensemble_disagrees_more_where_demonstrations_never_went(tmp_path: Path) -> None:
    """Its members are fitted to the same slope along a corridor, and to nothing beyond."""
    learnt = ensemble(num_members=5)
    along = torch.linspace(-1, 1, 64)
    seen = torch.stack([along, torch.zeros(64)], -1).unsqueeze(0)
    for seed, member in enumerate(learnt.model.members()):
        torch.manual_seed(seed)
        member.load_state_dict(REWARD.build(SPEC).state_dict())
        optimizer = torch.optim.Adam(member.parameters(), lr=0.02)
        for _ in range(200):
            optimizer.zero_grad()
            (member.step_rewards(seen)[0] - along).square().mean().backward()
            optimizer.step()
    unnormalize = learnt.observation_normalizer.unnormalize
    inside, outside = unnormalize(seen[0]), unnormalize(seen[0] + torch.tensor([0.0, 4.0]))
    known, unknown = (
        disagreement(learnt, where.numpy(), reference=inside.numpy()) for where in (inside, outside)
    )
    assert known.max() < 0.2
    assert unknown.min() > 2 * known.max()


def test_a_plain_reward_has_no_members() -> None:
    plain = tiny_reward(tiny_diffuser(SPEC))
    for ask in (members, lambda r: agreement(r, np.zeros((3, 2)))):
        with pytest.raises(TypeError, match=r"no ensemble; .* num_members 2"):
            ask(plain)


@pytest.mark.parametrize("model", ["mlp", "conv", "linear"])
def test_ensembles_of_rewards_of_whole_plans_are_refused(model: str, tmp_path: Path) -> None:
    with refused(SettingsError, place="num_members", value=3, remedy=f"'{model}'"):
        learn(tmp_path, reward=EnsembleSettings(member=model, num_members=3))
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_where_demonstrations_call_for_a_memory_is_refused(tmp_path: Path) -> None:
    reward = EnsembleSettings(member=STAGED, num_members=3)
    with refused(SettingsError, place="num_members", value=3, remedy="set it to 1, or") as caught:
        learn(tmp_path, reward=reward, demonstrations=TURNING)
    assert "remembers" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_staged_ensemble_is_additive_where_nothing_calls_for_a_memory(tmp_path: Path) -> None:
    straight = corridor(0.9, seed=4)
    found = learn(
        tmp_path / "a",
        reward=EnsembleSettings(member=STAGED, num_members=3),
        demonstrations=straight,
    )
    asked = learn(tmp_path / "b", reward=THREE, demonstrations=straight)
    for name, weight in asked.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], weight)


def test_an_ensemble_of_less_than_one_is_refused() -> None:
    with refused(SettingsError, place="num_members", value=0, remedy="at least 2"):
        EnsembleSettings(num_members=0)
    with refused(SettingsError, place="num_members", value=1, remedy="at least 2"):
        EnsembleReward([AdditiveReward(SPEC)])


def test_a_folder_of_one_reward_is_not_gone_on_with_by_an_ensemble(tmp_path: Path) -> None:
    learn(tmp_path, num_steps=5)
    with refused(CheckpointError, place=f"{tmp_path / STATE}: reward"):
        learn(tmp_path, reward=THREE)


def test_the_flag_learns_an_ensemble(tmp_path: Path) -> None:
    tiny_diffuser(SPEC).save(tmp_path / "diffuser")
    write_dataset(DEMONSTRATIONS, tmp_path / "shown-v0")
    command = (
        f"learn --demonstrations {tmp_path}/shown-v0 --diffuser {tmp_path}/diffuser "
        f"--out {tmp_path}/reward --ensemble 3 --reward.hidden 8 --sampling.num-steps 3 "
        "--sampling.stop-step 0 --learning.num-steps 2 --learning.batch-size 4"
    )
    assert main(command.split()) == 0
    learnt = LearntReward.load(tmp_path / "reward")
    assert len(members(learnt)) == 3

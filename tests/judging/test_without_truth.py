"""What is known of a reward without a true one: closed forms, and warnings where they belong."""

import itertools
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from refusals import refused
from tiny import random_walks, tiny_diffuser, tiny_reward, tiny_staged_reward
from trailward.cli.main import main
from trailward.data.dataset import Dataset, Windows, write_dataset
from trailward.data.episode import Columns, Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser
from trailward.judging.config import EvaluationConfig
from trailward.judging.forecast import FORECAST, HERE
from trailward.judging.without_truth import (
    feature_shares,
    held_out_demonstrations,
    held_out_distance,
    judge_without_truth,
    rank_demonstrations,
    separation,
)
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveReward, AdditiveSettings
from trailward.rewards.known_region import find_known_region

SPEC = PlanSpec(horizon=4, stride=2, observation_dim=4, action_dim=2)
COLUMNS = Columns(("x", "y", "vx", "vy"), units={"x": "m", "y": "m"})
CONFIG = EvaluationConfig(num_windows=400)


def drifters(*drifts: float, seed: int = 0) -> Dataset:
    """A walk of 40 steps in a plane for each drift along x, with its velocities."""
    generator = np.random.default_rng(seed)
    episodes = []
    for drift in drifts:
        speeds = np.zeros((41, 2))
        for before, speed in itertools.pairwise(speeds):
            speed[:] = 0.8 * before + 0.3 * generator.standard_normal(2)
        speeds += [drift, 0.0]
        places = np.concatenate([np.zeros((1, 2)), (speeds[:-1] + speeds[1:]).cumsum(0) / 2])
        episodes.append(Episode(np.concatenate([places, speeds], 1), np.zeros((40, 2))))
    return Dataset(episodes, {}, COLUMNS)


PLAY = drifters(*np.linspace(-0.6, 0.6, 30))
SHOWN = drifters(*[0.4] * 5, seed=1)


class Stays(nn.Module):
    """A denoiser of plans that stay where they begin."""

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return noisy[:, :1].expand_as(noisy)


def diffuser() -> Diffuser:
    config = DenoiserConfig(width=16, depth=1, num_diffusion_steps=8)
    return replace(tiny_diffuser(SPEC, config=config), denoiser=Stays())


def linear_reward(*weights: float, features: tuple[int, ...] | None = None) -> LearntReward:
    """``sum of weight * entry`` in model space."""
    learnt = tiny_reward(diffuser(), AdditiveSettings(hidden=(), features=features))
    assert isinstance(learnt.model, AdditiveReward)
    (layer,) = learnt.model.network
    assert isinstance(layer, nn.Linear)
    layer.weight.data = torch.tensor([weights], dtype=torch.float32)
    layer.bias.data.zero_()
    return learnt


def warnings(learnt: LearntReward, play: Dataset = PLAY, shown: Dataset = SHOWN) -> dict[str, str]:
    return judge_without_truth(learnt, diffuser(), play, shown, CONFIG).figures["warnings"]


def test_separation_is_the_area_under_the_curve_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    shown, known = generator.integers(2, 9, 60) / 4, generator.integers(0, 7, 200) / 4
    labels = np.repeat([1, 0], [60, 200])
    found = separation((shown, np.arange(60) // 10), (known, np.arange(200) // 10))
    assert found.value == pytest.approx(roc_auc_score(labels, np.concatenate([shown, known])))
    assert found.low < found.value < found.high
    assert found.count == 26


def test_separation_of_the_same_rewards_is_chance_and_of_one_demonstration_known() -> None:
    same = separation((np.ones(3), np.arange(3)), (np.ones(5), np.arange(5)))
    assert (same.value, same.low, same.high) == (0.5, 0.5, 0.5)
    alone = separation((np.array([2.0]), np.array([0])), (np.arange(5.0), np.arange(5)))
    assert alone.value == pytest.approx((2 + 0.5) / 5)
    assert (alone.low, alone.high) == (0, 1)  # one shows nothing of how others differ


def test_a_demonstration_is_ranked_among_play_episodes_by_mean_reward() -> None:
    learnt = linear_reward(1.0, 0.0, 0.0, 0.0)
    found = rank_demonstrations(learnt, PLAY, SHOWN, CONFIG)
    means = np.array([episode.observations[:, 0].mean() for episode in PLAY.episodes])
    ranks = [1 + (means > e.observations[:, 0].mean()).sum() for e in SHOWN.episodes]
    assert found.figures["rank"] == {"among": 30, "ranks": ranks}
    assert found.figures["auc_episodes"]["value"] == pytest.approx(
        np.mean([(means < e.observations[:, 0].mean()).mean() for e in SHOWN.episodes])
    )


def test_the_last_demonstrations_are_those_held_out() -> None:
    learnt = linear_reward(1.0, 0.0, 0.0, 0.0)
    told = replace(learnt, provenance={"learning": {"num_held_out": 2}})
    assert held_out_demonstrations(told, SHOWN).episodes == SHOWN.episodes[3:]
    for count in (0, 5):
        told = replace(learnt, provenance={"learning": {"num_held_out": count}})
        assert held_out_demonstrations(told, SHOWN).episodes == SHOWN.episodes
    assert held_out_demonstrations(learnt, SHOWN).episodes == SHOWN.episodes


def test_what_was_learnt_from_is_known_by_its_fingerprint_and_is_no_test() -> None:
    known = [episode.fingerprint for episode in SHOWN.episodes[:3]]
    told = replace(linear_reward(1.0, 0.0, 0.0, 0.0), provenance={"learnt_from": known})
    assert held_out_demonstrations(told, SHOWN).episodes == SHOWN.episodes[3:]
    assert held_out_demonstrations(told, SHOWN.pick([1, 4, 0])).episodes == SHOWN.episodes[4:]
    others = drifters(0.4, 0.4, seed=7)
    judge = partial(judge_without_truth, told, diffuser(), PLAY, SHOWN.pick([0, 1, 2]), CONFIG)
    assert judge().figures["judged"] == "all"
    assert judge(test=others).figures["judged"] == "test"
    assert judge(test=others).figures["num_judged"] == 2
    with refused(place="test", value=1, remedy="leave it out"):
        judge(test=replace(SHOWN, episodes=[others.episodes[0], SHOWN.episodes[2]]))


def test_the_shares_of_a_linear_reward_are_those_of_its_variance() -> None:
    weights = np.array([0.5, -1.0, 0.0, 2.0])
    learnt = linear_reward(*weights)
    shares = feature_shares(learnt, PLAY, count=1000, seed=0)
    rows = torch.tensor(np.concatenate([e.observations for e in PLAY.episodes])).float()
    variances = learnt.observation_normalizer.normalize(rows).numpy().var(0)
    expected = weights**2 * variances / (weights**2 * variances).sum()
    np.testing.assert_allclose(list(shares.values()), expected, atol=0.05)
    assert list(shares) == ["x", "y", "vx", "vy"]
    assert shares["vx"] == 0.0
    assert sum(shares.values()) == pytest.approx(1.0)


def test_what_a_reward_does_not_see_has_no_share() -> None:
    shares = feature_shares(linear_reward(1.0, features=(1,)), PLAY, count=200, seed=0)
    assert shares == {"x": 0.0, "y": 1.0, "vx": 0.0, "vy": 0.0}
    flat = feature_shares(linear_reward(0.0, 0.0, 0.0, 0.0), PLAY, count=200, seed=0)
    assert set(flat.values()) == {0.0}


@pytest.mark.parametrize("kind", ["mlp", "linear", "conv", "staged"])
def test_rewards_of_whole_plans_have_shares_too(kind: str) -> None:
    spec = PlanSpec(horizon=4, stride=2, observation_dim=2, action_dim=2, with_actions=True)
    model = tiny_diffuser(spec)
    learnt = tiny_staged_reward(model) if kind == "staged" else tiny_reward(model, kind)
    shares = feature_shares(learnt, random_walks([40] * 5), count=100, seed=0)
    assert list(shares) == ["observation 0", "observation 1", "actions"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert (shares["actions"] == 0) == (kind == "staged")


def test_guided_plans_are_nearer_if_the_reward_points_where_demonstrations_go() -> None:
    fair, wrong = linear_reward(0.3, 0.0, 0.0, 0.0), linear_reward(-0.3, 0.0, 0.0, 0.0)
    fair_found = held_out_distance(fair, diffuser(), PLAY, SHOWN)
    wrong_found = held_out_distance(wrong, diffuser(), PLAY, SHOWN)
    assert fair_found["unguided"] == wrong_found["unguided"]
    assert fair_found["guided"] < fair_found["unguided"] < wrong_found["guided"]
    assert fair_found["starts"] == "demonstrations"


def test_the_plans_of_a_tuned_diffuser_count_as_guided() -> None:
    fair = linear_reward(0.3, 0.0, 0.0, 0.0)
    plain, tuned = diffuser(), replace(fair, fine_tuned=diffuser())
    found = held_out_distance(tuned, plain, PLAY, SHOWN)
    assert found["guided"] == found["unguided"]
    judged = CONFIG.planner(plain, tuned, guided=True)
    assert judged.diffuser is tuned.fine_tuned
    assert judged.reward_model is None


def test_a_sound_reward_gets_no_warning() -> None:
    also = drifters(0.8, 0.8, seed=3)
    play, shown = Dataset([*PLAY.episodes, *also.episodes]), drifters(*[0.8] * 5, seed=1)
    assert warnings(linear_reward(0.3, 0.0, 0.0, 0.0), play, shown) == {}


def test_a_naive_map_that_does_better_is_said() -> None:
    """Demonstrations stop short of where a tenth of the play data goes, the reward does not."""
    found = warnings(linear_reward(0.3, 0.0, 0.0, 0.0))
    assert set(found) == {"naive"}
    assert "by 'density by" in found["naive"]
    assert "trailward fit" in found["naive"]


def test_demonstrations_outside_the_play_data_are_warned_of() -> None:
    shift = np.array([90.0, 0.0, 0.0, 0.0])
    far = Dataset([Episode(e.observations + shift, e.actions) for e in SHOWN.episodes])
    found = warnings(linear_reward(0.3, 0.0, 0.0, 0.0), PLAY, far)
    assert "observations x is outside the play data's range" in found["support"]
    assert "demonstrate elsewhere." in found["support"]


def test_a_reward_knows_the_data_it_was_learnt_from_and_warns_of_other() -> None:
    learnt = linear_reward(0.3, 0.0, 0.0, 0.0)
    learnt = replace(
        learnt,
        known_region=find_known_region(
            learnt.model, diffuser().normalizer, Windows(PLAY, SPEC), Windows(SHOWN, SPEC)
        ),
    )
    judge = lambda play: judge_without_truth(learnt, diffuser(), play, SHOWN, CONFIG).figures
    found = judge(PLAY)
    assert found["known"]["play"] > 0.98
    assert found["known"]["demonstrations"] > 0.98
    assert "known" not in found["warnings"]

    beside = [Episode(e.observations + np.array([0.0, 90, 0, 0]), e.actions) for e in PLAY.episodes]
    found = judge(Dataset([*PLAY.episodes[:15], *beside[15:]], {}, COLUMNS))
    assert 0.3 < found["known"]["play"] < 0.7
    assert "% of the play data: nothing that it was learnt from" in found["warnings"]["known"]
    assert "of the demonstrations:" not in found["warnings"]["known"]


def test_a_reward_of_velocities_explains_style() -> None:
    found = warnings(linear_reward(0.1, 0.0, 3.0, 1.0))
    assert "how the demonstrations move (vx, vy)" in found["style"]
    assert "--reward.features" in found["style"]
    assert "style" not in warnings(linear_reward(3.0, 0.0, 0.1, 0.0))


def test_demonstrations_like_any_play_data_are_not_told_apart() -> None:
    learnt = linear_reward(0.3, 0.0, 0.0, 0.0)
    alike = drifters(*np.linspace(-0.6, 0.6, 30), seed=5)
    assert "chance is 50%" in warnings(learnt, PLAY, alike)["ranking"]
    assert "ranking" not in warnings(learnt)


def test_a_flat_reward_and_one_that_misleads_are_told_apart() -> None:
    assert "hardly moves plans" in warnings(linear_reward(0.0, 0.0, 0.0, 0.0))["plans"]
    assert (
        "further from the demonstrations" in warnings(linear_reward(-0.3, 0.0, 0.0, 0.0))["plans"]
    )
    assert "plans" not in warnings(linear_reward(0.3, 0.0, 0.0, 0.0))


def test_an_evaluation_without_environment_becomes_a_page_unless_it_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learnt = replace(
        linear_reward(0.0, 0.0, 1.0, 0.0), provenance={"learning": {"num_held_out": 2}}
    )
    model = tiny_diffuser(SPEC)
    model.save(tmp_path / "diffuser")
    region = find_known_region(
        learnt.model, model.normalizer, Windows(PLAY, SPEC), Windows(SHOWN, SPEC)
    )
    learnt = replace(learnt, diffuser_fingerprint=model.fingerprint, known_region=region)
    learnt.save(tmp_path / "reward")
    write_dataset(PLAY, tmp_path / "play")
    write_dataset(SHOWN, tmp_path / "shown")
    arguments = [
        "evaluate", "--env=none", f"--reward={tmp_path}/reward", f"--diffuser={tmp_path}/diffuser",
        f"--play={tmp_path}/play", f"--demonstrations={tmp_path}/shown",
        f"--out={tmp_path}/evaluation", "--evaluation.num-windows=200",
    ]  # fmt: skip
    assert main(arguments) == 0
    figures = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert (figures["judged"], figures["num_judged"]) == ("held out", 2)
    assert figures["place"] == ["x (m)", "y (m)"]
    assert figures["feature_shares"] == {"x": 0.0, "y": 0.0, "vx": 1.0, "vy": 0.0}
    report = [f"--evaluation={tmp_path}/evaluation", f"--out={tmp_path}/report"]
    assert main(["report", *report]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "AUC, windows" in page
    assert "Play data where the reward is known" in page
    assert "how the demonstrations move (vx)" in page
    for picture in ("place", "separation", "shares"):
        assert (tmp_path / f"report/{picture}.png").stat().st_size > 5_000
    del figures["num_judged"]
    (tmp_path / "evaluation/evaluation.json").write_text(json.dumps(figures))
    report[1] = f"--out={tmp_path}/again"
    assert main(["report", *report]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path}/evaluation: this is no whole evaluation: there is no 'num_judged'" in told
    (tmp_path / "evaluation/evaluation.json").write_text(json.dumps(figures | {"num_judged": 2}))
    arrays = tmp_path / "evaluation/evaluation.npz"
    with np.load(arrays) as whole:
        np.savez(arrays, **{**whole, "plans": whole["plans"] * 1e300})
    assert main(["report", *report]) == 2
    assert "'plans' holds values above 1e+18" in " ".join(capsys.readouterr().err.split())
    arrays.write_bytes(arrays.read_bytes()[:-30])
    assert main(["report", *report]) == 2
    assert "evaluation.npz: this is no whole .npz file" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "again").exists()


def test_tracks_are_ranked_with_no_interval_of_what_was_shown() -> None:
    known = [episode.fingerprint for episode in SHOWN.episodes]
    told = replace(linear_reward(0.0, 0.0, 1.0, 0.0), provenance={"learnt_from": known})
    others = drifters(0.4, 0.4, 0.4, seed=7)
    found = judge_without_truth(told, diffuser(), PLAY, SHOWN, CONFIG, test=others).figures
    for name in (FORECAST, HERE):  # plans of this diffuser stay, so both say the same
        each = found["tracks"][name]["whole"]
        assert each["count"] == 3
        assert each["low"] < each["value"] <= each["high"]
    means = np.array([episode.observations[:, 2].mean() for episode in PLAY.episodes])
    ranks = [(means < episode.observations[:, 2].mean()).mean() for episode in others.episodes]
    assert found["tracks"][HERE]["whole"]["rank"] == pytest.approx(np.mean(ranks), abs=1e-6)
    shown = judge_without_truth(told, diffuser(), PLAY, SHOWN, CONFIG).figures
    assert shown["tracks"][HERE]["whole"]["low"] is None

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from processes import run_python
from refusals import refused
from tiny import random_walks, seeded, tiny_diffuser
from trailward.checkpoint import CheckpointError
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion import training as diffusion_training
from trailward.diffusion.denoiser import denoising_loss
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.fitting import DivergedError
from trailward.diffusion.guide import NoisyGuide
from trailward.diffusion.networks import ResidualMLP
from trailward.diffusion.training import (
    STATE,
    TrainingConfig,
    build_optimizers,
    logged_losses,
    train_diffuser,
)
from trailward.errors import RefusedError, SettingsError
from trailward.registry import UnknownPartError

SPEC = PlanSpec(horizon=4, stride=2, observation_dim=2, action_dim=2, with_actions=True)
DENOISER = DenoiserConfig(width=8, depth=1, num_diffusion_steps=8)
WIDE = replace(DENOISER, width=64)
CONFIG = TrainingConfig(num_steps=30, batch_size=4, num_warmup=3, checkpoint_every=8)
KILLED_AT_STEP_20 = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from test_training import train

def report(done, **figures):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)

train(sys.argv[1], report=report)
"""


def train(folder: Path | str, *, denoiser=DENOISER, config=CONFIG, **options) -> Diffuser:
    return train_diffuser(
        random_walks(), SPEC, folder, denoiser_config=denoiser, config=config, **options
    )


def test_guides_and_networks_may_be_named_or_given() -> None:
    assert SamplingConfig(guide=NoisyGuide) == SamplingConfig(guide="noisy")  # pyright: ignore
    given = DenoiserConfig(network=ResidualMLP)  # pyright: ignore
    assert given == DenoiserConfig(network="mlp")


def test_a_finished_training_of_an_earlier_version_is_gone_on_from(tmp_path: Path) -> None:
    """Its checkpoint tells no settings of its steps, so none can be refused."""
    ended = train(tmp_path)
    with safe_open(tmp_path / STATE, framework="pt") as file:
        told, tensors = file.metadata(), load_file(tmp_path / STATE)
    facts = json.loads(told["facts"])
    assert facts.pop("settings")
    save_file(tensors, tmp_path / STATE, told | {"facts": json.dumps(facts)})
    assert_same_weights(train(tmp_path), ended)


def moved_by(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(weights) for group in optimizer.param_groups for weights in group["params"]}


def assert_same_weights(ours: Diffuser, theirs: Diffuser) -> None:
    for name, weight in ours.denoiser.state_dict().items():
        assert torch.equal(weight, theirs.denoiser.state_dict()[name]), name


def assert_same_states(ours: Path, theirs: Path) -> None:
    """Weights, averages and the optimiser's moments are the same to the bit."""
    expected = load_file(theirs)
    assert list(load_file(ours)) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in load_file(ours).items())


def test_training_killed_and_started_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    run_python(KILLED_AT_STEP_20, tmp_path / "killed", expect=-signal.SIGKILL)
    assert (tmp_path / "killed" / STATE).exists()
    assert not (tmp_path / "killed" / "config.json").exists()
    resumed = []
    diffuser = train(tmp_path / "killed", report=lambda done, **figures: resumed.append(done))
    assert resumed == [20, 30]
    assert_same_weights(diffuser, train(tmp_path / "whole"))
    assert_same_states(tmp_path / "killed" / STATE, tmp_path / "whole" / STATE)


def test_training_with_muon_stopped_and_started_again_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    def stop(done: int, **figures: float) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", denoiser=WIDE, report=stop)
    names = load_file(tmp_path / "stopped" / STATE)
    assert {name.split(".")[1] for name in names if name.startswith("optimizer.")} == {
        "adam",
        "muon",
    }
    diffuser = train(tmp_path / "stopped", denoiser=WIDE)
    assert_same_weights(diffuser, train(tmp_path / "whole", denoiser=WIDE))
    assert_same_states(tmp_path / "stopped" / STATE, tmp_path / "whole" / STATE)


@pytest.mark.parametrize(("shape", "is_hidden"), [((64, 64), True), ((63, 64), False)])
def test_muon_moves_the_hidden_matrices_and_adam_the_rest(
    shape: tuple[int, int], is_hidden: bool
) -> None:
    linear, convolution = nn.Linear(shape[1], shape[0]), nn.Conv1d(64, 64, 3)
    optimizers = build_optimizers(nn.Sequential(linear, convolution), TrainingConfig())
    moved = {name: moved_by(optimizer) for name, optimizer in optimizers.items()}
    rest = {id(weights) for weights in (linear.bias, *convolution.parameters())}
    if is_hidden:
        assert moved == {"muon": {id(linear.weight)}, "adam": rest}
    else:
        assert moved == {"adam": rest | {id(linear.weight)}}


def test_adam_moves_everything_when_asked_to() -> None:
    network = WIDE.build(SPEC)[0]
    optimizers = build_optimizers(network, TrainingConfig(optimizer="adam"))
    assert list(optimizers) == ["adam"]
    assert moved_by(optimizers["adam"]) == {id(weights) for weights in network.parameters()}
    assert optimizers["adam"].param_groups[0]["betas"] == (0.9, 0.999)
    assert len(build_optimizers(network, TrainingConfig())) == 2


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_every_optimizer_moves_every_weight_and_lowers_the_loss(
    optimizer: str, tmp_path: Path
) -> None:
    losses, config = [], replace(CONFIG, num_steps=61, batch_size=32, optimizer=optimizer)
    fresh = train(tmp_path / "fresh", denoiser=WIDE, config=replace(config, learning_rate=0.0))
    diffuser = train(
        tmp_path / "trained",
        denoiser=WIDE,
        config=replace(config, learning_rate=3e-3),
        report=lambda done, **f: losses.extend(f.values()),
    )
    assert losses[-1] < 0.8 * losses[0]
    before = dict(fresh.denoiser.named_parameters())
    for name, weights in diffuser.denoiser.named_parameters():
        assert not torch.equal(weights, before[name]), name


def test_an_unknown_optimizer_is_refused() -> None:
    with refused(SettingsError, place="optimizer", value="sgd", remedy="muon or adam"):
        TrainingConfig(optimizer="sgd")


def test_training_stopped_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    def stop(done: int, **figures: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", report=stop)
    assert_same_weights(train(tmp_path / "stopped"), train(tmp_path / "whole"))


def test_the_curve_of_resumed_training_shows_every_step_once(tmp_path: Path) -> None:
    train(tmp_path, config=replace(CONFIG, num_steps=23, checkpoint_every=20))
    (tmp_path / STATE).unlink()
    time.sleep(1.1)  # TensorBoard orders its files by the second
    losses = {}
    train(tmp_path, report=lambda done, **figures: losses.update({done: figures}))
    assert [step for step, _ in logged_losses(tmp_path)] == [0, 20]
    assert dict(logged_losses(tmp_path))[20] == pytest.approx(losses[20]["loss"])


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    tmp_path.joinpath(f".{STATE}.writing").write_bytes(b"half")
    assert_same_weights(train(tmp_path), train(tmp_path / "whole"))


def test_training_that_is_over_is_left_as_it_is(tmp_path: Path) -> None:
    first = train(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    assert_same_weights(train(tmp_path), first)
    assert (tmp_path / STATE).read_bytes() == before


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses = []
    config = replace(CONFIG, num_steps=121, batch_size=32, learning_rate=1e-2)
    train(tmp_path, config=config, report=lambda done, **f: losses.extend(f.values()))
    assert losses[-1] < 0.8 * losses[0]


def test_trained_plans_go_on_from_where_they_start(tmp_path: Path) -> None:
    """The play data stands still, each episode somewhere else; so must the plans."""
    places = torch.rand((100, 1, 2), generator=seeded()).double().numpy()
    still = [Episode(place.repeat(7, axis=0), place.repeat(6, axis=0)) for place in places]
    diffuser = train_diffuser(
        Dataset(still),
        replace(SPEC, horizon=3),
        tmp_path,
        denoiser_config=replace(DENOISER, width=16),
        config=replace(CONFIG, num_steps=400, batch_size=64, learning_rate=1e-2),
    )
    first = torch.tensor([[-0.8, 0.7], [0.5, 0.5], [0.6, -0.9]])
    plans = diffuser.sample_plans(first, SamplingConfig(num_steps=4), generator=seeded())
    assert (plans.unflatten(-1, (3, 2)) - first[:, None, None]).abs().max() < 0.2


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    config = replace(CONFIG, num_steps=2)
    ours, theirs = (
        train(tmp_path / str(seed), config=replace(config, seed=seed)).denoiser.state_dict()
        for seed in (0, 1)
    )
    assert not torch.equal(ours["network.embed.weight"], theirs["network.embed.weight"])


def test_divergence_is_an_error_and_the_last_good_checkpoint_is_kept(tmp_path: Path) -> None:
    train(tmp_path, config=replace(CONFIG, num_steps=8))
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(DivergedError, match=r"step 9: loss (nan|inf), .*kept in .*below 1e\+38$"):
        train(tmp_path, config=replace(CONFIG, learning_rate=1e38))
    assert (tmp_path / STATE).read_bytes() == before
    train(tmp_path)


def test_divergence_before_the_first_checkpoint_does_not_speak_of_one(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"there was no checkpoint in .* yet: run again with"):
        train(tmp_path, config=replace(CONFIG, learning_rate=1e30, num_warmup=1))
    assert not (tmp_path / STATE).exists()


def test_an_infinite_gradient_of_a_finite_loss_is_divergence(tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rate=1e7, num_warmup=1, checkpoint_every=1)
    with pytest.raises(DivergedError, match=r"loss \d\S*, gradient norm (inf|nan)"):
        train(tmp_path, config=config)
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / STATE).values())


def test_every_gradient_step_sees_other_windows_and_noise(tmp_path: Path) -> None:
    losses = []
    config = replace(CONFIG, num_steps=41, learning_rate=0.0)
    train(tmp_path, config=config, report=lambda done, **f: losses.extend(f.values()))
    assert len(set(losses)) == 3


@pytest.mark.parametrize("with_actions", [True, False])
def test_only_the_actions_after_the_first_observation_get_their_weight(
    with_actions: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watching(*arguments, importance: torch.Tensor, **options) -> torch.Tensor:
        seen.append(importance)
        return denoising_loss(*arguments, importance=importance, **options)

    monkeypatch.setattr(diffusion_training, "denoising_loss", watching)
    spec, config = replace(SPEC, with_actions=with_actions), replace(CONFIG, num_steps=2)
    config = replace(config, action_weight=5.0, num_inverse_dynamics_steps=1)
    train_diffuser(random_walks(), spec, tmp_path, denoiser_config=DENOISER, config=config)
    expected = torch.ones(4, spec.transition_dim)
    expected[0, 2:] = 5.0  # there is nothing behind the observation without actions
    assert len(seen) == 2
    assert all(torch.equal(importance, expected) for importance in seen)


def test_an_action_weight_below_zero_is_refused() -> None:
    with refused(SettingsError, place="action_weight", value=-1.0, remedy="at least 0"):
        TrainingConfig(action_weight=-1.0)


@pytest.mark.parametrize("network", ["transformer", "mlp", "unet"])
def test_training_without_warm_up_is_allowed(network: str, tmp_path: Path) -> None:
    denoiser = replace(DENOISER, network=network, multipliers=(1, 2))
    config = replace(CONFIG, num_steps=2, num_warmup=0, normalizer="gaussian")
    diffuser = train(tmp_path, denoiser=denoiser, config=config)
    assert all(torch.isfinite(weight).all() for weight in diffuser.denoiser.parameters())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"width": 16}, "denoiser"),
        ({"parameterization": "noise"}, "denoiser"),
        ({"num_diffusion_steps": 9}, "denoiser"),
        ({"seed": 1}, "training"),
        ({"normalizer": "gaussian"}, "training"),
        ({"batch_size": 5}, "training"),
        ({"optimizer": "adam"}, "training"),
        ({"action_weight": 2.0}, "training"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    changes: dict, name: str, tmp_path: Path
) -> None:
    train(tmp_path, config=replace(CONFIG, num_steps=1))
    architecture = name == "denoiser"
    place = f"{tmp_path / STATE}: {name}"
    with refused(CheckpointError, place=place, remedy="another folder") as caught:
        train(
            tmp_path,
            denoiser=replace(DENOISER, **changes) if architecture else DENOISER,
            config=CONFIG if architecture else replace(CONFIG, **changes),
        )
    before, now = caught.value.value
    assert {key: value for key, value in now.items() if value != before[key]} == changes


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    config = replace(CONFIG, num_steps=1)
    train(tmp_path, config=config)
    prints = random_walks().fingerprint, random_walks(seed=1).fingerprint
    with refused(CheckpointError, place=f"{tmp_path / STATE}: play data", value=prints):
        train_diffuser(
            random_walks(seed=1), SPEC, tmp_path, denoiser_config=DENOISER, config=config
        )


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / STATE)
    prints = None, random_walks().fingerprint
    with refused(CheckpointError, place=f"{tmp_path / STATE}: play data", value=prints):
        train(tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"damaged")
    with refused(CheckpointError, place=str(tmp_path / STATE), remedy="save it again"):
        train(tmp_path)


def test_a_saved_diffuser_gives_the_same_plans_in_a_fresh_process(
    tmp_path: Path, diffuser: Diffuser
) -> None:
    code = """
import json, sys
import torch
from tiny import seeded
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
torch.set_num_threads(1)
diffuser = Diffuser.load(sys.argv[1])
first = torch.zeros(2, diffuser.spec.observation_dim)
plans = diffuser.sample_plans(first, SamplingConfig(num_steps=3), generator=seeded())
print(json.dumps(plans.tolist()))
"""
    printed = json.loads(run_python(code, diffuser.save(tmp_path / "diffuser")))
    plans = diffuser.sample_plans(
        torch.zeros(2, 2), SamplingConfig(num_steps=3), generator=seeded()
    )
    assert torch.equal(torch.tensor(printed), plans)


@pytest.mark.parametrize("with_actions", [False, True])
@pytest.mark.parametrize("network", ["transformer", "mlp", "unet"])
def test_a_saved_diffuser_comes_back_equal(
    with_actions: bool, network: str, tmp_path: Path
) -> None:
    config = DenoiserConfig(network, width=8, depth=1, multipliers=(1, 2), num_diffusion_steps=8)
    diffuser = tiny_diffuser(replace(SPEC, with_actions=with_actions), config=config)
    back = Diffuser.load(diffuser.save(tmp_path))
    for name in ("spec", "config", "schedule", "provenance"):
        assert getattr(back, name) == getattr(diffuser, name)
    assert_same_weights(back, diffuser)
    assert torch.equal(back.normalizer.scale, diffuser.normalizer.scale)
    assert (back.inverse_dynamics is None) == with_actions
    assert not any(weight.requires_grad for weight in back.denoiser.parameters())


def test_a_diffuser_that_does_not_fit_its_configuration_is_refused(
    tmp_path: Path, diffuser: Diffuser
) -> None:
    config = json.loads((diffuser.save(tmp_path) / "config.json").read_text())
    config["spec"]["horizon"] = 6
    (tmp_path / "config.json").write_text(json.dumps(config))
    with refused(CheckpointError, place=str(tmp_path), remedy="save it again"):
        Diffuser.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        ("network", UnknownPartError, "networks"),
        ("parameterization", SettingsError, "parameterization"),
    ],
)
def test_an_unknown_part_of_a_denoiser_is_refused(
    name: str, kind: type[RefusedError], place: str
) -> None:
    with refused(kind, place=place, value="magic", remedy="choose"):
        replace(DENOISER, **{name: "magic"}).build(SPEC)

"""Learn a reward by differentiating through guided sampling (Oliveira 2024, the algorithm).

    for each batch of demonstration windows d_1..d_B:
        s_b  <- first observation of d_b
        x_b  <- guided plan from s_b          # differentiable in phi through every step
        loss <- objective({x_b}, {d_b})
        phi  <- Adam step on d loss / d phi   # second order: the guide is itself a gradient

The denoiser is frozen. :func:`~trailward.learning.problem.matching_loss` is the first three lines,
:func:`_learn` the rest.

The plans of one round are guided by the reward alone, so the reward must also lead round corners.
With several rounds, a value that knows the ways of the play data (:mod:`trailward.rewards.value`)
is fitted to the reward after each, and guides beside it in the next: the reward is left to say
where it is good to be. Planning uses the reward and the value of the last round.
"""

import copy
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trailward.checkpoint import check_of_finished, load_state, save_state
from trailward.data.dataset import Dataset, Windows, agreed_columns
from trailward.data.entries import entry_numbers
from trailward.data.episode import Columns
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fine_tuning import tune_diffuser
from trailward.diffusion.training import DivergedError
from trailward.interruption import Checkpoints
from trailward.learning.learnt_reward import TUNED, LearntReward
from trailward.learning.problem import LearningConfig, MatchingProblem, check_learning_memory
from trailward.logs import CurveLog
from trailward.progress import Report
from trailward.rewards.ensemble import EnsembleReward
from trailward.rewards.known_region import find_known_region
from trailward.rewards.memory import fit_memory
from trailward.rewards.models import AdditiveReward, RewardConfig, StagedReward
from trailward.rewards.value import RewardToGo, Value
from trailward.typing import PerPlan, Plans

STATE = "learning.safetensors"
_OF_STEPS = ("num_steps", "learning_rate", "weight_decay", "max_gradient_norm")
_MAY_CHANGE = (
    *_OF_STEPS,
    "adjoint", "evaluate_every", "patience", "diverged_norm",
    "scale_factors", "stop_steps", "tuning",
)  # fmt: skip
_OF_EXPERTS = ("num_expert_steps", "expert_learning_rate")


def learn_reward(
    diffuser: Diffuser,
    demonstrations: Dataset,
    folder: str | os.PathLike[str],
    *,
    play: Dataset | None = None,
    reward_config: RewardConfig = RewardConfig(),
    sampling: SamplingConfig = SamplingConfig(),
    config: LearningConfig = LearningConfig(),
    report: Report = lambda done, **figures: None,
    provenance: Mapping[str, Any] | None = None,
) -> LearntReward:
    """Learn a reward from demonstrations; started again in the same folder, it goes on exactly.

    The adjoint and what only matters when all is learnt may differ from before; so may the learning
    rate, the weight decay, the limits on gradients and the numbers of steps, as long as steps are
    left to do with them; nothing else.

    Args:
        diffuser: of the play data.
        demonstrations: environment units; they are normalised as the play data was.
        folder: gets the reward, the checkpoint and TensorBoard's ``logs``.
        play: play data, environment units; needed by a value (more than one round, or a
            ``value_discount``), by tuning, by a reward's local part, by ``starts`` elsewhere than
            at demonstrations, and by the objectives ``logit`` and ``relative_reward``. Given, it
            also tells a reward of single steps where it is known
            (:mod:`trailward.rewards.known_region`).
        reward_config: the reward model; ``staged`` becomes ``additive`` where remembering a place
            does not explain the demonstrations. With ``num_members``, the members of an ensemble
            are learnt side by side (:mod:`trailward.rewards.ensemble`).
        sampling: how plans are sampled and guided.
        config: how the reward is learnt.
        report: told the gradient steps done, those of tuning after those of learning, and losses.
        provenance: kept in the reward's configuration, beside ``config`` and how learning went.

    Returns:
        The reward with the weights that did best on the held-out demonstrations (the last ones,
        if none are held out). ``folder`` holds the best so far at all times.

    Raises:
        DivergedError: if a loss or gradient is not finite or too large; the folder keeps the
            last good reward and checkpoint. With a lower learning rate it goes on from there.
        DataError: if the demonstrations do not fit the diffuser.
        CheckpointError: if the folder's checkpoint is of other data, diffuser or settings.
        ValueError: if a setting is unknown, no demonstration would be left to learn from, or the
            settings need play data and there is none.
    """
    num_learnt = len(demonstrations.episodes) - config.num_held_out
    if num_learnt < 1:
        msg = (
            f"{config.num_held_out} of {len(demonstrations.episodes)} demonstrations are to be "
            "held out; at least one must remain to learn from"
        )
        raise ValueError(msg)
    if config.direct and config.direct.needs_play and play is None:
        msg = (
            f"objective is '{config.objective}', which compares demonstrations with play data; "
            "give play data, or choose 'dlsm' or an objective that samples plans"
        )
        raise ValueError(msg)
    learns_from_play = (
        config.num_rounds > 1
        or (reward_config.num_local and config.local_penalty)
        or config.starts != "demonstrations"
        or config.value_discount > 0
        or (config.direct is not None and config.direct.needs_play)
    )
    if (learns_from_play or config.tuning.num_steps) and play is None:
        msg = (
            f"num_rounds is {config.num_rounds}, num_local {reward_config.num_local}, starts "
            f"'{config.starts}', value_discount {config.value_discount}, tuning.num_steps "
            f"{config.tuning.num_steps}: a value, a local part, starts elsewhere and tuning need "
            "play data; give it, or set them to 1, 0, 'demonstrations', 0 and 0"
        )
        raise ValueError(msg)
    columns = agreed_columns(
        {
            "the diffuser's play data": diffuser.columns,
            "the play data": Columns() if play is None else play.columns,
            "the demonstrations": demonstrations.columns,
        }
    )
    if reward_config.features is not None and not all(
        isinstance(each, int) for each in reward_config.features
    ):
        count, names = diffuser.spec.observation_dim, columns.observations
        numbers = entry_numbers(reward_config.features, names, count, what="features")
        reward_config = replace(reward_config, features=numbers)
    check_learning_memory(diffuser, sampling, config, reward_config.num_members)
    folder = Path(folder)
    kept = Dataset(demonstrations.episodes[:num_learnt])
    with torch.random.fork_rng(devices=[]):
        began = time.perf_counter()
        model, built, explained = _build_reward(reward_config, kept, diffuser, config.seed)
        num_stages = 2 if isinstance(model, StagedReward) else 1
        value = Value(diffuser.spec, num_stages=num_stages) if config.num_rounds > 1 else None
    kinds = AdditiveReward | EnsembleReward
    kinds = kinds if config.value_discount else kinds | StagedReward
    if (config.value_discount or value is not None) and not isinstance(model, kinds):
        msg = (
            f"a value (num_rounds {config.num_rounds}, value_discount {config.value_discount}) "
            f"needs a reward of single observations, a discounted one an additive reward; "
            f"'{built.model}' is none: use 'additive'"
        )
        raise ValueError(msg)
    if isinstance(model, StagedReward) and config.starts != "demonstrations":
        msg = (
            f"starts is '{config.starts}', but a reward that remembers needs plans to start as "
            "demonstrations do: choose 'demonstrations'"
        )
        raise ValueError(msg)
    if isinstance(model, StagedReward) and config.direct:
        msg = (
            f"objective is '{config.objective}', but the demonstrations call for a reward that "
            "remembers, which is learnt from sampled plans only: choose 'mmd_gaussian' or another "
            "that samples plans, or the reward model 'additive'"
        )
        raise ValueError(msg)
    if value is not None:
        value.to(diffuser.device).requires_grad_(requires_grad=False)
    model.to(diffuser.device)
    facts = {"step": 0, "round": 0, "best_loss": float("inf"), "best_step": 0, "seconds": 0.0}
    facts |= explained
    preparing = time.perf_counter() - began
    problem = MatchingProblem(
        diffuser,
        Windows(demonstrations, diffuser.spec),
        Windows(play, diffuser.spec) if learns_from_play and play else None,
        num_learnt,
        sampling,
        config,
        built.num_members,
    )
    learnt = LearntReward(
        copy.deepcopy(model).requires_grad_(requires_grad=False),
        diffuser.spec,
        diffuser.observation_normalizer,
        diffuser.action_normalizer,
        built,
        sampling,
        diffuser.fingerprint,
        {
            **(provenance or {}),
            "objective": config.objective,
            "learning": asdict(config),
            "learnt": facts,
        },
        value,
        columns=columns,
    )
    ignored = _MAY_CHANGE if config.objective == "relative_reward" else _MAY_CHANGE + _OF_EXPERTS
    identity = {
        "play data": play.fingerprint if learns_from_play and play else None,
        "demonstrations": demonstrations.fingerprint,
        "diffuser": diffuser.fingerprint,
        "reward": asdict(reward_config),
        "sampling": asdict(sampling),
        "learning": {k: v for k, v in asdict(config).items() if k not in ignored},
    }
    _learn(problem, model, learnt, facts, folder, identity, report)
    began = time.perf_counter()
    learnt = _to_plan_with(problem, learnt, play, kept, folder, report)
    if play is not None and learnt.is_additive:
        recorded = problem.play or Windows(play, diffuser.spec)
        region = find_known_region(
            learnt.model, diffuser.normalizer, recorded, problem.windows, seed=config.seed
        )
        learnt = replace(learnt, known_region=region)
    facts["seconds"] += preparing + time.perf_counter() - began
    learnt.save(folder)
    return learnt


def _to_plan_with(
    problem: MatchingProblem,
    learnt: LearntReward,
    play: Dataset | None,
    demonstrations: Dataset,
    folder: Path,
    report: Report,
) -> LearntReward:
    """The reward with what the settings want for planning: value, sampling, tuned diffuser."""
    config = problem.config
    if config.value_discount:
        learnt = replace(learnt, value=problem.discounted_value(learnt.model))
    learnt = replace(learnt, sampling=problem.best_sampling(learnt.guide_model))
    if not config.tuning.num_steps or play is None:
        return learnt
    tuned = tune_diffuser(
        problem.diffuser,
        learnt.mean_reward,
        play,
        demonstrations,
        folder / TUNED,
        config=config.tuning,
        seed=config.seed,
        report=lambda done, **figures: report(config.num_steps + done, **figures),
    )
    return replace(learnt, tuned=tuned)


def _build_reward(
    config: RewardConfig, demonstrations: Dataset, diffuser: Diffuser, seed: int
) -> tuple[nn.Module, RewardConfig, dict[str, float]]:
    """A fresh reward model for demonstrations; a staged one only where they call for a memory.

    With it come the configuration that builds it, and how well a memory explains the
    demonstrations: ``memory_error`` and ``memory_error_without`` of ``staged``, else nothing.
    """
    spec = diffuser.spec
    model = replace(config, num_members=1).build(spec, seed=seed)
    if not isinstance(model, StagedReward):
        return config.build(spec, seed=seed), config, {}
    memory = model.memory
    found = fit_memory(
        demonstrations,
        spec,
        diffuser.observation_normalizer,
        features=memory.features.tolist(),
        radius=memory.radius,
    )
    facts = {"memory_error": found.error, "memory_error_without": found.error_without}
    if found.place is not None and found.is_needed:
        if config.num_members > 1:
            msg = (
                f"num_members is {config.num_members}, but these demonstrations call for a reward "
                "that remembers, and an ensemble is of additive ones; set it to 1, or learn an "
                "'additive' reward"
            )
            raise ValueError(msg)
        memory.place.copy_(found.place)
        return model, config, facts
    config = replace(config, model="additive")
    return config.build(spec, seed=seed), config, facts


def _learn(
    problem: MatchingProblem,
    model: nn.Module,
    learnt: LearntReward,
    facts: dict[str, Any],
    folder: Path,
    identity: Mapping[str, Any],
    report: Report,
) -> None:
    config = problem.config
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    modules = {"reward": model, "best": learnt.model}
    kept: dict[str, Any] = {
        "modules": modules | ({"value": learnt.value} if learnt.value else {}),
        "optimizers": {"adam": optimizer},
        "identity": identity,
    }
    settings = {name: getattr(config, name) for name in _OF_STEPS}
    if (folder / STATE).exists():
        before = load_state(folder / STATE, **kept, like=facts | {"settings": {}})
        used = before.pop("settings", {})
        facts |= before
        done, waited = facts["step"], _out_of_patience(config, facts)
        if done >= config.num_steps or waited:
            remedy = "more patience" if waited else f"a num_steps above {done}"
            check_of_finished(folder / STATE, done, used, settings, remedy=remedy)
    began = time.perf_counter() - facts["seconds"]
    due = Checkpoints(config.evaluate_every, config.num_steps)
    with CurveLog(folder, purge_step=facts["step"]) as log, due:
        while facts["step"] < config.num_steps and not _out_of_patience(config, facts):
            step = facts["step"]
            played, share = divmod(step * config.num_rounds, config.num_steps)
            played = max(played, facts["round"])  # more steps may be asked for on resuming
            if played > facts["round"] and learnt.value:
                problem.fit_value(model, learnt.value)
                facts |= {"round": played, "best_loss": float("inf"), "best_step": step}
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (1 - 0.9 * share / config.num_steps)
            guide = model if config.direct else _guide_model(model, learnt, facts, apart=True)
            total = problem.loss(guide, step)
            optimizer.zero_grad()
            (total + problem.penalty(model, step)).backward()
            loss, norm = total.item() / problem.num_members, _clip(model, config.max_gradient_norm)
            _check(loss, norm, step, folder, config)
            optimizer.step()
            facts["step"] = step + 1
            log.add_scalar("learn/loss", loss, step)
            log.add_scalar("learn/gradient_norm", norm, step)
            report(step + 1, loss=loss)
            is_judged = (step + 1) % config.evaluate_every == 0 or step + 1 == config.num_steps
            if is_judged:
                _judge(problem, model, learnt, facts, log)
            if due.due(step + 1):
                log.flush()
                facts["seconds"] = time.perf_counter() - began
                has_state = (folder / STATE).exists()  # a reward must never be without one
                if is_judged and has_state:
                    _save_best(learnt, facts, folder)
                save_state(folder / STATE, **kept, facts=facts | {"settings": settings})
                if is_judged and not has_state:
                    _save_best(learnt, facts, folder)
                due.stop_if_asked()
    waited = _out_of_patience(config, facts) and facts["step"] < config.num_steps
    why = f"patience ran out: the best was step {facts['best_step']}" if waited else ""
    report(facts["step"], **({"ended": why} if why else {}))


def _save_best(learnt: LearntReward, facts: Mapping[str, Any], folder: Path) -> None:
    """Save the best reward of the round, without the tuned diffuser of an earlier one."""
    fitted = facts["round"] > 0 or learnt.value is None
    (learnt if fitted else replace(learnt, value=None)).save(folder)
    shutil.rmtree(folder / TUNED, ignore_errors=True)


def _guide_model(
    model: nn.Module, learnt: LearntReward, facts: Mapping[str, Any], *, apart: bool = False
) -> Callable[[Plans], PerPlan]:
    """What guides plans now: from the second round on, the value too.

    An ensemble guides by its mean or, ``apart``, each part of the batch by its own member.
    """
    value = learnt.value if facts["round"] > 0 else None
    if apart and isinstance(model, EnsembleReward):
        return model.apart if value is None else RewardToGo(model.apart, value)
    return replace(learnt, model=model, value=value).guide_model


def _clip(model: nn.Module, max_norm: float) -> float:
    """Scale down the gradient of each member by itself; the largest norm there was."""
    parts = model.members if isinstance(model, EnsembleReward) else [model]
    norms = [nn.utils.clip_grad_norm_(part.parameters(), max_norm) for part in parts]
    return torch.stack(norms).max().item()


def _judge(
    problem: MatchingProblem,
    model: nn.Module,
    learnt: LearntReward,
    facts: dict,
    log: CurveLog,
) -> None:
    """Keep the weights if they do better on the held-out demonstrations than any in the round."""
    held_out = -float(facts["step"])
    if problem.config.num_held_out:
        held_out = problem.held_out_loss(_guide_model(model, learnt, facts))
        log.add_scalar("learn/held_out_energy", held_out, facts["step"])
    if held_out < facts["best_loss"]:
        facts |= {"best_loss": held_out, "best_step": facts["step"]}
        learnt.model.load_state_dict(model.state_dict())


def _out_of_patience(config: LearningConfig, facts: Mapping[str, Any]) -> bool:
    waited = facts["step"] - facts["best_step"]
    last_round = facts["round"] + 1 == config.num_rounds
    return last_round and facts["step"] > 0 and waited >= config.patience * config.evaluate_every


def _check(loss: float, norm: float, step: int, folder: Path, config: LearningConfig) -> None:
    if not norm <= config.diverged_norm or loss != loss:
        kept = f"the last good reward is kept in {folder}"
        if not (folder / STATE).exists():
            kept = f"no reward was good enough to keep in {folder} yet"
        msg = (
            f"learning diverged at step {step}: loss {loss:.3g}, gradient norm {norm:.3g} (limit "
            f"{config.diverged_norm:.3g}); {kept}: run again with a learning rate below "
            f"{config.learning_rate}, or begin anew in another folder with a smaller guide scale"
        )
        raise DivergedError(msg)

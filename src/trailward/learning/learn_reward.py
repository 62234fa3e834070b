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
where it is good to be. The weights kept are those that did best on the held-out demonstrations in
the last round, since planning needs its value.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trailward.checkpoint import RunFolder
from trailward.data.dataset import Dataset, Windows, agreed_columns
from trailward.data.episode import Columns, Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fitting import check_finite
from trailward.learning.config import LearningConfig
from trailward.learning.finish import finish
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.learning.run import OF_STEPS, LearningState, Run, lasting
from trailward.learning.selection import clip
from trailward.learning.validation import (
    check_combination,
    check_data,
    check_memory_of,
    needs_play,
    within_memory,
)
from trailward.objectives import DirectObjective, Objective, describe_objective, find_objective
from trailward.rewards.contract import RewardModel, RewardSettings, build_reward
from trailward.running.folders import own_if_any
from trailward.running.interruption import Checkpoints


def learn_reward(
    diffuser: Diffuser,
    demonstrations: Dataset,
    folder: str | os.PathLike[str] | None = None,
    *,
    play: Dataset | None = None,
    objective: str | Objective | DirectObjective = "mmd_gaussian",
    reward: RewardModel | RewardSettings | type[RewardModel] | str = "additive",
    sampling: SamplingConfig = SamplingConfig(),
    config: LearningConfig = LearningConfig(),
    on_step: Callable[[LearningState], bool | None] = lambda state: None,
    provenance: Mapping[str, Any] | None = None,
) -> LearntReward:
    """Learn a reward from demonstrations; started again in the same folder, it goes on exactly.

    On resuming you may change the adjoint, settings used after learning and, while steps remain,
    the number of steps, the learning rate, the weight decay, the patience and the limits on
    gradients. Anything else is refused.

    Args:
        diffuser: of the play data.
        demonstrations: environment units; they are normalised as the play data was.
        folder: gets the reward, the checkpoint and TensorBoard's ``logs``; if None, everything
            stays in memory.
        play: play data, environment units. It is required by a value, by fine-tuning, by a
            reward's penalty, by ``starts`` other than ``demonstrations``, by ``least_auc``, and by
            the objectives ``logit`` and ``relative_reward``. It also tells a reward of single steps
            where it is known (:mod:`trailward.rewards.known_region`).
        objective: what is minimised: a name (``mse``, ``mmd_gaussian``, ``mmd_matern``,
            ``mmd_matern32``, ``mmd_matern52``, ``energy``; or, sampling no plans, ``dlsm``,
            ``logit``, ``relative_reward``; or ``module:Name``), or an object.
        reward: a reward model, of which a copy is learnt; the settings of one; its class; or its
            name. A ``staged`` one becomes additive where remembering a place does not explain
            the demonstrations. The members of an ensemble are learnt side by side.
        sampling: how plans are sampled and guided.
        config: how the reward is learnt.
        on_step: told where learning is after each gradient step. Learning ends early, with the
            best reward so far, if it returns False or raises :class:`StopLearning`.
        provenance: kept in the reward's configuration, beside ``config`` and how learning went.

    Returns:
        The reward with the weights that did best on the held-out demonstrations (the last ones,
        if none are held out). ``folder`` holds the best so far at all times.

    Raises:
        DivergedError: if a loss or gradient is not finite or too large; the folder keeps the
            last good reward and checkpoint. With a lower learning rate it goes on from there.
        DataError: if the demonstrations do not fit the diffuser.
        CheckpointError: if the folder's checkpoint is of other data, diffuser or settings.
        FolderError: if the folder holds something else, or another process works in it.
        UnknownPartError: if no objective, or no kind of reward, has the name that is given.
        SettingsError: if settings do not go together, no demonstration would be left to learn
            from, or play data is needed and there is none.
    """
    began, objective = time.perf_counter(), find_objective(objective)
    columns = agreed_columns(
        {
            "the diffuser's play data": diffuser.columns,
            "the play data": Columns() if play is None else play.columns,
            "the demonstrations": demonstrations.columns,
        }
    )
    if isinstance(reward, RewardSettings):
        reward = reward.numbered(columns.observations, diffuser.spec.observation_dim)
    model, asked, figures = _prepare(
        reward, objective, diffuser, demonstrations, config, has_play=play is not None
    )
    check_memory_of(diffuser, sampling, objective, config, len(model.members()))
    num_learnt = len(demonstrations.episodes) - config.selection.num_held_out
    uses_play = play if needs_play(model, objective, config) else None
    problem = MatchingProblem(
        diffuser=diffuser,
        windows=Windows(demonstrations, diffuser.spec),
        num_learnt=num_learnt,
        play=None if uses_play is None else Windows(uses_play, diffuser.spec),
        objective=objective,
        sampling=sampling,
        config=config,
        num_members=len(model.members()),
    )
    facts = {**(provenance or {}), **_facts(objective, demonstrations.episodes[:num_learnt])}
    run = Run.begin(problem, model, figures, columns, facts)
    identity = {
        "play data": None if uses_play is None else uses_play.fingerprint,
        "demonstrations": demonstrations.fingerprint,
        "diffuser": diffuser.fingerprint,
        "objective": facts["objective"],
        "reward": asked,
        "sampling": asdict(sampling),
        "learning": lasting(config, objective),
    }
    place = None if folder is None else Path(folder)
    with own_if_any(place, "reward"):
        with run.files(place, identity) as files:
            run.resume(files)
            run.record.seconds += time.perf_counter() - began
            with Checkpoints(config.selection.evaluate_every, config.num_steps) as due:
                _learn(run, files, due, on_step)
            run.tell(on_step, None)
        kept = Dataset(demonstrations.episodes[:num_learnt])
        return finish(run, place, play, kept, on_step)


def _facts(objective: Objective | DirectObjective, shown: Sequence[Episode]) -> dict[str, Any]:
    """What is told of how a reward is learnt, and the fingerprints of what it is learnt from."""
    learnt_from = [episode.fingerprint for episode in shown]
    return {"objective": describe_objective(objective), "learnt_from": learnt_from}


def _prepare(
    reward: RewardModel | RewardSettings | type[RewardModel] | str,
    objective: Objective | DirectObjective,
    diffuser: Diffuser,
    demonstrations: Dataset,
    config: LearningConfig,
    *,
    has_play: bool,
) -> tuple[RewardModel, dict[str, Any], Mapping[str, float]]:
    """A fresh reward model for demonstrations, what was asked for, and what they told of it."""
    with torch.random.fork_rng(devices=[]), within_memory():
        fresh = build_reward(reward, diffuser.spec, seed=config.seed)
    asked, count = fresh.to_config(), len(demonstrations.episodes)
    check_data(fresh, objective, config, num_demonstrations=count, has_play=has_play)
    kept = Dataset(demonstrations.episodes[: count - config.selection.num_held_out])
    model, figures = fresh.prepared(kept, diffuser.observation_normalizer)
    check_combination(model, objective, config)
    return model.to(diffuser.device), asked, figures


def _learn(
    run: Run,
    files: RunFolder,
    due: Checkpoints,
    on_step: Callable[[LearningState], bool | None],
) -> None:
    """The loop of the module's docstring, with a look at held-out demonstrations now and then."""
    problem, model, config = run.problem, run.model, run.problem.config
    settings = {name: getattr(config, name) for name in OF_STEPS}
    began, goes_on = time.perf_counter() - run.record.seconds, True
    while goes_on and (not run.is_done or run.begins_anew(files)):
        step = run.record.step
        number, share = config.round_of(step)
        if number > run.record.round:  # not so if more steps were asked for on resuming
            run.begin_round(number)
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - 0.9 * share)
            group["weight_decay"] = run.record.weight_decay(config)
        is_direct = isinstance(problem.objective, DirectObjective)
        guide = model if is_direct else run.guide(model.separately())
        total = problem.loss(guide, step)
        run.optimizer.zero_grad()
        (total + problem.penalty(model, step)).backward()
        loss, norm = total.item() / problem.num_members, clip(model, config.max_gradient_norm)
        remedy = (
            f"{files.last_good('reward')}: run again with a learning rate below "
            f"{config.learning_rate}, or begin anew in another folder with a smaller guide scale"
        )
        check_finite("learning", loss, norm, step, limit=config.diverged_norm, remedy=remedy)
        run.optimizer.step()
        run.record.step = step + 1
        files.log(step, {"learn/loss": loss, "learn/gradient_norm": norm})
        goes_on = run.tell(on_step, loss)
        is_last = step + 1 == config.num_steps or not goes_on
        is_judged = is_last or (step + 1) % config.selection.evaluate_every == 0
        if is_judged:
            run.look(files)
        if due.due(step + 1) or is_judged:
            run.record.seconds = time.perf_counter() - began
            run.keep(files, settings, is_judged=is_judged)
            due.stop_if_asked()

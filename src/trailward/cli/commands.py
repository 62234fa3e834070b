"""What each verb of the command line does; the same functions serve the demo and benchmarks."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trailward.acting.planner import Planner
from trailward.checkpoint import CheckpointError, provenance
from trailward.cli.collect import check_made_for, collect
from trailward.cli.config import (
    Benchmark,
    Demo,
    Evaluate,
    Export,
    Learn,
    Plan,
    Policies,
    Report,
    Train,
)
from trailward.cli.presets import PRESETS, Settings
from trailward.data.dataset import Dataset, agreed_columns, check_entries, read_dataset
from trailward.data.episode import DataError
from trailward.data.formats.table import TableLayout
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.training import train_diffuser
from trailward.environments.halfcheetah.environment import NetworkPolicy, ladder
from trailward.environments.halfcheetah.evaluation import demonstrator_of, evaluate_on_halfcheetah
from trailward.environments.pointmaze.evaluation import evaluate_in_maze
from trailward.environments.pointmaze.maze import parse_maze, parse_task
from trailward.interop.exported import export_reward
from trailward.judging.evaluation import Evaluation, EvaluationConfig, plan_observations
from trailward.judging.place_map import read_walls
from trailward.judging.without_truth import judge_without_truth
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.progress import progress
from trailward.report.page import write_report
from trailward_benchmark.grid import Grid, run_grid
from trailward_benchmark.policies import package_policies, train_policies
from trailward_benchmark.report import write_grid_report

Say = Callable[[str], None]


def policies(command: Policies, say: Say) -> list[NetworkPolicy]:
    """Train policies, or go on training them, and choose a ladder among their snapshots."""
    with progress("training", command.training.num_steps) as report:
        train_policies(command.training, command.out, report)
    chosen = package_policies(
        command.out,
        command.out / "ladder",
        num=command.num_policies,
        provenance=provenance(command.training.seed, training=asdict(command.training)),
    )
    for policy in chosen:
        found = policy.facts["return"]
        say(f"step {policy.facts['step']:>9,}: return {found['mean']:.0f} +- {found['std']:.0f}")
    say(f"{len(chosen)} policies -> {command.out / 'ladder'}")
    return chosen


def train(command: Train, say: Say) -> Diffuser:
    """Train a diffuser, or go on training it."""
    play = read_dataset(command.play, command.table)
    spec = PlanSpec(
        command.horizon, command.stride, play.observation_dim, play.action_dim, command.with_actions
    )
    facts = provenance(
        command.training.seed, play=play.provenance, training=asdict(command.training)
    )
    with progress("training", command.training.num_steps) as report:
        diffuser = train_diffuser(
            play,
            spec,
            command.out,
            denoiser_config=command.denoiser,
            config=command.training,
            device=_device(command.device),
            report=report,
            provenance=facts,
        )
    say(f"diffuser -> {command.out}")
    return diffuser


def learn(command: Learn, say: Say) -> LearntReward:
    """Learn a reward, or go on learning it."""
    diffuser = Diffuser.load(model_folder(command.diffuser), device=_device(command.device))
    demonstrations = _read(command.demonstrations, diffuser.spec, command.table)
    play = None if command.play is None else _read(command.play, diffuser.spec, command.table)
    facts = provenance(
        command.learning.seed,
        demonstrations=demonstrations.provenance,
        diffuser=command.diffuser,
    )
    reward = command.reward
    if command.ensemble is not None:
        reward = replace(reward, num_members=command.ensemble)
    began = time.perf_counter()
    total = command.learning.num_steps + command.learning.tuning.num_steps
    with progress("learning", total) as report:
        learnt = learn_reward(
            diffuser,
            demonstrations,
            command.out,
            play=play,
            reward_config=reward,
            sampling=command.sampling,
            config=command.learning,
            report=report,
            provenance=facts,
        )
    say(f"reward -> {command.out} in {time.perf_counter() - began:.0f} s")
    return learnt


def plan(command: Plan, say: Say) -> list[list[list[float]]]:
    """Sample plans and say their observations as JSON."""
    diffuser = Diffuser.load(model_folder(command.diffuser))
    expected = diffuser.spec.observation_dim
    if len(command.start) != expected:
        msg = f"start has {len(command.start)} entries; the diffuser's observations have {expected}"
        raise ValueError(msg)
    learnt = None if command.reward is None else _load_reward(command.reward, diffuser)
    if learnt is None:
        sampling = SamplingConfig(num_steps=min(8, diffuser.schedule.num_steps))
        planner = Planner(diffuser, sampling, replan_every=1, seed=command.seed)
    else:
        config = EvaluationConfig(replan_every=1, seed=command.seed)
        planner = config.planner(diffuser, learnt, guided=True)
    plans = planner.plan(np.tile(np.array(command.start), (command.num_plans, 1)))
    points = plan_observations(diffuser, plans).tolist()
    say(json.dumps({"stride": diffuser.spec.stride, "plans": points}))
    return points


def evaluate(command: Evaluate, say: Say) -> dict[str, Any]:
    """Judge a reward; writes figures as JSON and arrays for the report."""
    judge = {
        "maze": _evaluate_in_maze,
        "halfcheetah": _evaluate_on_halfcheetah,
        "none": _evaluate_without_truth,
    }
    evaluation = judge[command.environment](command, lambda name: say(f"evaluating: {name}"))
    command.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(command.out / "evaluation.npz", allow_pickle=False, **evaluation.arrays)
    path = command.out / "evaluation.json"
    path.write_text(json.dumps(evaluation.figures, indent=2) + "\n", encoding="utf-8")
    for warning in evaluation.figures.get("warnings", {}).values():
        say(f"warning: {warning}")
    say(f"figures -> {path}")
    return evaluation.figures


def _evaluate_in_maze(command: Evaluate, stage: Say) -> Evaluation:
    task = parse_task(command.task, parse_maze(command.maze))
    diffuser = Diffuser.load(model_folder(command.diffuser))
    learnt = _load_reward(command.reward, diffuser)
    play, demonstrations = _read_to_judge(command, learnt)
    check_made_for(play.provenance, "the play data", maze=command.maze)
    check_made_for(
        demonstrations.provenance, "the demonstrations", maze=command.maze, task=command.task
    )
    return evaluate_in_maze(
        learnt,
        diffuser,
        task,
        play,
        demonstrations,
        command.evaluation,
        stage=stage,
    )


def _evaluate_on_halfcheetah(command: Evaluate, stage: Say) -> Evaluation:
    diffuser = Diffuser.load(model_folder(command.diffuser))
    learnt = _load_reward(command.reward, diffuser)
    play, demonstrations = _read_to_judge(command, learnt)
    return evaluate_on_halfcheetah(
        learnt,
        diffuser,
        play,
        demonstrations,
        command.evaluation,
        demonstrator=demonstrator_of(demonstrations, ladder(command.policies)),
        stage=stage,
    )


def _evaluate_without_truth(command: Evaluate, stage: Say) -> Evaluation:
    diffuser = Diffuser.load(model_folder(command.diffuser))
    learnt = _load_reward(command.reward, diffuser)
    play, demonstrations = _read_to_judge(command, learnt)
    return judge_without_truth(
        learnt,
        diffuser,
        play,
        demonstrations,
        command.evaluation,
        walls=None if command.walls is None else read_walls(command.walls),
        stage=stage,
    )


def report(command: Report, say: Say) -> Path:
    """Write the page and its pictures."""
    page = write_report(command.evaluation, command.out, reward_folder=command.reward)
    say(f"report -> {page}")
    return page


def export(command: Export, say: Say) -> Path:
    """Write a learnt reward as one file.

    Raises:
        ValueError: if it cannot be told step by step.
    """
    learnt = LearntReward.load(command.reward)
    try:
        learnt.check_of_transitions()
        learnt = learnt.pessimistic() if command.pessimistic else learnt
    except (TypeError, ValueError) as error:
        raise ValueError(f"{command.reward}: {error}") from None
    path = export_reward(learnt, command.out)
    say(f"exported reward -> {path}")
    return path


def benchmark(command: Benchmark, say: Say) -> Path:
    """Run what is missing of a grid, and write what there is of it as a page."""
    grid = Grid.of(command)
    try:
        run_grid(grid, command, say)
    finally:
        page = write_grid_report(grid)
        say(f"report -> {page}")
    return page


def demo(command: Demo, say: Say) -> dict[str, Any]:
    """The whole job. Data is kept, training and learning go on; judging is done again.

    Raises:
        DataError: if the folder holds a demo with other settings.
    """
    settings = PRESETS[command.preset]
    settings = settings.quick() if command.quick else settings
    out, seed = command.out, command.seed
    trains = command.from_scratch or settings.packaged is None
    replace(settings.learning, objective=command.objective)  # refuses one that is unknown
    in_maze = settings.play.environment == "maze"
    if in_maze:
        parse_task(command.task, parse_maze(settings.play.maze))
    _claim(out, {"preset": command.preset, "quick": command.quick, "seed": seed, "trains": trains})
    slug = command.task.replace(":", "-").replace(",", "-") if in_maze else "running"
    play, demonstrations = out / "play-v0", out / f"demonstrations-{slug}-v0"
    if not play.exists():
        asked = settings.play.num_steps or 200_000
        job = replace(settings.play, num_steps=asked if trains else min(200_000, asked))
        play_seed = seed if trains else seed + 100  # not what the packaged diffuser has seen
        collect(replace(job, out=play, seed=play_seed), say)
    if not demonstrations.exists():
        job = replace(settings.demonstrations, out=demonstrations, task=command.task)
        collect(replace(job, seed=seed + 1), say)
    diffuser = str(out / "diffuser") if trains else str(settings.packaged)
    if trains:
        train(train_command(settings, str(play), Path(diffuser), seed=seed), say)
    reward = out / f"reward-{slug}-{command.objective}"
    job = learn_command(
        settings,
        str(demonstrations),
        diffuser,
        reward,
        play=str(play),
        objective=command.objective,
        seed=seed,
    )
    learn(job, say)
    evaluation = evaluate_command(
        settings,
        reward,
        out / f"evaluation-{slug}-{command.objective}",
        diffuser,
        play=str(play),
        demonstrations=str(demonstrations),
    )
    figures = evaluate(evaluation, say)
    report(Report(evaluation.out, out / "report", reward), say)
    return figures


def train_command(settings: Settings, play: str, out: Path, *, seed: int) -> Train:
    """The training that a preset stands for."""
    return Train(
        play,
        out,
        horizon=settings.horizon,
        stride=settings.stride,
        with_actions=settings.with_actions,
        denoiser=settings.denoiser,
        training=replace(settings.training, seed=seed),
    )


def learn_command(
    settings: Settings,
    demonstrations: str,
    diffuser: str,
    out: Path,
    *,
    play: str,
    objective: str,
    seed: int,
) -> Learn:
    """The learning that a preset stands for."""
    return Learn(
        demonstrations,
        out,
        diffuser=diffuser,
        play=play,
        reward=settings.reward,
        sampling=settings.sampling,
        learning=replace(settings.learning, objective=objective, seed=seed),
    )


def evaluate_command(
    settings: Settings, reward: Path, out: Path, diffuser: str, *, play: str, demonstrations: str
) -> Evaluate:
    """The evaluation that a preset stands for, of the task that was demonstrated."""
    task = read_dataset(demonstrations).provenance.get("task", Evaluate.task)
    return Evaluate(
        reward,
        play,
        demonstrations,
        out,
        diffuser,
        settings.play.maze,
        task,
        settings.play.environment,
        evaluation=settings.evaluation,
    )


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Mark a folder as a demo's, and refuse one that was made with other settings."""
    mark = folder / "demo.json"
    if mark.exists() and json.loads(mark.read_text(encoding="utf-8")) != settings:
        found = mark.read_text(encoding="utf-8").strip()
        msg = f"{folder} holds a demo with settings {found}; choose another --out, or remove it"
        raise DataError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(settings) + "\n", encoding="utf-8")


def _device(name: str) -> str:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device '{name}' cannot be used here: {reason}") from None
    return name


def _read(source: str, spec: PlanSpec, layout: TableLayout) -> Dataset:
    """A dataset of which plans can be made; an error names the source."""
    dataset = read_dataset(source, layout)
    try:
        check_entries(dataset, spec)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    return dataset


def _read_to_judge(command: Evaluate, learnt: LearntReward) -> tuple[Dataset, Dataset]:
    """Play data and demonstrations, of entries as the reward was learnt on."""
    play, demonstrations = (
        _read(source, learnt.spec, command.table)
        for source in (command.play, command.demonstrations)
    )
    columns = {command.play: play.columns, command.demonstrations: demonstrations.columns}
    agreed_columns({"what the reward was learnt from": learnt.columns, **columns})
    return play, demonstrations


def _load_reward(folder: Path, diffuser: Diffuser) -> LearntReward:
    learnt = LearntReward.load(folder)
    if learnt.diffuser_fingerprint != diffuser.fingerprint:
        msg = f"the reward in {folder} was learnt with another diffuser; plan with that one"
        raise CheckpointError(msg)
    return learnt

"""The verb ``collect``: record episodes where the command says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trailward.checkpoint import provenance
from trailward.cli.flags import Environment, Say
from trailward.data.dataset import Dataset, free_folder, write_dataset
from trailward.data.episode import MAX_SEED, DataError, at_least, at_most
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.halfcheetah import environment as halfcheetah
from trailward.environments.halfcheetah.data import COLLECTORS
from trailward.environments.pointmaze import maze
from trailward.environments.pointmaze.data import (
    collect_demonstrations,
    collect_play,
    guided_expert,
)
from trailward.environments.pointmaze.maze import parse_maze, parse_task
from trailward.folders import own_file
from trailward.limits import check_memory
from trailward.pretrained import model_folder
from trailward.progress import progress

_STEP_BYTES = 100
_MAZE_FLAGS = ["maze", "task", "demonstrator", "diffuser"]
_KINDS = {"maze": ["play", "demonstrations"], "halfcheetah": list(COLLECTORS)}


@dataclass(frozen=True)
class Collect:
    """Record episodes in a maze or of HalfCheetah and write them as a Minari dataset."""

    what: Literal["play", "demonstrations", "mixture", "medium", "expert", "runner-up"]
    """In a maze: play (aimless wandering) or demonstrations (a demonstrator at a task). Of
    HalfCheetah: play (all policies but the best, with noise), mixture (play and 3% as many
    episodes of the best), medium (a policy half as good, with noise), expert (the best) or
    runner-up (the best one that play has, without noise)."""
    out: Path
    """Folder of the dataset; '-v0' is appended if the name has no version."""
    maze: str = "umaze"
    """umaze, medium, large, open, or rows of 0 and 1 joined by '/'."""
    task: str = "corner"
    """What is demonstrated: corner, goal:ROW,COLUMN or ordered:ROW,COLUMN-ROW,COLUMN."""
    num_steps: int | None = None
    """Environment steps of play or mixture; in mazes 200000, else 300000 if not given."""
    num_episodes: int | None = None
    """Episodes of anything else; 9 if not given."""
    episode_steps: int | None = None
    """Environment steps of an episode; 1000, but 300 for a maze's demonstrations if not given."""
    action_noise: float | None = None
    """Standard deviation of the noise on actions of play, mixture and medium; in mazes 0.5, else
    0.15 if not given."""
    demonstrator: Literal["waypoint", "guided"] = "waypoint"
    """The shortest way, or the thesis's: plans guided by the true reward."""
    diffuser: str = "umaze"
    """Whose plans the guided demonstrator follows: a folder, or a packaged one's name."""
    environment: Environment = "maze"
    """Where; --maze, --task, --demonstrator and --diffuser are for mazes."""
    policies: Path | None = None
    """HalfCheetah's policies: the folder 'ladder' in one that 'trailward policies' made; the
    packaged ones if not given."""
    seed: int = 0
    """Of starts, goals and noise."""

    def run(self, say: Say) -> Path:
        """Record episodes and write them; refuses to write over data."""
        _check_collect(self)
        with own_file(free_folder(self.out)):
            return self._run(say)

    def _run(self, say: Say) -> Path:
        recorded = {"maze": _collect_in_maze, "halfcheetah": _collect_halfcheetah}
        found, env_id = recorded[self.environment](self)
        facts = provenance(self.seed, **found.provenance)
        columns = {"maze": maze.COLUMNS, "halfcheetah": halfcheetah.COLUMNS}[self.environment]
        dataset = Dataset(found.episodes, facts, columns)
        folder = write_dataset(dataset, self.out, env_id=env_id)
        say(f"{len(dataset.episodes)} episodes, {dataset.num_steps:,} steps -> {folder}")
        return folder


def _collect_in_maze(command: Collect) -> tuple[Dataset, str]:
    within = parse_maze(command.maze)
    facts: dict[str, Any] = {"maze": command.maze, "what": command.what}
    if command.what == "play":
        num_steps = 200_000 if command.num_steps is None else command.num_steps
        facts["action_noise"] = 0.5 if command.action_noise is None else command.action_noise
        with progress("collecting", num_steps) as report:
            episodes = collect_play(
                within,
                num_steps=num_steps,
                seed=command.seed,
                episode_steps=command.episode_steps or 1000,
                action_noise=facts["action_noise"],
                progress=report,
            )
    else:
        task = parse_task(command.task, within)
        expert = None
        if command.demonstrator == "guided":
            diffuser = Diffuser.load(model_folder(command.diffuser))
            check_made_for(diffuser.provenance.get("play", {}), "the diffuser", maze=command.maze)
            expert = guided_expert(task, diffuser, seed=command.seed)
        episodes = collect_demonstrations(
            task,
            num_episodes=9 if command.num_episodes is None else command.num_episodes,
            seed=command.seed,
            episode_steps=command.episode_steps or 300,
            expert=expert,
        )
        facts |= {"task": task.name, "demonstrator": command.demonstrator}
    return Dataset(episodes, facts), f"PointMaze {within.name}"


def _collect_halfcheetah(command: Collect) -> tuple[Dataset, str]:
    settings: dict[str, Any] = {"seed": command.seed}
    settings["episode_steps"] = length = command.episode_steps or halfcheetah.EPISODE_STEPS
    if command.what in ("play", "mixture"):
        total = 300_000 if command.num_steps is None else command.num_steps
        settings["num_steps"] = total
    else:
        settings["num_episodes"] = 9 if command.num_episodes is None else command.num_episodes
        total = settings["num_episodes"] * length
    if command.action_noise is not None:
        settings["action_noise"] = command.action_noise
    policies = halfcheetah.ladder(command.policies)
    with progress("collecting", total) as report:
        found = COLLECTORS[command.what](policies, **settings, progress=report)
    return found, halfcheetah.ENV_ID


def check_made_for(provenance: Mapping[str, Any], what: str, **wanted: str) -> None:
    """Refuse data that says it was made for another maze or task."""
    for name, value in wanted.items():
        if provenance.get(name, value) != value:
            msg = f"{what}: {name} is {provenance[name]}, not {value}; give --{name} to match"
            raise DataError(msg)


def _check_collect(command: Collect) -> None:
    """Refuse what makes no sense together, rather than leave a flag out of account."""
    at_most(MAX_SEED - 10_000_000, command, "seed")
    length = command.episode_steps or 1000
    for name, steps in (("num_steps", 1), ("num_episodes", length), ("episode_steps", 1)):
        num_bytes = _STEP_BYTES * steps * (getattr(command, name) or 0)
        check_memory(num_bytes, f"{name} {getattr(command, name)}", "lower it")
    for name in ("num_steps", "num_episodes", "episode_steps"):
        if getattr(command, name) is not None:
            at_least(1, command, name)
    known = _KINDS[command.environment]
    if command.what not in known:
        msg = f"what is '{command.what}'; with environment '{command.environment}' it can be "
        raise DataError(msg + f"{', '.join(known)}")
    by_steps = command.what in ("play", "mixture")
    unused = ["num_episodes"] if by_steps else ["num_steps"]
    unused += ["policies"] if command.environment == "maze" else _MAZE_FLAGS
    unused += ["action_noise"] if command.what in ("demonstrations", "expert", "runner-up") else []
    for name in unused:
        if getattr(command, name) != getattr(Collect, name):
            flag = f"--{name.replace('_', '-')}"
            use = f"--what {command.what} with environment '{command.environment}'"
            raise DataError(f"{flag} plays no part in {use}; leave it out")

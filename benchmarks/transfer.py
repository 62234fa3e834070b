"""Reinforcement learning on a learnt reward, in the world it was learnt in and in changed ones.

Prints a table, then one JSON object as the last line; ``--out`` gets a picture of each place. A
reward is learnt as the preset says, from demonstrations and play data, and then an agent (PPO of
Stable-Baselines3) is trained from scratch in the environment, once on the learnt reward alone (in
its pessimistic form) and once on the true one, with the same budget and seed. Beside their true
returns are those of the planner that came with the reward, of behavioural cloning and of random
actions. Five places:

    umaze              as demonstrated
    changed_maze       U-Maze with the passage on the other side: the demonstrated way is walled up
    halfcheetah        as demonstrated
    heavy_halfcheetah  the torso weighs four times as much
    fallen_halfcheetah episodes begin upside down

Planner, clone and reward are those of the unchanged environment throughout. A figure is the mean
over seeds of the mean true return, with the 95% bootstrap interval of the mean;
``rl_on_learnt_over_rl_on_true`` is the mean over seeds of the quotient, and ``..._above_random``
the same with the return of random actions taken off both. ``learnt`` is what each policy's steps
are worth under the learnt reward (not its pessimistic form), ``known`` the share of them at which
it is known.

    .venv/bin/python benchmarks/transfer.py            # the full thing
    .venv/bin/python benchmarks/transfer.py --quick    # shows that it runs
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.baselines.behavioural_cloning import clone
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import RewardFunction
from trailward.environments.drawing import GUIDED, draw_paths, smooth
from trailward.environments.halfcheetah import environment as halfcheetah
from trailward.environments.pointmaze.maze import make_env, parse_maze
from trailward.environments.pointmaze.pictures import draw_maze, maze_panels
from trailward.interop.sb3 import LearntRewardVecEnv
from trailward.judging.statistics import bootstrap_mean
from trailward.learning.disagreement import is_known
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.typing import Actions, Observations
from trailward_benchmark.problems import Problem, World, open_world, parse_problem

CHANGED_MAZE = "11111/10001/10111/10001/11111"
"""U-Maze's passage is on the right; here it is on the left."""

TORSO_FACTOR = 4.0
NUM_ENVS = 8
_NUM_SHOWN = 10
_LABELS = {
    "rl_on_learnt": "PPO, learnt reward",
    "rl_on_true": "PPO, true reward",
    "bc": "cloning",
    "old_planner": "planner of before",
}


@dataclass(frozen=True)
class Training:
    """Settings of PPO, chosen on the true reward alone.

    Attributes:
        num_steps: environment steps.
        rollout_steps: environment steps of each of the environments in a round.
        batch_size: of its minibatches.
        learning_rate: of Adam.
        width: of both hidden layers of policy and critic.
        discount: of a step.
        advantage_decay: lambda of generalised advantage estimation.
        initial_log_deviation: of actions.
    """

    num_steps: int
    rollout_steps: int
    batch_size: int
    learning_rate: float
    width: int
    discount: float = 0.99
    advantage_decay: float = 0.95
    initial_log_deviation: float = 0.0


IN_MAZES = Training(150_000, 300, 240, 1e-3, 64)
ON_HALFCHEETAH = Training(1_000_000, 256, 256, 3e-4, 128, 0.98, 0.92, -1.0)


def heavy_env(*, episode_steps: int) -> gymnasium.Env:
    """HalfCheetah whose torso weighs ``TORSO_FACTOR`` times as much."""
    env = halfcheetah.make_env(episode_steps=episode_steps)
    model: Any = env.unwrapped.model  # pyright: ignore[reportAttributeAccessIssue]
    torso = model.body("torso").id
    model.body_mass[torso] *= TORSO_FACTOR
    model.body_inertia[torso] *= TORSO_FACTOR
    return env


class UpsideDown(gymnasium.Wrapper):
    """HalfCheetah that begins on its back, half a metre up."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        _, info = self.env.reset(**options)
        simulator: Any = self.env.unwrapped
        position, velocity = simulator.data.qpos.copy(), simulator.data.qvel.copy()
        position[1] += 0.5
        position[2] += np.pi
        simulator.set_state(position, velocity)
        return simulator._get_obs(), info


@dataclass(frozen=True)
class Place:
    """A problem, where agents are trained and judged, and how they are trained.

    Attributes:
        problem: whose demonstrations and play data the reward is learnt from.
        make_env: episodes of so many environment steps.
        training: of the agents.
        maze: its name or rows, if it is one.
    """

    problem: str
    make_env: Callable[[int], gymnasium.Env]
    training: Training
    maze: str | None = None


def _in_maze(maze: str) -> Place:
    make = lambda steps: make_env(parse_maze(maze), episode_steps=steps)
    return Place("umaze/corner", make, IN_MAZES, maze)


PLACES: Mapping[str, Place] = {
    "umaze": _in_maze("umaze"),
    "changed_maze": _in_maze(CHANGED_MAZE),
    "halfcheetah": Place(
        "halfcheetah/mixture",
        lambda steps: halfcheetah.make_env(episode_steps=steps),
        ON_HALFCHEETAH,
    ),
    "heavy_halfcheetah": Place(
        "halfcheetah/mixture", lambda steps: heavy_env(episode_steps=steps), ON_HALFCHEETAH
    ),
    "fallen_halfcheetah": Place(
        "halfcheetah/mixture",
        lambda steps: UpsideDown(halfcheetah.make_env(episode_steps=steps)),
        ON_HALFCHEETAH,
    ),
}


@dataclass(frozen=True)
class Benchmark:
    """Reinforcement learning on a learnt reward, where it was learnt and where things changed."""

    out: Path = Path("runs/benchmark-transfer")
    """Folder of everything made; finished parts are kept."""
    places: tuple[str, ...] = tuple(PLACES)
    """Which of umaze, changed_maze, halfcheetah, heavy_halfcheetah and fallen_halfcheetah."""
    maze_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each of demonstrations, learning, training and evaluation."""
    halfcheetah_seeds: tuple[int, ...] = (0, 1, 2)
    """The same on HalfCheetah."""
    pessimistic: bool = True
    """Whether agents are trained on the pessimistic form of the learnt reward."""
    quick: bool = False
    """One seed, few steps."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    kind = "quick" if benchmark.quick else "full"
    out = benchmark.out / (kind if benchmark.pessimistic else f"{kind}-not-pessimistic")
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
    found: dict[str, list[dict[str, float]]] = {}
    judged: dict[str, dict[str, dict[str, float]]] = {}
    for name in benchmark.places:
        place = PLACES[name]
        of_maze = place.problem.startswith("umaze")
        seeds = benchmark.maze_seeds if of_maze else benchmark.halfcheetah_seeds
        seeds = seeds[:1] if benchmark.quick else seeds
        for seed in seeds:
            found.setdefault(name, []).append(_cell(name, seed, out, benchmark))
        with np.load(out / f"{name}-{seeds[0]}.npz", allow_pickle=False) as arrays:
            _picture(place, dict(arrays)).savefig(out / f"{name}.png", dpi=120)
        judged[name] = _judged_by_reward(name, seeds, out, quick=benchmark.quick)
    console = Console(width=130)
    console.print(_table(found))
    console.print(_known_table(judged))
    print(json.dumps({name: _summary(found[name]) | judged[name] for name in found}))


def _cell(name: str, seed: int, out: Path, benchmark: Benchmark) -> dict[str, float]:
    """Mean true returns of everyone at one place with one seed; kept as JSON once done."""
    place, quick = PLACES[name], benchmark.quick
    problem = parse_problem(place.problem, quick=quick)
    training = replace(place.training, num_steps=5000) if quick else place.training
    settings = problem.settings
    now = _reward_facts(problem)
    now |= {"evaluation": asdict(settings.evaluation), "rl": asdict(training)}
    now = json.loads(json.dumps(now))
    kept, recorded = out / f"{name}-{seed}.json", out / f"{name}-{seed}.npz"
    if kept.exists() and recorded.exists():
        before = json.loads(kept.read_text(encoding="utf-8"))
        if before["settings"] == now:
            return before["returns"]
    world = open_world(problem, seed, out / "data")
    learnt = learn_reward(
        world.diffuser,
        world.demonstrations,
        _reward_folder(problem, seed, out),
        play=world.play,
        reward=settings.reward,
        sampling=settings.sampling,
        config=replace(settings.learning, seed=seed),
    )
    evaluation, steps = world.evaluation, world.episode_steps
    given = learnt.pessimistic() if benchmark.pessimistic else learnt
    policies: dict[str, Callable[[], Policy]] = {
        "rl_on_learnt": lambda: train(place, given, training, steps, seed),
        "rl_on_true": lambda: train(place, world.task.transition_rewards, training, steps, seed),
        "bc": lambda: clone(world.demonstrations, seed=seed, num_epochs=1 if quick else 50),
        "old_planner": lambda: evaluation.planner(world.diffuser, learnt, guided=True),
        "random": lambda: RandomPolicy(world.play.action_dim, seed),
    }
    returns, paths = {}, {}
    for each, make in policies.items():
        envs = [place.make_env(steps) for _ in evaluation.starts]
        episodes = rollout(envs, make(), seeds=evaluation.starts, num_steps=steps)
        returns[each] = float(np.mean([_true_return(world, episode) for episode in episodes]))
        paths[each] = np.stack([episode.observations for episode in episodes[:_NUM_SHOWN]])
    np.savez_compressed(recorded, allow_pickle=False, **paths)
    kept.write_text(json.dumps({"settings": now, "returns": returns}), encoding="utf-8")
    return returns


def _reward_facts(problem: Problem) -> dict[str, Any]:
    """What a learnt reward depends on beside data and seed."""
    settings = problem.settings
    diffuser = Diffuser.load(model_folder(str(settings.packaged))).fingerprint
    names = ("reward", "sampling", "learning")
    return {each: asdict(getattr(settings, each)) for each in names} | {"diffuser": diffuser}


def _reward_folder(problem: Problem, seed: int, out: Path) -> Path:
    facts = json.dumps(_reward_facts(problem), sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
    return out / f"reward-{problem.environment}-{seed}-{digest}"


def _judged_by_reward(
    name: str, seeds: Sequence[int], out: Path, *, quick: bool
) -> dict[str, dict[str, float]]:
    """Mean learnt reward of each policy's steps, and the share where it is known; over seeds."""
    problem = parse_problem(PLACES[name].problem, quick=quick)
    learnt: dict[str, list[float]] = {}
    known: dict[str, list[float]] = {}
    for seed in seeds:
        reward = LearntReward.load(_reward_folder(problem, seed, out))
        with np.load(out / f"{name}-{seed}.npz", allow_pickle=False) as paths:
            for policy, observed in paths.items():
                some = observed[:, ::10]
                learnt.setdefault(policy, []).append(float(reward(some).mean()))
                known.setdefault(policy, []).append(float(is_known(reward, some).mean()))
    mean = lambda of: {policy: float(np.mean(values)) for policy, values in of.items()}
    return {"learnt": mean(learnt), "known": mean(known)}


def _true_return(world: World, episode: Episode) -> float:
    """By where transitions lead: elsewhere than at home the simulator's own reward is another."""
    reward = world.task.transition_rewards
    if reward is None:
        raise ValueError(f"the true reward of {world.problem.name} is not one of transitions")
    return float(reward(*episode.transitions).sum())


def train(
    place: Place,
    reward: LearntReward | RewardFunction,
    training: Training,
    episode_steps: int,
    seed: int,
) -> "Agent":
    """PPO from scratch on a reward."""
    torch.manual_seed(seed)
    make = lambda: place.make_env(episode_steps)
    if isinstance(reward, LearntReward):
        venv: VecEnv = LearntRewardVecEnv(DummyVecEnv([make] * NUM_ENVS), reward)
    else:
        function = reward
        venv = DummyVecEnv([lambda: GivenReward(make(), function)] * NUM_ENVS)
    venv.seed(seed)
    # Observations are scaled too, and rewards to a moderate size.
    scaled = VecNormalize(venv, gamma=training.discount)
    agent = PPO(
        "MlpPolicy",
        scaled,
        seed=seed,
        n_steps=training.rollout_steps,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        gamma=training.discount,
        gae_lambda=training.advantage_decay,
        policy_kwargs={
            "net_arch": [training.width, training.width],
            "log_std_init": training.initial_log_deviation,
        },
        device="cpu",
    )
    agent.learn(training.num_steps)
    scaled.training = False
    return Agent(agent, scaled)


@dataclass(frozen=True)
class Agent:
    """A trained agent as a policy: its mean action."""

    trained: PPO
    scaled: VecNormalize

    def reset(self) -> None:
        """It remembers nothing."""

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment."""
        seen: Any = self.scaled.normalize_obs(observations)
        return self.trained.predict(seen, deterministic=True)[0].astype(np.float64)


class RandomPolicy:
    """Actions anywhere in [-1, 1]."""

    def __init__(self, action_dim: int, seed: int) -> None:
        self.action_dim, self.seed = action_dim, seed
        self.reset()

    def reset(self) -> None:
        """The same actions again."""
        self.generator = np.random.default_rng(self.seed)

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment."""
        return self.generator.uniform(-1, 1, (len(observations), self.action_dim))


class GivenReward(gymnasium.Wrapper):
    """An environment whose reward is a given function of transitions."""

    def __init__(self, env: gymnasium.Env, reward: RewardFunction) -> None:
        super().__init__(env)
        self.reward, self.now = reward, np.empty(0)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.now, info = self.env.reset(**options)
        return self.now, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One environment step."""
        then, _, terminated, truncated, info = self.env.step(action)
        given = self.reward(self.now[None], np.asarray(action)[None], then[None])[0]
        self.now = then
        return then, float(given), terminated, truncated, info


def _picture(place: Place, paths: Mapping[str, np.ndarray]) -> Figure:
    """What everyone does there: paths in a maze, forward velocity over time elsewhere."""
    shown = {label: paths[name] for name, label in _LABELS.items()}
    if place.maze is None:
        figure = Figure(figsize=(8, 3), layout="constrained")
        ax = figure.subplots()
        for label, observed in shown.items():
            speeds = smooth(observed[..., halfcheetah.FORWARD_VELOCITY])
            ax.plot(speeds.mean(0), label=label)
        ax.set(xlabel="environment step", ylabel="forward velocity (m/s)")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
        return figure
    grid = np.array(parse_maze(place.maze).grid)
    figure, axes = maze_panels(len(shown), grid, columns=len(shown))
    for ax, (label, observed) in zip(axes, shown.items(), strict=True):
        draw_maze(ax, grid)
        draw_paths(ax, observed, GUIDED, width=1.0, alpha=0.7)
        ax.plot(*observed[:, 0, :2].T, "o", ms=4, color="white", mec="black", mew=0.7, zorder=4)
        ax.set_title(label)
    return figure


def _summary(cells: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    figures = {name: [cell[name] for cell in cells] for name in cells[0]}
    learnt, true, random = (
        np.array(figures[name]) for name in ("rl_on_learnt", "rl_on_true", "random")
    )
    figures["rl_on_learnt_over_rl_on_true"] = (learnt / true).tolist()
    figures["rl_on_learnt_over_rl_on_true_above_random"] = (
        (learnt - random) / (true - random)
    ).tolist()
    intervals = {name: _interval(values) for name, values in figures.items()}
    means = {name: interval[0] for name, interval in intervals.items()}
    return means | {"intervals": {name: interval[1:] for name, interval in intervals.items()}}


def _interval(values: Sequence[float]) -> list[float]:
    """Mean and 95% bootstrap interval over seeds."""
    found = bootstrap_mean(np.array(values))
    return [found.value, found.low, found.high]


def _table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    names = list(next(iter(found.values()))[0])
    table = Table("true return", *names, title="Mean over seeds [95%]")
    for place, cells in found.items():
        each = [_interval([cell[name] for cell in cells]) for name in names]
        shown = [f"{mean:.0f} [{low:.0f}, {high:.0f}]" for mean, low, high in each]
        table.add_row(f"{place} ({len(cells)} seeds)", *shown)
    return table


def _known_table(judged: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    names = list(next(iter(judged.values()))["known"])
    table = Table("learnt reward of a step", *names, title="Mean over seeds (where it is known)")
    for place, of in judged.items():
        each = [f"{of['learnt'][name]:.1f} ({of['known'][name]:.0%})" for name in names]
        table.add_row(place, *each)
    return table


if __name__ == "__main__":
    main(tyro.cli(Benchmark))

"""The verb ``evaluate``: judge a learnt reward and its planner."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trailward.acting.network_policy import ladder_of, recorded_from
from trailward.acting.planner import Policy
from trailward.baselines.plain_clone import plain_clone
from trailward.checkpoint import fingerprint_of, provenance
from trailward.cli.collect import check_made_for
from trailward.cli.flags import (
    Say,
    flag_value,
    read_for,
    settings_of,
    with_environment,
)
from trailward.cli.preset_names import Preset
from trailward.data.dataset import Dataset, agreed_columns, check_time_steps
from trailward.data.formats.table import TableLayout
from trailward.environments import DEFAULT_ENVIRONMENT, Environment, Evaluation
from trailward.errors import SettingsError
from trailward.judging.behaviour import clone_does_no_worse
from trailward.judging.config import EvaluationConfig
from trailward.judging.evaluate import evaluate
from trailward.judging.place_map import read_walls
from trailward.judging.without_truth import judge_without_truth
from trailward.learning.files import load_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.running.files import write_arrays, write_json
from trailward.running.folders import own_folder


@dataclass(frozen=True)
class Evaluate:
    """Judge a learnt reward and its planner, by the true reward where there is one."""

    reward: Path
    """The learnt reward's folder."""
    play: str
    """Play data that ERC is measured over, or that demonstrations are ranked among."""
    demonstrations: str
    """Demonstrations, for the pictures and the clone; without an environment those learnt from."""
    out: Path
    """Folder that gets evaluation.json and evaluation.npz."""
    environment: Environment | None
    """The environment; none to judge by data alone."""
    diffuser: str | None = None
    """A diffuser's folder, or the name of a packaged one; the one that the reward was learnt with
    if not given."""
    task: str | None = None
    """The true reward: the task that the demonstrations name, or the environment's usual one, if
    not given."""
    policies: Path | None = None
    """The ladder of policies to find the demonstrator among; the packaged one if not given."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of environment, diffuser and evaluation."""
    test: str | None = None
    """Demonstrations that nothing was learnt from, to judge by; with environment none."""
    walls: Path | None = None
    """A CSV file of walls to draw, a row x0,y0,x1,y1 each; with environment none."""
    allow_import: bool = False
    """Whether a part named module:Name in a folder may import its module, which executes it."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> dict[str, Any]:
        """Judge a reward; writes figures as JSON and arrays for the report."""
        environment = self.environment
        evaluation = self.evaluation
        if environment is not None:
            evaluation = replace(evaluation, episode_steps=evaluation.steps_in(environment))
        settings = asdict(evaluation) | {
            "reward": fingerprint_of(self.reward),
            "diffuser": None if self.diffuser is None else Path(self.diffuser).name,
            "play data": Path(self.play).name,
            "demonstrations": Path(self.demonstrations).name,
            "environment": "none" if environment is None else environment.name,
            "environment's settings": settings_of(environment),
            "task": self.task,
        }
        with own_folder(self.out, "evaluation", run=settings):
            return self._run(say)

    def _run(self, say: Say) -> dict[str, Any]:
        evaluation = self._evaluation(lambda name: say(f"evaluating: {name}"))
        write_arrays(self.out / "evaluation.npz", evaluation.arrays)
        made = {"provenance": provenance(self.evaluation.seed)}
        path = write_json(self.out / "evaluation.json", {**evaluation.figures, **made})
        for warning in evaluation.figures.get("warnings", {}).values():
            say(f"warning: {warning}")
        told = _of_clone(evaluation.figures.get("return", {}))
        if told:
            say(told)
        say(f"figures -> {path}")
        return evaluation.figures

    def _evaluation(self, stage: Say) -> Evaluation:
        learnt, diffuser = load_reward(self.reward, self.diffuser, allow_import=self.allow_import)
        play, demonstrations = _read_to_judge(self, learnt)
        judged = (learnt, diffuser, play, demonstrations, self.evaluation)
        if self.environment is None:
            walls = None if self.walls is None else read_walls(self.walls)
            test = None if self.test is None else read_for(self.test, learnt, self.table)
            return judge_without_truth(*judged, test=test, walls=walls, stage=stage)
        if self.test is not None:
            msg = "--test is for --env none: in an environment roll-outs are judged"
            raise SettingsError(msg, place="--test", value=self.test)
        shown = demonstrations.provenance
        task = self.environment.task(self.task or shown.get("task"))
        wanted = settings_of(self.environment) | {"environment": self.environment.name}
        check_made_for(play.provenance, "the play data", **wanted)
        check_made_for(shown, "the demonstrations", **wanted, task=task.name)
        return evaluate(
            learnt,
            diffuser,
            self.environment,
            task,
            play,
            demonstrations,
            self.evaluation,
            demonstrator=self._demonstrator(shown),
            clone=self._clone(demonstrations),
            stage=stage,
        )

    def _clone(self, demonstrations: Dataset) -> Policy | None:
        """The naive way to act; None without actions, or if none is wanted."""
        steps, seed = self.evaluation.clone_steps, self.evaluation.seed
        if not demonstrations.action_dim or not steps:
            return None
        return plain_clone(demonstrations, seed=seed, num_steps=steps)

    def _demonstrator(self, shown: Mapping[str, Any]) -> Policy | None:
        """The policy of a ladder that the demonstrations name; None if they name none."""
        if self.environment is None or len(shown.get("policies", ())) != 1:
            return None
        return recorded_from(shown, ladder_of(self.environment.name, self.policies))


def _of_clone(returns: Mapping[str, Mapping[str, float]]) -> str:
    """What must be said where the naive way to act does no worse; nothing otherwise."""
    if not clone_does_no_worse(returns):
        return ""
    naive, ours = (f"{returns[who]['value']:.4g}" for who in ("clone", "learnt"))
    return (
        f"a plain clone of the demonstrations takes seconds and does no worse ({naive} against "
        f"{ours}): read the reward, act with the clone"
    )


def kind_for(
    kind: type[Evaluate], arguments: Sequence[str], given: Mapping[str, Any]
) -> tuple[type[Any], dict[str, Any]]:
    """The verb with the flags of the environment that the arguments or the preset name."""
    name = flag_value(arguments, "--env", "--environment")
    if name is None:
        known = given.get("environment")
        name = DEFAULT_ENVIRONMENT if known is None else known.name
    return with_environment(kind, name, given)


def _read_to_judge(command: Evaluate, learnt: LearntReward) -> tuple[Dataset, Dataset]:
    """Play data and demonstrations, of entries as the reward was learnt on."""
    play, demonstrations = (
        read_for(source, learnt, command.table) for source in (command.play, command.demonstrations)
    )
    columns = {command.play: play.columns, command.demonstrations: demonstrations.columns}
    agreed_columns({"what the reward was learnt from": learnt.columns, **columns})
    check_time_steps(
        {"the play data": play.provenance, "the demonstrations": demonstrations.provenance}
    )
    return play, demonstrations

"""The verb ``evaluate``: judge a learnt reward and its planner."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trailward.checkpoint import fingerprint_of, provenance
from trailward.cli.collect import check_made_for
from trailward.cli.flags import Judge, Preset, Say, load_reward, read_for
from trailward.data.dataset import Dataset, agreed_columns
from trailward.data.formats.table import TableLayout
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.halfcheetah.environment import ladder
from trailward.environments.halfcheetah.evaluation import demonstrator_of, evaluate_on_halfcheetah
from trailward.environments.pointmaze.evaluation import evaluate_in_maze
from trailward.environments.pointmaze.maze import parse_maze, parse_task
from trailward.files import write_arrays, write_json
from trailward.folders import own_folder
from trailward.judging.evaluation import Evaluation, EvaluationConfig
from trailward.judging.place_map import read_walls
from trailward.judging.without_truth import judge_without_truth
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder


@dataclass(frozen=True)
class Evaluate:
    """Judge a learnt reward and its planner, by the true reward where there is one."""

    reward: Path
    """The learnt reward's folder."""
    play: str
    """Play data that ERC is measured over, or that demonstrations are ranked among."""
    demonstrations: str
    """Demonstrations, for the pictures; without an environment those that were learnt from."""
    out: Path
    """Folder that gets evaluation.json and evaluation.npz."""
    diffuser: str = "umaze"
    """A diffuser's folder, or the name of a packaged one."""
    maze: str = "umaze"
    """umaze, medium, large, open, or rows of 0 and 1 joined by '/'."""
    task: str = "corner"
    """The true reward: corner, goal:ROW,COLUMN or ordered:ROW,COLUMN-ROW,COLUMN."""
    environment: Judge = "maze"
    """Where, or none: by data alone. --maze and --task are for mazes."""
    policies: Path | None = None
    """HalfCheetah's policies, to find the demonstrator among; the packaged ones if not given."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of environment, maze, diffuser and evaluation."""
    walls: Path | None = None
    """With environment none: a CSV file of walls to draw, a row x0,y0,x1,y1 each."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> dict[str, Any]:
        """Judge a reward; writes figures as JSON and arrays for the report."""
        settings = asdict(self.evaluation) | {
            "reward": fingerprint_of(self.reward),
            "diffuser": Path(self.diffuser).name,
            "play data": Path(self.play).name,
            "demonstrations": Path(self.demonstrations).name,
            "environment": self.environment,
            "maze and task": [self.maze, self.task],
        }
        with own_folder(self.out, "evaluation", run=settings):
            return self._run(say)

    def _run(self, say: Say) -> dict[str, Any]:
        judge = {
            "maze": _evaluate_in_maze,
            "halfcheetah": _evaluate_on_halfcheetah,
            "none": _evaluate_without_truth,
        }
        evaluation = judge[self.environment](self, lambda name: say(f"evaluating: {name}"))
        write_arrays(self.out / "evaluation.npz", evaluation.arrays)
        made = {"provenance": provenance(self.evaluation.seed)}
        path = write_json(self.out / "evaluation.json", {**evaluation.figures, **made})
        for warning in evaluation.figures.get("warnings", {}).values():
            say(f"warning: {warning}")
        say(f"figures -> {path}")
        return evaluation.figures


def _evaluate_in_maze(command: Evaluate, stage: Say) -> Evaluation:
    task = parse_task(command.task, parse_maze(command.maze))
    diffuser = Diffuser.load(model_folder(command.diffuser))
    learnt = load_reward(command.reward, diffuser)
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
    learnt = load_reward(command.reward, diffuser)
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
    learnt = load_reward(command.reward, diffuser)
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


def _read_to_judge(command: Evaluate, learnt: LearntReward) -> tuple[Dataset, Dataset]:
    """Play data and demonstrations, of entries as the reward was learnt on."""
    play, demonstrations = (
        read_for(source, learnt.spec, command.table)
        for source in (command.play, command.demonstrations)
    )
    columns = {command.play: play.columns, command.demonstrations: demonstrations.columns}
    agreed_columns({"what the reward was learnt from": learnt.columns, **columns})
    return play, demonstrations

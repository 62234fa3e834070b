"""The verbs ``benchmark`` and ``policies``, which only a clone of the repository has."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from trailward.acting.network_policy import NetworkPolicy
from trailward.checkpoint import provenance
from trailward.cli.flags import Say
from trailward.environments import find_environment
from trailward.progress import progress
from trailward.running.folders import own_folder
from trailward_benchmark.policies import PolicyTrainingConfig, package_policies, train_policies


@dataclass(frozen=True)
class Policies:
    """Train a ladder of policies; run again on the same folder, it resumes exactly."""

    out: Path
    """Folder of the snapshots, the checkpoint and, in 'ladder', the policies chosen."""
    environment: Annotated[str, tyro.conf.arg(name="env", aliases=["--environment"])] = (
        "halfcheetah"
    )
    """The environment: halfcheetah, an id of Gymnasium such as Hopper-v5, or module:Name."""
    training: Annotated[PolicyTrainingConfig, tyro.conf.arg(name="")] = field(
        default_factory=PolicyTrainingConfig
    )
    num_policies: int = 10
    """Number of snapshots chosen, evenly spread in return from the untrained policy to the best."""

    def run(self, say: Say) -> list[NetworkPolicy]:
        """Train policies, or go on training them, and choose a ladder among their snapshots."""
        with own_folder(self.out, "policies"):
            return self._run(say)

    def _run(self, say: Say) -> list[NetworkPolicy]:
        environment = find_environment(self.environment)
        with progress("training", self.training.num_steps) as report:
            train_policies(environment, self.training, self.out, report)
        chosen = package_policies(
            environment,
            self.out,
            self.out / "ladder",
            num=self.num_policies,
            provenance=provenance(self.training.seed, training=asdict(self.training)),
        )
        for policy in chosen:
            found = policy.facts["return"]
            say(
                f"step {policy.facts['step']:>9,}: return {found['mean']:.0f} +- {found['std']:.0f}"
            )
        say(f"{len(chosen)} policies -> {self.out / 'ladder'}")
        return chosen


@dataclass(frozen=True)
class Benchmark:
    """Every method on every problem, with every seed; run again, it goes on where it was."""

    out: Path = Path("runs/benchmark")
    """Folder of results.jsonl, the report, and everything made on the way."""
    problems: tuple[str, ...] = (
        "umaze/corner",
        "umaze/goal:3,1",
        "large/corner",
        "large/goal:3,2",
        "halfcheetah/mixture",
    )
    """PRESET/TASK: umaze or large with corner or goal:ROW,COLUMN, or halfcheetah/mixture."""
    methods: tuple[str, ...] = (
        "unguided",
        "demonstrator",
        "ours",
        "relative_reward",
        "logit",
        "dlsm",
        "bc",
        "bc_wide",
        "bc_denoiser",
        "gail",
        "airl",
        "seabo",
        "otr",
    )
    """Methods to run; unguided and demonstrator are the ends of the scale of returns."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds; each is that of demonstrations, learning and evaluation."""
    num_jobs: int | None = None
    """Cells that run at a time on this machine; one a core if not given. Not for Ray."""
    ray: str | None = None
    """Address of a Ray cluster to run on, such as auto or ray://host:10001."""
    cpus_per_cell: float = 1.0
    """Cores that a cell takes up on a Ray cluster."""
    memory_per_cell_gb: float = 2.0
    """Memory that a cell takes up on a Ray cluster."""
    quick: bool = False
    """Next to no training: shows that everything runs, not how well."""

    def run(self, say: Say) -> Path:
        """Run what is missing of a grid, and write what there is of it as a page."""
        from trailward_benchmark.grid import Grid, run_grid
        from trailward_benchmark.report import write_grid_report

        grid = Grid.of(self)
        with own_folder(self.out, "benchmark"):
            try:
                run_grid(grid, self, say)
            finally:
                page = write_grid_report(grid)
                say(f"report -> {page}")
        return page

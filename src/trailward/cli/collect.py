"""The verb ``collect``: record episodes in an environment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from trailward.checkpoint import provenance
from trailward.cli.flags import Say, flag_value, settings_of, with_environment
from trailward.data.dataset import free_folder, write_dataset
from trailward.data.episode import MAX_SEED
from trailward.data.formats.minari_folder import dataset_folder
from trailward.environments import DEFAULT_ENVIRONMENT, Environment, Recipe
from trailward.errors import DataError, SettingsError, at_most
from trailward.progress import progress
from trailward.running.folders import own_file
from trailward.running.limits import check_memory

_USUAL_STEPS, _STEP_BYTES = 1000, 100


@dataclass(frozen=True)
class Collect:
    """Record episodes in an environment and write them as a Minari dataset."""

    out: Path
    """Folder of the dataset; '-v0' is appended if the name has no version."""
    environment: Environment
    """The environment: a name, an id of Gymnasium such as Hopper-v5, or module:Name."""
    recipe: Recipe
    """What to record, and its settings."""
    seed: int = 0
    """Seed for starts, goals and noise."""

    def run(self, say: Say) -> Path:
        """Record episodes and write them; refuses to write over data."""
        self._check()
        with own_file(dataset_folder(self.out)):
            free_folder(self.out)
            return self._run(say)

    def _check(self) -> None:
        """Refuse a seed or a size that is beyond all bounds."""
        at_most(MAX_SEED - 10_000_000, self, "seed")
        settings = vars(self.recipe)
        length = settings.get("episode_steps") or _USUAL_STEPS
        for name, steps in (("num_steps", 1), ("num_episodes", length), ("episode_steps", 1)):
            size = settings.get(name) or 0
            check_memory(_STEP_BYTES * steps * size, f"{name} {size}", "lower it")

    def _run(self, say: Say) -> Path:
        total = _num_steps(self.recipe)
        with progress("collecting", total) as report:
            tell = lambda done: report(min(done, total))  # whole episodes go past the total
            found = self.recipe.record(self.environment, seed=self.seed, progress=tell)
        dataset = replace(found, provenance=provenance(self.seed, **found.provenance))
        folder = write_dataset(dataset, self.out, env_id=self.environment.name)
        say(f"{len(dataset.episodes)} episodes, {dataset.num_steps:,} steps -> {folder}")
        return folder

    def to_config(self) -> dict[str, Any]:
        """All that the data depends on, as JSON values."""
        return {
            "environment": self.environment.name,
            "settings": settings_of(self.environment),
            "recipe": type(self.recipe).__name__,
            **{
                name: str(value) if isinstance(value, Path) else value
                for name, value in asdict(self.recipe).items()
            },
            "seed": self.seed,
        }


def kind_for(
    kind: type[Collect], arguments: Sequence[str], given: Mapping[str, Any]
) -> tuple[type[Any], dict[str, Any]]:
    """The verb with the flags of the environment and the recipe that the arguments name.

    Raises:
        SettingsError: if the environment has no such recipe.
    """
    name = flag_value(arguments, "--env", "--environment") or DEFAULT_ENVIRONMENT
    kind, given = with_environment(kind, name, given)
    recipes = given["environment"].recipes
    what = flag_value(arguments, "--what")
    if what is not None and what not in recipes:
        remedy = f"with environment '{name}' it can be {', '.join(recipes)}"
        raise SettingsError(place="--what", value=what, remedy=remedy)
    recipe = recipes[what or next(iter(recipes))]
    told = " ".join(
        f"{each}: {(made.__doc__ or '').split('.')[0]}." for each, made in recipes.items()
    )
    names = Literal[tuple(recipes)]  # pyright: ignore[reportInvalidTypeForm]
    annotations = {
        "what": Annotated[names, tyro.conf.arg(help=f"{told} Each has flags of its own.")],
        "recipe": Annotated[recipe, tyro.conf.arg(name="")],
    }
    space = {"__annotations__": annotations, "__doc__": Collect.__doc__}
    short = dataclass(frozen=True, kw_only=True)(type(kind.__name__, (kind,), space))
    return short, given | {"recipe": recipe()}


def _num_steps(recipe: Recipe) -> int:
    """How many environment steps there will be, as far as the recipe tells."""
    settings = vars(recipe)
    return settings.get("num_steps") or settings.get("num_episodes", 1) * (
        settings.get("episode_steps") or _USUAL_STEPS
    )


def check_made_for(provenance: Mapping[str, Any], what: str, **wanted: Any) -> None:
    """Refuse data that says it was made for another environment or task.

    Raises:
        DataError: if it does.
    """
    for name, value in wanted.items():
        if provenance.get(name, value) != value:
            place, found, remedy = f"{what}: {name}", provenance[name], f"give --{name} to match"
            msg = f"{place} is {found}, not {value}"
            raise DataError(msg, place=place, value=found, remedy=remedy)

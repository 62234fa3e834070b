"""What is in recorded data, and whether demonstrations lie where the play data is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from trailward.data.dataset import Dataset, agreed_columns, check_time_steps
from trailward.data.entries import (
    Entry,
    Rows,
    action_names,
    changes,
    describe_entries,
    entry_names,
    observations_of,
    rates_of_change,
    rows_before_another,
)
from trailward.errors import DataError

MOST_OUTSIDE = 0.05
"""Share of demonstrations' observations outside the play data from which on it is a finding."""

_TOLD = ("frame", "cuts", "left_out", "time_step")
_LEAP, _NUM_LEAPS = 10.0, 10
_RANGE, _FAR = (0.001, 0.999), 0.99
_NUM_REFERENCES, _NUM_QUERIES, _AT_ONCE = 5_000, 2_000, 500


@dataclass(frozen=True)
class Leap:
    """A change from one observation to the next that is far larger than usual.

    Attributes:
        episode: its number.
        step: the environment step that leads over it.
        entry: name of the observation's entry.
        times: its size, in units of the change that 99% of steps stay below.
    """

    episode: int
    step: int
    entry: str
    times: float


@dataclass(frozen=True)
class DataFacts:
    """What is in a dataset.

    Attributes:
        num_episodes: episodes.
        num_steps: environment steps in all of them together.
        lengths: environment steps of the shortest, the median and the longest episode.
        has_rewards: whether true rewards were recorded with every episode.
        observations: entries of observations.
        actions: entries of actions; none if none were recorded.
        num_leaps: how many there are; ...
        leaps: ... the largest of them.
        provenance: what reading the data told of it.
        time_step: seconds from row to row, if they are known.
    """

    num_episodes: int
    num_steps: int
    lengths: tuple[int, float, int]
    has_rewards: bool
    observations: tuple[Entry, ...]
    actions: tuple[Entry, ...]
    num_leaps: int
    leaps: tuple[Leap, ...]
    provenance: dict[str, Any]
    time_step: float | None


@dataclass(frozen=True)
class Support:
    """How much of the demonstrations lies outside the play data.

    Attributes:
        outside: by entry, the share of the demonstrations' observations outside the range that
            holds all but the lowest and highest 0.1% of the play data's.
        covered: by entry, how much of that range the demonstrations span.
        far: share of the demonstrations' observations further from any of the play data, all
            entries together, than 99% of the play data's are from other episodes'; None if there
            is one play episode only. Entries count in units of their deviation over the play data.
    """

    outside: dict[str, float]
    covered: dict[str, float]
    far: float | None

    def findings(self) -> list[str]:
        """What lies outside, in plain words; nothing if all lies inside."""
        found = [
            f"in {share:.0%} of the demonstrations' observations {name} is outside the play data's "
            "range"
            for name, share in self.outside.items()
            if share > MOST_OUTSIDE
        ]
        if self.far is not None and self.far > MOST_OUTSIDE:
            found.append(
                f"{self.far:.0%} of the demonstrations' observations are further from any of the "
                "play data, all entries together, than 99% of the play data are from other episodes"
            )
        advice = (
            "where there is no play data the diffuser guesses: record some there too, or "
            "demonstrate elsewhere"
        )
        return [*found, advice] if found else []


@dataclass(frozen=True)
class Inspection:
    """Play data, demonstrations beside it if there are any, and what is to be said about them."""

    play: DataFacts
    demonstrations: DataFacts | None
    support: Support | None
    findings: tuple[str, ...]


def inspect_data(play: Dataset, demonstrations: Dataset | None = None) -> Inspection:
    """Tell what is in play data, and whether demonstrations lie within it.

    Args:
        play: environment units.
        demonstrations: of the same entries.

    Raises:
        DataError: if the two have other entries, or call them otherwise.
    """
    facts = describe(play)
    found = _findings(facts)
    if demonstrations is None:
        return Inspection(facts, None, None, tuple(found))
    shown = describe(demonstrations)
    steps = {"play data": play.provenance, "demonstrations": demonstrations.provenance}
    try:
        check_time_steps({f"the {what}": facts for what, facts in steps.items()})
    except DataError as error:
        found.append(str(error))
    support = compare_support(play, demonstrations)
    also = [finding for finding in _findings(shown) if finding not in found]
    found += [f"of the demonstrations: {finding}" for finding in also]
    found += support.findings() or ["the demonstrations lie where the play data is"]
    return Inspection(facts, shown, support, tuple(found))


def describe(dataset: Dataset) -> DataFacts:
    """What is in a dataset."""
    lengths = np.array([len(episode) for episode in dataset.episodes])
    names, units = entry_names(dataset), dataset.columns.units
    rows = observations_of(dataset)
    num_leaps, leaps = _leaps(rows, lengths, names)
    actions = np.concatenate([episode.actions for episode in dataset.episodes])
    return DataFacts(
        num_episodes=len(lengths),
        num_steps=int(lengths.sum()),
        lengths=(int(lengths.min()), float(np.median(lengths)), int(lengths.max())),
        has_rewards=all(episode.rewards is not None for episode in dataset.episodes),
        observations=describe_entries(rows, names, units, rates_of_change(dataset)),
        actions=describe_entries(actions, action_names(dataset), units) if len(actions) else (),
        num_leaps=num_leaps,
        leaps=leaps,
        provenance={k: dataset.provenance[k] for k in _TOLD if k in dataset.provenance},
        time_step=dataset.time_step,
    )


def compare_support(play: Dataset, demonstrations: Dataset, *, seed: int = 0) -> Support:
    """How much of the demonstrations lies outside the play data, entry by entry and together.

    Args:
        play: environment units.
        demonstrations: of the same entries.
        seed: of the observations that distances are measured between: at most 2,000 of each, to
            at most 5,000 of the play data.

    Raises:
        DataError: if the two have other entries, or call them otherwise.
    """
    if play.observation_dim != demonstrations.observation_dim:
        place, value = "the demonstrations' observations", demonstrations.observation_dim
        remedy = f"bring them into the {play.observation_dim} columns of the play data"
        raise DataError(f"{place} have {value} entries", place=place, value=value, remedy=remedy)
    agreed_columns({"the play data": play.columns, "the demonstrations": demonstrations.columns})
    known, shown = observations_of(play), observations_of(demonstrations)
    low, high = np.quantile(known, _RANGE, axis=0)
    outside = ((shown < low) | (shown > high)).mean(0)
    spans = np.clip(shown.max(0), low, high) - np.clip(shown.min(0), low, high)
    covered = np.divide(spans, high - low, out=np.ones_like(spans), where=high > low)
    names = entry_names(play)
    return Support(
        outside=dict(zip(names, outside.tolist(), strict=True)),
        covered=dict(zip(names, covered.tolist(), strict=True)),
        far=_share_far(play, shown, seed) if len(play.episodes) > 1 else None,
    )


def distances_to(
    queries: Float[np.ndarray, "query entry"],
    references: Float[np.ndarray, "reference entry"],
    *,
    apart: tuple[Int[np.ndarray, "query"], Int[np.ndarray, "reference"]] | None = None,
) -> Float[np.ndarray, "query"]:
    """The distance of each row to the nearest of others.

    Args:
        queries: rows to find the nearest for.
        references: rows to find it among.
        apart: a number of each query and of each reference; rows of the same number do not count.
    """
    known = torch.as_tensor(references, dtype=torch.float64)
    nearest = []
    for first in range(0, len(queries), _AT_ONCE):
        block = slice(first, first + _AT_ONCE)
        found = torch.cdist(torch.as_tensor(queries[block], dtype=torch.float64), known)
        if apart is not None:
            same = torch.from_numpy(apart[0][block, None] == apart[1][None])
            found = found.masked_fill(same, float("inf"))
        nearest.append(found.min(1).values)
    return torch.cat(nearest).numpy()


def _share_far(play: Dataset, shown: Rows, seed: int) -> float:
    generator = np.random.default_rng(seed)
    known = observations_of(play)
    episode = np.repeat(np.arange(len(play.episodes)), [len(e) + 1 for e in play.episodes])
    scale = known.std(0)
    scale[scale == 0] = 1.0
    kept = generator.permutation(len(known))[:_NUM_REFERENCES]
    some = generator.permutation(len(known))[:_NUM_QUERIES]
    asked = generator.permutation(len(shown))[:_NUM_QUERIES]
    usual = distances_to(
        known[some] / scale, known[kept] / scale, apart=(episode[some], episode[kept])
    )
    limit = np.quantile(usual[np.isfinite(usual)], _FAR)
    return float((distances_to(shown[asked] / scale, known[kept] / scale) > limit).mean())


def _leaps(
    rows: Rows, lengths: Int[np.ndarray, "episode"], names: Sequence[str]
) -> tuple[int, tuple[Leap, ...]]:
    firsts = rows_before_another(lengths)
    if not len(firsts):
        return 0, ()
    moves = np.abs(rows[firsts + 1] - rows[firsts])
    usual = np.quantile(moves, 0.99, axis=0)
    times = np.divide(moves, usual, out=np.zeros_like(moves), where=usual > 0)
    found = np.argwhere(times > _LEAP)
    largest = sorted(found.tolist(), key=lambda place: -times[*place])[:_NUM_LEAPS]
    ends = lengths.cumsum()
    leaps = []
    for move, entry in largest:
        episode = int(np.searchsorted(ends, move, side="right"))
        step = int(move - (ends[episode] - lengths[episode]))
        leaps.append(Leap(episode, step, names[entry], float(times[move, entry])))
    return len(found), tuple(leaps)


def _findings(facts: DataFacts) -> list[str]:
    found = []
    for what in ("observations", "actions"):
        for entry in getattr(facts, what):
            if entry.constant:
                found.append(f"{entry.name} never changes; it tells nothing and may be left out")
            if entry.same_as:
                found.append(
                    f"{entry.name} is the same as {entry.same_as}, but for scale and shift; one "
                    "of them may be left out"
                )
    if facts.num_leaps:
        first = facts.leaps[0]
        found.append(
            f"{facts.num_leaps} changes are over {_LEAP:.0f} times what is usual, the largest "
            f"that of {first.entry} in step {first.step} of episode {first.episode} "
            f"({first.times:.0f} times): if it is a gap in time, cut the episode there; if an "
            "angle that wraps, give its sine and cosine; a collision is no fault"
        )
    found += told_by(facts.provenance)
    if not facts.actions:
        found.append("no actions were recorded; plans will be over states only")
    return found


_TREATED = {
    "cut": "episodes are cut there (--gaps keep joins the rows, interpolate fills them in)",
    "kept": "the rows are joined (--gaps cut ends episodes there)",
    "filled": "the rows that are missing are filled in",
}


def told_by(provenance: Mapping[str, Any]) -> list[str]:
    """What reading the data did to it, in plain words."""
    found = []
    frame = provenance.get("frame")
    frame = frame if isinstance(frame, dict) else {}
    if gaps := frame.get("gaps"):
        step = frame.get("step")
        usual = (
            f", where {step:g} from row to row is usual" if isinstance(step, int | float) else ""
        )
        treated = _TREATED.get(str(frame.get("gaps_were")), "cut the episodes there")
        found.append(f"{gaps} gaps in time{usual}: {treated}")
    if anew := frame.get("anew"):
        found.append(
            f"frames began anew {anew} times inside a file whose rows have no ids; episodes are "
            "cut there"
        )
    if isinstance(steps := frame.get("steps"), dict):
        shares = ", ".join(f"{step} in {_numbered(episodes)}" for step, episodes in steps.items())
        found.append(
            f"episodes have different steps from row to row: {shares}; windows of them reach over "
            "different times: bring all to one step with --resample"
        )
    if cuts := provenance.get("cuts"):
        found.append(
            f"next_observations led elsewhere than to the next row {cuts} times; episodes are cut "
            "there"
        )
    if isinstance(left_out := provenance.get("left_out"), list) and left_out:
        found.append(f"not read: {', '.join(map(str, left_out))}")
    return found


def _numbered(episodes: Sequence[int]) -> str:
    if len(episodes) == 1:
        return f"episode {episodes[0]}"
    if list(episodes) == list(range(episodes[0], episodes[-1] + 1)):
        return f"episodes {episodes[0]} to {episodes[-1]}"
    shown = ", ".join(map(str, episodes[:5]))
    return f"episodes {shown}" + (f" and {len(episodes) - 5} more" if len(episodes) > 5 else "")


def uninformative(dataset: Dataset, *, num_observations: int | None = None) -> list[str]:
    """What training and learning should know of data before they begin, in plain words.

    Args:
        dataset: environment units.
        num_observations: that a plan reaches over, to compare the lengths of episodes with.
    """
    found = []
    rows = {"observations": observations_of(dataset)}
    rows["actions"] = np.concatenate([episode.actions for episode in dataset.episodes])
    names = {"observations": entry_names(dataset), "actions": action_names(dataset)}
    for what, values in rows.items():
        for name, entry in zip(names[what], values.T, strict=True):
            if len(entry) and not changes(entry):
                found.append(f"{name} never changes: it carries no information")
    longest = max(len(episode) for episode in dataset.episodes) + 1
    if num_observations is not None and longest < num_observations:
        found.append(
            f"a plan reaches over {num_observations} observations, the longest episode has "
            f"{longest}, so most plan steps are never seen: lower --horizon or --stride"
        )
    return found + [told for told in told_by(dataset.provenance) if not told.startswith("not read")]

"""A planner that heads for where demonstrators come to rest: a reward learnt through guided plans.

It is the method of the thesis (:mod:`trailward.learning.learn_reward`): plans that the reward
guides are to match the demonstrations. There are two rounds; in the second one a value that knows
the ways of the play data guides beside the reward. The reward is read as demonstrations suggest
(:mod:`trailward.rewards.readings`). The log-ratio, which takes seconds, is what tracks are ranked
by and maps are drawn of; whether both rewards agree is told.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trailward.fitting.choices import GUIDE
from trailward.fitting.fit import Fitted
from trailward.learning.config import LearningConfig, ValueSchedule
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.places import LEARNING, SAMPLING
from trailward.learning.run import LearningState
from trailward.progress import Watch, unwatched
from trailward.rewards import StagedSettings
from trailward.rewards.value import NoValueError

_OF_TIME, _MOST_COMPARED = 0.2, 300


def guided(
    fitted: Fitted,
    folder: Path | None,
    *,
    seconds: float,
    say: Callable[[str], None] = lambda text: None,
    watch: Watch = unwatched,
) -> Fitted:
    """The same with a reward that guides plans, learnt through them.

    Args:
        fitted: a reward of places that was learnt from recordings with actions.
        folder: gets the checkpoint and the reward; run again, learning goes on. None keeps none.
        seconds: that the whole fit may take; a fifth at most is for this.
        say: told what is done.
        watch: shows how far learning is.
    """
    prepared, choices = fitted.prepared, fitted.prepared.choices
    play, shown = (prepared.recordings.dataset.pick(some) for some in (fitted.others, fitted.shown))
    num_held_out = int(len(fitted.shown) > 1)
    config = replace(
        LEARNING,
        num_steps=min(LEARNING.num_steps, choices.most_steps),
        selection=replace(LEARNING.selection, num_held_out=num_held_out),
        seed=choices.seed,
    )
    began = time.monotonic()
    with watch("learning through guided plans", config.num_steps) as report:

        def on_step(state: LearningState) -> bool:
            """Ends learning when its time is used."""
            report(state.step)
            return time.monotonic() - began < _OF_TIME * seconds

        def learn(config: LearningConfig, folder: Path | None) -> LearntReward:
            return learn_reward(
                prepared.diffuser,
                shown,
                folder,
                play=play,
                reward=StagedSettings(
                    features=choices.features, unmoved=choices.unmoved, num_local=64
                ),
                sampling=SAMPLING,
                config=config,
                on_step=on_step,
            )

        try:
            reward = learn(config, folder)
        except NoValueError as error:
            say(f"learning in one round, without a value: {error}")
            alone = None if folder is None else folder.with_name(f"{folder.name}-one-round")
            reward = learn(replace(config, value=ValueSchedule()), alone)
    facts = dict(reward.provenance) | {"learnt_from": fitted.reward.provenance["learnt_from"]}
    found: dict[str, Any] = {
        "way": GUIDE,
        "num_steps": facts["learnt"]["step"],
        "reading": reward.reading,
        "notes": [] if reward.family is None else list(reward.family.options.notes),
        "agreement": _agreement(fitted, replace(fitted, reward=reward)),
    }
    why = "; ".join(found["notes"])
    say(
        f"a reward was learnt through guided plans in {found['num_steps']} gradient steps; it is "
        f"read as '{reward.reading}'{f': {why}' if why else ''}"
    )
    return replace(fitted, reward=replace(reward, provenance=facts), planning=found)


def _agreement(*fits: Fitted) -> float:
    """How the mean rewards that play tracks have by two rewards correlate."""
    tracks = fits[0].others[:: 1 + len(fits[0].others) // _MOST_COMPARED]
    means = [
        [each.reward.mean_reward(each.prepared.recordings.dataset.episodes[t]) for t in tracks]
        for each in fits
    ]
    return float(np.corrcoef(np.array(means))[0][1]) if len(tracks) > 1 else 1.0

"""The axes of every array in trailward, named once.

``batch``        independent plans, windows or environments
``horizon``      plan steps; consecutive ones are ``stride`` environment steps apart
``transition``   what a plan step holds: an observation and, if the plan carries actions, the
                 ``stride`` actions up to the next plan step, flattened
``observation``  entries of one observation
``action``       entries of one action
``time``         environment steps of one episode
``stage``        of a reward that remembers: before its place has been visited, and after

Model space is what lies between ``normalize`` and ``unnormalize``; everything else is in
environment units.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

Plans = Float[Tensor, "batch horizon transition"]
"""Plans or windows in model space."""

PlanMask = Bool[Tensor, "batch horizon"]
"""True where a plan step is real, False where a short episode was padded."""

Demonstrations = Float[Tensor, "demonstration horizon transition"]
"""Windows in model space to compare plans with; there may be more or fewer than plans."""

DemonstrationMask = Bool[Tensor, "demonstration horizon"]
"""As :data:`PlanMask`, for :data:`Demonstrations`."""

StepRewards = Float[Tensor, "batch horizon"]
"""One reward for each plan step."""

StageRewards = Float[Tensor, "batch horizon stage"]
"""The reward that each plan step has in each stage."""

Past = Int[Tensor, "batch"]
"""The stage that each plan begins in: what a reward remembers of what came before it."""

Stages = Int[Tensor, "batch time"]
"""The stage at each of a sequence of plan steps or observations."""

StagesOfSteps = Int[Tensor, "batch #horizon"]
"""The stage that each plan step is judged in, or one for all steps of a plan."""

PerPlan = Float[Tensor, "batch"]
"""One number for each plan."""

Steps = Int[Tensor, "batch"]
"""Diffusion steps, 0 (almost clean) to ``num_steps - 1`` (almost noise)."""

Scalar = Float[Tensor, ""]

Observations = Float[np.ndarray, "batch observation"]
"""One observation for each environment, in environment units."""

Actions = Float[np.ndarray, "batch action"]
"""One action for each environment, in environment units."""

Taken = Float[np.ndarray, "batch action"] | Int[np.ndarray, "batch"]
"""As environments take them: :data:`Actions`, or the number of each discrete one."""

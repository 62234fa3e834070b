"""Names of presets, apart from their settings, which take long to load."""

from typing import Literal

Preset = Literal["umaze", "large", "halfcheetah", "thesis-umaze", "thesis-halfcheetah"]
"""Names of settings known to work; every flag can still be given."""

DEFAULT_PRESET: Preset = "umaze"
"""What the demo shows if nothing else is asked for."""

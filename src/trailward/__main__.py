"""``python -m trailward`` is the command ``trailward``."""

from trailward.cli import run

run()

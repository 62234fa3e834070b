"""Environments that trailward can collect data in: geometry, tasks (true rewards), experts."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""

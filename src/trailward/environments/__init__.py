"""Environments that trailward can collect data in: geometry, tasks (true rewards), experts."""

"""Reward models: plans to one number each, higher is better; model space in."""

"""Learnt reward -> actions: the planner, and roll-outs."""

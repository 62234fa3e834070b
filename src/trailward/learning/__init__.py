"""Demonstrations -> learnt reward."""

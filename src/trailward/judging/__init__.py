"""How good a reward and a planner are: ERC, EPIC, returns, and what data alone can tell."""

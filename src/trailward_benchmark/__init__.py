"""Every method on every problem, judged alike: a grid of cells, each with a line of results."""

"""PointMaze: its maps, tasks, demonstrators and pictures."""

"""PointMaze: its maps, tasks, controllers, recipes and pictures."""

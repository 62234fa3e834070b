"""One HTML page and its pictures."""

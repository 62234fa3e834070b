"""Recordings -> windows: episodes, datasets, normalizers, statistics, and a file a format."""

"""One call from recordings to a judged reward: :func:`~trailward.fitting.fit.fit`."""

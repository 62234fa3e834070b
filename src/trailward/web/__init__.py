"""The page that ``trailward serve`` opens.

From the browser to the library, in this order::

    static/     the page: plain ES modules and canvas
    app.py      the server: addresses, and what each answers
    guard.py    who may ask: host, origin, token, sizes
    jobs.py     the queue, and the processes that work
    boards.py   the folder that all state lives in
    worker.py   such a process: a job a line in, events a line out
    work.py     what jobs do, in terms of the library: a module for each kind of board

What only an environment knows, it brings itself: see :mod:`trailward.environments.page`.

The server itself imports neither PyTorch nor NumPy; workers do, before they are asked for anything.
"""

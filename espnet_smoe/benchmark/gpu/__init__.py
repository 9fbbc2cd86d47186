"""``espnet-smoe benchmark gpu``: is it right on a GPU, and how fast is it there?

1. ``guard.py`` - a check runs guarded: what it compared, what went wrong.
2. ``checks_*.py`` - the checks: each path on the device beside the CPU or a plain loop.
3. ``timing.py`` - a comparison measured on a device; what fails is left out of it.
4. ``tables.py`` - comparisons: the mixture, search, real-time factor, training.
5. ``page.py`` - the Markdown file.
"""

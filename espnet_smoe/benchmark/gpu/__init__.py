"""``espnet-smoe benchmark gpu``: how fast is it on a GPU?

1. ``timing.py`` - a comparison measured on a device; what fails is left out of it.
2. ``tables.py`` - comparisons: the mixture, search, real-time factor, training.
3. ``profile.py`` - the kernels of a mixture.

Whether it is right there is shown by ``tests/gpu``.
"""

"""The files of a new method: ``python -m benchmark.template mine``. Needs no torch."""

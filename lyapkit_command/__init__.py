"""The ``lyapkit`` command, and what all commands share: signals, mistakes in one line, NumPy files.

A package of its own, since importing lyapkit loads PyTorch: a command heeds Ctrl-C and answers ``--help`` before that.
"""

"""The paper's figures and tables, each drawn from measured data: ``python -m figures --list``."""

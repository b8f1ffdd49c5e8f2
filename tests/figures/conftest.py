"""The figures are scripts of the clone and not installed; everything else is tested as installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # last, so that installed packages come first

"""Networks: the WCRNN with its residuals and its theory, and the baselines of Table 2.

Importing any of them tells lyapkit how to step them.
"""

from __future__ import annotations

from wcrnn_models.models.network_map import NetworkMap, WCRNNMap

__all__ = ["NetworkMap", "WCRNNMap"]

"""The networks that Table 2 of the paper compares WCRNNs with, called as `wcrnn_models.WCRNN` is.

Elman_wc is a `WCRNN` of form B, see `wcrnn_models.plain_rnn`; "no tanh" is a `WCRNN` with ``nonlinearity="identity"``.
"""

from __future__ import annotations

from wcrnn_models.models.baselines.elman import ResidualElman
from wcrnn_models.models.baselines.lstm import LSTM
from wcrnn_models.models.baselines.s4d import S4D
from wcrnn_models.models.baselines.ur_lstm import URLSTM

__all__ = ["LSTM", "S4D", "URLSTM", "ResidualElman"]

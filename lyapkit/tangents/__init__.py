"""How tangents are carried along a trajectory: one strategy per file."""

from lyapkit.tangents.forward import ForwardTangents as ForwardTangents
from lyapkit.tangents.recorded import choose_recorded_push as choose_recorded_push
from lyapkit.tangents.reverse import ReverseTangents as ReverseTangents
from lyapkit.tangents.strategy import TangentStrategy as TangentStrategy
from lyapkit.tangents.strategy import choose_strategy as choose_strategy
from lyapkit.tangents.tracing.traced import TracedTangents as TracedTangents
from lyapkit.tangents.tracing.traced import traced_where_it_pays as traced_where_it_pays
from lyapkit.tangents.tracing.traced import with_fallback as with_fallback

__all__ = [
    "ForwardTangents",
    "ReverseTangents",
    "TangentStrategy",
    "TracedTangents",
    "choose_recorded_push",
    "choose_strategy",
    "traced_where_it_pays",
    "with_fallback",
]

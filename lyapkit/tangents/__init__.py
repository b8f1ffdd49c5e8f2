"""Walk along trajectories with tangents: `TangentRun`, and one file for each way to carry tangents."""

from lyapkit.tangents.along import TangentRun as TangentRun
from lyapkit.tangents.forward import ForwardTangents as ForwardTangents
from lyapkit.tangents.reverse import ReverseTangents as ReverseTangents
from lyapkit.tangents.strategy import Carry as Carry
from lyapkit.tangents.strategy import StepDerivative as StepDerivative
from lyapkit.tangents.strategy import TangentStrategy as TangentStrategy
from lyapkit.tangents.strategy import choose_derivative as choose_derivative
from lyapkit.tangents.tracing.traced import TracedTangents as TracedTangents

__all__ = [
    "Carry",
    "ForwardTangents",
    "ReverseTangents",
    "StepDerivative",
    "TangentRun",
    "TangentStrategy",
    "TracedTangents",
    "choose_derivative",
]

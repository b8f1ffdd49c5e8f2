"""Call LLVM's compiler directly: text in, addresses of functions out."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

from lyapkit.tangents.tracing.machine.pointwise import PLAIN_FUNCTIONS

KEPT = 64
"""Pieces of compiled code that are kept for the next run of the same kind."""

INTRINSICS = ("fabs", "sqrt", "floor", "ceil", "trunc")


@dataclass(frozen=True)
class Code:
    """A compiled function.

    Attributes:
        engine: Engine that keeps its memory.
        address: Address where it begins.
    """

    engine: Any
    address: int


_lock = Lock()
_compiled: OrderedDict[str, Code] = OrderedDict()


@lru_cache(maxsize=1)
def _library() -> Any:
    """Load LLVM, and tell it where to find the functions of the C library and of BLAS."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    library = ctypes.CDLL(ctypes.util.find_library("m") or ctypes.util.find_msvcrt())  # type: ignore[attr-defined]
    for name in (*PLAIN_FUNCTIONS, "pow", "atan2"):
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    for name in ("dgemm", "dgemv"):
        llvm.add_symbol(f"blas.{name}", _blas(name))
    return llvm


def _blas(name: str) -> int:
    """Return the address of a BLAS routine in the library that SciPy brings."""
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__[name]
    python = ctypes.pythonapi
    python.PyCapsule_GetName.restype, python.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = python.PyCapsule_GetPointer(capsule, python.PyCapsule_GetName(capsule))
    assert isinstance(address, int), "a pointer"
    return address


def _declarations() -> str:
    one = [*PLAIN_FUNCTIONS, *(f"llvm.{name}.f64" for name in INTRINSICS)]
    lines = [f"declare double @{name}(double) nounwind willreturn memory(none)" for name in one]
    lines += [f"declare double @{name}(double, double) nounwind willreturn memory(none)" for name in ("pow", "atan2")]
    lines += ["declare double @llvm.fma.f64(double, double, double)"]
    lines += ["declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"]
    lines += [
        f'declare void @"blas.dgemm"({", ".join(["ptr"] * 13)})',
        f'declare void @"blas.dgemv"({", ".join(["ptr"] * 11)})',
    ]
    return "\n".join(lines)


def compiled(text: str, function: str) -> Code:
    """Return a compiled function; compile it unless it has been compiled before.

    Args:
        text: Code of the function.
        function: Name of the function.
    """
    with _lock:
        if text in _compiled:
            _compiled.move_to_end(text)
            return _compiled[text]
        llvm = _library()
        module = llvm.parse_assembly(f"{_declarations()}\n{text}")
        module.verify()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
        )
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = True
        builder = llvm.create_pass_builder(target, options)
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, target)
        engine.finalize_object()
        _compiled[text] = Code(engine, engine.get_function_address(function))
        if len(_compiled) > KEPT:
            _compiled.popitem(last=False)
        return _compiled[text]

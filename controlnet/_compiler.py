"""How kernels are compiled: to intermediate code only, so that LLVM works once, on the whole loop.

Left to itself Numba optimises every function and makes machine code of it, then does so again within all that calls
it: a loop of sixty kernels, five calls deep, takes twice as long to compile.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is linked into that of its callers and never runs alone."""

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):  # type: ignore[misc]
    """Lowers a kernel into a library of its own and stops before machine code is made."""

    _name = "kernel_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _KernelLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        try:
            super().run_pass(state)
        finally:
            state.flags.no_compile = False
        lowered, name = state["cr"], state.func_id.func_qualname
        # Callers look a function up by its entry point, even if that is none.
        entry = _dynfunc.make_function(lowered.fndesc.lookup_module(), name, "", 0, lowered.env, (state.library,))
        state["cr"] = lowered._replace(cfunc=entry)
        state.targetctx.insert_user_function(entry, lowered.fndesc, [state.library])
        return True


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler with its last stage replaced."""

    def define_pipelines(self) -> list[Any]:
        """Give the passes.

        Returns
        -------
        list
            One pass manager.
        """
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (_KernelLowering, text) if each is NativeLowering else (each, text) for each, text in manager.passes
        ]
        manager._finalized = False
        manager.finalize()
        return [manager]

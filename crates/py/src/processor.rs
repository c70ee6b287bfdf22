//! Whether this processor has the instructions that the core was compiled for.

use pyo3::prelude::*;

/// Raises ImportError on a processor without them: the first checksum would be an illegal instruction.
pub fn check() -> PyResult<()> {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse4.2"))]
    {
        use std::arch::x86_64::__cpuid;

        use pyo3::exceptions::PyImportError;
        /// SSE4.2 and POPCNT in ECX of leaf 1.
        const NEEDED: u32 = 1 << 20 | 1 << 23;
        // SAFETY: every x86-64 processor has the instruction and leaf 1.
        #[allow(unused_unsafe, reason = "safe in newer compilers than the oldest we support")]
        let found = unsafe { __cpuid(1) }.ecx & NEEDED;
        if found != NEEDED {
            return Err(PyImportError::new_err(
                "this processor has no SSE4.2, which Tidebook was compiled for (x86-64-v2, 2009); in a virtual machine choose \
                 another CPU model, such as host",
            ));
        }
    }
    Ok(())
}

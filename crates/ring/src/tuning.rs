//! What can be asked of the kernel for the memory of a ring and for a thread, and what the kernel then really did.
//!
//! Everything here may be refused (limits, kernels without it, machines with one node), and nothing depends on it but
//! speed. So the answer is not an error but an [`Effect`]: what was asked, whether it is in force as the kernel itself
//! says, and why not. A ring is always prefaulted: that costs nothing to ask for and is told like the rest.
//! Only Linux is asked; other systems give nothing of it.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::pin_thread;
#[cfg(target_os = "linux")]
pub use linux::pin_thread;

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryTuning {
    /// Keep it in memory: no page of it is ever written to swap.
    pub lock: bool,
    /// Map it with huge pages, which need fewer entries of the processor's address cache.
    pub huge_pages: bool,
    /// Keep it in the memory of this NUMA node: that of the cores which use it.
    pub numa_node: Option<u32>,
}

/// What came of one wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// `prefault`, `lock`, `huge_pages`, `numa_node`, `cpu`.
    pub option: &'static str,
    /// As the kernel says.
    pub in_force: bool,
    /// How much of it, or why not.
    pub detail: String,
}

impl Effect {
    fn new(option: &'static str, in_force: bool, detail: impl Into<String>) -> Self {
        Self { option, in_force, detail: detail.into() }
    }
}

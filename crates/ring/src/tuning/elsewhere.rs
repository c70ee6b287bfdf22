//! A system that is asked for nothing: what was wished is told as not in force.

use super::{Effect, MemoryTuning};
use crate::ring::Ring;

const NOT_HERE: &str = "not on this system";

impl Ring {
    /// Tells that nothing of this is in force.
    pub fn tune(&self, wanted: MemoryTuning) -> Vec<Effect> {
        let MemoryTuning { lock, huge_pages, numa_node } = wanted;
        let asked =
            [("prefault", true), ("lock", lock), ("huge_pages", huge_pages), ("numa_node", numa_node.is_some())];
        asked.iter().filter(|(_, asked)| *asked).map(|(option, _)| Effect::new(option, false, NOT_HERE)).collect()
    }
}

/// Tells that the thread is bound to no CPU.
pub fn pin_thread(cpu: u32) -> Effect {
    Effect::new("cpu", false, format!("CPU {cpu}: {NOT_HERE}"))
}

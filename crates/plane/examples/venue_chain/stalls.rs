//! What the machine took away meanwhile: the time that threads of ours could have run and had no core, and the gaps of the one that sends.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// A turn of the loop that sends and reads takes less than a microsecond for each message in it; this is no work of ours.
const GAP_NS: u64 = 50_000;

/// ns that each thread of this process has waited for a core so far; empty where the kernel does not count them.
fn waited() -> HashMap<String, u64> {
    let mut waited = HashMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        // A thread may end meanwhile.
        let said = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        if let Some(Ok(ns)) = said.split_ascii_whitespace().nth(1).map(str::parse) {
            waited.insert(task.file_name().to_string_lossy().into_owned(), ns);
        }
    }
    waited
}

/// Stalls of one round.
#[derive(Debug)]
pub struct Stalls {
    before: HashMap<String, u64>,
    last_ns: u64,
    gaps: u64,
    longest_ns: u64,
}

impl Stalls {
    /// A round begins at its time 0.
    pub fn begin() -> Self {
        Self { before: waited(), last_ns: 0, gaps: 0, longest_ns: 0 }
    }

    /// The loop is at its top again.
    #[inline]
    pub fn turn(&mut self, now_ns: u64) {
        let took = now_ns - self.last_ns;
        self.last_ns = now_ns;
        self.gaps += u64::from(took > GAP_NS);
        self.longest_ns = self.longest_ns.max(took);
    }

    /// The round is over: members of a JSON object.
    pub fn told(&self) -> String {
        let (after, Self { gaps, longest_ns, last_ns, .. }) = (waited(), self);
        let since = |(thread, now): (&String, &u64)| now - self.before.get(thread).copied().unwrap_or(0);
        let waited: u64 = after.iter().map(since).sum();
        let took_s = Duration::from_nanos(*last_ns).as_secs_f64();
        format!(r#""waited_ns":{waited},"gaps":{gaps},"longest_gap_ns":{longest_ns},"took_s":{took_s:.6}"#)
    }
}

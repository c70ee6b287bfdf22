//! What the channel promises right now, and never more.

use std::fmt;
use std::path::PathBuf;

use tidebook_journal::SyncPolicy;

/// The guarantee in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// When the journal syncs.
    pub sync: SyncPolicy,
    /// Last message committed to the ring: survives the death of any process, not of the machine.
    pub published: u64,
    /// Last message synced to the journal: survives power loss, if the disk keeps what it acknowledges.
    pub durable: u64,
    /// Where the journal is.
    pub journal: PathBuf,
    /// Why journaling has stopped; then nothing more becomes durable and producers are refused.
    pub failure: Option<String>,
    /// Why the producer waits for a slow disk as soon as the ring is full; `None` where what it is behind is staged.
    pub no_staging: Option<String>,
}

impl fmt::Display for Guarantee {
    /// One line: mode, sync policy, how far durable, where.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wal")?;
        match self.sync {
            SyncPolicy::Interval(interval) => write!(f, ", synced every {} ms", interval.as_millis())?,
            SyncPolicy::Group => write!(f, ", group commit")?,
        }
        write!(f, ", durable up to {} of {} in {}", self.durable, self.published, self.journal.display())?;
        match &self.failure {
            None => Ok(()),
            Some(failure) => write!(f, ", STOPPED: {failure}"),
        }
    }
}

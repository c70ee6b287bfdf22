//! Which sessions with the venue are open, as the feed's own state messages tell it.

use crate::saved::saved;

/// Numbers of the open sessions, oldest first. A feed has a handful, so a list beats any map.
#[derive(Debug, Default, Hash)]
pub(crate) struct Connections(Vec<u32>);

saved!(Connections(0));

impl Connections {
    /// A session began.
    pub(crate) fn open(&mut self, connection: u32) {
        if !self.0.contains(&connection) {
            self.0.push(connection);
        }
    }

    /// A session ended.
    pub(crate) fn close(&mut self, connection: u32) {
        self.0.retain(|&open| open != connection);
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes any session that is still open; None when there is none.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.0.pop()
    }
}

//! Why checkpoints cannot be stored or read.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong with a store of checkpoints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A name that cannot be a key.
    #[error("{what} = {value:?}: must have 1 to {max} bytes and no zero byte")]
    Name {
        /// `channel` or `state_id`.
        what: &'static str,
        /// As it was given.
        value: String,
        /// Most bytes.
        max: usize,
    },
    /// A cursor beyond what is durable: nothing lasting may come of what is not visible.
    #[error(
        "a checkpoint at message {sequence} is refused: only {durable} are durable, and nothing lasting may come of what is \
         not; wait until it is, or read without peek"
    )]
    NotDurable {
        /// Of the cursor.
        sequence: u64,
        /// Of the channel.
        durable: u64,
    },
    /// No room; what was stored before stays.
    #[error("no room for a checkpoint in {path}: {source}; what was stored before stays, free space and try again")]
    Full {
        /// Of the store.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be written there; what is stored can be read.
    #[error(
        "the checkpoints in {path} take nothing: their file system is read-only; make it writable and open them again, or \
         name another place with open_consumer(..., checkpoints=DIRECTORY)"
    )]
    ReadOnly {
        /// Of the store.
        path: PathBuf,
    },
    /// A file that is not what was written.
    #[error(
        "the checkpoints in {path} are damaged ({reason}, page {page}); put the directory back from a backup, or remove it to \
         begin without checkpoints"
    )]
    Damaged {
        /// Of the store.
        path: PathBuf,
        /// Where.
        page: u64,
        /// What shows it.
        reason: &'static str,
    },
    /// One checkpoint that is not what was written; others may be whole.
    #[error(
        "checkpoint {id} in {path} is damaged ({reason}); go on from an older one of the same state or consumer (`tidebook channel \
         cursor ls` shows what is stored), put the directory back from a backup, or remove it to begin without checkpoints"
    )]
    DamagedEntry {
        /// Of the store.
        path: PathBuf,
        /// Its number.
        id: u64,
        /// What shows it.
        reason: &'static str,
    },
    /// Of another format.
    #[error(
        "the checkpoints in {path} are of format version {found}, this release reads {supported}; use the release that wrote them"
    )]
    Version {
        /// Of the store.
        path: PathBuf,
        /// In the file.
        found: u32,
        /// Of this release.
        supported: u32,
    },
    /// In a process that was forked from one with checkpoints open.
    #[error(
        "the checkpoints in {path} cannot be used in a process forked from one that has checkpoints open; start it anew \
         (multiprocessing: spawn), or fork before any are opened"
    )]
    Forked {
        /// Of the store.
        path: PathBuf,
    },
    /// A write failed so that this process cannot know what is on disk.
    #[error(
        "writing to the checkpoints in {path} failed before and they take nothing more; close all consumers of the channel here and open them again"
    )]
    Failed {
        /// Of the store.
        path: PathBuf,
    },
    /// The directory was removed, or another was put in its place, while it was open.
    #[error(
        "the checkpoints in {path} were removed or replaced while they were open here; close all consumers of the channel in \
         this process and open them again"
    )]
    Replaced {
        /// Of the store.
        path: PathBuf,
    },
    /// Something else has the name of the directory.
    #[error("{path} is no directory, and checkpoints need one; move it away or name another place")]
    NoDirectory {
        /// Where the store would be.
        path: PathBuf,
    },
    /// A directory is there, and not what belongs into it.
    #[error(
        "the checkpoints in {path} cannot be looked at ({reason}), and what was stored there is not known then: mount or put back \
         what belongs there; if no checkpoint was ever stored or nobody needs one, remove {path}"
    )]
    Away {
        /// Where the store should be.
        path: PathBuf,
        /// What shows it.
        reason: String,
    },
    /// Another process has been writing for longer than a commit takes.
    #[error("{}", busy(.path, *.process_id))]
    Busy {
        /// Of the store.
        path: PathBuf,
        /// Who writes; 0 for one that cannot be seen from here, as it is in another container or on another machine.
        process_id: u32,
    },
    /// Where a copy was to be made something is already.
    #[error("{path} is there already; a copy of checkpoints needs a directory of its own")]
    Exists {
        /// Of the copy.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} the checkpoints in {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Of the store.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn busy(path: &Path, process_id: u32) -> String {
    let path = path.display();
    match process_id {
        0 => format!(
            "a process of another container or machine has been writing to the checkpoints in {path} for ten seconds: see what its disk \
             does and whether it is stopped"
        ),
        _ => format!(
            "process {process_id} has been writing to the checkpoints in {path} for ten seconds: see what its disk does; if it is \
             stopped, `kill -CONT {process_id}` lets it go on"
        ),
    }
}

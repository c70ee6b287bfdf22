//! The durable history of a channel.
//!
//! A journal is a directory of pre-zeroed segments, written by one process and read by any number. The unit of
//! write is a batch: one frame with a chained checksum that holds the messages of one group commit. A message is
//! acknowledged only when its batch is synced, a failed sync ends the journal's life in this process, and no byte
//! that may ever have meant something is overwritten. What is found after a crash is judged by one exact rule
//! ([`recovery`]), never by guessing. Byte tables: `docs/formats/journal.md`.
//!
//! ```
//! use tidebook_journal::{JournalOptions, JournalReader, JournalWriter, ReaderOptions};
//! let directory = tempfile::tempdir()?;
//! let options = JournalOptions { segment_size_bytes: 64 * 1024, ..JournalOptions::new("feed.binance") };
//! let (mut journal, _report) = JournalWriter::open(directory.path(), options)?;
//! assert_eq!(journal.append(b"first")?, 1);
//! journal.sync()?;
//! let mut reader = JournalReader::open(directory.path(), ReaderOptions::default())?;
//! let batch = reader.next_batch()?.expect("one batch is durable");
//! assert_eq!(batch.records().collect::<Vec<_>>(), [(1, &b"first"[..])]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch_finder;
mod beginning;
mod begun_cut;
mod birth;
mod compact;
mod configuration;
mod durable_end;
mod error;
mod fork;
mod frame;
mod keep;
mod mapped;
mod owned_thread;
mod put_back;
mod reader;
pub mod recovery;
mod regular_file;
pub mod repair;
mod segment;
pub mod snapshot;
mod state;
mod stats;
pub mod storage;
mod thread;
mod verify;
mod walk;
mod watermark;
mod writer;

pub use batch_finder::{BatchFinder, BatchMark, Found};
pub use birth::{adopt, mark_rings_noted};
pub use compact::{
    Compacted, announced_first, compact, compact_if, compact_storage, first_to_keep, is_being_compacted, segments,
};
pub use configuration::{ConfigurationChange, configurations, configurations_since, configurations_storage};
pub use durable_end::{DurableEnd, durable_end, durable_end_storage};
pub use error::{Damage, JournalError};
pub use frame::{BATCH_HEADER_SIZE_BYTES, FORMAT_VERSION, RECORD_HEADER_SIZE_BYTES, SEGMENT_HEADER_SIZE_BYTES};
pub use keep::{KeepFacts, KeepRule, KeepRuleError, KeepUntil, SegmentFacts};
pub use mapped::Mapped;
pub use put_back::{is_put_back, mark_put_back, mark_put_back_storage};
pub use reader::{Batch, JournalReader, ReaderOptions, Visible};
pub use recovery::{RecoveryReport, Tail};
pub use segment::{SEGMENT_SIZE_BYTES_MAX, SEGMENT_SIZE_BYTES_MIN};
pub use state::{Hashes, State, StateError};
pub use stats::{JournalStats, SegmentStats, stats, stats_storage};
pub use thread::{IDLE_WAIT, JournalThread, Source, SyncPolicy, panic_text};
pub use verify::{
    Inspection, SegmentSummary, Verified, inspect, inspect_storage, verify, verify_storage, verify_telling,
};
pub use writer::{JournalOptions, JournalWriter};

//! How fast a journal takes and gives messages: `cargo run --release -p tidebook-journal --example speed [messages] [directory]`.
//!
//! One writer appends messages of 64 bytes and syncs after every group; one reader replays them and verifies each batch; all
//! segments are verified on the cores there are; and the journal is opened again. The directory decides which disk is measured.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidebook_journal::{JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, verify};

const MESSAGE_SIZE_BYTES: usize = 64;

/// Seconds of each part, over `messages`.
#[derive(Debug)]
pub struct Measured {
    /// How many.
    pub messages: u64,
    /// How many to a sync.
    pub group: u64,
    /// In `append`, writing of full batches to the operating system included, syncs not.
    pub append: Duration,
    /// In `sync`.
    pub sync: Duration,
    /// One reader, every batch verified.
    pub replay: Duration,
    /// All segments, on the cores there are.
    pub verify: Duration,
    /// Opening for writing: the newest segment verified, the next one allocated.
    pub open: Duration,
}

/// Writes, replays, verifies and opens a journal of `messages` in an empty directory, `group` of them to a sync.
///
/// # Errors
/// What the journal's calls return.
///
/// # Panics
/// When what is read is not what was written.
pub fn measure(directory: &Path, messages: u64, group: u64) -> Result<Measured, JournalError> {
    let (mut writer, _) = JournalWriter::open(directory, JournalOptions::new("speed"))?;
    let (mut append, mut sync) = (Duration::ZERO, Duration::ZERO);
    let mut message = [7; MESSAGE_SIZE_BYTES];
    let mut written = 0;
    while written < messages {
        let count = group.min(messages - written);
        let start = Instant::now();
        for index in 0..count {
            message[..8].copy_from_slice(&(written + index + 1).to_le_bytes());
            writer.append(&message)?;
        }
        let appended = Instant::now();
        assert_eq!(writer.sync()?, written + count);
        append += appended - start;
        sync += appended.elapsed();
        written += count;
    }
    drop(writer);

    let start = Instant::now();
    let mut reader = JournalReader::open(directory, ReaderOptions::default())?;
    let mut last = 0;
    while let Some(batch) = reader.next_batch()? {
        for (sequence, payload) in batch.records() {
            assert!(sequence == last + 1 && payload[..8] == sequence.to_le_bytes(), "message {sequence} after {last}");
            last = sequence;
        }
    }
    assert_eq!(last, messages);
    let replay = start.elapsed();

    let start = Instant::now();
    assert_eq!(verify(directory)?.record_count, messages);
    let verified = start.elapsed();

    let start = Instant::now();
    let (writer, report) = JournalWriter::open(directory, JournalOptions::new("speed"))?;
    assert_eq!(report.last_sequence, messages);
    let open = start.elapsed();
    drop(writer);
    Ok(Measured { messages, group, append, sync, replay, verify: verified, open })
}

#[allow(dead_code, reason = "the test calls `measure`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let messages = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let root = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    for group in [1_000, 10_000, 100_000] {
        let directory = tempfile::Builder::new().prefix("journal-speed").tempdir_in(&root)?;
        let found = measure(directory.path(), messages, group)?;
        let rate = |lasted: Duration| found.messages as u128 * 1_000_000 / lasted.as_micros().max(1);
        println!(
            "{messages} messages of {MESSAGE_SIZE_BYTES} bytes, {group} to a sync: append {} /s, with sync {} /s, replay {} /s, \
             verify {} /s, open {} ms",
            rate(found.append),
            rate(found.append + found.sync),
            rate(found.replay),
            rate(found.verify),
            found.open.as_millis()
        );
    }
    Ok(())
}

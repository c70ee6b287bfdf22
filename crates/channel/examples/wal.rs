//! How fast a durable channel is, beside a bare `pwrite` and `fdatasync` of the same bytes on the same disk, in one run.
//!
//! `cargo run --release -p tidebook-channel --example wal -- [DIRECTORY [MESSAGES [ROUNDS]]]`: one line of JSON for each
//! figure. Rates: one producer writes batches as fast as it can, and the clock stops when the last message is durable.
//! Latencies: from before a batch is written until it is durable, taken in turn with the bare write of as many bytes.

#![allow(clippy::float_arithmetic, reason = "it measures")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidebook_channel::{Channel, ChannelOptions};
use tidebook_journal::SyncPolicy;
use tidebook_ring::RingOptions;

/// Bytes of a message.
const MESSAGE_SIZE_BYTES: usize = 64;
const SLOTS: u64 = 1 << 16;
/// Messages handed over at once where the rate is measured.
const RATE_BATCH: usize = 1024;
/// Messages of the batches whose latency is measured.
const LATENCY_BATCHES: [usize; 4] = [1, 16, 256, 4096];
const LONG: Duration = Duration::from_secs(600);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (messages, rounds) = (number(10_000_000), number(500));
    let scratch = tempfile::Builder::new().prefix("wal-").tempdir_in(directory).expect("a directory on the disk");
    for figure in measure(scratch.path(), messages, rounds as usize) {
        println!("{figure}");
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// Messages a second that became durable.
    Rate {
        /// How many were written.
        messages: u64,
        /// From the first write to the last acknowledgement.
        seconds: f64,
        /// How many syncs made them durable.
        syncs: u64,
    },
    /// What one batch takes.
    Latency {
        /// Messages of the batch.
        batch: usize,
        /// Through the channel, ns, sorted.
        channel_ns: Vec<u64>,
        /// A bare write and sync of as many bytes, ns, sorted.
        bare_ns: Vec<u64>,
    },
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rate { messages, seconds, syncs } => {
                let rate = *messages as f64 / seconds;
                write!(f, r#"{{"figure":"rate","messages":{messages},"per_s":{rate:.0},"syncs":{syncs}}}"#)
            }
            Self::Latency { batch, channel_ns, bare_ns } => {
                let [channel, bare] = [channel_ns, bare_ns].map(|sorted| percentiles_us(sorted));
                let ratio = channel[0] / bare[0];
                write!(
                    f,
                    r#"{{"figure":"latency","batch":{batch},"channel_us":{channel:.1?},"bare_us":{bare:.1?},"p50_ratio":{ratio:.2}}}"#
                )
            }
        }
    }
}

/// p50, p99, p99.9 in microseconds.
fn percentiles_us(sorted_ns: &[u64]) -> [f64; 3] {
    [0.5, 0.99, 0.999].map(|share| sorted_ns[((sorted_ns.len() - 1) as f64 * share) as usize] as f64 / 1000.0)
}

/// All figures, over a journal and a bare file in `directory`; the ring is in shared memory.
pub fn measure(directory: &Path, messages: u64, rounds: usize) -> Vec<Figure> {
    let rings = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in("/dev/shm")
        .expect("shared memory");
    let ring = RingOptions::slots(MESSAGE_SIZE_BYTES as u32, SLOTS).parking(true);
    let options = ChannelOptions { sync: SyncPolicy::Group, ..ChannelOptions::with_ring("wal", ring) };
    let (channel, _) =
        Channel::open(&rings.path().join("wal.ring"), &directory.join("journal"), &options).expect("a channel");
    let mut figures = vec![rate(&channel, messages)];
    for batch in LATENCY_BATCHES {
        let bare = Bare::make(&directory.join(format!("bare-{batch}")), batch * MESSAGE_SIZE_BYTES, rounds);
        figures.push(latency(&channel, &bare, batch, rounds));
    }
    channel.close().expect("everything is durable");
    figures
}

fn rate(channel: &Channel, messages: u64) -> Figure {
    let mut producer = channel.producer().expect("the producer");
    let records = [7; RATE_BATCH * MESSAGE_SIZE_BYTES];
    let (last, syncs) = (producer.published() + messages, channel.sync_count());
    let start = Instant::now();
    while producer.published() < last {
        let count = (last - producer.published()).min(RATE_BATCH as u64) as usize;
        producer.write_records(&records[..count * MESSAGE_SIZE_BYTES]).expect("room in time");
    }
    assert!(channel.wait_durable(last, LONG), "{:?}", channel.failure());
    let seconds = start.elapsed().as_secs_f64();
    Figure::Rate { messages, seconds, syncs: channel.sync_count() - syncs }
}

fn latency(channel: &Channel, bare: &Bare, batch: usize, rounds: usize) -> Figure {
    let mut producer = channel.producer().expect("the producer");
    let records = vec![7; batch * MESSAGE_SIZE_BYTES];
    let (mut channel_ns, mut bare_ns) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let start = Instant::now();
        let last = producer.write_records(&records).expect("room in time");
        assert!(channel.wait_durable(last, LONG), "{:?}", channel.failure());
        channel_ns.push(start.elapsed().as_nanos() as u64);

        let start = Instant::now();
        bare.write(&records, round);
        bare_ns.push(start.elapsed().as_nanos() as u64);
    }
    channel_ns.sort_unstable();
    bare_ns.sort_unstable();
    Figure::Latency { batch, channel_ns, bare_ns }
}

/// A file of zeros that is written from front to end, as a segment is.
struct Bare(File);

impl Bare {
    fn make(path: &Path, batch_size_bytes: usize, rounds: usize) -> Self {
        let file = OpenOptions::new().write(true).create_new(true).open(path).expect("a file");
        let zeros = vec![0; batch_size_bytes];
        for round in 0..rounds {
            file.write_all_at(&zeros, (round * batch_size_bytes) as u64).expect("room on the disk");
        }
        file.sync_all().expect("a sync");
        Self(file)
    }

    fn write(&self, bytes: &[u8], round: usize) {
        self.0.write_all_at(bytes, (round * bytes.len()) as u64).expect("a write");
        self.0.sync_data().expect("a sync");
    }
}

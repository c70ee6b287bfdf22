//! The venue with its journal, beside bare writes and syncs of the batches that it made.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidebook_journal::{JournalReader, ReaderOptions};
use tidebook_plane::{VenueDurability, VenueLayout, VenueStatus};
use tidebook_ring::{Read, Wait};
use tidebook_types::Command;
use zerocopy::IntoBytes;

use crate::Measured;
use crate::chains::{BATCHES, Running};
use crate::market::order;
use crate::open_loop::{Pace, quantile, sorted};

/// Bytes of the file that bare writes go round in.
const BARE_SIZE_BYTES: u64 = 64 << 20;

/// A venue with its journal, and a file beside it.
pub struct Journaled {
    venue: Running,
    journal: PathBuf,
    bare: Bare,
}

impl Journaled {
    pub fn start(rings: &Path, disk: &Path, layout: VenueLayout, wait: Wait) -> Self {
        let journal = disk.join("orders");
        let venue = Running::start((rings, &journal), layout, wait, VenueDurability::Wal, None);
        Self { venue, journal, bare: Bare::make(&disk.join("bare")) }
    }
}

impl Measured for Journaled {
    fn round(&mut self, pace: Pace) -> Vec<String> {
        let from = self.venue.sequence + 1;
        let round = self.venue.open_loop(pace).told("journal");
        let batches = batches(&self.journal, from);
        let p50 = quantile(&self.bare.syncs(&batches), 500);
        vec![round, format!(r#"{{"chain":"sync","p50_ns":{p50},"batches":{}}}"#, batches.len())]
    }

    fn batch(&mut self, count: u64) -> Vec<String> {
        let (mut took, mut syncs) = (Vec::new(), Vec::new());
        for _ in 0..BATCHES {
            took.push(self.venue.batch(count));
            let began = Instant::now();
            self.bare.sync(count as usize * size_of::<Command>());
            syncs.push(began.elapsed().as_nanos() as u64);
        }
        let [took, syncs] = [took, syncs].map(|each| quantile(&sorted(each), 500));
        vec![
            format!(r#"{{"chain":"journal","batch":{count},"p50_ns":{took}}}"#),
            format!(r#"{{"chain":"sync","batch":{count},"p50_ns":{syncs}}}"#),
        ]
    }

    fn at_once(&mut self, count: u64) -> Vec<String> {
        vec![format!(r#"{{"chain":"at once","per_s":{:.0}}}"#, sustained(&mut self.venue, count))]
    }

    fn stop(self: Box<Self>) {
        Box::new(self.venue).stop();
    }
}

/// Commands a second as fast as there is room, until the last is synced.
fn sustained(venue: &mut Running, count: u64) -> f64 {
    let began = Instant::now();
    for index in 0..count {
        venue.producer.write(order(index).as_bytes()).expect("a write");
    }
    venue.sequence += count;
    while venue.engine.status().visible < venue.sequence {
        std::thread::sleep(Duration::from_micros(100));
    }
    let per_s = count as f64 / began.elapsed().as_secs_f64();
    // Their executions are not to be found by a later round.
    let is_told = |status: VenueStatus| status.applied == venue.sequence && status.executions == status.executed;
    while !is_told(venue.engine.status()) {
        std::thread::sleep(Duration::from_micros(100));
    }
    while venue.consumer.poll(usize::MAX, |_, _| {}).is_ok_and(|read| read != Read::Messages(0)) {}
    per_s
}

/// A batch of the journal.
struct Batch {
    size_bytes: usize,
    commands: u64,
}

/// The batches that hold the commands from this one on.
fn batches(journal: &Path, from: u64) -> Vec<Batch> {
    let mut reader = JournalReader::open(journal, ReaderOptions::from_sequence(from)).expect("the journal");
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().expect("whole batches") {
        if batch.first_sequence() >= from {
            let commands = batch.last_sequence() + 1 - batch.first_sequence();
            found.push(Batch { size_bytes: batch.size_bytes(), commands });
        }
    }
    found
}

/// A file of zeros that is written from front to end, as a segment is.
struct Bare {
    file: File,
    at: u64,
    bytes: Vec<u8>,
}

impl Bare {
    fn make(path: &Path) -> Self {
        let file = File::create_new(path).expect("a file");
        let zeros = vec![0; 1 << 20];
        for at in (0..BARE_SIZE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).expect("room on the disk");
        }
        file.sync_all().expect("a sync");
        Self { file, at: 0, bytes: vec![1; 16 << 20] }
    }

    /// ns of each write with its sync, once for each command that was in the batch, sorted: what one of them had to wait for.
    fn syncs(&mut self, batches: &[Batch]) -> Vec<u64> {
        let mut took = Vec::new();
        for Batch { size_bytes, commands } in batches {
            let began = Instant::now();
            self.sync(*size_bytes);
            took.extend(std::iter::repeat_n(began.elapsed().as_nanos() as u64, *commands as usize));
        }
        sorted(took)
    }

    fn sync(&mut self, size_bytes: usize) {
        if self.at + size_bytes as u64 > BARE_SIZE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.bytes[..size_bytes], self.at).expect("a write");
        self.file.sync_data().expect("a sync");
        self.at += size_bytes as u64;
    }
}

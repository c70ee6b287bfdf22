//! How long a feed takes to be taken up: from its first message, and behind a snapshot. `restart [MESSAGES] [TAIL]`: a journal of
//! so many messages of a simulated venue, a snapshot that lacks the last TAIL of them.
//!
//! Prints one line each: what was done, seconds, and for the snapshot its bytes. The state of both is compared.

#![allow(clippy::float_arithmetic, reason = "it measures")]

use std::path::Path;
use std::time::Instant;

use tidebook_journal::snapshot::{Place, SnapshotStore};
use tidebook_journal::{JournalOptions, JournalReader, JournalWriter, ReaderOptions, State};
use tidebook_plane::{Beginning, FeedHistory, snapshots_path};
use tidebook_testkit::BinanceFlow;
use tidebook_types::{RawMessage, Venue};

const VENUE: Venue = Venue::Binance;

fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let (messages, tail) = (words.next().unwrap_or(100_000), words.next().unwrap_or(10_000));
    let directory = tempfile::tempdir().expect("a directory");
    let (journal, snapshots) = (directory.path().join("journal"), directory.path().join("snapshots"));
    write(&journal, messages);
    take_snapshot(&journal, &snapshots, messages - tail);
    let (whole, hash) = take_up(&journal, None);
    let (behind, hash_behind) = take_up(&journal, Some(&snapshots));
    assert_eq!(hash, hash_behind, "the two states differ");
    println!("whole history of {messages} messages: {whole:.3} s");
    println!("behind a snapshot, {tail} messages: {behind:.3} s, {:.0} times faster", whole / behind);
}

/// Messages of a simulated venue, again and again: each round is a new session.
fn write(journal: &Path, messages: u64) {
    let options = JournalOptions::new(FeedHistory::kind_of(VENUE));
    let (mut writer, _) = JournalWriter::open(journal, options).expect("a journal");
    let flow =
        BinanceFlow { seed: 1, steps: 20_000, changes_max: 20, levels: 1_000, snapshot_every: 5_000, futures: false };
    let round = flow.messages();
    let (mut payload, mut ts_recv) = (Vec::new(), 0);
    while writer.next_sequence() <= messages {
        let (kind, at, context, body) = &round[(writer.next_sequence() - 1) as usize % round.len()];
        // The clock goes on over the rounds.
        ts_recv = (ts_recv + 1).max(*at);
        payload.clear();
        let (context, body) = (context.as_bytes(), body.as_bytes());
        RawMessage { ts_recv, connection: 1, kind: *kind, context, body }.write_to(&mut payload);
        writer.append(&payload).expect("room");
        if writer.next_sequence().is_multiple_of(1_000) {
            writer.flush().expect("room");
        }
    }
    writer.close().expect("a disk");
}

fn take_snapshot(journal: &Path, snapshots: &Path, sequence: u64) {
    let mut reader = JournalReader::open(journal, ReaderOptions::default()).expect("a journal");
    let journal_id = reader.journal_id();
    let mut history = FeedHistory::new(VENUE);
    while let Some(batch) = reader.next_batch().expect("a whole journal") {
        batch.records().for_each(|(sequence, payload)| history.apply(sequence, payload).expect("a message"));
        if batch.last_sequence() >= sequence {
            let channel = FeedHistory::kind_of(VENUE);
            let (epoch, batch_number, chain) = (batch.epoch(), batch.batch_number(), batch.chain());
            let place = Place { channel, journal_id, epoch, sequence: batch.last_sequence(), batch_number, chain };
            let store = SnapshotStore::open(&snapshots_path(snapshots, VENUE), history.kind()).expect("a store");
            let began = Instant::now();
            let facts = store.write(&history, &place, 0).expect("a snapshot");
            let seconds = began.elapsed().as_secs_f64();
            println!("snapshot written and read back: {seconds:.3} s, {} bytes", facts.size_bytes);
            return;
        }
    }
}

/// Seconds until all of the journal is taken in, and the hash of the state.
fn take_up(journal: &Path, snapshots: Option<&Path>) -> (f64, u64) {
    let began = Instant::now();
    let beginning = Beginning::find(VENUE, journal, snapshots, u64::MAX).expect("a beginning");
    let mut history = FeedHistory::of(beginning.state);
    let options = ReaderOptions::from_sequence(history.state().sequence() + 1);
    let mut reader = JournalReader::open(journal, options).expect("a journal");
    while let Some(batch) = reader.next_batch().expect("a whole journal") {
        batch.records().for_each(|(sequence, payload)| history.apply(sequence, payload).expect("a message"));
    }
    (began.elapsed().as_secs_f64(), history.state_hash())
}

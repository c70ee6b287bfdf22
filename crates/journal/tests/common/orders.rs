//! A journal of the reference orders on the faulty disk, and snapshots of it.
#![allow(dead_code, reason = "each test file uses its own part")]

use tidebook_journal::snapshot::{Place, SnapshotStore};
use tidebook_journal::{JournalOptions, JournalReader, JournalWriter, ReaderOptions, State};
use tidebook_testkit::{MemoryStorage, OrderFlow, OrderStore};

pub const CHANNEL: &str = "orders";

pub fn options() -> JournalOptions {
    JournalOptions { segment_size_bytes: 8192, allocate_ahead: false, ..JournalOptions::new(CHANNEL) }
}

/// Appends commands of `flow` up to `last`, `group` to a sync.
pub fn append_upto(writer: &mut JournalWriter, flow: OrderFlow, last: u64, group: u64) {
    while writer.next_sequence() <= last {
        let sequence = writer.next_sequence();
        writer.append(&flow.payload(sequence)).expect("append");
        if sequence.is_multiple_of(group) || sequence == last {
            assert_eq!(writer.sync().expect("sync"), sequence);
        }
    }
}

pub fn store(storage: &MemoryStorage) -> SnapshotStore {
    SnapshotStore::open_storage(storage.shared(), "orders").expect("a store")
}

/// The state behind the batch that ends with `sequence`, and where that is.
pub fn state_at(journal: &MemoryStorage, sequence: u64) -> (OrderStore, Place) {
    let mut reader = JournalReader::open_storage(journal.shared(), ReaderOptions::default()).expect("a journal");
    let (channel, journal_id) = (reader.channel().to_owned(), reader.journal_id());
    let mut state = OrderStore::new();
    while let Some(batch) = reader.next_batch().expect("a whole journal") {
        for (sequence, payload) in batch.records() {
            state.apply(sequence, payload).expect("a command");
        }
        if batch.last_sequence() == sequence {
            let (epoch, batch_number, chain) = (batch.epoch(), batch.batch_number(), batch.chain());
            return (state, Place { channel, journal_id, epoch, sequence, batch_number, chain });
        }
    }
    panic!("no batch ends with {sequence}");
}

/// Takes a snapshot of `journal` at `sequence`.
pub fn take(journal: &MemoryStorage, snapshots: &SnapshotStore, sequence: u64) {
    let (state, place) = state_at(journal, sequence);
    let facts = snapshots.write(&state, &place, 1_000).expect("a snapshot");
    assert_eq!((facts.sequence(), facts.state_hash), (sequence, state.state_hash()));
}

//! Whole histories of a journal and the snapshots of a state, on simulated disks, each fixed by its seed.
//!
//! A history is some lives of a process. A life opens the journal, recovers the state, appends, flushes and syncs, takes
//! snapshots of what it recovers from disk, rotates them, drops the segments they cover, and meets faults: calls that fail or end short, a disk that is full
//! for a while. It ends by closing, by dying, or with the power, which leaves a random part of what was not synced, sector by
//! sector and name by name; some die while they recover. A last life may find damage.
//!
//! The model is a list of messages: those acknowledged, and those that may be there or not. What a life finds is compared with
//! it whole: each payload, the hash of the state derived by other code from the list, each snapshot that was promised.
//! No thread, no clock and no order of the machine plays a part; random are only the journal's id and salts, which nothing
//! here looks at. A failure prints its seed; `TIDEBOOK_TEST_SEED=n` runs that history alone.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use tidebook_journal::snapshot::{Progress, RecoveryOptions, SnapshotError, SnapshotStore, recover};
use tidebook_journal::storage::Storage;
use tidebook_journal::{
    JournalError, JournalOptions, JournalReader, JournalWriter, KeepFacts, KeepRule, ReaderOptions, State, Tail,
    compact_storage, durable_end_storage, segments,
};
use tidebook_testkit::storage::{EINTR, EIO, ENOSPC};
use tidebook_testkit::{Fault, MemoryStorage, Operation, OrderFlow, OrderStore, Random};

const KIND: &str = "orders";
const KEEP: usize = 2;
const SEGMENT_SIZE_BYTES: u64 = 8192;

#[test]
fn histories_of_journal_and_snapshots_lose_nothing_acknowledged_and_show_nothing_else() {
    if let Ok(seed) = std::env::var("TIDEBOOK_TEST_SEED") {
        let seed = seed.parse().expect("TIDEBOOK_TEST_SEED is a number");
        println!("{:?}", run(seed..seed + 1));
        return;
    }
    let met = run(0..2_000);
    println!("{met:?}");
    assert!(met.torn > 100 && met.snapshots > 2_000 && met.from_snapshots > 2_000, "{met:?}");
    assert!(met.compacted > 500 && met.compactions_failed > 10, "{met:?}");
    assert!(met.poisoned > 200 && met.full > 100 && met.recoveries_cut_off > 200 && met.damage_refused > 50, "{met:?}");
}

#[test]
#[ignore = "soak: 150,000 histories"]
fn a_hundred_and_fifty_thousand_histories_lose_nothing_acknowledged() {
    for seeds in (1_000_000..1_150_000).step_by(10_000).map(|first| first..first + 10_000) {
        println!("histories {seeds:?}: {:?}", run(seeds.clone()));
    }
}

/// What the histories met: a campaign that does not reach what it is for proves nothing.
#[derive(Debug, Default)]
struct Met {
    lives: u64,
    messages: u64,
    power_losses: u64,
    torn: u64,
    poisoned: u64,
    full: u64,
    recoveries_cut_off: u64,
    snapshots: u64,
    snapshots_failed: u64,
    compacted: u64,
    compactions_failed: u64,
    from_snapshots: u64,
    damaged: u64,
    damage_refused: u64,
    older_snapshot_used: u64,
}

impl Met {
    fn and(self, other: Self) -> Self {
        Self {
            lives: self.lives + other.lives,
            messages: self.messages + other.messages,
            power_losses: self.power_losses + other.power_losses,
            torn: self.torn + other.torn,
            poisoned: self.poisoned + other.poisoned,
            full: self.full + other.full,
            recoveries_cut_off: self.recoveries_cut_off + other.recoveries_cut_off,
            snapshots: self.snapshots + other.snapshots,
            snapshots_failed: self.snapshots_failed + other.snapshots_failed,
            compacted: self.compacted + other.compacted,
            compactions_failed: self.compactions_failed + other.compactions_failed,
            from_snapshots: self.from_snapshots + other.from_snapshots,
            damaged: self.damaged + other.damaged,
            damage_refused: self.damage_refused + other.damage_refused,
            older_snapshot_used: self.older_snapshot_used + other.older_snapshot_used,
        }
    }
}

/// The histories of all seeds, on the cores there are.
fn run(seeds: Range<u64>) -> Met {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let seeds = &seeds;
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                scope.spawn(move || {
                    let mut met = Met::default();
                    for seed in seeds.clone().skip(core).step_by(cores) {
                        let _told = TellSeed(seed);
                        History::new(seed).run(&mut met);
                    }
                    met
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the history of the seed told above"))
            .fold(Met::default(), Met::and)
    })
}

/// Names the seed when a history panics, wherever.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of TIDEBOOK_TEST_SEED={}", self.0);
        }
    }
}

/// The disks, and what must be on them.
struct History {
    random: Random,
    journal: MemoryStorage,
    snapshots: MemoryStorage,
    /// Messages that must be there.
    acknowledged: Vec<Vec<u8>>,
    /// Messages behind them that may be there, each only with all before it.
    pending: Vec<Vec<u8>>,
    /// Of the acknowledged messages, by code that knows no journal.
    state: OrderStore,
    /// Snapshots that were said to be written.
    promised: BTreeSet<u64>,
    /// First message that compaction has left; after a power loss the journal may begin before it again.
    first: u64,
    life: u64,
}

fn options(evidence: u64) -> JournalOptions {
    JournalOptions {
        segment_size_bytes: SEGMENT_SIZE_BYTES,
        batch_size_bytes: 1024,
        allocate_ahead: false,
        evidence,
        ..JournalOptions::new("orders")
    }
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            journal: MemoryStorage::new(),
            snapshots: MemoryStorage::new(),
            acknowledged: Vec::new(),
            pending: Vec::new(),
            state: OrderStore::new(),
            promised: BTreeSet::new(),
            first: 1,
            life: 0,
        }
    }

    fn run(&mut self, met: &mut Met) {
        for _ in 0..2 + self.random.below(5) {
            self.life += 1;
            met.lives += 1;
            if self.random.chance(1, 4) {
                self.die_while_recovering(met);
            }
            self.live(met);
            if self.random.chance(2, 3) {
                self.lose_power(met);
            }
        }
        if self.random.chance(1, 3) {
            self.find_damage(met);
        }
        met.messages += self.acknowledged.len() as u64;
    }

    fn lose_power(&mut self, met: &mut Met) {
        met.power_losses += 1;
        self.journal.power_loss(&mut self.random);
        self.snapshots.power_loss(&mut self.random);
        self.copy_what_the_power_left();
    }

    /// A copy made before anybody opens the journal again has all that was acknowledged.
    fn copy_what_the_power_left(&self) {
        let copy = self.journal.fork();
        let end = durable_end_storage(&copy.shared()).expect("what was acknowledged is there");
        let Some(end) = end else {
            assert_eq!(self.acknowledged.len(), 0, "acknowledged, and there is no journal");
            return;
        };
        let name = format!("{:010}.segment", end.segment);
        let mut bytes = copy.bytes(&name);
        bytes.truncate(end.size_bytes as usize);
        copy.set_bytes(&name, bytes);
        let (_, found) = JournalWriter::open_storage(copy.shared(), options(0)).expect("a copy opens");
        let (last, acknowledged) = (found.last_sequence, self.acknowledged.len() as u64);
        assert!(last >= acknowledged, "{acknowledged} acknowledged, {last} in the copy");
        assert_eq!(found.tail, Tail::Clean);
    }

    fn store(&self) -> SnapshotStore {
        SnapshotStore::open_storage(self.snapshots.shared(), KIND).expect("a store")
    }

    /// What this process would know from elsewhere: the newest snapshot that verifies.
    fn evidence(&self) -> u64 {
        let store = self.store();
        store.list().expect("list").into_iter().rev().find(|&sequence| store.verify(sequence).is_ok()).unwrap_or(0)
    }

    /// A call of the recovery fails, then the process dies, perhaps with the power.
    fn die_while_recovering(&mut self, met: &mut Met) {
        self.plan_fault();
        let evidence = self.evidence();
        if let Ok((writer, report)) = JournalWriter::open_storage(self.journal.shared(), options(evidence)) {
            // It came through, and what it made durable counts from now on.
            self.adopt(report.last_sequence);
            drop(writer);
        } else {
            met.recoveries_cut_off += 1;
        }
        self.heal();
        if self.random.chance(1, 2) {
            self.lose_power(met);
        }
    }

    fn plan_fault(&mut self) {
        let operation = match self.random.below(7) {
            0 | 1 => Operation::Sync,
            2 => Operation::SyncDirectory,
            3 => Operation::Write,
            4 => Operation::Reserve,
            5 => Operation::Remove,
            _ => Operation::Rename,
        };
        let fault = match self.random.below(4) {
            0 => Fault::Errno(ENOSPC),
            1 if operation == Operation::Write => Fault::Errno(EINTR),
            2 if operation == Operation::Write => Fault::Short(1 + self.random.index(200)),
            _ => Fault::Errno(EIO),
        };
        let nth = 1 + self.random.below(if operation == Operation::Write { 40 } else { 8 });
        let disk = if self.random.chance(3, 4) { &self.journal } else { &self.snapshots };
        disk.fail(operation, nth, fault);
    }

    fn heal(&self) {
        for disk in [&self.journal, &self.snapshots] {
            disk.heal();
            disk.set_capacity(None);
        }
    }

    /// A recovery ended at `last`: that is now what was acknowledged, nothing else is pending.
    fn adopt(&mut self, last: u64) {
        let (least, most) = (self.acknowledged.len(), self.acknowledged.len() + self.pending.len());
        let last = usize::try_from(last).expect("a small history");
        assert!((least..=most).contains(&last), "{least} acknowledged of {most}, {last} recovered");
        self.pending.truncate(last - least);
        self.acknowledge_pending();
    }

    fn acknowledge_pending(&mut self) {
        for payload in self.pending.drain(..) {
            self.state.apply(self.acknowledged.len() as u64 + 1, &payload).expect("a command");
            self.acknowledged.push(payload);
        }
    }

    fn live(&mut self, met: &mut Met) {
        let evidence = self.evidence();
        let opened = JournalWriter::open_storage(self.journal.shared(), options(evidence));
        // No fault is planned and nothing was damaged: whatever the lives before met, this one opens.
        let (mut writer, report) = opened.unwrap_or_else(|error| panic!("{error}"));
        met.torn += u64::from(matches!(report.tail, Tail::Torn { .. }));
        self.adopt(report.last_sequence);
        assert!(report.first_sequence <= self.first, "{} of {}", report.first_sequence, self.first);
        self.first = report.first_sequence;
        self.check_promised_snapshots();
        self.check_journal();
        self.check_state(u64::MAX, met);
        // Of two snapshots each is enough: the other may be damaged.
        if let Some(&older) = self.promised.iter().rev().nth(1) {
            self.check_state(older, met);
        }

        if self.random.chance(1, 2) {
            self.plan_fault();
        }
        if self.random.chance(1, 8) {
            self.journal.set_capacity(Some(self.journal.used_bytes() + self.random.index(12_000)));
        }
        let flow = OrderFlow::new(self.random.next_u64()).with_window(40);
        let mut poisoned = false;
        for _ in 0..self.random.below(160) {
            let result = match self.random.below(16) {
                0 | 4 => writer.flush(),
                1 | 2 => self.sync(&mut writer),
                3 if self.random.chance(1, 3) => {
                    self.snapshot(&writer, met);
                    continue;
                }
                _ => {
                    let sequence = writer.next_sequence();
                    let payload = flow.payload(sequence).to_vec();
                    // An append flushes a full batch first; what fails then keeps the message out.
                    let appended = writer.append(&payload).map(|found| assert_eq!(found, sequence));
                    if appended.is_ok() {
                        self.pending.push(payload);
                    }
                    appended
                }
            };
            match result {
                Ok(()) => assert!(!poisoned, "nothing goes on behind a failed write"),
                Err(JournalError::Full { .. }) => {
                    assert!(!poisoned);
                    met.full += 1;
                    self.heal();
                }
                Err(JournalError::Poisoned { .. }) => assert!(poisoned),
                Err(_) => {
                    assert!(!poisoned);
                    poisoned = true;
                    met.poisoned += 1;
                }
            }
            let durable = writer.durable() as usize;
            if poisoned {
                // One sync may have been done of which the call could not tell.
                assert!(durable <= self.acknowledged.len() + self.pending.len());
            } else {
                assert!(durable >= self.acknowledged.len());
                self.acknowledge_upto(durable);
            }
            if self.random.chance(1, 20) {
                self.check_visible(&writer);
            }
        }
        if !poisoned && self.random.chance(1, 4) {
            self.heal();
            let everything = self.acknowledged.len() + self.pending.len();
            writer.close().expect("nothing stands in the way of closing");
            self.adopt(everything as u64);
        } else {
            // The allocation behind a beginning segment may have synced what no call has told of.
            let durable = writer.durable() as usize;
            drop(writer);
            self.acknowledge_upto(durable.max(self.acknowledged.len()));
        }
        self.heal();
    }

    /// What the writer knows durable may be acknowledged, and has to stay.
    fn acknowledge_upto(&mut self, durable: usize) {
        let rest = self.pending.split_off(durable - self.acknowledged.len());
        self.acknowledge_pending();
        self.pending = rest;
    }

    fn sync(&mut self, writer: &mut JournalWriter) -> Result<(), JournalError> {
        let durable = writer.sync()?;
        assert_eq!(
            durable as usize,
            self.acknowledged.len() + self.pending.len(),
            "a sync covers all that was appended"
        );
        self.acknowledge_upto(durable as usize);
        Ok(())
    }

    /// As a follower does: a state derived from the disk's durable messages, saved, the oldest beyond two removed.
    fn snapshot(&mut self, writer: &JournalWriter, met: &mut Met) {
        let journal: Arc<dyn Storage> = self.journal.shared();
        let recovered = recover(OrderStore::new, &journal, &self.store(), RecoveryOptions::default(), proceed);
        let recovered = recovered.unwrap_or_else(|error| panic!("{error}"));
        assert!(recovered.facts.last_sequence <= writer.durable(), "a snapshot of what is not durable");
        let Some(place) = recovered.place else { return };
        let store = self.store();
        let written = store.write(&recovered.state, &place, 0).and_then(|facts| {
            // From here on it was said to be there, whatever happens to the rotation.
            self.promised.insert(facts.sequence());
            store.rotate(KEEP)
        });
        match written {
            Ok(rotation) => {
                met.snapshots += 1;
                assert!(rotation.damaged.is_empty(), "{rotation:?}");
                assert!(rotation.kept.len() >= KEEP.min(self.promised.len()), "{rotation:?}");
                self.promised.retain(|sequence| !rotation.removed.contains(sequence));
                if self.random.chance(1, 2) {
                    self.compact(rotation.kept, met);
                }
            }
            Err(error) => {
                met.snapshots_failed += 1;
                assert!(matches!(error, SnapshotError::Io { .. } | SnapshotError::Full { .. }), "{error}");
                // It may have removed some before it failed, never the newest two.
                let newest: Vec<u64> = self.promised.iter().rev().take(KEEP).copied().collect();
                self.promised.retain(|sequence| newest.contains(sequence));
            }
        }
    }

    /// What two verified snapshots cover may go, in whole segments.
    fn compact(&mut self, snapshots: Vec<u64>, met: &mut Met) {
        let storage = self.journal.shared();
        let facts = KeepFacts { snapshots, segments: segments(&*storage).expect("headers"), ..KeepFacts::default() };
        match compact_storage(&*storage, KeepRule::snapshots().first_to_keep(&facts)) {
            Ok(compacted) => {
                met.compacted += compacted.removed.len() as u64;
                self.first = compacted.first_sequence;
            }
            Err(error) => {
                met.compactions_failed += 1;
                assert!(matches!(error, JournalError::Io { .. } | JournalError::Full { .. }), "{error}");
                // Some may be gone: the journal itself says where it begins.
                self.first = segments(&*storage).expect("headers")[0].first_sequence;
            }
        }
    }

    /// Each snapshot that was said to be written is there and whole, and none is there that is not whole.
    fn check_promised_snapshots(&self) {
        let store = self.store();
        let found = store.list().expect("list");
        for sequence in &found {
            store.verify(*sequence).unwrap_or_else(|error| panic!("{error}"));
            assert!(*sequence as usize <= self.acknowledged.len(), "a snapshot of messages that are not there");
        }
        assert!(self.promised.iter().all(|sequence| found.contains(sequence)), "{:?} of {found:?}", self.promised);
    }

    /// The journal shows what was acknowledged, payload by payload.
    fn check_journal(&self) {
        let mut count = self.first as usize - 1;
        read(&self.journal, |sequence, payload| {
            assert_eq!((sequence, payload), (count as u64 + 1, self.acknowledged[count].as_slice()));
            count += 1;
        });
        assert_eq!(count, self.acknowledged.len());
    }

    /// A reader beside the writer sees what is durable and not a message more.
    fn check_visible(&self, writer: &JournalWriter) {
        let mut last = 0;
        read(&self.journal, |sequence, _| last = sequence);
        assert!(last <= writer.durable(), "{last} is visible, durable is {}", writer.durable());
    }

    /// What recovery makes of snapshots and journal is the state of the acknowledged messages.
    fn check_state(&self, snapshot_sequence_max: u64, met: &mut Met) {
        let journal: Arc<dyn Storage> = self.journal.shared();
        let options = RecoveryOptions { snapshot_sequence_max };
        let recovered = recover(OrderStore::new, &journal, &self.store(), options, proceed);
        let facts = recovered.unwrap_or_else(|error| panic!("{error}")).facts;
        assert!(facts.refused.is_empty(), "{:?}", facts.refused);
        met.from_snapshots += u64::from(facts.used.is_some());
        assert_eq!(facts.last_sequence as usize, self.acknowledged.len());
        assert_eq!(facts.state_hash, self.state.state_hash(), "the state is another than its messages give");
    }

    /// A bit or a sector of some file is not what was written. Either that is found, or it made no difference: never is
    /// there a wrong payload, a wrong state or a message less without a word.
    fn find_damage(&mut self, met: &mut Met) {
        met.damaged += 1;
        let disk = if self.random.chance(1, 2) { &self.journal } else { &self.snapshots };
        let mut names = disk.shared().names().expect("list");
        names.retain(|name| name.ends_with(".segment") || name.ends_with(".snapshot"));
        if names.is_empty() {
            return;
        }
        let name = &names[self.random.index(names.len())];
        let mut bytes = disk.bytes(name);
        if bytes.is_empty() {
            return;
        }
        let at = self.random.index(bytes.len());
        if self.random.chance(1, 2) {
            bytes[at] ^= 1 << self.random.below(8);
        } else {
            let start = at / 512 * 512;
            let end = (start + 512).min(bytes.len());
            bytes[start..end].fill(0);
        }
        disk.set_bytes(name, bytes);
        // The process knew what it had acknowledged.
        let known = self.acknowledged.len() as u64;
        match JournalWriter::open_storage(self.journal.shared(), options(known)) {
            Err(JournalError::Damaged { sequence, .. }) => {
                met.damage_refused += 1;
                assert!(sequence <= known, "damage is told of messages that were never acknowledged");
                return;
            }
            Err(error) => panic!("{error}"),
            Ok((_, report)) => {
                self.adopt(report.last_sequence);
                // A removal that was not durable may be undone by the power loss before.
                self.first = report.first_sequence;
            }
        }
        let mut count = self.first as usize - 1;
        let readable = try_read(&self.journal, |sequence, payload| {
            assert_eq!((sequence, payload), (count as u64 + 1, self.acknowledged[count].as_slice()));
            count += 1;
        });
        assert!(readable.is_err() || count == self.acknowledged.len(), "{count} of {}", self.acknowledged.len());
        let journal: Arc<dyn Storage> = self.journal.shared();
        match recover(OrderStore::new, &journal, &self.store(), RecoveryOptions::default(), proceed) {
            Ok(recovered) => {
                let facts = recovered.facts;
                met.older_snapshot_used += u64::from(!facts.refused.is_empty());
                assert_eq!(facts.last_sequence as usize, self.acknowledged.len());
                assert_eq!(facts.state_hash, self.state.state_hash(), "a wrong state, without a word");
            }
            Err(SnapshotError::Journal(JournalError::Damaged { .. })) => met.damage_refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

fn proceed(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn read(disk: &MemoryStorage, each: impl FnMut(u64, &[u8])) {
    try_read(disk, each).unwrap_or_else(|error| panic!("{error}"));
}

fn try_read(disk: &MemoryStorage, mut each: impl FnMut(u64, &[u8])) -> Result<(), JournalError> {
    let mut reader = JournalReader::open_storage(disk.shared(), ReaderOptions::default())?;
    while let Some(batch) = reader.next_batch()? {
        for (sequence, payload) in batch.records() {
            each(sequence, payload);
        }
    }
    Ok(())
}

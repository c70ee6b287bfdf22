//! Named pipes, directories, sockets and devices under the names of a journal's and a store's files.

#[path = "common/orders.rs"]
mod orders;

use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use orders::{CHANNEL, append_upto, options};
use tidebook_journal::snapshot::{Place, RecoveryOptions, SnapshotStore, recover};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{
    Damage, JournalError, JournalReader, JournalWriter, ReaderOptions, State, compact, durable_end, inspect, repair,
    verify,
};
use tidebook_testkit::{OrderFlow, OrderStore};

const FLOW: OrderFlow = OrderFlow::new(17);
/// Somebody waits for ever.
const HANGS: Duration = Duration::from_secs(60);

/// A journal of 60 commands, closed, and snapshots at 20 and 40.
fn lived(directory: &Path) -> SnapshotStore {
    let journal = directory.join("wal");
    let (mut writer, _) = JournalWriter::open(&journal, options()).unwrap();
    append_upto(&mut writer, FLOW, 60, 5);
    writer.close().unwrap();
    let snapshots = SnapshotStore::open(&directory.join("snapshots"), "orders").unwrap();
    let mut reader = JournalReader::open(&journal, ReaderOptions::default()).unwrap();
    let mut state = OrderStore::new();
    let (channel, journal_id) = (reader.channel().to_owned(), reader.journal_id());
    while let Some(batch) = reader.next_batch().unwrap() {
        for (sequence, payload) in batch.records() {
            state.apply(sequence, payload).unwrap();
        }
        if [20, 40].contains(&batch.last_sequence()) {
            let (epoch, sequence) = (batch.epoch(), batch.last_sequence());
            let (batch_number, chain) = (batch.batch_number(), batch.chain());
            let place = Place { channel: channel.clone(), journal_id, epoch, sequence, batch_number, chain };
            snapshots.write(&state, &place, 1_000).unwrap();
        }
    }
    snapshots
}

/// Puts each kind of what is no file under the name `path`, runs `look` and puts the file back. A wait ends the test.
fn with_each(path: &Path, look: impl Fn(&str) + Send + Sync) {
    let aside = path.with_extension("aside");
    let was_there = path.exists();
    for found in ["a named pipe", "a directory", "a socket", "a device"] {
        if was_there {
            std::fs::rename(path, &aside).unwrap();
        }
        let mut listening = None;
        match found {
            "a named pipe" => {
                rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap()
            }
            "a directory" => std::fs::create_dir(path).unwrap(),
            "a socket" => listening = Some(UnixListener::bind(path).unwrap()),
            _ => symlink("/dev/zero", path).unwrap(),
        }
        std::thread::scope(|scope| {
            let (done, ended) = channel::<()>();
            let look = &look;
            let looking = scope.spawn(move || {
                let _done = done;
                look(found);
            });
            if ended.recv_timeout(HANGS) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // Nothing ends a thread that waits in the kernel.
                eprintln!("{}: {found} is waited for", path.display());
                std::process::exit(1);
            }
            looking.join().unwrap();
        });
        drop(listening);
        if found == "a directory" { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }.unwrap();
        if was_there {
            std::fs::rename(&aside, path).unwrap();
        }
    }
}

fn names<E: std::fmt::Display>(error: E, path: &Path, found: &str) {
    let expected = format!("{}: {found} stands in the place of this file", path.display());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[test]
fn what_is_no_file_under_the_name_of_a_journals_file_is_named_and_never_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    drop(lived(directory.path()));
    let journal = directory.path().join("wal");
    for name in ["0000000001.segment", "durable"] {
        let path = journal.join(name);
        with_each(&path, |found| {
            names(JournalWriter::open(&journal, options()).map(|_| ()).unwrap_err(), &path, found);
            let reader = JournalReader::open(&journal, ReaderOptions::default());
            names(reader.and_then(|mut it| it.next_batch().map(|_| ())).unwrap_err(), &path, found);
            names(inspect(&journal).unwrap_err(), &path, found);
            names(verify(&journal).unwrap_err(), &path, found);
        });
    }
    with_each(&journal.join("lock"), |found| {
        let error = JournalWriter::open(&journal, options()).map(|_| ()).unwrap_err();
        names(error, &journal.join("lock"), found);
    });
    with_each(&journal.join("compaction.lock"), |found| {
        names(compact(&journal, 1).map(|_| ()).unwrap_err(), &journal.join("compaction.lock"), found);
    });
    // Nothing of it was changed.
    assert_eq!(verify(&journal).unwrap().record_count, 60);
    assert_eq!(JournalWriter::open(&journal, options()).unwrap().1.last_sequence, 60);
}

#[test]
fn what_is_no_file_under_the_name_of_a_snapshot_is_passed_over_for_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = lived(directory.path());
    let journal: Arc<dyn Storage> = Arc::new(Directory::new(directory.path().join("wal")));
    let newest = directory.path().join(format!("snapshots/{:020}.snapshot", 40));
    with_each(&newest, |found| {
        names(snapshots.verify(40).unwrap_err(), &newest, found);
        let go_on = |_| ControlFlow::Continue(());
        let recovered = recover(OrderStore::new, &journal, &snapshots, RecoveryOptions::default(), go_on).unwrap();
        let facts = recovered.facts;
        assert_eq!((facts.used.unwrap().sequence(), facts.tail_count, facts.channel.as_str()), (20, 40, CHANNEL));
        assert_eq!(facts.refused.len(), 1);
        names(&facts.refused[0].reason, &newest, found);
    });
    let lock = directory.path().join("snapshots/lock");
    with_each(&lock, |found| names(snapshots.rotate(2).unwrap_err(), &lock, found));
}

/// Method: the name of each segment of several leads nowhere, as to a disk that is not mounted.
#[test]
fn a_segment_whose_name_leads_nowhere_is_missing_and_told_at_once() {
    let (ended, waits) = channel();
    std::thread::spawn(move || {
        let place = tempfile::tempdir().unwrap();
        let journal = place.path().join("wal");
        drop(lived(place.path()));
        for last in [80, 100] {
            let (mut writer, _) = JournalWriter::open(&journal, options()).unwrap();
            append_upto(&mut writer, FLOW, last, 5);
            writer.close().unwrap();
        }
        let count = inspect(&journal).unwrap().segments.len() as u64;
        assert!(count > 2, "{count} segments");
        for segment in 1..=count {
            let path = journal.join(format!("{segment:010}.segment"));
            let aside = place.path().join("aside");
            std::fs::rename(&path, &aside).unwrap();
            symlink(place.path().join("unmounted"), &path).unwrap();
            let found = [
                inspect(&journal).map(drop),
                verify(&journal).map(drop),
                durable_end(&journal).map(drop),
                JournalReader::open(&journal, ReaderOptions::default()).map(drop),
                compact(&journal, 1).map(drop),
                JournalWriter::open(&journal, options()).map(drop),
            ];
            for (call, found) in found.into_iter().enumerate() {
                let missing = matches!(&found, Err(JournalError::Damaged { segment: named, damage: Damage::Missing, .. }) if *named == segment);
                assert!(missing, "call {call}, segment {segment}: {found:?}");
            }
            let findings = repair::examine(&journal, 0).unwrap().findings;
            assert_eq!((findings[0].segment, &findings[0].damage), (segment, &Damage::Missing));
            std::fs::remove_file(&path).unwrap();
            std::fs::rename(&aside, &path).unwrap();
        }
        ended.send(()).unwrap();
    });
    waits.recv_timeout(HANGS).expect("it ends, with all that was asserted");
}

#[test]
fn a_name_that_is_not_written_as_ours_are_is_no_segment() {
    let place = tempfile::tempdir().unwrap();
    drop(lived(place.path()));
    let journal = place.path().join("wal");
    let before = inspect(&journal).unwrap();
    for name in ["99.segment", "+000000099.segment", "00000000099.segment", "18446744073709551615.segment"] {
        std::fs::write(journal.join(name), "").unwrap();
        assert_eq!(inspect(&journal).unwrap(), before, "{name}");
        std::fs::remove_file(journal.join(name)).unwrap();
    }
}

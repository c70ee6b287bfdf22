//! The store of checkpoints: what is kept, what is refused, and what damage does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tempfile::TempDir;
use tidebook_channel::checkpoints::{FORMAT_VERSION, KEPT, NAME_MAX};
use tidebook_channel::{CheckpointError, CheckpointStore, Cursor, Subject};
use tidebook_testkit::Random;

const DATA_FILE: &str = "data.mdb";

fn directory() -> TempDir {
    tempfile::Builder::new().tempdir_in("/dev/shm").expect("a directory on tmpfs")
}

fn at(sequence: u64) -> Cursor {
    Cursor::without_journal(7, sequence)
}

/// A state that follows from its sequence, so that one is never taken for another.
fn state(sequence: u64, size: usize) -> Vec<u8> {
    let mut random = Random::new(sequence);
    random.bytes(size)
}

fn store(path: &Path) -> CheckpointStore {
    CheckpointStore::open(path).unwrap_or_else(|error| panic!("open: {error}"))
}

#[test]
fn directories_above_a_store_are_made_only_for_one_that_somebody_named() {
    let directory = directory();
    let path = directory.path().join("above").join("checkpoints");
    assert!(matches!(CheckpointStore::open(&path), Err(CheckpointError::Io { .. })));
    assert!(!path.parent().unwrap().exists(), "a journal that is gone is not made anew by its checkpoints");
    drop(CheckpointStore::open_named(&path).unwrap());
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    drop(store(&path));
}

#[test]
fn the_newest_few_of_each_subject_are_kept_and_read_back_whole() {
    let directory = directory();
    let path = directory.path().join("checkpoints");
    let (risk, book) = (Subject::state("orders", "risk"), Subject::state("orders", "book"));
    let mut ids = Vec::new();
    {
        let store = store(&path);
        assert_eq!(store.newest(&risk).expect("read"), None);
        for sequence in 1..=5 {
            // Small ones stand in the page of their key, large ones on pages of their own.
            let size = if sequence % 2 == 0 { 20_000 } else { 10 };
            ids.push(store.put(&risk, at(sequence), None, &state(sequence, size)).expect("put"));
        }
        store.put(&book, at(2), Some(2), b"").expect("put");
    }
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    let store = store(&path);
    let newest = store.newest(&risk).expect("read").expect("there");
    assert_eq!((newest.listed.id, newest.listed.cursor, newest.state), (5, at(5), state(5, 10)));
    assert_eq!(store.get(4).expect("read").expect("there").state, state(4, 20_000));
    assert_eq!(store.get(5 - KEPT as u64).expect("read"), None, "beyond what is kept");
    let listed: Vec<_> = store.list().expect("read").into_iter().map(|it| (it.subject, it.cursor, it.id)).collect();
    let expected = [(&book, 2, 6), (&risk, 3, 3), (&risk, 4, 4), (&risk, 5, 5)];
    assert_eq!(listed, expected.map(|(subject, sequence, id)| (subject.clone(), at(sequence), id)));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(DATA_FILE))), (0o700, 0o600));
}

#[test]
fn names_that_share_their_beginning_are_different_subjects() {
    let directory = directory();
    let store = store(directory.path());
    let subjects = [
        Subject::state("a", "b"),
        Subject::state("a", "bc"),
        Subject::state("ab", "c"),
        Subject::consumer("a", "b"),
        Subject::state("a", "n".repeat(NAME_MAX)),
    ];
    for (sequence, subject) in (1..).zip(&subjects) {
        store.put(subject, at(sequence), None, b"").expect("put");
    }
    for (sequence, subject) in (1..).zip(&subjects) {
        assert_eq!(store.newest(subject).expect("read").expect("there").listed.cursor, at(sequence));
    }
    assert_eq!(store.remove(&subjects[0]).expect("remove"), 1);
    assert_eq!(store.newest(&subjects[0]).expect("read"), None);
    assert_eq!(store.list().expect("read").len(), subjects.len() - 1);
    for name in ["", "a\0b", &"n".repeat(NAME_MAX + 1)] {
        let refused = store.put(&Subject::state("a", name), at(1), None, b"");
        assert!(matches!(refused, Err(CheckpointError::Name { what: "state_id", .. })), "{refused:?}");
    }
}

#[test]
fn a_cursor_beyond_what_is_durable_is_refused_and_nothing_is_stored() {
    let directory = directory();
    let store = store(directory.path());
    let subject = Subject::state("orders", "risk");
    store.put(&subject, at(5), Some(5), b"five").expect("put");
    let refused = store.put(&subject, at(6), Some(5), b"six");
    assert!(matches!(refused, Err(CheckpointError::NotDurable { sequence: 6, durable: 5 })), "{refused:?}");
    assert_eq!(store.newest(&subject).expect("read").expect("there").state, b"five");
    assert_eq!(store.put(&subject, at(6), Some(6), b"six").expect("put"), 2);
}

#[test]
fn a_store_that_is_open_is_shared_in_its_process_and_opens_again_when_it_is_closed() {
    let directory = directory();
    let other_name = directory.path().join("..").join(directory.path().file_name().expect("a name"));
    let subject = Subject::state("orders", "risk");
    for sequence in 1..=20 {
        let first = store(directory.path());
        let second = store(&other_name);
        first.put(&subject, at(sequence), None, b"").expect("put");
        assert_eq!(second.newest(&subject).expect("read").expect("there").listed.cursor, at(sequence));
        // The last of them is closed while another thread opens it.
        std::thread::scope(|scope| {
            scope.spawn(|| drop((first, second)));
            scope.spawn(|| drop(store(directory.path())));
        });
    }
}

#[test]
fn threads_store_at_once_and_each_number_is_given_once() {
    let directory = directory();
    let store = store(directory.path());
    let mut ids: Vec<u64> = std::thread::scope(|scope| {
        let put = |name: usize| {
            let (store, subject) = (store.clone(), Subject::state("orders", format!("state-{name}")));
            move || {
                let put = |sequence| store.put(&subject, at(sequence), None, &state(sequence, 500)).expect("put");
                (1..=50).map(put).collect::<Vec<_>>()
            }
        };
        let running: Vec<_> = (0..4).map(|name| scope.spawn(put(name))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    ids.sort_unstable();
    assert_eq!(ids, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_copy_is_of_one_moment_and_needs_a_directory_of_its_own() {
    let directory = directory();
    let store = store(&directory.path().join("store"));
    let subject = Subject::state("orders", "risk");
    for sequence in 1..=4 {
        store.put(&subject, at(sequence), None, &state(sequence, 9_000)).expect("put");
    }
    let copy = directory.path().join("copy");
    store.copy_to(&copy).expect("copy");
    store.put(&subject, at(5), None, b"later").expect("put");
    let files: Vec<_> = fs::read_dir(&copy).expect("there").map(|entry| entry.expect("read").file_name()).collect();
    assert_eq!(files, [DATA_FILE]);
    let copied = CheckpointStore::open(&copy).expect("open");
    let newest = copied.newest(&subject).expect("read").expect("there");
    assert_eq!((newest.listed.cursor, newest.state), (at(4), state(4, 9_000)));
    assert!(matches!(store.copy_to(&copy), Err(CheckpointError::Exists { .. })));
}

#[test]
fn a_file_of_another_version_or_of_something_else_is_refused_and_left_alone() {
    let directory = directory();
    drop(store(directory.path()));
    let file = directory.path().join(DATA_FILE);
    let written = fs::read(&file).expect("read");
    let open = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("write");
        let error = CheckpointStore::open(directory.path()).expect_err("refused");
        assert_eq!(fs::read(&file).expect("read"), bytes, "nothing was changed");
        error
    };
    // Of LMDB.
    let mut other = written.clone();
    other[20] = 2;
    assert!(matches!(open(&other), CheckpointError::Version { found: 2, .. }));
    // Of ours: the number behind the name.
    let place = written.windows(8).rposition(|bytes| bytes == b"TIDECKPT").expect("its name");
    let mut other = written.clone();
    other[place + 8] = 9;
    let error = open(&other);
    assert!(matches!(error, CheckpointError::Version { found: 9, supported: FORMAT_VERSION, .. }), "{error}");
    let mut other = written.clone();
    other[place] = b'X';
    assert!(matches!(open(&other), CheckpointError::Damaged { .. }));
    assert!(matches!(open(b"no database"), CheckpointError::Damaged { .. }));
    fs::write(&file, written).expect("write");
    drop(store(directory.path()));
}

#[test]
fn a_store_that_was_removed_while_it_was_open_takes_nothing_more_until_it_is_opened_anew() {
    let directory = directory();
    let path = directory.path().join("store");
    let subject = Subject::state("orders", "risk");
    let before = store(&path);
    before.put(&subject, at(1), None, b"").expect("put");
    fs::remove_dir_all(&path).expect("remove");
    assert!(matches!(before.put(&subject, at(2), None, b""), Err(CheckpointError::Replaced { .. })));
    assert!(matches!(CheckpointStore::open(&path), Err(CheckpointError::Replaced { .. })));
    drop(before);
    let after = store(&path);
    assert_eq!(after.newest(&subject).expect("read"), None);
    after.put(&subject, at(2), None, b"").expect("put");
}

#[test]
fn a_store_whose_file_was_cut_while_it_was_open_is_refused_and_ends_nobody() {
    let directory = directory();
    let subject = Subject::state("orders", "risk");
    let store = store(directory.path());
    store.put(&subject, at(1), None, &state(1, 50_000)).expect("put");
    fs::OpenOptions::new().write(true).open(directory.path().join(DATA_FILE)).expect("open").set_len(100).expect("cut");
    let refused =
        |error: CheckpointError| matches!(error, CheckpointError::Damaged { reason, .. } if reason.contains("cut"));
    assert!(refused(store.newest(&subject).expect_err("refused")));
    assert!(refused(store.list().expect_err("refused")));
    assert!(refused(store.put(&subject, at(2), None, b"").expect_err("refused")));
    assert!(refused(store.remove(&subject).expect_err("refused")));
    assert!(refused(store.copy_to(&directory.path().join("copy")).expect_err("refused")));
    assert!(refused(CheckpointStore::open(directory.path()).expect_err("refused")));
}

/// A checkpoint as it was put: of what, at which sequence, with which state.
type Put = (Subject, u64, Vec<u8>);

/// A store with small and large states and pages that are free; the checkpoints that it ever had, by number.
fn written(path: &Path) -> (Vec<u8>, Vec<Put>) {
    let store = store(path);
    let mut put = Vec::new();
    for sequence in 1..=12 {
        let subject = Subject::state("orders", format!("state-{}", sequence % 3));
        let state = state(sequence, if sequence % 4 == 0 { 6_000 } else { 300 });
        let id = store.put(&subject, at(sequence), None, &state).expect("put");
        assert_eq!(id, sequence);
        put.push((subject, sequence, state));
    }
    drop(store);
    (fs::read(path.join(DATA_FILE)).expect("read"), put)
}

/// Opens what a damaged file became: refused, or all that is said was stored at some time. Storing goes on or is refused.
fn examine(path: &Path, bytes: &[u8], put: &[Put], what: &str) -> bool {
    fs::write(path.join(DATA_FILE), bytes).expect("write");
    let store = match CheckpointStore::open(path) {
        Ok(store) => store,
        Err(CheckpointError::Damaged { .. } | CheckpointError::Version { .. }) => return false,
        Err(error) => panic!("{what}: {error}"),
    };
    for id in 1..=put.len() as u64 {
        match store.get(id) {
            Ok(Some(found)) => {
                let (subject, sequence, state) = &put[id as usize - 1];
                assert_eq!(found.listed.subject, *subject, "{what}");
                assert_eq!((found.listed.cursor, &found.state), (at(*sequence), state), "{what}");
            }
            Ok(None) | Err(CheckpointError::DamagedEntry { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    let subject = Subject::state("orders", "after");
    match store.put(&subject, at(99), None, b"after") {
        Ok(_) => assert_eq!(store.newest(&subject).expect(what).expect(what).state, b"after", "{what}"),
        Err(CheckpointError::Damaged { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
    }
    true
}

fn flip_bits(bits: impl IntoIterator<Item = usize>, bytes: &[u8], put: &[Put], path: &Path) {
    let (mut refused, mut opened) = (0, 0);
    for bit in bits {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if examine(path, &damaged, put, &format!("bit {bit}")) { opened += 1 } else { refused += 1 }
    }
    println!("{} flipped bits: {refused} refused, {opened} opened", refused + opened);
    assert!(refused > 0 && opened > 0, "{refused} refused, {opened} opened");
}

fn campaign() -> (TempDir, PathBuf, Vec<u8>, Vec<Put>) {
    let directory = directory();
    let path = directory.path().join("store");
    let (bytes, put) = written(&path);
    assert!(examine(&path, &bytes, &put, "whole"));
    (directory, path, bytes, put)
}

#[test]
fn a_flipped_bit_is_refused_or_gives_only_what_was_stored() {
    // Every bit of the meta pages and of the heads of all pages, and some of the rest.
    let (_directory, path, bytes, put) = campaign();
    let heads = (0..bytes.len() / 4096).flat_map(|page| {
        let end = if page < 2 { 152 } else { 32 };
        page * 4096 * 8..(page * 4096 + end) * 8
    });
    let mut random = Random::new(1);
    let rest: Vec<usize> = (0..1_000).map(|_| random.below(bytes.len() as u64 * 8) as usize).collect();
    flip_bits(heads.chain(rest), &bytes, &put, &path);
}

#[test]
#[ignore = "soak"]
fn flipped_bits_all_over_the_file_are_refused_or_give_only_what_was_stored() {
    // Every eleventh: all eight places in a byte come up, in all parts of every page.
    let (_directory, path, bytes, put) = campaign();
    flip_bits((0..bytes.len() * 8).step_by(11), &bytes, &put, &path);
}

#[test]
fn a_cut_file_or_one_whose_sectors_changed_places_is_refused_or_gives_only_what_was_stored() {
    let (_directory, path, bytes, put) = campaign();
    for size in (0..bytes.len()).step_by(512) {
        examine(&path, &bytes[..size], &put, &format!("cut at {size}"));
    }
    for (first, second) in (0..bytes.len() / 512).zip((0..bytes.len() / 512).cycle().skip(7)) {
        let mut damaged = bytes.clone();
        damaged.copy_within(second * 512..second * 512 + 512, first * 512);
        examine(&path, &damaged, &put, &format!("sector {second} at {first}"));
        damaged[first * 512..first * 512 + 512].fill(0);
        examine(&path, &damaged, &put, &format!("sector {first} of zeros"));
    }
    for page in 0..bytes.len() / 4096 {
        let mut damaged = bytes.clone();
        damaged[page * 4096..page * 4096 + 4096].fill(0xff);
        examine(&path, &damaged, &put, &format!("page {page} of ones"));
    }
}

/// Method: a pipe, which would keep who opens it waiting, in the place of each file and of the directory itself.
#[test]
fn what_is_no_file_under_the_name_of_a_stores_file_is_named_and_never_waited_for() {
    let directory = directory();
    let path = directory.path().join("checkpoints");
    let subject = Subject::state("orders", "risk");
    store(&path).put(&subject, at(1), None, b"state").expect("put");
    for name in [DATA_FILE, "lock.mdb"] {
        let (file, aside) = (path.join(name), directory.path().join("aside"));
        fs::rename(&file, &aside).expect("moved away");
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, Mode::RUSR | Mode::WUSR).expect("a pipe");
        let refused = CheckpointStore::open(&path).expect_err("a pipe is no store").to_string();
        let expected = format!("the checkpoints in {}: a named pipe stands in the place of this file", file.display());
        assert!(refused.contains(&expected), "{refused}");
        fs::remove_file(&file).expect("it stayed");
        fs::rename(&aside, &file).expect("put back");
    }
    assert_eq!(store(&path).newest(&subject).expect("read").expect("there").state, b"state");
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a pipe");
    let refused = CheckpointStore::open(&pipe).expect_err("a pipe is no directory");
    assert!(matches!(&refused, CheckpointError::NoDirectory { path } if *path == pipe), "{refused}");
}

#[test]
fn a_store_of_version_1_is_read_and_the_next_commit_makes_it_one_that_older_releases_refuse() {
    let directory = directory();
    let subject = Subject::state("orders", "risk");
    {
        let store = store(directory.path());
        // Without a batch an entry has the bytes of version 1.
        store.put(&subject, at(4), None, b"before").expect("put");
    }
    let file = directory.path().join(DATA_FILE);
    let mut older = fs::read(&file).expect("read");
    let version = |bytes: &[u8]| bytes.windows(8).rposition(|name| name == b"TIDECKPT").expect("its name") + 8;
    while let Some(place) = older.windows(12).position(|bytes| bytes == b"TIDECKPT\x02\0\0\0") {
        older[place + 8] = 1;
    }
    fs::write(&file, &older).expect("write");
    let batch = Some(tidebook_journal::BatchMark { number: 3, chain: 0xdead_beef });
    {
        let store = store(directory.path());
        let found = store.newest(&subject).expect("read").expect("there");
        assert_eq!((found.listed.cursor, &found.state[..]), (at(4), &b"before"[..]));
        assert_eq!(fs::read(&file).expect("read"), older, "looking changes nothing");
        store.put(&subject, Cursor { batch, ..at(5) }, None, b"after").expect("put");
    }
    let written = fs::read(&file).expect("read");
    assert_eq!(written[version(&written)..][..4], [2, 0, 0, 0]);
    let found: Vec<_> = store(directory.path()).list().expect("read").into_iter().map(|it| it.cursor).collect();
    assert_eq!(found, [at(4), Cursor { batch, ..at(5) }]);
}

#[test]
fn checkpoints_are_forgotten_by_their_numbers_and_no_others() {
    let directory = directory();
    let store = store(directory.path());
    let (risk, book) = (Subject::state("orders", "risk"), Subject::consumer("orders", "book"));
    for sequence in 1..=3 {
        store.put(&risk, at(sequence), None, b"").expect("put");
        store.put(&book, at(sequence), None, b"").expect("put");
    }
    assert_eq!(store.remove_numbers(&[5, 6, 99]).expect("remove"), 2);
    let listed: Vec<_> = store.list().expect("read").into_iter().map(|it| it.id).collect();
    assert_eq!(listed, [1, 3, 2, 4]);
    assert_eq!(store.put(&risk, at(4), None, b"").expect("put"), 7, "no number is given twice");
}

/// Method: the one that is opened slowly is locked as by a process that was stopped while opening it; that it is being waited for
/// shows in its directory, which is open twice then.
#[test]
fn a_store_whose_opening_takes_long_holds_up_no_other() {
    let directory = directory();
    let (slow, other) = (directory.path().join("slow"), directory.path().join("other"));
    let subject = Subject::state("orders", "risk");
    let of_before = store(&other);
    fs::create_dir(&slow).expect("a directory");
    let stopped = fs::File::open(&slow).expect("a directory");
    stopped.lock().expect("its lock");
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| CheckpointStore::open(&slow));
        while times_open(&slow) < 2 {
            std::thread::yield_now();
        }
        drop(of_before);
        store(&other).put(&subject, at(1), None, b"state").expect("put");
        assert!(!opening.is_finished(), "the other one is still being opened");
        stopped.unlock().expect("its lock");
        let opened = opening.join().expect("no panic").expect("opened once it could be");
        opened.put(&subject, at(2), None, b"state").expect("put");
    });
}

/// How many descriptors of this process are of `path`.
fn times_open(path: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("what is open");
    open.filter(|entry| entry.as_ref().is_ok_and(|entry| fs::read_link(entry.path()).is_ok_and(|of| of == path)))
        .count()
}

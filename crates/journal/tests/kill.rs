//! A process that is killed while it appends to a journal on the real file system.
//!
//! Has its own `main`, because the process to be killed is this executable started again: with `TIDEBOOK_CHILD` set
//! it appends, and writes each acknowledged sequence to its standard output, until it is killed.
//! Short by default; `-- --ignored` (soak) runs 1,000 kills per sync policy.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidebook_journal::{JournalOptions, JournalReader, JournalWriter, ReaderOptions, verify};
use tidebook_testkit::Random;

const CHILD: &str = "TIDEBOOK_CHILD";

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let Ok(directory) = std::env::var(CHILD) {
        append_until_killed(Path::new(&directory), &arguments.next().unwrap_or_default());
    }
    let soak = arguments.any(|argument| argument == "--ignored");
    for mode in ["each", "group"] {
        kill_loop(mode, if soak { 1000 } else { 25 });
    }
    file_size_limit();
    println!("kill: ok");
}

fn options() -> JournalOptions {
    JournalOptions { segment_size_bytes: 64 << 10, batch_size_bytes: 4096, ..JournalOptions::new("feed.test") }
}

/// Length and bytes follow from the sequence.
fn payload(sequence: u64) -> Vec<u8> {
    let mut random = Random::new(sequence);
    let size = random.below(600) as usize;
    random.bytes(size)
}

fn append_until_killed(directory: &Path, mode: &str) -> ! {
    let (mut writer, _) = match JournalWriter::open(directory, options()) {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(3);
        }
    };
    let mut out = std::io::stdout().lock();
    loop {
        let sequence = writer.next_sequence();
        writer.append(&payload(sequence)).expect("append");
        if mode == "each" || sequence.is_multiple_of(17) {
            let durable = writer.sync().expect("sync");
            writeln!(out, "{durable}").expect("the parent reads");
            out.flush().expect("the parent reads");
        }
    }
}

fn start(directory: &Path, mode: &str) -> std::process::Child {
    Command::new(std::env::current_exe().expect("this executable"))
        .arg(mode)
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

fn kill_loop(mode: &str, cycles: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random::new(42);
    let mut acknowledged = 0;
    let mut checked = 0;
    for cycle in 0..cycles {
        let mut child = start(directory.path(), mode);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // Every third dies while it starts; the others first get to work, however slow the machine is.
        let first = if cycle % 3 == 0 { None } else { lines.next() };
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        child.kill().expect("kill");
        child.wait().expect("wait");
        for line in first.into_iter().chain(lines).map_while(Result::ok) {
            // A kill may cut the last line; a shorter number is a weaker claim.
            acknowledged = acknowledged.max(line.parse().unwrap_or(0));
        }
        if acknowledged == 0 {
            continue;
        }
        let at = format!("{mode} cycle {cycle}");
        let report = verify(directory.path()).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(report.journal.last_sequence >= acknowledged, "{at}: {acknowledged} acknowledged, {report:?}");
        let from = ReaderOptions::from_sequence(checked + 1);
        let mut reader = JournalReader::open(directory.path(), from).expect("the journal is there");
        while let Some(batch) = reader.next_batch().unwrap_or_else(|error| panic!("{at}: {error}")) {
            for (sequence, found) in batch.records() {
                assert_eq!((sequence, found), (checked + 1, payload(sequence).as_slice()), "{at}");
                checked = sequence;
            }
        }
        assert!(checked >= acknowledged, "{at}: {checked} visible of {acknowledged} acknowledged");
    }
    assert!(acknowledged >= cycles / 2, "the child never got to work");
    println!("kill: {cycles} kills ({mode}), {acknowledged} messages acknowledged, none lost");
}

/// A file size limit (here 16 KiB) is a full disk: an error, where SIGXFSZ is ignored as Python ignores it.
fn file_size_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" each"])
        .arg(std::env::current_exe().expect("this executable"))
        .env(CHILD, directory.path())
        .output()
        .expect("the child starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no space left for the journal"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, ["lock"], "nothing half made is left");
}

//! A durable channel whose system calls fail, end short, come late or lie, on the real kernel.
//!
//! Has its own `main`: the process whose calls fail is this executable started again under `strace -e inject`, restricted to
//! the files of its journal. The log of strace is read too: an acknowledgement counts only if the log has the write of its
//! batch, then a sync of that file which succeeded, then the acknowledgement, in this order. So what is checked is not what the
//! channel believes but what the kernel was asked.
//! Short by default; `-- --ignored` (soak) injects 1,600 faults. Where strace is not to be had that is said, and the same child
//! runs without faults; the simulated disk (`crates/journal/tests/faults.rs`) then stands alone.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidebook_channel::{Channel, ChannelError, ChannelOptions};
use tidebook_journal::{JournalError, JournalOptions, JournalReader, ReaderOptions, SyncPolicy};
use tidebook_ring::Ring;
use tidebook_testkit::Random;

const CHILD: &str = "TIDEBOOK_CHILD";
const MESSAGES: u64 = 240;
/// What a child whose journal stopped ends with.
const STOPPED: i32 = 3;
/// Which call of each kind a run reaches; most of a channel's life has far fewer renames than writes.
const REACHED: [(&str, u64); 7] = [
    ("pwrite64", 24),
    ("fdatasync", 18),
    ("fsync", 6),
    ("rename", 3),
    ("openat", 14),
    ("ftruncate", 3),
    ("fallocate", 3),
];

fn main() {
    if let Ok(directory) = std::env::var(CHILD) {
        let seed = std::env::args().nth(1).expect("the seed").parse().expect("a number");
        std::process::exit(write_until_stopped(Path::new(&directory), seed));
    }
    let soak = std::env::args().any(|argument| argument == "--ignored");
    let run = Run::new("", 0);
    assert_eq!((run.status, run.said.as_str()), (0, ""), "without a fault");
    assert_eq!(run.acknowledged, MESSAGES);
    if let Some(why) = strace_is_missing() {
        println!("calls: ran WITHOUT faults, strace cannot be used here: {why}");
        return;
    }
    let mut counted = Counted::default();
    failing_calls(soak, &mut counted);
    lost_writes(if soak { 120 } else { 10 }, &mut counted);
    late_syncs(&mut counted);
    println!("calls: {counted:?}");
    assert!(counted.stopped > counted.injected / 3, "the faults do not reach what they are for");
}

#[derive(Debug, Default)]
struct Counted {
    runs: u64,
    /// Runs in which strace did change a call.
    injected: u64,
    /// Runs that ended with one line.
    stopped: u64,
    acknowledged: u64,
    /// Runs after which the journal was refused as damaged, where the disk had lost a write.
    damaged: u64,
}

impl Counted {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.injected += u64::from(run.log.contains("(INJECTED)") || run.log.contains("(DELAYED)"));
        self.stopped += u64::from(run.status == STOPPED);
        self.acknowledged += run.acknowledged;
    }
}

/// Each kind of call fails once, at its k-th time, with each error: for every k that is reached, in the soak with more orders of
/// messages.
fn failing_calls(soak: bool, counted: &mut Counted) {
    for seed in 0..if soak { 11 } else { 1 } {
        for (call, reached) in REACHED {
            for error in ["EIO", "ENOSPC"] {
                for nth in 1..=reached {
                    let run = Run::new(&format!("{call}:error={error}:when={nth}"), seed);
                    counted.add(&run);
                    run.check_acknowledgements();
                    run.check_stop();
                    run.check_restart();
                }
            }
        }
    }
}

/// The disk says that 8 bytes were written and has not written them. What was acknowledged is there, or the loss is found.
fn lost_writes(count: u64, counted: &mut Counted) {
    for nth in 1..=count {
        let run = Run::new(&format!("pwrite64:retval=8:when={}", nth % 40 + 1), nth);
        counted.add(&run);
        match run.reopen() {
            Ok(last) => assert!(last >= run.acknowledged, "{}: {last} of {}", run.at, run.acknowledged),
            Err(ChannelError::Journal(JournalError::Damaged { .. }) | ChannelError::RingAhead { .. }) => {
                counted.damaged += 1;
            }
            Err(error) => panic!("{}: {error}", run.at),
        }
    }
}

/// Syncs take long: acknowledgements wait for them, and nothing else changes.
fn late_syncs(counted: &mut Counted) {
    for (delay_us, which) in [(1_000, "1+"), (10_000, "1+"), (100_000, "6..14"), (500_000, "6..8")] {
        let run = Run::new(&format!("fdatasync:delay_enter={delay_us}:when={which}"), 1);
        counted.add(&run);
        assert_eq!((run.status, run.said.as_str()), (0, ""), "{}", run.at);
        assert_eq!(run.acknowledged, MESSAGES, "{}", run.at);
        run.check_acknowledgements();
        run.check_restart();
    }
}

// ---- the child -----------------------------------------------------------------------------------------------------------

fn options() -> ChannelOptions {
    let journal = JournalOptions { segment_size_bytes: 16 << 10, ..JournalOptions::new("feed.test") };
    ChannelOptions { journal, sync: SyncPolicy::Group, ..ChannelOptions::frames("feed.test", 16 << 10) }
}

fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("feed.test.ring"), directory.join("journal"))
}

fn payload(sequence: u64) -> Vec<u8> {
    let mut random = Random::new(sequence);
    let size = random.below(300) as usize;
    random.bytes(size)
}

fn write_until_stopped(directory: &Path, seed: u64) -> i32 {
    match write_all(directory, seed) {
        Ok(()) => 0,
        Err(said) => {
            eprintln!("{said}");
            STOPPED
        }
    }
}

/// Writes all messages and says after each group that it is durable.
fn write_all(directory: &Path, seed: u64) -> Result<(), String> {
    let (ring, journal) = paths(directory);
    let (channel, _) = Channel::open(&ring, &journal, &options()).map_err(|error| error.to_string())?;
    let mut producer = channel.producer().map_err(|error| error.to_string())?;
    let mut random = Random::new(seed);
    let mut group = 1;
    for sequence in 1..=MESSAGES {
        let written = producer.write(&payload(sequence)).map_err(|error| error.to_string());
        group -= 1;
        let durable = written.is_ok()
            && (group > 0 && sequence < MESSAGES || channel.wait_durable(sequence, Duration::from_secs(60)));
        if !durable {
            let durable = channel.durable();
            let said = channel.failure().ok_or("nothing became durable, and no failure is told")?;
            for _ in 0..5 {
                assert!(producer.write(b"more").is_err(), "a producer is refused once nothing becomes durable");
            }
            assert!(!channel.wait_durable(durable + 1, Duration::from_millis(5)) && channel.durable() == durable);
            return Err(said);
        }
        if group == 0 || sequence == MESSAGES {
            acknowledge(sequence);
            group = 1 + random.below(11);
        }
    }
    drop(producer);
    channel.close().map_err(|error| error.to_string())
}

/// One write of the kernel, so that strace has it in one line.
fn acknowledge(sequence: u64) {
    use std::io::Write;
    std::io::stdout().write_all(format!("{sequence}\n").as_bytes()).expect("the parent's file");
    std::io::stdout().flush().expect("the parent's file");
}

// ---- one run -------------------------------------------------------------------------------------------------------------

struct Run {
    /// For messages.
    at: String,
    directory: tempfile::TempDir,
    status: i32,
    said: String,
    acknowledged: u64,
    log: String,
}

/// Why faults cannot be injected here.
fn strace_is_missing() -> Option<String> {
    let tried =
        Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
        Err(error) => Some(error.to_string()),
    }
}

impl Run {
    /// Runs the child under strace with this fault, without strace if it is empty.
    fn new(fault: &str, seed: u64) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let private = PermissionsExt::from_mode(0o700);
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().permissions(private).tempdir_in(place).expect("a directory");
        let (said, log) = (directory.path().join("acknowledged"), directory.path().join("log"));
        let program = std::env::current_exe().expect("this executable");
        let mut command = if fault.is_empty() {
            Command::new(program)
        } else {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-y", "-x", "-s", "48", "-e", "signal=none"]).arg("-o").arg(&log);
            let journal = paths(directory.path()).1;
            let files = (1..30).flat_map(|n| [format!("{n:010}.segment"), format!("{n:010}.segment.new")]);
            for name in files.chain(["durable".into(), "lock".into()]) {
                strace.arg("-P").arg(journal.join(name));
            }
            strace.arg("-P").arg(&journal).arg("-P").arg(&said);
            strace.arg("-e").arg("trace=openat,pwrite64,write,fdatasync,fsync,rename,ftruncate,fallocate");
            strace.arg("-e").arg(format!("inject={fault}")).arg(program);
            strace
        };
        let output = command
            .arg(seed.to_string())
            .env(CHILD, directory.path())
            .stdout(File::create(&said).expect("a file"))
            .stderr(Stdio::piped())
            .output()
            .expect("the child starts");
        let acknowledged = std::fs::read_to_string(&said).expect("the child's output");
        Self {
            at: format!("inject={fault} seed {seed}, {}", String::from_utf8_lossy(&output.stderr).trim()),
            status: output.status.code().unwrap_or(-1),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            acknowledged: acknowledged.lines().last().map_or(0, |line| line.parse().expect("a sequence")),
            log: std::fs::read_to_string(&log).unwrap_or_default(),
            directory,
        }
    }

    /// The channel opened again without a fault, all of its journal read and compared; its last sequence.
    fn reopen(&self) -> Result<u64, ChannelError> {
        let (ring, journal) = paths(self.directory.path());
        let (channel, report) = Channel::open(&ring, &journal, &options())?;
        channel.close()?;
        let mut reader = JournalReader::open(&journal, ReaderOptions::default())?;
        let mut last = 0;
        while let Some(batch) = reader.next_batch()? {
            for (sequence, found) in batch.records() {
                assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()), "{}", self.at);
                last = sequence;
            }
        }
        assert_eq!(last + 1, report.next_sequence, "{}", self.at);
        Ok(last)
    }

    /// All that was published is in the journal after a restart: what a failed sync lost was still in the ring.
    fn check_restart(&self) {
        let (ring, journal) = paths(self.directory.path());
        let published = Ring::open(&ring).map_or(0, |ring| ring.published());
        assert!(published >= self.acknowledged, "{}", self.at);
        let copy = journal.with_extension("alone");
        copy_files(&journal, &copy);
        let last = self.reopen().unwrap_or_else(|error| panic!("{}: {error}", self.at));
        assert_eq!(last, published, "{}", self.at);
        // The same when shared memory was lost too: then what was acknowledged is there.
        std::fs::remove_file(&ring).expect("the ring");
        std::fs::remove_dir_all(&journal).expect("the journal");
        std::fs::rename(&copy, &journal).expect("the copy");
        let last = self.reopen().unwrap_or_else(|error| panic!("{}: {error}", self.at));
        assert!(last >= self.acknowledged, "{}: {last} of {}", self.at, self.acknowledged);
    }

    /// A child that was hit ends with one line, and no sync that failed is tried again.
    fn check_stop(&self) {
        assert!([0, STOPPED].contains(&self.status), "{}: status {}", self.at, self.status);
        let lines = self.said.lines().count();
        assert_eq!(lines, usize::from(self.status == STOPPED), "{}: {}", self.at, self.said);
        let calls = calls(&self.log);
        let failed = calls.iter().find(|call| {
            call.name == "fdatasync" && call.path.ends_with(".segment") && call.result.contains("(INJECTED)")
        });
        if let Some(failed) = failed {
            assert_eq!(self.status, STOPPED, "{}", self.at);
            let again = calls
                .iter()
                .any(|call| call.name == "fdatasync" && call.path == failed.path && call.start > failed.start);
            assert!(!again, "{}: a sync that failed was tried again", self.at);
        }
    }

    /// For each acknowledgement: its batch was written, then synced with success, then it was said.
    fn check_acknowledgements(&self) {
        let calls = calls(&self.log);
        let mut checked = 0;
        for said in calls.iter().filter(|call| call.name == "write") {
            let sequence: u64 = said.text().trim_end_matches("\\n").parse().expect("a sequence");
            let written = calls
                .iter()
                .find(|call| call.batch().is_some_and(|batch| batch.contains(&sequence)))
                .unwrap_or_else(|| panic!("{}: {sequence} was acknowledged and never written", self.at));
            let synced = calls.iter().any(|call| {
                call.name == "fdatasync"
                    && call.path == written.path
                    && call.start > written.end
                    && call.end < said.start
                    && call.result.starts_with('0')
            });
            assert!(synced, "{}: {sequence} was acknowledged before a sync of its batch had succeeded", self.at);
            checked = sequence;
        }
        assert_eq!(checked, self.acknowledged, "{}: the log has each acknowledgement", self.at);
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    let Ok(files) = std::fs::read_dir(from) else { return };
    for file in files.map(|file| file.expect("a file")) {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

// ---- the log of strace ---------------------------------------------------------------------------------------------------

/// One system call: the lines at which it began and ended, the first file it names, what it returned.
struct Call {
    name: String,
    path: String,
    start: usize,
    end: usize,
    text: String,
    result: String,
}

/// All calls of the log; those that others came in between of are put together.
fn calls(log: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut found = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let (process, rest) = line.split_once(' ').expect("a process id");
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            open.insert(process, (number, begun));
            continue;
        }
        let (start, text) = match rest.split_once(" resumed>") {
            Some((_, end)) if rest.starts_with("<...") => {
                let (start, begun) = open.remove(process).expect("a call that ends has begun");
                (start, format!("{begun}{end}"))
            }
            _ => (number, rest.to_owned()),
        };
        let Some((text, result)) = text.rsplit_once(" = ") else { continue };
        let Some((name, arguments)) = text.split_once('(') else { continue };
        let between = |open: char, close: char| {
            let (_, after) = arguments.split_once(open)?;
            Some(after.split_once(close)?.0.to_owned())
        };
        let path = if name == "openat" || name == "rename" { between('"', '"') } else { between('<', '>') };
        found.push(Call {
            name: name.into(),
            path: path.unwrap_or_default(),
            start,
            end: number,
            text: arguments.into(),
            result: result.trim().into(),
        });
    }
    found
}

impl Call {
    /// The bytes it wrote, as strace shows them.
    fn text(&self) -> &str {
        self.text.split('"').nth(1).unwrap_or_default()
    }

    /// The sequences of the batch of messages this call wrote, if it is one (docs/formats/journal.md).
    fn batch(&self) -> Option<std::ops::Range<u64>> {
        let offset: u64 = self.text.trim_end_matches([')', ' ']).rsplit_once(", ")?.1.parse().ok()?;
        if self.name != "pwrite64" || !self.path.ends_with(".segment") || offset < 4096 {
            return None;
        }
        let bytes: Vec<u8> =
            self.text().split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
        const MESSAGES: u8 = 1;
        if bytes.len() < 48 || bytes[44] != MESSAGES {
            return None;
        }
        let first = u64::from_le_bytes(bytes[24..32].try_into().ok()?);
        let count = u32::from_le_bytes(bytes[40..44].try_into().ok()?);
        Some(first..first + u64::from(count))
    }
}

//! What `benches/transport.py` runs: 64 bytes handed to another process and back, through our rings and through bare ones.
//!
//! Two processes spin and take turns, so a round trip is two hand-overs. A bare ring is the least that works between two
//! processes: a sequence word and the bytes in a slot of two cache lines, no checksum, no liveness, no gating by name.
//! Both are measured in the same run, round by round. Prints the median round trip of each round, in nanoseconds, as JSON.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memmap2::MmapRaw;
use tidebook_ring::{Consumer, ConsumerOptions, Producer, Ring, RingOptions, Start, Wait};

const SIZE_BYTES: usize = 64;
const SLOTS: u64 = 256;
const SLOT_SIZE_BYTES: usize = 128;

/// One direction of the least that works. The reader's cursor has a line of its own behind the slots.
struct BareRing {
    map: MmapRaw,
    next: u64,
    read: u64,
}

impl BareRing {
    const CURSOR: usize = SLOTS as usize * SLOT_SIZE_BYTES;

    fn open(path: &Path) -> Self {
        let file: File = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len((Self::CURSOR + SLOT_SIZE_BYTES) as u64).unwrap();
        Self { map: MmapRaw::map_raw(&file).unwrap(), next: 1, read: 0 }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset <= Self::CURSOR);
        // SAFETY: aligned and inside the mapping, which lives as long as `self`; both processes use it as an atomic only.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
    }

    fn slot(sequence: u64) -> usize {
        (sequence % SLOTS) as usize * SLOT_SIZE_BYTES
    }

    fn write(&mut self, payload: &[u8; SIZE_BYTES]) {
        while self.next - self.read > SLOTS {
            self.read = self.word(Self::CURSOR).load(Ordering::Acquire);
        }
        let slot = Self::slot(self.next);
        // SAFETY: inside the mapping; the reader does not touch the slot before its sequence word says so.
        unsafe { self.map.as_mut_ptr().add(slot + 8).copy_from_nonoverlapping(payload.as_ptr(), SIZE_BYTES) };
        self.word(slot).store(self.next, Ordering::Release);
        self.next += 1;
    }

    fn read(&mut self, payload: &mut [u8; SIZE_BYTES]) {
        let slot = Self::slot(self.next);
        while self.word(slot).load(Ordering::Acquire) != self.next {
            std::hint::spin_loop();
        }
        // SAFETY: inside the mapping; the writer does not touch the slot before our cursor says so.
        unsafe { self.map.as_ptr().add(slot + 8).copy_to_nonoverlapping(payload.as_mut_ptr(), SIZE_BYTES) };
        self.word(Self::CURSOR).store(self.next, Ordering::Release);
        self.next += 1;
    }
}

fn read(consumer: &mut Consumer, payload: &mut [u8; SIZE_BYTES]) {
    consumer.wait(None).unwrap();
    consumer.poll(1, |_, bytes| payload.copy_from_slice(bytes)).unwrap();
}

fn ends(directory: &Path, out: &str, back: &str) -> (Producer, Consumer, BareRing, BareRing) {
    let ring = |name: &str| Ring::open(directory.join(name)).unwrap();
    let options = ConsumerOptions::named("reader").start(Start::Earliest).wait(Wait::Spin);
    (
        ring(out).producer().unwrap(),
        ring(back).consumer(&options).unwrap(),
        BareRing::open(&directory.join(format!("{out}.bare"))),
        BareRing::open(&directory.join(format!("{back}.bare"))),
    )
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [directory, rounds, messages] = &arguments[1..4] else { unreachable!("three arguments") };
    let (directory, rounds, messages) =
        (Path::new(directory), rounds.parse::<usize>().unwrap(), messages.parse::<usize>().unwrap());
    let mut payload = [7; SIZE_BYTES];
    if arguments.len() > 4 {
        let (mut producer, mut consumer, mut bare_out, mut bare_back) = ends(directory, "back", "out");
        for _ in 0..rounds {
            for _ in 0..messages {
                read(&mut consumer, &mut payload);
                producer.write(&payload).unwrap();
            }
            for _ in 0..messages {
                bare_back.read(&mut payload);
                bare_out.write(&payload);
            }
        }
        return;
    }
    for name in ["out", "back"] {
        Ring::create(directory.join(name), &RingOptions::slots(SIZE_BYTES as u32, SLOTS)).unwrap();
    }
    let (mut producer, mut consumer, mut bare_out, mut bare_back) = ends(directory, "out", "back");
    let mut child = Command::new(std::env::current_exe().unwrap()).args(&arguments[1..]).arg("echo").spawn().unwrap();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut times = vec![0; messages];
    for _ in 0..rounds {
        for time in &mut times {
            let start = Instant::now();
            producer.write(&payload).unwrap();
            read(&mut consumer, &mut payload);
            *time = start.elapsed().as_nanos() as u64;
        }
        ours.push(median(&mut times));
        for time in &mut times {
            let start = Instant::now();
            bare_out.write(&payload);
            bare_back.read(&mut payload);
            *time = start.elapsed().as_nanos() as u64;
        }
        bare.push(median(&mut times));
    }
    assert!(child.wait().unwrap().success());
    println!("{{\"ours\": {ours:?}, \"bare\": {bare:?}}}");
}

//! Rings in which somebody else writes anything anywhere: each call is an error or an outcome, and ends. Short here; the
//! full campaign is an ignored test of `make soak`. Seeds are printed.
//!
//! Overflows are panics in these tests, and every access to the mapping is asserted to lie in it.

mod common;

use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use common::Rings;
use tidebook_ring::layout::{CONSUMER_GATING, HOT_OFFSET, HotLines, PRODUCERS_OFFSET, Superblock};
use tidebook_ring::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    /// What a word might hold to lead somebody astray.
    fn word(&mut self) -> u64 {
        let near = self.below(70);
        match self.below(12) {
            0 => 0,
            1 => u64::MAX,
            2 => near,
            3 => 1 << self.below(64),
            4 => u64::MAX - near,
            5 => (1 << 62) - 1 + near,
            // A claim: of some line, some slots, some sequence near the beginning.
            6 => 1 << 63 | self.below(256) << 55 | self.below(32) << 40 | near,
            // A header: a length and flags.
            7 => self.below(16) << 32 | near,
            8 => self.below(1 << 40) << 32 | self.next() & 0xFFFF_FFFF,
            9 => 4096 + near * 8,
            10 => u64::from(CONSUMER_GATING) | near << 32,
            _ => self.next(),
        }
    }
}

fn kinds() -> [RingOptions; 5] {
    [
        RingOptions::slots(24, 8),
        RingOptions::frames(4096),
        RingOptions::frames(4096).crc(false).parking(true),
        RingOptions::slots(24, 8).mpsc(3).parking(true),
        RingOptions::runs(64, 16).mpsc(3),
    ]
}

/// Fails the test instead of waiting for ever.
fn ends<T: Send + 'static>(what: String, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        let result = work();
        let _ = done.send(());
        result
    });
    match ended.recv_timeout(Duration::from_secs(120)) {
        Err(RecvTimeoutError::Timeout) => panic!("{what}: a call does not end"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => thread.join().unwrap_or_else(|cause| {
            println!("{what}");
            std::panic::resume_unwind(cause)
        }),
    }
}

/// Everything that a process may do with a ring and that has an end.
fn use_all(ring: &Ring, producer: &mut Option<Producer>, consumers: &mut Vec<Consumer>, random: &mut Random) {
    let size = ring.info().record_size().unwrap_or(random.below(300) as usize);
    for _ in 0..20 {
        match random.below(14) {
            0..3 => {
                if let Some(producer) = producer {
                    let _ = producer.write_within(&vec![7; size], Duration::ZERO);
                }
            }
            3 => {
                if let Some(producer) = producer
                    && let Ok(Claimed::At(mut claim)) = producer.claim_within(size.min(40), Duration::from_micros(200))
                {
                    claim.payload().fill(9);
                    if random.below(2) == 0 {
                        let _ = claim.commit();
                    }
                }
            }
            4 => {
                if let Some(producer) = producer {
                    let _ = producer.write_records_within(&vec![3; size * 3], Duration::from_micros(200));
                    let _ = producer.published();
                }
            }
            5..8 => {
                for consumer in consumers.iter_mut() {
                    let _ = consumer.poll(9, |_, payload| drop(payload.to_vec()));
                }
            }
            8 => {
                for consumer in consumers.iter_mut() {
                    if let Ok(SlotBatch::Slots(slots)) = consumer.slots(9) {
                        drop(slots.bytes().to_vec());
                    }
                    consumer.commit();
                    let _ = consumer.wait(Some(Duration::ZERO));
                }
            }
            9 => {
                for consumer in consumers.iter_mut() {
                    let _ = consumer.skip();
                }
            }
            10 => {
                let _ = wait_any(consumers, |consumer| Some(consumer), Wait::Hybrid, Some(Duration::from_micros(100)));
                let _ = ring.published();
                let _ = ring.set_durable(random.below(100));
            }
            11 => {
                let _ = ring.status().map(|status| format!("{status:?}"));
            }
            12 => {
                *producer = None;
                *producer = ring.producer().ok();
            }
            _ => {
                if consumers.len() > 2 {
                    consumers.remove(0);
                    let _ = ring.remove_consumer("b");
                }
                let sequence = Start::Sequence(random.below(90));
                let start = random.of(&[Start::Earliest, Start::Latest, Start::Resume, sequence]);
                let detached = Policy::Block { patience: Some(Duration::ZERO), detach_after: Some(Duration::ZERO) };
                let policy = random.of(&[detached, Policy::Overwrite]);
                let options = ConsumerOptions::named(random.of(&["", "a", "b", "c"])).start(start).policy(policy);
                consumers.extend(ring.consumer(&options));
            }
        }
    }
}

/// Where in the file something is changed: mostly the words that are trusted most.
fn place(random: &mut Random, size: u64, data: u64) -> u64 {
    let hot = (HOT_OFFSET, size_of::<HotLines>());
    match random.below(4) {
        0 => hot.0 as u64 + random.below(hot.1 as u64),
        1 => PRODUCERS_OFFSET as u64 + random.below(data - PRODUCERS_OFFSET as u64),
        _ => data + random.below(size - data),
    }
}

fn data_offset(ring: &Ring) -> u64 {
    let data_size = match ring.info().kind {
        RingKind::Slots { count, .. } | RingKind::Runs { count, .. } => count * ring.info().stride as u64,
        RingKind::Frames { size_bytes } => size_bytes,
    };
    ring.info().file_size_bytes - data_size
}

/// The fence would only depose the producer.
fn is_fence(at: u64) -> bool {
    let fence = (HOT_OFFSET + offset_of!(HotLines, fence_epoch)) as u64;
    (fence - 7..fence + 8).contains(&at)
}

/// One round: a ring in use, damaged, used further, opened anew and used again.
fn garbage(seed: u64) {
    let random = &mut Random(seed);
    let options = random.of(&kinds());
    let rings = Rings::new();
    let ring = rings.create(&options.consumers_max(5));
    let mut producer = ring.producer().ok();
    let mut consumers: Vec<_> =
        ["a", "b"].iter().flat_map(|name| ring.consumer(&ConsumerOptions::named(*name))).collect();
    use_all(&ring, &mut producer, &mut consumers, random);
    let file = std::fs::File::options().write(true).open(rings.path()).unwrap();
    let (size, data) = (ring.info().file_size_bytes, data_offset(&ring));
    for _ in 0..3 {
        for _ in 0..1 + random.below(40) {
            let at = place(random, size, data);
            let at = if random.below(4) > 0 { at & !7 } else { at.min(size - 8) };
            if !is_fence(at) {
                file.write_all_at(&random.word().to_le_bytes(), at).unwrap();
            }
        }
        use_all(&ring, &mut producer, &mut consumers, random);
    }
    drop((producer, consumers));
    let again = Ring::open(rings.path()).unwrap();
    use_all(&again, &mut again.producer().ok(), &mut Vec::new(), random);
}

fn rounds(first: u64, count: u64, round: fn(u64)) {
    for seed in first..first + count {
        ends(format!("seed {seed}"), move || round(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    }
    println!("seeds {first} to {}", first + count - 1);
}

/// A superblock that holds by its checksum and says anything, over a file of anything.
fn superblock(seed: u64) {
    let random = &mut Random(seed);
    let rings = Rings::new();
    let ring = rings.create(&random.of(&kinds()));
    let mut producer = ring.producer().ok();
    use_all(&ring, &mut producer, &mut Vec::new(), random);
    drop((producer, ring));
    let file = std::fs::File::options().read(true).write(true).open(rings.path()).unwrap();
    let mut bytes = [0; size_of::<Superblock>()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    for _ in 0..1 + random.below(3) {
        let fields =
            [12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 64, 72, 96, 104, 108, 112, 4000, 4004, 4008, 4016, 4020, 4024];
        let at = random.of(&fields);
        let value = match random.below(3) {
            0 => random.word(),
            1 => 1 << random.below(41),
            _ => random.below(5),
        };
        let size = random.of(&[4, 8]);
        bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }
    // Some are of the size that they say.
    let says = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
    if says < 1 << 22 && random.below(2) == 0 {
        file.set_len(says).unwrap();
    }
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[..4092]) as u32;
    bytes[4092..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&bytes, 0).unwrap();
    if let Ok(ring) = Ring::open(rings.path()) {
        let mut producer = ring.producer().ok();
        let mut consumers = Vec::new();
        use_all(&ring, &mut producer, &mut consumers, random);
        use_all(&ring, &mut producer, &mut consumers, random);
    }
}

/// A healthy producer and its consumers, while another process (here a thread with a mapping of its own) writes anything
/// anywhere, most often over and over where the others look.
fn beside(seed: u64) {
    let random = &mut Random(seed);
    let rings = Rings::new();
    let ring = rings.create(&random.of(&kinds()).consumers_max(5));
    let (size, data) = (ring.info().file_size_bytes, data_offset(&ring));
    let file = std::fs::File::options().read(true).write(true).open(rings.path()).unwrap();
    let map = memmap2::MmapOptions::new().map_raw(&file).unwrap();
    let word = |at: u64| {
        // SAFETY: in the mapping, aligned, and used as an atomic only.
        unsafe { AtomicU64::from_ptr(map.as_mut_ptr().add((at & !7) as usize).cast()) }
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut hostile = Random(random.next() | 1);
        let (done, word) = (&done, &word);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let at = place(&mut hostile, size, data);
                if is_fence(at & !7) {
                    continue;
                }
                for _ in 0..hostile.below(100) {
                    match hostile.below(3) {
                        // As a counter or version that never stands still.
                        0 => word(at).fetch_add(1, Ordering::Relaxed),
                        1 => word(at).swap(hostile.word(), Ordering::Relaxed),
                        _ => word(at).fetch_xor(1 << hostile.below(64), Ordering::Relaxed),
                    };
                }
            }
        });
        let mut producer = ring.producer().ok();
        let mut consumers = Vec::new();
        for _ in 0..6 {
            use_all(&ring, &mut producer, &mut consumers, random);
        }
        drop((producer, consumers));
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_ring_full_of_anything_gives_errors_or_outcomes_and_every_call_ends() {
    rounds(0, 400, garbage);
}

#[test]
fn a_superblock_that_says_anything_is_refused_or_describes_a_ring_within_its_file() {
    rounds(0, 600, superblock);
}

#[test]
fn one_who_writes_anything_anywhere_makes_no_call_of_others_crash_or_hang() {
    rounds(0, 60, beside);
}

#[test]
#[ignore = "full campaign: make soak"]
fn thousands_of_hostile_rings_give_errors_or_outcomes() {
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() << 20;
    rounds(first, 50_000, garbage);
    rounds(first, 50_000, superblock);
    rounds(first, 5_000, beside);
}

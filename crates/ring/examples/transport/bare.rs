//! The least that works between two processes: a sequence word and the bytes in a slot, a read cursor that the writer
//! looks at when it seems to be full. No second reader, no recovery, no liveness, no check of what memory says; with a
//! checksum if wanted. What our rings cost beyond this is what their promises cost.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use crate::rounds::{Message, Receiver, SIZE_BYTES, SLOTS, Sender, Way};

/// Sequence, bytes and, in the form with checksums, that: neither wastes a byte.
const fn slot_size_bytes(crc: bool) -> usize {
    8 + SIZE_BYTES + if crc { 8 } else { 0 }
}

/// Half of the pages before the slots are for the cursor.
const DATA_OFFSET: usize = 4096;

pub struct Bare<'d, const CRC: bool>(pub &'d Path);

struct Ring<const CRC: bool> {
    map: MmapRaw,
    /// Sequence of the next message, from 1 on.
    next: u64,
    /// How far the other end has read, as last seen.
    read: u64,
}

impl<const CRC: bool> Ring<CRC> {
    fn open(directory: &Path, flow: &str) -> Self {
        let path = directory.join(flow);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len((DATA_OFFSET + SLOTS * slot_size_bytes(CRC)) as u64).unwrap();
        let map = memmap2::MmapOptions::new().populate().map_raw(&file).unwrap();
        Self { map, next: 1, read: 0 }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: callers give multiples of 8 inside the mapping, which lives as long as `self`; both processes use these
        // words as atomics only.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
    }

    fn slot(&self) -> usize {
        DATA_OFFSET + self.next as usize % SLOTS * slot_size_bytes(CRC)
    }

    fn payload(&self, slot: usize) -> *mut u8 {
        // SAFETY: a slot is inside the mapping.
        unsafe { self.map.as_mut_ptr().add(slot + 8) }
    }
}

impl<const CRC: bool> Sender for Ring<CRC> {
    fn send(&mut self, message: &Message) {
        while self.next - self.read > SLOTS as u64 {
            self.read = self.word(0).load(Ordering::Acquire);
        }
        let slot = self.slot();
        // SAFETY: the reader does not touch the slot before its sequence word says so.
        unsafe { self.payload(slot).copy_from_nonoverlapping(message.as_ptr(), SIZE_BYTES) };
        if CRC {
            let crc = checksum(self.next, message);
            self.word(slot + 8 + SIZE_BYTES).store(crc, Ordering::Relaxed);
        }
        self.word(slot).store(self.next, Ordering::Release);
        self.next += 1;
    }
}

impl<const CRC: bool> Receiver for Ring<CRC> {
    fn receive(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let slot = self.slot();
            if self.word(slot).load(Ordering::Acquire) != self.next {
                break;
            }
            // SAFETY: the writer does not touch the slot before our cursor says so.
            let payload: &Message = unsafe { &*self.payload(slot).cast() };
            if CRC {
                let crc = self.word(slot + 8 + SIZE_BYTES).load(Ordering::Relaxed);
                assert_eq!(crc, checksum(self.next, payload));
            }
            each(payload);
            self.next += 1;
            count += 1;
        }
        if count > 0 {
            self.word(0).store(self.next - 1, Ordering::Release);
        }
        count
    }
}

impl<const CRC: bool> Way for Bare<'_, CRC> {
    fn sender(&self, flow: &str) -> impl Sender {
        Ring::<CRC>::open(self.0, flow)
    }

    fn receiver(&self, flow: &str, _number: usize) -> impl Receiver {
        Ring::<CRC>::open(self.0, flow)
    }
}

/// CRC-32C by the processor's instruction, as fast as it goes in one chain.
#[cfg(target_arch = "x86_64")]
fn checksum(sequence: u64, message: &Message) -> u64 {
    #[target_feature(enable = "sse4.2")]
    fn sum(sequence: u64, message: &Message) -> u64 {
        use std::arch::x86_64::_mm_crc32_u64;
        let words = message.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        words.fold(_mm_crc32_u64(u64::from(u32::MAX), sequence), |state, word| _mm_crc32_u64(state, word))
    }
    assert!(std::arch::is_x86_feature_detected!("sse4.2"));
    // SAFETY: the instruction set was just detected.
    unsafe { sum(sequence, message) }
}

#[cfg(not(target_arch = "x86_64"))]
fn checksum(sequence: u64, message: &Message) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&sequence.to_le_bytes());
    digest.update(message);
    digest.finalize()
}

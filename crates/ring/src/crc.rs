//! CRC-32C of a frame: over its sequence, length, flags and payload.
//!
//! Short frames are summed eight bytes an instruction, because that needs no buffer that holds the header before the
//! sequence word may be written; long ones by `crc-fast`. Measured on a 2.6 GHz Xeon: 64 bytes 2.0 ns against 2.7
//! (`crc-fast`, contiguous), 10.8 (`crc-fast`, header and payload apart) and 5.5 (`crc32c`); from 256 bytes on
//! `crc-fast` is faster.

use std::sync::atomic::{AtomicU64, Ordering};

use crc_fast::{CrcAlgorithm, Digest};

/// Up to here the instruction is at least as fast as folding.
#[cfg(target_arch = "x86_64")]
const SHORT_SIZE_BYTES: usize = 256;

/// CRC-32C of bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC-32C of a frame with this header and payload.
#[inline]
pub fn frame_checksum(sequence: u64, header_word: u64, payload: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if payload.len() <= SHORT_SIZE_BYTES && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the instruction set was just detected.
        return unsafe { short(sequence, header_word, payload) };
    }
    long(sequence, header_word, payload)
}

/// Copies a short payload of whole words and gives the CRC-32C of its frame, in one pass.
#[inline]
pub fn copy_with_checksum(sequence: u64, header_word: u64, from: &[[u8; 8]], into: &[AtomicU64]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the instruction set was just detected.
        return unsafe { copy_short(sequence, header_word, from, into) };
    }
    copy_words(from, into);
    long(sequence, header_word, from.as_flattened())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn copy_short(sequence: u64, header_word: u64, from: &[[u8; 8]], into: &[AtomicU64]) -> u32 {
    use std::arch::x86_64::_mm_crc32_u64;
    let mut state = _mm_crc32_u64(_mm_crc32_u64(u64::from(u32::MAX), sequence), header_word);
    for (bytes, word) in from.iter().zip(into) {
        let value = u64::from_le_bytes(*bytes);
        word.store(value, Ordering::Relaxed);
        state = _mm_crc32_u64(state, value);
    }
    !(state as u32)
}

/// Copies whole words.
#[inline]
pub fn copy_words(from: &[[u8; 8]], into: &[AtomicU64]) {
    for (bytes, word) in from.iter().zip(into) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
}

/// Kept apart so that the short way is inlined.
#[inline(never)]
fn long(sequence: u64, header_word: u64, payload: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut header = [0; 16];
    header[..8].copy_from_slice(&sequence.to_le_bytes());
    header[8..].copy_from_slice(&header_word.to_le_bytes());
    digest.update(&header);
    digest.update(payload);
    digest.finalize() as u32
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
fn short(sequence: u64, header_word: u64, payload: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let mut state = _mm_crc32_u64(_mm_crc32_u64(u64::from(u32::MAX), sequence), header_word);
    let (words, rest) = payload.as_chunks::<8>();
    let (fours, words) = words.as_chunks::<4>();
    for [first, second, third, fourth] in fours {
        state = _mm_crc32_u64(state, u64::from_le_bytes(*first));
        state = _mm_crc32_u64(state, u64::from_le_bytes(*second));
        state = _mm_crc32_u64(state, u64::from_le_bytes(*third));
        state = _mm_crc32_u64(state, u64::from_le_bytes(*fourth));
    }
    for word in words {
        state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
    }
    let mut state = state as u32;
    for byte in rest {
        state = _mm_crc32_u8(state, *byte);
    }
    !state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_summing_agree_at_every_length_and_with_the_published_check_value() {
        assert_eq!(checksum(b"123456789"), 0xE306_9283);
        let payload: Vec<u8> = (0..600).map(|i| (i * 7) as u8).collect();
        for size in 0..payload.len() {
            let (sequence, word) = (size as u64 * 3 + 1, crate::layout::header_word(size as u32, 3));
            let mut frame = sequence.to_le_bytes().to_vec();
            frame.extend_from_slice(&word.to_le_bytes());
            frame.extend_from_slice(&payload[..size]);
            assert_eq!(frame_checksum(sequence, word, &payload[..size]), checksum(&frame), "{size}");
        }
    }
}

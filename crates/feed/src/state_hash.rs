//! The hash of all that an engine keeps from one message to the next.
//!
//! What is kept derives `Hash`, so that a field that is added is in it by itself; the few types that also hold scratch space
//! or an index name each field they leave out. `std`'s own hashers promise no value, this one is the same on every machine.

use std::hash::Hasher;

/// Word by word.
#[derive(Debug, Default)]
pub(crate) struct StateHasher(u64);

impl StateHasher {
    const fn mix(&mut self, value: u64) {
        self.0 = tidebook_types::mix(self.0, value);
    }
}

impl Hasher for StateHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

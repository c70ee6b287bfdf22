//! Hashing that gives the same number on every machine and with every release: what states are compared by.

/// The finalizer of splitmix64: every bit of the word decides about every bit of the result.
#[inline]
pub const fn scramble(word: u64) -> u64 {
    let z = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One step of a hash: what was, and what comes.
#[inline]
pub const fn mix(state: u64, value: u64) -> u64 {
    scramble((state ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

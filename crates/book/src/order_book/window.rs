//! The ticks near the touch: a level number for each, and a bitmap in three steps that finds the next one in use.
//!
//! Ticks are counted in the direction of the best price: greater is better, on either side. The window covers `size` ticks from `base` on; what lies outside of it
//! is the [`super::sparse`] index's. A tick costs 4 bytes and a bit, whether used or not, therefore the window is only as wide as levels are dense.

use std::ops::Range;

use super::levels::NO_LEVEL;

/// Most ticks: what three steps of 64 can tell apart.
pub(super) const TICKS_MAX: usize = 1 << 18;

#[derive(Debug, Clone)]
pub(super) struct Window {
    base: u64,
    size: u64,
    /// Level of each tick; `NO_LEVEL` where there is none.
    levels: Vec<u32>,
    /// One bit a tick.
    used: Vec<u64>,
    /// One bit a word of `used`.
    words: Vec<u64>,
    /// One bit a word of `words`.
    top: u64,
    count: usize,
}

/// Bits above `bit`.
#[inline]
const fn above(bit: usize) -> u64 {
    !1 << (bit & 63)
}

/// Bits below `bit`.
#[inline]
const fn below(bit: usize) -> u64 {
    (1 << (bit & 63)) - 1
}

#[inline]
const fn lowest(word: u64) -> usize {
    word.trailing_zeros() as usize
}

#[inline]
const fn highest(word: u64) -> usize {
    63 - word.leading_zeros() as usize
}

impl Window {
    pub(super) const NEW: Self =
        Self { base: 0, size: 0, levels: Vec::new(), used: Vec::new(), words: Vec::new(), top: 0, count: 0 };

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The ticks that it covers.
    pub(super) const fn ticks(&self) -> Range<u64> {
        self.base..self.base + self.size
    }

    /// Whether all of it is better than this tick, which is not in it.
    pub(super) const fn is_better_than(&self, tick: u64) -> bool {
        tick < self.base
    }

    /// Place of a tick in the window.
    #[inline]
    pub(super) const fn place(&self, tick: u64) -> Option<usize> {
        let place = tick.wrapping_sub(self.base);
        if place < self.size { Some(place as usize) } else { None }
    }

    /// The level there, or `NO_LEVEL`.
    #[inline]
    pub(super) fn level(&self, place: usize) -> u32 {
        self.levels[place]
    }

    #[inline]
    pub(super) fn set(&mut self, place: usize, level: u32) {
        debug_assert!(self.levels[place] == NO_LEVEL);
        self.levels[place] = level;
        self.used[place >> 6] |= 1 << (place & 63);
        self.words[place >> 12] |= 1 << (place >> 6 & 63);
        self.top |= 1 << (place >> 12);
        self.count += 1;
    }

    #[inline]
    pub(super) fn clear(&mut self, place: usize) {
        debug_assert!(self.levels[place] != NO_LEVEL);
        self.levels[place] = NO_LEVEL;
        self.count -= 1;
        let word = &mut self.used[place >> 6];
        *word &= !(1 << (place & 63));
        if *word == 0 {
            let word = &mut self.words[place >> 12];
            *word &= !(1 << (place >> 6 & 63));
            if *word == 0 {
                self.top &= !(1 << (place >> 12));
            }
        }
    }

    /// The level nearest to `place` among those that are better.
    #[inline]
    pub(super) fn better(&self, place: usize) -> Option<u32> {
        let word = self.used[place >> 6] & above(place);
        if word != 0 {
            return Some(self.levels[place & !63 | lowest(word)]);
        }
        let words = self.words[place >> 12] & above(place >> 6);
        let word = if words != 0 {
            place >> 12 << 6 | lowest(words)
        } else {
            let top = self.top & above(place >> 12);
            if top == 0 {
                return None;
            }
            lowest(top) << 6 | lowest(self.words[lowest(top)])
        };
        Some(self.levels[word << 6 | lowest(self.used[word])])
    }

    /// The level nearest to `place` among those that are worse.
    #[inline]
    pub(super) fn worse(&self, place: usize) -> Option<u32> {
        let word = self.used[place >> 6] & below(place);
        if word != 0 {
            return Some(self.levels[place & !63 | highest(word)]);
        }
        let words = self.words[place >> 12] & below(place >> 6);
        let word = if words != 0 {
            place >> 12 << 6 | highest(words)
        } else {
            let top = self.top & below(place >> 12);
            if top == 0 {
                return None;
            }
            highest(top) << 6 | highest(self.words[highest(top)])
        };
        Some(self.levels[word << 6 | highest(self.used[word])])
    }

    /// Its best level.
    pub(super) fn best(&self) -> Option<u32> {
        if self.top == 0 {
            return None;
        }
        let word = highest(self.top) << 6 | highest(self.words[highest(self.top)]);
        Some(self.levels[word << 6 | highest(self.used[word])])
    }

    /// Its worst level.
    pub(super) fn worst(&self) -> Option<u32> {
        if self.top == 0 {
            return None;
        }
        let word = lowest(self.top) << 6 | lowest(self.words[lowest(self.top)]);
        Some(self.levels[word << 6 | lowest(self.used[word])])
    }

    /// Covers other ticks from now on.
    ///
    /// # Panics
    /// When it is not empty.
    pub(super) fn cover(&mut self, base: u64, size: u64) {
        assert!(self.count == 0 && size as usize <= TICKS_MAX);
        let ticks = (size as usize).next_power_of_two();
        if size as usize > self.levels.len() {
            self.levels.resize(ticks, NO_LEVEL);
            self.used.resize(ticks.div_ceil(64), 0);
            self.words.resize(ticks.div_ceil(4_096), 0);
        }
        (self.base, self.size) = (base, size);
    }

    /// Empties it and keeps the memory.
    pub(super) fn empty(&mut self) {
        self.levels.fill(NO_LEVEL);
        self.used.fill(0);
        self.words.fill(0);
        (self.base, self.size, self.top, self.count) = (0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: seeded bits in windows of each size, compared with a scan.
    #[test]
    fn the_nearest_level_on_each_side_of_a_tick_is_found() {
        for size in [64, 256, 4_096, 8_192, TICKS_MAX] {
            let mut window = Window::NEW;
            window.cover(1_000, size as u64);
            let mut set: Vec<usize> = [0, 1, 63, 64, 100, 4_095, 4_096, size / 2, size - 1].into();
            set.retain(|&place| place < size);
            set.sort_unstable();
            set.dedup();
            for round in 0..set.len() {
                assert_eq!(window.count(), round);
                for place in [0, 1, 62, 63, 64, 65, 4_094, 4_095, 4_096, 4_097, size / 2, size - 2, size - 1] {
                    if place < size {
                        let used = &set[..round];
                        let better = used.iter().find(|&&other| other > place).map(|&other| other as u32);
                        let worse = used.iter().rfind(|&&other| other < place).map(|&other| other as u32);
                        assert_eq!((window.better(place), window.worse(place)), (better, worse), "{place} of {size}");
                    }
                }
                let ends =
                    (set[..round].first().map(|&first| first as u32), set[..round].last().map(|&last| last as u32));
                assert_eq!((window.worst(), window.best()), ends);
                window.set(set[round], set[round] as u32);
            }
            for &place in &set {
                assert_eq!(window.level(place), place as u32);
                window.clear(place);
            }
            assert_eq!((window.top, window.best(), window.place(999), window.place(1_000)), (0, None, None, Some(0)));
        }
    }
}

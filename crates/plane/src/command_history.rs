//! The commands that led to a state, in blocks that nobody changes any more, with copies of the state among them.
//!
//! Commands that come one by one are gathered into blocks of one size. Those that come many at once are a block as they are, shared with
//! whoever gave them, because a second copy costs as much as judging them. So blocks have any size, and a command is found by a
//! search among them; who wants many walks.

use std::sync::Arc;

use tidebook_risk::Replay;
use tidebook_types::Command;
use tidebook_venue::Venue;

/// Commands of a block that is gathered; fewer at once are gathered too.
pub(crate) const BLOCK: usize = 4096;
/// Commands between two copies of the state, at first.
const MARK_SPACING: u64 = 1 << 20;
/// Copies kept: one more, and every other one goes.
const MARKS_MAX: usize = 8;

/// A copy of the whole state behind a command.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) state: Arc<Replay<Venue>>,
}

/// Commands behind those of all blocks before it.
#[derive(Debug, Clone)]
struct Block {
    /// From 0.
    first_index: u64,
    /// So many of them count.
    count: usize,
    commands: Arc<Vec<Command>>,
}

impl Block {
    fn all(&self) -> &[Command] {
        &self.commands[..self.count]
    }
}

/// What led to a state.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandHistory {
    /// The state before the first command; none where that is a new one.
    pub(crate) base: Option<Mark>,
    /// In order, shared by forks.
    blocks: Vec<Block>,
    /// Behind the blocks.
    tail: Vec<Command>,
    pub(crate) marks: Vec<Mark>,
    spacing: u64,
}

impl CommandHistory {
    pub(crate) fn beginning(base: Option<Mark>) -> Self {
        Self { base, spacing: MARK_SPACING, ..Self::default() }
    }

    /// Sequence behind which the commands are kept.
    pub(crate) fn begin(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.sequence)
    }

    /// Commands in blocks.
    fn in_blocks(&self) -> u64 {
        self.blocks.last().map_or(0, |last| last.first_index + last.count as u64)
    }

    #[inline]
    pub(crate) fn push(&mut self, command: &Command) {
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(BLOCK);
        }
        self.tail.push(*command);
        if self.tail.len() == BLOCK {
            self.end_tail();
        }
    }

    /// Many at once, which nobody changes.
    pub(crate) fn append(&mut self, commands: Arc<Vec<Command>>) {
        self.end_tail();
        self.put(commands);
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.put(Arc::new(tail));
        }
    }

    fn put(&mut self, commands: Arc<Vec<Command>>) {
        if !commands.is_empty() {
            self.blocks.push(Block { first_index: self.in_blocks(), count: commands.len(), commands });
        }
    }

    #[inline]
    pub(crate) fn is_mark_due(&self, sequence: u64) -> bool {
        sequence - self.marks.last().map_or(self.begin(), |mark| mark.sequence) >= self.spacing
    }

    pub(crate) fn mark(&mut self, sequence: u64, state: &Replay<Venue>) {
        if self.marks.len() == MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                !keep
            });
            self.spacing *= 2;
        }
        self.marks.push(Mark { sequence, state: Arc::new(state.clone()) });
    }

    /// Commands from `index` (from 0) on.
    pub(crate) fn from(&self, index: u64) -> impl Iterator<Item = &Command> {
        let passed = self.blocks.partition_point(|block| block.first_index + block.count as u64 <= index);
        let skipped = index - self.blocks.get(passed).map_or(self.in_blocks(), |block| block.first_index);
        self.blocks[passed..].iter().flat_map(Block::all).chain(&self.tail).skip(skipped as usize)
    }

    /// The first `count` commands and the marks among them.
    pub(crate) fn cut(&self, count: u64) -> Self {
        let mut blocks = self.blocks.clone();
        blocks.truncate(self.blocks.partition_point(|block| block.first_index < count));
        if let Some(last) = blocks.last_mut() {
            last.count = last.count.min((count - last.first_index) as usize);
        }
        let rest = count.saturating_sub(self.in_blocks()) as usize;
        let mut tail = Vec::with_capacity(BLOCK);
        tail.extend_from_slice(&self.tail[..rest]);
        let begin = self.begin();
        let marks = self.marks.iter().filter(|mark| mark.sequence <= begin + count).cloned().collect();
        Self { base: self.base.clone(), blocks, tail, marks, spacing: self.spacing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidebook_types::CommandKind;

    /// Method: commands are numbered by their time, kept in pieces of all sizes, and read back from every place near an end of a piece.
    #[test]
    fn commands_are_found_wherever_they_lie_also_after_a_cut() {
        let numbered = |number: u64| Command::bare(CommandKind::Timer, 0).at(number as i64);
        let mut history = CommandHistory::beginning(None);
        let mut count = 0;
        let mut ends = vec![0];
        for (single, many) in [(3, 0), (0, 5000), (BLOCK as u64 + 7, 4096), (0, 4100), (2, 1)] {
            (0..single).for_each(|at| history.push(&numbered(count + at)));
            count += single;
            ends.push(count);
            history.append(Arc::new((0..many).map(|at| numbered(count + at)).collect()));
            count += many;
            ends.push(count);
        }
        history.push(&numbered(count));
        count += 1;
        ends.push(count);
        let read = |history: &CommandHistory, from: u64| {
            history.from(from).map(|command| command.head.ts as u64).collect::<Vec<_>>()
        };
        let near = ends.iter().flat_map(|end| end.saturating_sub(1)..=(end + 1).min(count));
        for place in near.collect::<Vec<_>>() {
            assert_eq!(read(&history, place), (place..count).collect::<Vec<_>>());
            let mut cut = history.cut(place);
            assert_eq!(read(&cut, 0), (0..place).collect::<Vec<_>>());
            cut.push(&numbered(place));
            cut.append(Arc::new(vec![numbered(place + 1)]));
            assert_eq!(read(&cut, place.saturating_sub(1)), (place.saturating_sub(1)..place + 2).collect::<Vec<_>>());
        }
    }
}

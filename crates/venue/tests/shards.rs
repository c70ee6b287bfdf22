//! A venue in parts says what the whole says, number by number, and is the whole again when the parts are put together.
//!
//! Method: seeded streams on nine instruments go to the whole and, at another pace for each part, to parts of it. Every now and then the
//! parts are put together, compared byte by byte, and taken apart again, into another number of them.

use std::ops::Range;

use tidebook_journal::State;
use tidebook_testkit::Random;
use tidebook_testkit::matching::{MatchingFlow, Mix};
use tidebook_types::{Command, CommandKind, Execution, ExecutionKind, Reason};
use tidebook_venue::{ShardMerge, Venue, VenueOptions};

/// Room for all orders of a stream: that there is none is the one thing that parts do not see together.
const OPTIONS: VenueOptions = VenueOptions { orders_max: 20_000, instruments_max: 9, accounts_max: 16 };
const INSTRUMENTS: u32 = 9;
const STREAM: usize = 1_500;

/// Parts that are not all as far as each other, and what they said.
struct Parts {
    parts: Vec<Venue>,
    /// Commands that each part has done, of those that are there.
    done: Vec<usize>,
    commands: Vec<(u64, Command)>,
    merge: ShardMerge,
    said: Vec<Execution>,
}

impl Parts {
    fn of(venue: Venue, applied: u64, count: u32) -> Self {
        let executions = venue.execution_count();
        let parts = venue.into_shards(count).unwrap();
        let done = vec![0; parts.len()];
        let merge = ShardMerge::new(count, applied, executions);
        Self { parts, done, commands: Vec::new(), merge, said: Vec::new() }
    }

    /// A part goes on by one command, if it can.
    fn step(&mut self, part: usize) {
        let Some((sequence, command)) = self.commands.get(self.done[part]) else { return };
        let merge = &mut self.merge;
        self.parts[part].apply(*sequence, command, &mut |execution| merge.said(part, execution));
        merge.done(part, *sequence);
        self.done[part] += 1;
        merge.merge(&mut |execution| self.said.push(*execution));
    }

    /// All parts do all commands; then they are the whole.
    fn end(mut self) -> (Venue, Vec<Execution>) {
        for part in 0..self.parts.len() {
            while self.done[part] < self.commands.len() {
                self.step(part);
            }
        }
        let executions = self.merge.execution_count();
        (Venue::of_shards(self.parts, executions).unwrap(), self.said)
    }
}

fn saved(venue: &Venue) -> Vec<u8> {
    let mut bytes = Vec::new();
    venue.save(&mut bytes).unwrap();
    bytes
}

/// How many executions of each kind were compared, and how many commands were spoken of by several instruments.
#[derive(Default)]
struct Compared {
    kinds: [u64; 16],
    several: u64,
}

fn compare(seed: u64, mix: Mix, compared: &mut Compared) {
    let (mut flow, mut random) = (MatchingFlow::on(seed, mix, INSTRUMENTS), Random::new(seed));
    let mut whole = Venue::new(OPTIONS);
    let mut parts = Parts::of(Venue::new(OPTIONS), 0, [1, 2, 4][random.index(3)]);
    let mut said = Vec::new();
    for index in 0..STREAM {
        let (sequence, command) = flow.next_command();
        let before = said.len();
        whole.apply(sequence, &command, &mut |execution| said.push(*execution));
        flow.observe(&said[before..]);
        for execution in &said[before..] {
            compared.kinds[execution.kind as usize] += 1;
            let places = [CommandKind::Place.code(), CommandKind::PlacePair.code()].contains(&execution.command_kind);
            assert!(
                !(places && execution.reason == Reason::Full.code()),
                "seed {seed}, {mix:?}: there is room for all orders"
            );
        }
        let several = said[before..].windows(2).any(|two| two[0].instrument_id != two[1].instrument_id);
        compared.several += u64::from(several);
        parts.commands.push((sequence, command));
        for _ in 0..random.below(8) {
            parts.step(random.index(parts.parts.len()));
        }
        if index == STREAM - 1 || random.chance(1, 300) {
            let count = parts.parts.len();
            let (joined, of_parts) = parts.end();
            let at = said.iter().zip(&of_parts).position(|(one, other)| one != other);
            let differ = at.map(|at| (said[at], of_parts[at]));
            assert_eq!((differ, said.len()), (None, of_parts.len()), "seed {seed}, {mix:?}, {count} parts");
            assert_eq!(joined.state_hash(), whole.state_hash(), "seed {seed}, {mix:?}, {count} parts");
            assert!(saved(&joined) == saved(&whole), "seed {seed}, {mix:?}, {count} parts: bytes");
            said.clear();
            parts = Parts::of(joined, sequence, [1, 2, 3, 4, 9, 16][random.index(6)]);
        }
    }
}

fn compare_streams(seeds: Range<u64>) {
    let mut compared = Compared::default();
    for seed in seeds {
        for mix in Mix::ALL {
            compare(seed, mix, &mut compared);
        }
    }
    for kind in ExecutionKind::ALL {
        assert!(compared.kinds[kind.code() as usize] > 0, "{kind:?} was compared");
    }
    assert!(compared.several > 1_000, "{} commands concerned several instruments", compared.several);
}

#[test]
fn parts_say_what_the_whole_says_and_are_the_whole_again_whatever_their_number_and_pace() {
    compare_streams(0..20);
}

#[test]
#[ignore = "soak: thirty million commands"]
fn parts_say_what_the_whole_says_of_thirty_million_commands() {
    compare_streams(1_000..3_000);
}

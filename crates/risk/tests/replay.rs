//! Risk and the fast venue behind one sequence of commands: snapshots, and what a load goes on with.

mod common;
#[path = "common/flow.rs"]
mod flow;

use std::io;

use common::options;
use flow::Flow;
use tidebook_journal::{State, StateError};
use tidebook_risk::{Matching, Replay};
use tidebook_types::{Command, Execution};
use tidebook_venue::{Venue, VenueOptions};
use zerocopy::IntoBytes;

struct Engine(Venue);

impl Engine {
    fn new() -> Self {
        Self(Venue::new(VenueOptions::default()))
    }
}

impl Matching for Engine {
    fn apply(&mut self, sequence: u64, command: &Command, out: &mut dyn FnMut(&Execution)) {
        self.0.apply(sequence, command, &mut |execution: &Execution| out(execution));
    }
}

impl State for Engine {
    fn kind(&self) -> &str {
        self.0.kind()
    }
    fn version(&self) -> u32 {
        self.0.version()
    }
    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        State::apply(&mut self.0, sequence, payload)
    }
    fn state_hash(&self) -> u64 {
        self.0.state_hash()
    }
    fn recomputed_state_hash(&self) -> Option<u64> {
        State::recomputed_state_hash(&self.0)
    }
    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        self.0.save(out)
    }
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.0.load(bytes)
    }
}

fn aligned(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut room = vec![0; bytes.len() + 4096];
    let begin = room.as_ptr().align_offset(4096);
    room[begin..begin + bytes.len()].copy_from_slice(bytes);
    (room, begin)
}

/// Method: a live pair, one that follows its journal and rechecks, and one that is loaded from a snapshot now and then.
#[test]
fn live_replay_and_a_loaded_snapshot_have_one_hash() {
    let mut flow = Flow::new(700, 20);
    let mut live = Replay::new(options(), Engine::new(), false);
    let mut follower = Replay::new(options(), Engine::new(), true);
    let mut loaded: Option<Replay<Engine>> = None;
    let mut commands = flow.opening();
    commands.reverse();
    let mut executions = 0;
    for step in 1..=2_000 {
        let mut command = live.risk().follow_up().or_else(|| commands.pop()).unwrap_or_else(|| flow.next());
        flow.sent = step;
        live.submit(step, &mut command, &mut |_| executions += 1);
        State::apply(&mut follower, step, command.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(live.state_hash(), follower.state_hash(), "command {step}");
        if let Some(loaded) = &mut loaded {
            State::apply(loaded, step, command.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(live.state_hash(), loaded.state_hash(), "command {step}");
        }
        if step % 101 == 0 {
            assert_eq!(follower.recomputed_state_hash(), Some(follower.state_hash()), "command {step}");
            let mut bytes = Vec::new();
            follower.save(&mut bytes).unwrap();
            let (room, begin) = aligned(&bytes);
            let mut again = Replay::new(options(), Engine::new(), true);
            again.load(&room[begin..begin + bytes.len()]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again.state_hash(), follower.state_hash(), "command {step}");
            loaded = Some(again);
        }
    }
    assert!(executions > 1_000, "{executions} executions");
}

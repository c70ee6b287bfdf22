//! A venue saved, loaded and replayed goes on as if nothing had happened; bytes that are no saved venue are refused.

mod engine;

use engine::Engine;
use tidebook_journal::{State, StateError};
use tidebook_testkit::Random;
use tidebook_testkit::matching::{MatchingEngine, MatchingFlow, Mix, NaiveOptions};
use tidebook_types::{Command, Execution, Verdict};
use tidebook_venue::{Venue, VenueOptions};
use zerocopy::{FromBytes, IntoBytes};

const OPTIONS: VenueOptions = VenueOptions { orders_max: 400, instruments_max: 8, accounts_max: 16 };

/// A stream with what a venue said to it.
fn stream(seed: u64, mix: Mix, count: usize) -> Vec<(u64, Command)> {
    let VenueOptions { orders_max, instruments_max, accounts_max } = OPTIONS;
    let mut engine = Engine::new(NaiveOptions { orders_max, instruments_max, accounts_max });
    let mut flow = MatchingFlow::new(seed, mix);
    let next = |_| {
        let (sequence, command) = flow.next_command();
        flow.observe(&engine.apply(sequence, &command));
        (sequence, command)
    };
    (0..count).map(next).collect()
}

fn apply(venue: &mut Venue, (sequence, command): &(u64, Command)) -> Vec<Execution> {
    let mut executions = Vec::new();
    venue.apply(*sequence, command, &mut |execution| executions.push(*execution));
    executions
}

fn saved(venue: &Venue) -> Vec<u8> {
    let mut bytes = Vec::new();
    venue.save(&mut bytes).unwrap();
    bytes
}

fn loaded(bytes: &[u8]) -> Result<Venue, StateError> {
    let mut venue = Venue::new(OPTIONS);
    venue.load(bytes).map(|()| venue)
}

#[test]
fn a_venue_saved_and_loaded_at_any_step_goes_on_as_the_one_that_was_not() {
    for (seed, mix) in (60..).zip(Mix::ALL) {
        let commands = stream(seed, mix, 1500);
        let mut venue = Venue::new(OPTIONS);
        let mut copy = Venue::new(OPTIONS);
        for command in &commands {
            let bytes = saved(&copy);
            copy = loaded(&bytes).unwrap_or_else(|error| panic!("seed {seed}, {mix:?}, before {command:?}: {error}"));
            assert_eq!(saved(&copy), bytes, "seed {seed}, {mix:?}, before {command:?}");
            let said = apply(&mut venue, command);
            assert_eq!(apply(&mut copy, command), said, "seed {seed}, {mix:?}, after {command:?}");
            assert_eq!(copy.state_hash(), venue.state_hash(), "seed {seed}, {mix:?}, after {command:?}");
            assert_eq!(copy.open_orders(), venue.open_orders(), "seed {seed}, {mix:?}, after {command:?}");
        }
    }
}

#[test]
fn a_replay_of_the_commands_bytes_gives_the_same_state_and_a_fork_goes_its_own_way() {
    for (seed, mix) in (80..).zip(Mix::ALL) {
        let commands = stream(seed, mix, 3000);
        let mut venue = Venue::new(OPTIONS);
        let mut hashes = Vec::new();
        for command in &commands {
            apply(&mut venue, command);
            hashes.push(venue.state_hash());
        }
        let mut replayed = Venue::new(OPTIONS);
        let mut fork = None;
        for ((sequence, command), hash) in commands.iter().zip(&hashes) {
            State::apply(&mut replayed, *sequence, command.as_bytes()).unwrap();
            assert_eq!(replayed.state_hash(), *hash, "seed {seed}, {mix:?}, command {sequence}");
            if *sequence > 2000 {
                fork.get_or_insert_with(|| replayed.clone());
            }
        }
        let mut fork = fork.expect("the stream is long enough");
        let hash = fork.state_hash();
        commands.iter().filter(|command| command.0 > 2000).skip(1).for_each(|command| drop(apply(&mut fork, command)));
        assert_ne!(fork.state_hash(), hash);
        assert_eq!((fork.state_hash(), fork.execution_count()), (venue.state_hash(), venue.execution_count()));
    }
}

#[test]
fn a_payload_that_is_no_command_is_an_error_with_its_sequence() {
    let error = State::apply(&mut Venue::new(OPTIONS), 77, &[0; 127]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "state venue: message 77 is none of this state's: it has 127 bytes, a command has 128"
    );
}

#[test]
fn bytes_cut_short_or_changed_anywhere_are_refused_and_others_options_too() {
    for (seed, mix) in [(90, Mix::Everything), (91, Mix::Stops), (92, Mix::Pegs)] {
        let mut venue = Venue::new(OPTIONS);
        stream(seed, mix, 600).iter().for_each(|command| drop(apply(&mut venue, command)));
        assert!(venue.order_count() > 10);
        let bytes = saved(&venue);
        for size in 0..bytes.len() {
            assert!(loaded(&bytes[..size]).is_err(), "{size} of {} bytes", bytes.len());
        }
        for place in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                assert!(loaded(&changed).is_err(), "bit {bit} of byte {place}");
            }
        }
        let mut other = Venue::new(VenueOptions { orders_max: 401, ..OPTIONS });
        assert!(other.load(&bytes).is_err());
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(loaded(&longer).is_err() && loaded(&bytes).is_ok());
    }
}

/// Method: whole words of a saved venue are put elsewhere or are extreme, and what happens to load is traded on.
#[test]
fn bytes_of_any_kind_neither_panic_nor_break_a_venue_that_takes_them() {
    let mut random = Random::new(5);
    let mut venue = Venue::new(OPTIONS);
    let commands = stream(93, Mix::Everything, 900);
    commands[..600].iter().for_each(|command| drop(apply(&mut venue, command)));
    let bytes = saved(&venue);
    for _ in 0..20_000 {
        let mut changed = bytes.clone();
        for _ in 0..=random.below(3) {
            let place = random.index(changed.len() / 8) * 8;
            let value = match random.below(5) {
                0 => u64::MAX,
                1 => 0,
                2 => 1 << random.below(64),
                3 => u64::from_le_bytes(bytes[random.index(bytes.len() / 8) * 8..][..8].try_into().unwrap()),
                _ => random.below(u64::MAX),
            };
            changed[place..place + 8].copy_from_slice(&value.to_le_bytes());
        }
        if let Ok(mut venue) = loaded(&changed) {
            commands[600..].iter().for_each(|command| drop(apply(&mut venue, command)));
        }
    }
    for size in 0..300 {
        assert!(loaded(&random.bytes(size)).is_err());
    }
}

/// A rejected command changes nothing but the time and the count of executions, whatever its bytes.
#[test]
fn commands_of_random_bytes_are_rejected_or_carried_out_and_a_rejected_one_changes_nothing() {
    let mut random = Random::new(6);
    let mut venue = Venue::new(OPTIONS);
    let commands = stream(94, Mix::Everything, 40_000);
    let (mut rejected, mut sequence) = (0, 1 << 40);
    for command in commands {
        apply(&mut venue, &command);
        sequence += 1;
        let mut hostile = if random.below(4) == 0 {
            Command::read_from_bytes(&random.bytes(128)).unwrap()
        } else {
            let mut bytes = <[u8; 128]>::read_from_bytes(command.1.as_bytes()).unwrap();
            let place = random.index(128);
            let run = random.index((128 - place).min(9));
            bytes[place..place + run].copy_from_slice(&random.bytes(run));
            Command::read_from_bytes(&bytes).unwrap()
        };
        if random.below(8) != 0 {
            // At the same time, so that nothing expires and the hash can be compared.
            hostile.head.ts = venue.time();
            if hostile.head.verdict == Verdict::Rejected.code() {
                hostile.head.verdict = 0;
            }
        }
        let mut copy = None;
        let said = if hostile.head.ts == venue.time() {
            let (before, orders) = (saved(&venue), venue.open_orders());
            let said = apply(&mut venue, &(sequence, hostile));
            if said.len() == 1 && said[0].kind == tidebook_types::ExecutionKind::Rejected.code() {
                rejected += 1;
                assert_eq!(venue.open_orders(), orders, "{hostile:?}");
                // The one other change is the number of the execution that says so: bytes 24 to 32, and the hash in 8 to 16.
                let after = saved(&venue);
                let same = |bytes: &[u8]| [&bytes[..8], &bytes[16..24], &bytes[32..]].concat();
                assert_eq!(same(&after), same(&before), "{hostile:?}");
            }
            said
        } else {
            copy = Some(venue.clone());
            apply(&mut venue, &(sequence, hostile))
        };
        if let Some(copy) = copy {
            // Extreme times end everything that has a time: go on from before.
            venue = copy;
        }
        assert!(said.iter().all(|said| tidebook_types::Reason::from_code(said.reason).is_some()));
    }
    assert!(rejected > 10_000, "{rejected}");
}

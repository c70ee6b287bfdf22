//! The protocols under loom, which tries every order of every access that the memory model allows, with few preemptions.
//! Short here; the full runs are ignored tests of `make soak`.

mod model;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use model::{Make, Read, Seen, Writer, assert_order, value};
use tidebook_ring::Word;
use tidebook_ring::claims::{self, Found, Spot};
use tidebook_ring::last_values::Entry;
use tidebook_ring::pair::PairCell;
use tidebook_ring::sleep::Bell;

/// A word of loom's. Each use of one is a step at which its thread may die.
#[derive(Debug, Default)]
struct Loom<A>(A);

struct Died;

loom::thread_local! {
    /// Steps this thread may still take.
    static LEFT: Cell<Option<u32>> = Cell::new(None);
}

fn step() {
    LEFT.with(|left| match left.get() {
        None => {}
        Some(0) => resume_unwind(Box::new(Died) as Box<dyn Any + Send>),
        Some(steps) => left.set(Some(steps - 1)),
    });
}

/// Runs `work` and stops it for good before its step of this number; whether it was stopped.
fn dies_after(steps: u32, work: impl FnOnce()) -> bool {
    LEFT.with(|left| left.set(Some(steps)));
    let ended = catch_unwind(AssertUnwindSafe(work));
    LEFT.with(|left| left.set(None));
    match ended {
        Ok(()) => false,
        Err(cause) if cause.is::<Died>() => true,
        Err(cause) => resume_unwind(cause),
    }
}

macro_rules! word {
    ($value:ty, $atomic:ty) => {
        impl Word<$value> for Loom<$atomic> {
            fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order);
            }

            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.0.compare_exchange(current, new, success, failure)
            }

            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_add(value, order)
            }

            fn fence(order: Ordering) {
                loom::sync::atomic::fence(order);
            }

            fn pause() {
                thread::yield_now();
            }
        }

        impl Make<$value> for Loom<$atomic> {
            fn make(value: $value) -> Self {
                Self(<$atomic>::new(value))
            }
        }
    };
}

type U64 = Loom<loom::sync::atomic::AtomicU64>;
type U32 = Loom<loom::sync::atomic::AtomicU32>;
type Ring = model::Ring<U64, U32>;

word!(u64, loom::sync::atomic::AtomicU64);
word!(u32, loom::sync::atomic::AtomicU32);

/// Where more preemptions are asked for than can be explored, each exploration ends after this time.
const FULL_MAX: Duration = Duration::from_secs(60);

std::thread_local! {
    static DURATION_MAX: Cell<Option<Duration>> = const { Cell::new(None) };
}

fn explore(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.max_duration = DURATION_MAX.get();
    builder.check(scenario);
}

/// Explores a scenario in which somebody dies, for each step at which that can be. It gets the step, and says whether
/// anybody died.
fn explore_deaths(preemptions: usize, scenario: impl Fn(u32) -> bool + Copy + Sync + Send + 'static) {
    // Where few preemptions are asked for, at every third step only.
    for steps in (0..).step_by(if preemptions > 1 { 1 } else { 3 }) {
        let died = Arc::new(AtomicBool::new(false));
        let noted = died.clone();
        explore(preemptions, move || {
            if scenario(steps) {
                noted.store(true, Relaxed);
            }
        });
        if !died.load(Relaxed) {
            assert!(steps > 3, "nobody could die");
            return;
        }
    }
}

/// What another thread does. All that runs at once runs in threads of its own: the explorer finds fewer orders of what the
/// first thread does beside another that has not begun.
fn beside<T: 'static>(ring: &Arc<Ring>, work: impl FnOnce(&Ring) -> T + 'static) -> T {
    let ring = ring.clone();
    thread::spawn(move || work(&ring)).join().unwrap()
}

/// A test of few preemptions, and an ignored one of more.
macro_rules! explored {
    ($(#[doc = $doc:literal])* fn $name:ident, $full:ident, $few:literal, $more:literal, $explore:ident($scenario:expr)) => {
        $(#[doc = $doc])*
        #[test]
        fn $name() {
            $explore($few, $scenario);
        }

        #[test]
        #[ignore = "full exploration: make soak"]
        fn $full() {
            DURATION_MAX.set(Some(FULL_MAX));
            $explore($more, $scenario);
        }
    };
}

explored! {
    /// Two replacements of a pair, read twice meanwhile.
    fn a_pair_is_never_read_half_old_and_never_goes_back,
    a_pair_is_never_read_half_old_and_never_goes_back_full, 3, 6, explore(|| {
        let pair: Arc<PairCell<U64>> = Arc::default();
        let writer = pair.clone();
        let writer = thread::spawn(move || {
            writer.store(1, 11);
            writer.store(2, 12);
        });
        let reader = pair.clone();
        let reader = thread::spawn(move || {
            let mut last = 0;
            for _ in 0..2 {
                let (first, second) = reader.load();
                assert!(second == first + 10 || (first, second) == (0, 0), "{first} {second}");
                assert!(first >= last, "{first} after {last}");
                last = first;
            }
        });
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(pair.load(), (2, 12));
    })
}

/// A key's entry with frames of three words.
struct LastValue {
    version: U64,
    writer: U64,
    copies: [[U64; 3]; 2],
    /// Sequence of the last message that was committed.
    committed: U64,
}

impl LastValue {
    fn new() -> Arc<Self> {
        let copy = || [(); 3].map(|()| U64::default());
        let [version, writer, committed] = [(); 3].map(|()| U64::default());
        Arc::new(Self { version, writer, copies: [copy(), copy()], committed })
    }

    fn entry(&self) -> Entry<'_, U64> {
        Entry { version: &self.version, writer: &self.writer, copies: [&self.copies[0], &self.copies[1]] }
    }

    /// As a producer does it whose message is this one.
    fn write(&self, own: u64, sequence: u64) {
        let frame = [sequence, sequence + 10, sequence + 20].map(U64::make);
        while self.entry().seize(own).is_err() {
            U64::pause();
        }
        let is_newest = self.entry().prepare(sequence, &frame);
        self.committed.store(sequence, Relaxed);
        if is_newest {
            self.entry().publish();
        }
        self.entry().release();
    }

    /// The sequence of the current frame, which is whole.
    fn read(&self) -> u64 {
        let mut words = [0; 3];
        assert!(self.entry().read(&mut words));
        let [sequence, one, two] = words;
        assert!(words == [0; 3] || (one, two) == (sequence + 10, sequence + 20), "{words:?}");
        sequence
    }
}

explored! {
    /// Two producers with one key, in any order, and a reader beside them.
    fn a_last_value_is_whole_and_never_an_older_one,
    a_last_value_is_whole_and_never_an_older_one_full, 1, 3, explore(|| {
        let value = LastValue::new();
        let writers = [1, 2].map(|own| {
            let value = value.clone();
            thread::spawn(move || value.write(own, own))
        });
        let reader = value.clone();
        let reader = thread::spawn(move || {
            let first = reader.read();
            assert!(reader.read() >= first);
        });
        reader.join().unwrap();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(value.read(), 2);
    })
}

explored! {
    /// The writer dies at each of its steps; who holds its lock settles what it left, with a reader beside it.
    fn a_last_value_whose_writer_dies_is_that_of_its_last_commit,
    a_last_value_whose_writer_dies_is_that_of_its_last_commit_full, 2, 3, explore_deaths(|steps| {
        let value = LastValue::new();
        let writer = value.clone();
        let writer = thread::spawn(move || dies_after(steps, || {
            writer.write(1, 1);
            writer.write(1, 2);
        }));
        let reader = value.clone();
        let reader = thread::spawn(move || reader.read());
        let died = writer.join().unwrap();
        let committed = value.committed.load(Relaxed);
        if value.writer.load(Relaxed) == 1 {
            value.entry().settle(|sequence| sequence <= committed);
        }
        let seen = reader.join().unwrap();
        assert_eq!(value.read(), committed);
        assert!(seen <= committed);
        // Settling again, and a writer after it, find nothing of the dead one.
        value.entry().settle(|_| true);
        assert_eq!(value.read(), committed);
        value.write(2, 7);
        assert_eq!(value.read(), 7);
        died
    })
}

explored! {
    /// The writer dies at each of its steps; the next one goes on where it stopped.
    fn a_pair_whose_writer_dies_is_one_of_those_it_wrote,
    a_pair_whose_writer_dies_is_one_of_those_it_wrote_full, 2, 4, explore_deaths(|steps| {
        let pair: Arc<PairCell<U64>> = Arc::default();
        let writer = pair.clone();
        let writer = thread::spawn(move || dies_after(steps, || {
            writer.store(1, 11);
            writer.store(2, 12);
        }));
        let reader = pair.clone();
        let (first, second) = thread::spawn(move || reader.load()).join().unwrap();
        assert!(second == first + 10 || (first, second) == (0, 0), "{first} {second}");
        let died = writer.join().unwrap();
        let (after, _) = pair.load();
        assert!(after >= first && (died || after == 2));
        let reader = pair.clone();
        let reader = thread::spawn(move || reader.load());
        pair.store(7, 17);
        let found = reader.join().unwrap();
        assert!(found == (7, 17) || found.0 == after && (found.1 == after + 10 || after == 0), "{found:?}");
        died
    })
}

/// Two producers write a message each, of one slot and of two, while a consumer reads.
fn producers(runs: [u64; 2], consumers_read: usize) {
    let ring = Arc::new(Ring::new(4, 2, 1));
    let mut reader = ring.join(0, true, Spot { sequence: 1, position: 1 });
    let threads = [0u8, 1].map(|line| {
        let ring = ring.clone();
        thread::spawn(move || ring.write(&mut Writer::new(line), runs[usize::from(line)], value(line, 1), 4))
    });
    let (mut reader, mut seen) = beside(&ring, move |ring| {
        let mut seen = Vec::new();
        for _ in 0..consumers_read {
            match ring.read(&mut reader, false) {
                Read::Message(message) => seen.push(message),
                Read::Nothing => {}
                found => panic!("{found:?}"),
            }
        }
        (reader, seen)
    });
    let written = threads.map(|thread| thread.join().unwrap().expect("there was room for both"));
    ring.drain(&mut reader, &mut seen);
    assert_order(&seen);
    let mut expected = [0u8, 1].map(|line| Seen { sequence: written[usize::from(line)], value: value(line, 1) });
    expected.sort_by_key(|message| message.sequence);
    assert_eq!(seen, expected);
}

explored! {
    fn two_producers_that_claim_at_once_give_one_order_of_whole_messages,
    two_producers_that_claim_at_once_give_one_order_of_whole_messages_full, 1, 3, explore(|| producers([1, 1], 2))
}

explored! {
    fn messages_of_several_slots_are_claimed_as_one,
    messages_of_several_slots_are_claimed_as_one_full, 1, 3, explore(|| producers([2, 1], 2))
}

/// A ring of two slots, full and not read yet. Two producers want to go on; the consumer reads meanwhile.
fn second_lap(attempts: u32) {
    let ring = Arc::new(Ring::new(2, 3, 1));
    let mut reader = ring.join(0, true, Spot { sequence: 1, position: 1 });
    let mut first = Writer::new(2);
    for number in 1..=2 {
        assert_eq!(ring.write(&mut first, 1, value(2, number), 2), Some(number));
    }
    let threads = [0u8, 1].map(|line| {
        let ring = ring.clone();
        thread::spawn(move || ring.write(&mut Writer::new(line), 1, value(line, 1), attempts))
    });
    let (mut reader, mut seen) = beside(&ring, move |ring| {
        let mut seen = Vec::new();
        for _ in 0..2 {
            match ring.read(&mut reader, false) {
                Read::Message(message) => seen.push(message),
                found => panic!("{found:?}"),
            }
            ring.advance(&reader);
        }
        (reader, seen)
    });
    let written = threads.map(|thread| thread.join().unwrap());
    ring.drain(&mut reader, &mut seen);
    let mut expected = vec![value(2, 1), value(2, 2)];
    let mut later: Vec<_> =
        [0u8, 1].iter().filter_map(|line| Some((written[usize::from(*line)]?, value(*line, 1)))).collect();
    later.sort();
    expected.extend(later.iter().map(|(_, value)| value));
    assert_eq!(seen.iter().map(|message| message.value).collect::<Vec<_>>(), expected);
    assert!(seen.iter().map(|message| message.sequence).eq(1..=expected.len() as u64));
}

explored! {
    /// What the consumer has not read is overwritten by nobody, whoever raises the room.
    fn a_second_lap_overwrites_only_what_was_read,
    a_second_lap_overwrites_only_what_was_read_full, 1, 2, explore(|| second_lap(3))
}

explored! {
    /// A producer dies at each of its steps; a reader who voids what it left, and another producer, go on.
    fn a_dead_producers_claim_is_voided_once_and_what_it_committed_is_read,
    a_dead_producers_claim_is_voided_once_and_what_it_committed_is_read_full, 1, 2, explore_deaths(|steps| {
        let ring = Arc::new(Ring::new(4, 2, 1));
        let mut reader = ring.join(0, true, Spot { sequence: 1, position: 1 });
        let mortal = ring.clone();
        let mortal = thread::spawn(move || {
            let mut committed = None;
            let died = dies_after(steps, || committed = mortal.write(&mut Writer::new(0), 2, value(0, 1), 2));
            if died {
                mortal.bury(0);
            }
            (died, committed)
        });
        let other = ring.clone();
        let other = thread::spawn(move || other.write(&mut Writer::new(1), 1, value(1, 1), 4));
        let (mut reader, mut seen) = beside(&ring, move |ring| {
            let mut seen = Vec::new();
            for _ in 0..2 {
                match ring.read(&mut reader, true) {
                    Read::Message(message) => seen.push(message),
                    Read::Nothing | Read::Void => {}
                    Read::Gap => panic!("it is waited for"),
                }
            }
            (reader, seen)
        });
        let (died, committed) = mortal.join().unwrap();
        let written = other.join().unwrap().expect("there is room");
        ring.drain(&mut reader, &mut seen);
        assert_order(&seen);
        assert!(seen.contains(&Seen { sequence: written, value: value(1, 1) }), "{seen:?}");
        if let Some(sequence) = committed {
            assert!(seen.contains(&Seen { sequence, value: value(0, 1) }), "{seen:?}");
        }
        died
    })
}

explored! {
    /// Its claim is voided by who takes over its line, while a reader and a producer that walks over it want the same.
    fn a_line_that_is_taken_over_is_cleared_of_its_dead_owners_claim,
    a_line_that_is_taken_over_is_cleared_of_its_dead_owners_claim_full, 1, 2, explore(|| {
        let ring = Arc::new(Ring::new(4, 2, 1));
        let mut reader = ring.join(0, true, Spot { sequence: 1, position: 1 });
        ring.claim(&mut Writer::new(0), 1, 2).expect("there is room");
        ring.bury(0);
        let heir = ring.clone();
        let heir = thread::spawn(move || {
            let adopted = heir.adopt(0);
            adopted.then(|| heir.write(&mut Writer::new(0), 1, value(0, 2), 4).expect("there is room"))
        });
        let other = ring.clone();
        let other = thread::spawn(move || other.write(&mut Writer::new(1), 1, value(1, 1), 4).expect("there is room"));
        let (mut reader, mut seen) = beside(&ring, move |ring| {
            let mut seen = Vec::new();
            for _ in 0..2 {
                if let Read::Message(message) = ring.read(&mut reader, true) {
                    seen.push(message);
                }
            }
            (reader, seen)
        });
        let mut expected = vec![Seen { sequence: other.join().unwrap(), value: value(1, 1) }];
        expected.extend(heir.join().unwrap().map(|sequence| Seen { sequence, value: value(0, 2) }));
        ring.drain(&mut reader, &mut seen);
        expected.sort_by_key(|message| message.sequence);
        assert_eq!(seen, expected);
    })
}

explored! {
    /// The raiser dies at each of its steps, with the word that names it set or not.
    fn a_dead_raiser_is_replaced_and_room_never_passes_an_unread_message,
    a_dead_raiser_is_replaced_and_room_never_passes_an_unread_message_full, 2, 3, explore_deaths(|steps| {
        let ring = Arc::new(Ring::new(2, 2, 1));
        let mut reader = ring.join(0, true, Spot { sequence: 1, position: 1 });
        let mut first = Writer::new(0);
        for number in 1..=2 {
            assert_eq!(ring.write(&mut first, 1, value(0, number), 2), Some(number));
        }
        let mut seen = Vec::new();
        let Read::Message(message) = ring.read(&mut reader, false) else { panic!("it is there") };
        seen.push(message);
        ring.advance(&reader);
        let mortal = ring.clone();
        let mortal = thread::spawn(move || {
            let died = dies_after(steps, || mortal.find_room(&mut first, 4));
            if died {
                mortal.bury(0);
            }
            died
        });
        let mut writer = Writer::new(1);
        let (mut writer, early) = beside(&ring, move |ring| {
            let early = ring.write(&mut writer, 1, value(1, 1), 2);
            (writer, early)
        });
        let died = mortal.join().unwrap();
        let third = early.or_else(|| ring.write(&mut writer, 1, value(1, 1), 6));
        assert_eq!(third, Some(3), "one message was read, so there is room for one");
        assert_eq!(ring.write(&mut writer, 1, value(1, 2), 6), None, "the second was not read");
        ring.drain(&mut reader, &mut seen);
        assert_eq!(seen.iter().map(|message| message.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        died
    })
}

/// A full ring of two slots that nobody reads; somebody joins at the oldest while a producer makes room and writes.
fn join_while_raised(gating: bool, alone: bool) {
    let ring = Arc::new(Ring::new(2, 1, 1));
    let mut writer = Writer::new(0);
    for number in 1..=2 {
        let written = if alone {
            ring.write_alone(&mut writer, value(0, number))
        } else {
            ring.write(&mut writer, 1, value(0, number), 2)
        };
        assert_eq!(written, Some(number));
    }
    let producer = ring.clone();
    let producer = thread::spawn(move || {
        for _ in 0..2 {
            // One that finds no room tries the same again.
            let value = value(0, writer.tail.sequence);
            if alone {
                producer.write_alone(&mut writer, value);
            } else {
                producer.write(&mut writer, 1, value, 2);
            }
        }
    });
    let (mut reader, mut seen) = beside(&ring, move |ring| {
        let mut reader = ring.join(0, gating, ring.oldest());
        let mut seen = Vec::new();
        for _ in 0..2 {
            match ring.read(&mut reader, false) {
                Read::Message(message) => seen.push(message),
                Read::Gap => assert!(!gating, "it is waited for"),
                Read::Nothing => {}
                Read::Void => panic!("nobody died"),
            }
        }
        (reader, seen)
    });
    producer.join().unwrap();
    ring.drain(&mut reader, &mut seen);
    assert_order(&seen);
    assert!(seen.iter().all(|message| message.value == value(0, message.sequence)), "{seen:?}");
    if gating {
        let first = seen[0].sequence;
        assert!(seen.iter().map(|message| message.sequence).eq(first..first + seen.len() as u64), "{seen:?}");
    }
}

explored! {
    fn a_gating_consumer_that_joins_while_the_floor_moves_is_not_overwritten,
    a_gating_consumer_that_joins_while_the_floor_moves_is_not_overwritten_full, 2, 3, explore(|| join_while_raised(true, false))
}

explored! {
    fn one_that_joins_beside_a_single_producer_is_not_overwritten,
    one_that_joins_beside_a_single_producer_is_not_overwritten_full, 2, 4, explore(|| join_while_raised(true, true))
}

explored! {
    fn a_lossy_consumer_hands_out_nothing_that_was_overwritten_while_it_read,
    a_lossy_consumer_hands_out_nothing_that_was_overwritten_while_it_read_full, 1, 3, explore(|| join_while_raised(false, false))
}

explored! {
    fn nor_beside_a_single_producer,
    nor_beside_a_single_producer_full, 1, 3, explore(|| join_while_raised(false, true))
}

explored! {
    /// The one who made room is not the one who overwrites: only `room` leads from the floor to his writes.
    fn a_lossy_consumer_sees_the_floor_that_allowed_anothers_write,
    a_lossy_consumer_sees_the_floor_that_allowed_anothers_write_full, 2, 3, explore(|| {
        let ring = Arc::new(Ring::new(2, 2, 1));
        let (mut one, mut two) = (Writer::new(0), Writer::new(1));
        for number in 1..=2 {
            assert_eq!(ring.write(&mut one, 1, value(0, number), 2), Some(number));
        }
        let mut reader = ring.join(0, false, ring.oldest());
        let raiser = ring.clone();
        let raiser = thread::spawn(move || raiser.find_room(&mut one, 4));
        let writer = ring.clone();
        let writer = thread::spawn(move || writer.write(&mut two, 1, value(1, 3), 2));
        beside(&ring, move |ring| {
            if let Read::Message(message) = ring.read(&mut reader, false) {
                assert_eq!(message, Seen { sequence: 1, value: value(0, 1) });
            }
        });
        raiser.join().unwrap();
        writer.join().unwrap();
    })
}

explored! {
    /// A producer whose place is a lap behind walks over a message of three slots while a message that begins before it
    /// overwrites it from its first slot on.
    fn a_stale_walk_over_a_message_that_is_being_overwritten_claims_nothing,
    a_stale_walk_over_a_message_that_is_being_overwritten_claims_nothing_full, 2, 4, explore(|| {
        let ring = Arc::new(Ring::new(4, 2, 0));
        let (mut one, mut stale) = (Writer::new(0), Writer::new(1));
        assert_eq!(ring.write(&mut one, 1, value(0, 1), 2), Some(1));
        assert_eq!(ring.write(&mut one, 3, value(0, 2), 2), Some(2));
        stale.tail = Spot { sequence: 2, position: 2 };
        let walker = ring.clone();
        let walker = thread::spawn(move || claims::walk(&*walker, stale.tail, 5));
        // The next message begins where the single one stood, and its last slot lies in the middle of the other.
        assert_eq!(ring.write(&mut one, 3, value(0, 3), 3), Some(3));
        let walked = walker.join().unwrap();
        match walked {
            claims::Walk::NoRoom(spot) => assert_eq!(spot, Spot { sequence: 3, position: 5 }),
            claims::Walk::Lost => {}
            claims::Walk::End { .. } => panic!("{walked:?} in the middle of a lap"),
        }
    })
}

explored! {
    /// The words of frames that begin where an earlier lap left something else: the producer clears the next word before it
    /// commits, so a reader finds the message it awaits or nothing.
    fn what_an_earlier_lap_left_is_never_taken_for_a_frame,
    what_an_earlier_lap_left_is_never_taken_for_a_frame_full, 4, 6, explore(|| {
        // Two frames and the word after them; payloads of an earlier lap that look like sequences.
        let words: Arc<[U64; 3]> = Arc::new([U64::make(0), U64::make(2), U64::make(3)]);
        let payloads: Arc<[U64; 2]> = Arc::default();
        let (writer_words, writer_payloads) = (words.clone(), payloads.clone());
        let writer = thread::spawn(move || {
            for index in 0..2 {
                claims::clear(&writer_words[index + 1]);
                writer_payloads[index].store(7 + index as u64, Relaxed);
                claims::publish(&writer_words[index], 1 + index as u64);
            }
        });
        let reader = thread::spawn(move || {
            let mut next = 0;
            for _ in 0..4 {
                let sequence = 1 + next as u64;
                match words[next].load(Ordering::Acquire) {
                    0 => {}
                    found if found == sequence => {
                        assert!(next < 2, "a message that was never written");
                        assert_eq!(payloads[next].load(Relaxed), 7 + next as u64);
                        next += 1;
                    }
                    found => panic!("{found} where {sequence} is awaited"),
                }
            }
        });
        reader.join().unwrap();
        writer.join().unwrap();
    })
}

/// The kernel's part: it lets nobody sleep who brings another value than the word has.
#[derive(Default)]
struct Kernel {
    queue: Mutex<u64>,
    woken: Condvar,
}

impl Kernel {
    fn sleep(&self, signal: &U32, value: u32) {
        let queue = self.queue.lock().unwrap();
        if signal.0.load(Ordering::SeqCst) == value {
            let _unlocked = self.woken.wait(queue).unwrap();
        }
    }

    fn wake(&self) {
        *self.queue.lock().unwrap() += 1;
        self.woken.notify_all();
    }
}

/// A producer publishes a message and wakes who sleeps; loom finds a sleeper that nobody wakes, as a deadlock.
fn sleepers(count: usize, messages: u64) {
    struct Shared {
        waiting: U32,
        signal: U32,
        words: [U64; 2],
        kernel: Kernel,
    }
    let shared = Arc::new(Shared {
        waiting: U32::make(0),
        signal: U32::make(0),
        words: [U64::make(0), U64::make(0)],
        kernel: Kernel::default(),
    });
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let bell = Bell { waiting: &shared.waiting, signal: &shared.signal };
                for sequence in 1..=messages {
                    let is_there = || Found::at(&shared.words[sequence as usize - 1], sequence) == Found::Committed;
                    while !is_there() {
                        let value = bell.announce();
                        if is_there() {
                            break;
                        }
                        shared.kernel.sleep(&shared.signal, value);
                    }
                }
            })
        })
        .collect();
    let bell = Bell { waiting: &shared.waiting, signal: &shared.signal };
    for sequence in 1..=messages {
        claims::publish(&shared.words[sequence as usize - 1], sequence);
        if bell.is_awaited() {
            bell.ring(|| shared.kernel.wake());
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

explored! {
    fn no_wake_up_is_lost_to_one_sleeper,
    no_wake_up_is_lost_to_one_sleeper_full, 3, 5, explore(|| sleepers(1, 2))
}

explored! {
    fn nor_to_one_of_two,
    nor_to_one_of_two_full, 2, 3, explore(|| sleepers(2, 1))
}

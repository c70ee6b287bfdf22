//! States that were saved by builds before are read, and today's are theirs.
//!
//! Method: `kept/<dialect>.messages` are messages of our own, never changed, with sessions, snapshots, gaps, trades late and
//! missing, books in doubt, damage; a line `saved` among them says behind which one the state was saved.
//! `kept/v<version>-<venue>.state` is what a build of that version saved there. What to do when one of these tests fails:
//! `docs/formats/feed-state.md#a-change`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Message, Nothing, Written};
use tidebook_feed::{FeedOptions, FeedState, RecordSink, STATE_VERSION};
use tidebook_types::{MessageKind, Venue};

const START_NS: i64 = 1_700_000_000_000_000_000;

/// Every feed and the messages that it is told.
const FEEDS: [(Venue, &str); Venue::ALL.len()] = [
    (Venue::Binance, "binance-spot"),
    (Venue::BinanceUs, "binance-spot"),
    (Venue::BinanceUsdm, "binance-futures"),
    (Venue::BinanceCoinm, "binance-futures"),
    (Venue::Coinbase, "coinbase"),
    (Venue::CoinbaseAdvanced, "coinbase-advanced"),
    (Venue::Kraken, "kraken"),
    (Venue::KrakenV1, "kraken-v1"),
    (Venue::Bitstamp, "bitstamp"),
    (Venue::Lobster, "lobster"),
    (Venue::Nasdaq, "itch"),
    (Venue::Local, "local"),
];

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept")
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The messages up to where the state was saved, and those behind.
///
/// A line is `<ms> <session> <kind> <context> <body>`, `-` for no context; `hex` is the body of a frame in digits.
fn script(dialect: &str) -> (Vec<Message>, Vec<Message>) {
    let text = fs::read_to_string(kept().join(format!("{dialect}.messages"))).unwrap();
    let (mut before, mut behind) = (Vec::new(), None);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line == "saved" {
            behind = Some(Vec::new());
            continue;
        }
        let words: Vec<_> = line.splitn(5, ' ').collect();
        let kind = match words[2] {
            "ws" | "hex" => MessageKind::Ws,
            "rest" => MessageKind::Rest,
            "timer" => MessageKind::Timer,
            "state" => MessageKind::State,
            other => panic!("{dialect}: no kind {other:?}"),
        };
        let body = words.get(4).copied().unwrap_or_default();
        behind.as_mut().unwrap_or(&mut before).push(Message {
            ts_recv: START_NS + words[0].parse::<i64>().unwrap() * 1_000_000,
            connection: words[1].parse().unwrap(),
            kind,
            context: words[3].strip_prefix('-').unwrap_or(words[3]).into(),
            body: if words[2] == "hex" { bytes_of(body) } else { body.into() },
        });
    }
    (before, behind.expect("a line `saved`"))
}

fn file_of(version: u32, venue: Venue) -> PathBuf {
    kept().join(format!("v{version}-{}.state", venue.name()))
}

fn told(state: &mut FeedState, messages: &[Message], sink: &mut impl RecordSink) {
    for message in messages {
        state.on_message(state.sequence() + 1, message.raw(), sink);
    }
}

/// The state of these messages as this build makes it.
fn today(venue: Venue, messages: &[Message]) -> FeedState {
    let mut state = FeedState::new(venue, FeedOptions::of(venue));
    told(&mut state, messages, &mut Nothing);
    state
}

#[test]
fn a_kept_state_of_any_version_goes_on_as_a_run_that_was_never_broken() {
    for version in 1..=STATE_VERSION {
        let mut found = 0;
        for (venue, dialect) in FEEDS {
            let Ok(bytes) = fs::read(file_of(version, venue)) else { continue };
            let (before, behind) = script(dialect);
            let what = format!("version {version} of {}", venue.name());
            let mut loaded = FeedState::load(venue, &bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut whole = today(venue, &before);
            assert_eq!((loaded.sequence(), loaded.state_hash()), (whole.sequence(), whole.state_hash()), "{what}");
            let (mut one, mut two, mut written) = (Written::default(), Written::default(), 0);
            for message in &behind {
                told(&mut loaded, std::slice::from_ref(message), &mut one);
                told(&mut whole, std::slice::from_ref(message), &mut two);
                let message = format!("{what}, message {}", whole.sequence());
                one.assert_same(&two, &message);
                assert_eq!(loaded.state_hash(), whole.state_hash(), "{message}");
                written += one.0.len();
                one.clear();
                two.clear();
            }
            assert_eq!(loaded.save(), whole.save(), "{what}");
            assert!(written >= 10, "{what}: only {written} records");
            found += 1;
        }
        assert!(found > 0, "the kept states of version {version} are gone");
    }
}

#[test]
fn the_messages_of_a_kept_state_give_its_bytes_again() {
    for (venue, dialect) in FEEDS {
        let path = file_of(STATE_VERSION, venue);
        let name = path.file_name().unwrap().display();
        let kept = fs::read(&path).unwrap_or_else(|error| {
            panic!("tests/kept/{name}: {error}; a new version or feed gets one: docs/formats/feed-state.md#a-change")
        });
        let saved = today(venue, &script(dialect).0).save();
        let at = saved.iter().zip(&kept).position(|(new, old)| new != old).unwrap_or(saved.len().min(kept.len()));
        assert!(
            saved == kept,
            "tests/kept/{name}: the same messages give other bytes from byte {at} on ({} where {} are kept). Snapshots of \
             releases that save version {STATE_VERSION} would be taken for what they are not: if the change is meant, raise \
             STATE_VERSION and keep a reader of the version before, as docs/formats/feed-state.md#a-change says; do not \
             change this file",
            saved.len(),
            kept.len()
        );
    }
}

#[test]
fn nothing_is_kept_that_no_test_reads() {
    let mut known = Vec::new();
    for (venue, dialect) in FEEDS {
        known.push(kept().join(format!("{dialect}.messages")));
        known.extend((1..=STATE_VERSION).map(|version| file_of(version, venue)));
    }
    for entry in fs::read_dir(kept()).unwrap() {
        let path = entry.unwrap().path();
        assert!(known.contains(&path), "{}", path.display());
    }
}

#[test]
#[ignore = "writes files: the kept states of a new version or feed"]
fn keep_the_states_of_this_version() {
    for (venue, dialect) in FEEDS {
        let path = file_of(STATE_VERSION, venue);
        if !path.exists() {
            fs::write(&path, today(venue, &script(dialect).0).save()).unwrap();
        }
    }
}

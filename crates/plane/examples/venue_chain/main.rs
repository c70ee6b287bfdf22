//! How long a command takes through the venue: beside a bare chain of as many rings and threads, through the journal beside a bare sync, and
//! from market data over a strategy to its execution.
//!
//! | `venue_chain ...` | what a round is |
//! |---|---|
//! | `bare <fused\|split> <wait> <per_s> <count>` | commands over the rings and threads of a venue that only hand on |
//! | `venue <fused\|split> <wait> <per_s> <count>` | commands through a venue without a journal |
//! | `journal <fused\|split> <wait> <per_s> <count> <directory>` | the same with a journal in the directory, then bare syncs of the batches it made |
//! | `trade <together\|fused\|split> <wait> <per_s> <count>` | messages of a feed, their records, orders, executions |
//!
//! `wait` is spin, hybrid or park. Each line on standard input is one measurement: `round`; of `venue` and `journal` also `batch N`, which sends N
//! commands and sleeps until the last of them is executed; of `journal` also `at once N`, N commands without a pace. What was measured comes back as
//! lines of JSON, the end as an empty one. So several programs take turns, and who waits can be stopped meanwhile. Commands of a round are due at fixed
//! times, and each counts from when it was due: who is late is not excused.

#![allow(clippy::float_arithmetic, reason = "it measures")]

mod chains;
mod journal;
mod market;
mod open_loop;
mod stalls;
mod trade;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chains::{Bare, Running};
use journal::Journaled;
use open_loop::Pace;
use tempfile::TempDir;
use tidebook_plane::{VenueDurability, VenueLayout};
use tidebook_ring::Wait;
use trade::Trader;

const USAGE: &str =
    "venue_chain <bare|venue|journal|trade> <together|fused|split> <spin|hybrid|park> <per_s> <count> [directory]";

/// What takes rounds.
trait Measured {
    /// Lines of JSON of one round.
    fn round(&mut self, pace: Pace) -> Vec<String>;

    /// The same of batches of so many commands.
    fn batch(&mut self, _count: u64) -> Vec<String> {
        panic!("{USAGE}");
    }

    /// The same of commands without a pace.
    fn at_once(&mut self, _count: u64) -> Vec<String> {
        panic!("{USAGE}");
    }

    /// Ends it; everything went as it must.
    fn stop(self: Box<Self>);
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let word = |index: usize| words.get(index).map_or_else(|| panic!("{USAGE}"), String::as_str);
    let number = |index: usize| word(index).parse::<u64>().unwrap_or_else(|error| panic!("{USAGE}: {error}"));
    let layout = match word(1) {
        "together" => VenueLayout::Together,
        "fused" => VenueLayout::Fused,
        "split" => VenueLayout::Split,
        other => panic!("{other}: {USAGE}"),
    };
    let wait = match word(2) {
        "spin" => Wait::Spin,
        "hybrid" => Wait::Hybrid,
        "park" => Wait::Park,
        other => panic!("{other}: {USAGE}"),
    };
    let pace = Pace { per_s: number(3).max(1), count: number(4) };
    let rings = scratch(Path::new("/dev/shm"));
    let disk = (word(0) == "journal").then(|| scratch(Path::new(word(5))));
    let nowhere = rings.path().join("none");
    let mut measured: Box<dyn Measured> = match word(0) {
        "bare" => Box::new(Bare::start(rings.path(), layout, wait)),
        "venue" => Box::new(Running::start((rings.path(), &nowhere), layout, wait, VenueDurability::Memory, None)),
        "journal" => Box::new(Journaled::start(rings.path(), disk.as_ref().expect("a directory").path(), layout, wait)),
        "trade" => Box::new(Trader::start(rings.path(), layout, wait)),
        other => panic!("{other}: {USAGE}"),
    };
    for line in std::io::stdin().lines() {
        let line = line.expect("standard input");
        let lines = match line.rsplit_once(' ') {
            Some(("at once", count)) => measured.at_once(count.parse().expect("a number")),
            Some(("batch", count)) => measured.batch(count.parse().expect("a number")),
            _ => measured.round(pace),
        };
        lines.iter().for_each(|line| println!("{line}"));
        println!();
        std::io::stdout().flush().expect("standard output");
    }
    measured.stop();
}

/// A directory for nobody else, gone with what is in it.
fn scratch(parent: &Path) -> TempDir {
    let permissions = PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().prefix("tidebook-bench-").permissions(permissions).tempdir_in(parent).expect("a directory")
}

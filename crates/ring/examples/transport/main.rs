//! One end of a way to hand 64 bytes to another process: over our rings, or over a bare one.
//!
//! `benches/transport.py` starts the ends as `transport WAY ROLE DIRECTORY [NUMBER]` and tells them how many messages
//! to send; see `rounds.rs` for the roles.

mod bare;
mod rounds;

use std::path::Path;

use tidebook_ring::{Consumer, ConsumerOptions, Producer, Read, Ring, RingOptions, Start};

use rounds::{Message, Receiver, SIZE_BYTES, SLOTS, Sender, Way};

/// Of frames, which count in bytes.
const RING_SIZE_BYTES: u64 = 256 << 10;

struct Ours<'d> {
    directory: &'d Path,
    options: RingOptions,
}

impl Ours<'_> {
    fn ring(&self, flow: &str) -> Ring {
        Ring::open_or_create(self.directory.join(flow), &self.options).unwrap()
    }
}

impl Way for Ours<'_> {
    fn sender(&self, flow: &str) -> impl Sender {
        self.ring(flow).producer().unwrap()
    }

    fn receiver(&self, flow: &str, number: usize) -> impl Receiver {
        let options = ConsumerOptions::named(format!("reader {number}")).start(Start::Earliest);
        self.ring(flow).consumer(&options).unwrap()
    }
}

impl Sender for Producer {
    fn send(&mut self, message: &Message) {
        self.write(message).unwrap();
    }
}

impl Receiver for Consumer {
    fn receive(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        match self.poll(limit, |_, payload| each(payload)).unwrap() {
            Read::Messages(count) => count,
            Read::Gap(gap) => panic!("{gap:?}"),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [way, role, directory] = &arguments[1..4] else { unreachable!("three arguments or four") };
    let number = arguments.get(4).map_or(0, |number| number.parse().unwrap());
    let directory = Path::new(directory);
    let options = RingOptions::slots(SIZE_BYTES as u32, SLOTS as u64).consumers_max(64);
    let ours = |options: RingOptions| rounds::run(&Ours { directory, options }, role, number);
    match way.as_str() {
        "slots" => ours(options),
        "slots without crc" => ours(options.crc(false)),
        "frames" => ours(RingOptions::frames(RING_SIZE_BYTES)),
        "mpsc" => ours(options.mpsc(4)),
        "bare" => rounds::run(&bare::Bare::<false>(directory), role, number),
        "bare with crc" => rounds::run(&bare::Bare::<true>(directory), role, number),
        other => panic!("no way {other:?}"),
    }
}

//! What every way to hand messages over goes through, ours and the rivals': the loops that are timed, and nothing of how
//! a way works. `benches/rivals` includes this file.
//!
//! A process is one end of a way. It prints `ready`, then reads numbers of messages, one a line, and answers each with
//! one line of JSON; between rounds it sleeps in that read, so that ways can take turns round by round. Whoever starts
//! the ends pins them.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

pub const SIZE_BYTES: usize = 64;
/// Slots of the ways that count in records: as many of ours as fit into 256 KiB, which is what every way has, or as near
/// as it can.
pub const SLOTS: usize = 2048;
/// Messages a reader takes at once where it is to be fast and not to be prompt.
const BATCH: usize = 256;
/// Round trips that do not count, at the start of each round.
const WARM_UP: u64 = 1000;
/// Messages in a row whose publication is timed while many consumers are registered: an eighth of a ring.
const BURST: u64 = 256;
/// An end whose other end has died gives up.
const PATIENCE: Duration = Duration::from_secs(60);

pub type Message = [u8; SIZE_BYTES];

pub trait Sender {
    /// Waits until a receiver is there, where messages would be lost before.
    fn connect(&mut self) {}

    /// Hands a message over; waits for room.
    fn send(&mut self, message: &Message);
}

pub trait Receiver {
    /// Hands over up to `limit` messages that are there, and frees their room; how many. Does not wait.
    fn receive(&mut self, limit: usize, each: impl FnMut(&[u8])) -> usize;
}

/// How to make the ends of a way. `flow` names a one-way connection.
pub trait Way {
    fn sender(&self, flow: &str) -> impl Sender;
    /// The receiver of this number among those of the flow.
    fn receiver(&self, flow: &str, number: usize) -> impl Receiver;
}

/// Is one end until its input ends. `number`: which of several sources; how many sinks.
pub fn run(way: &impl Way, role: &str, number: usize) {
    match role {
        "ping" => {
            let (mut out, mut back) = (way.sender("out"), way.receiver("back", 0));
            out.connect();
            serve(|count| ping(&mut out, &mut back, count));
        }
        "pong" => {
            let (mut out, mut back) = (way.receiver("out", 0), way.sender("back"));
            back.connect();
            serve(|count| pong(&mut out, &mut back, count));
        }
        "source" => {
            let mut flow = way.sender("flow");
            flow.connect();
            serve(|count| source(&mut flow, number, count));
        }
        "sink" => {
            let mut flow = way.receiver("flow", 0);
            serve(|count| sink(&mut flow, count));
        }
        "publisher" => {
            let (mut flow, mut done) = (way.sender("flow"), way.receiver("done", 0));
            flow.connect();
            serve(|count| publisher(&mut flow, &mut done, count));
        }
        "subscribers" => {
            let mut flows: Vec<_> = (0..number).map(|number| way.receiver("flow", number)).collect();
            let mut done = way.sender("done");
            done.connect();
            serve(|count| subscribers(&mut flows, &mut done, count));
        }
        other => panic!("no role {other:?}"),
    }
}

fn serve(mut round: impl FnMut(u64) -> String) {
    let mut out = std::io::stdout();
    let mut say = |line: &str| {
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    say("ready");
    for line in std::io::stdin().lock().lines() {
        say(&round(line.unwrap().parse().unwrap()));
    }
}

/// A number as the first word of a message.
fn numbered(number: u64) -> Message {
    let mut message = [7; SIZE_BYTES];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

fn number_of(message: &[u8]) -> u64 {
    assert_eq!(message.len(), SIZE_BYTES);
    u64::from_le_bytes(message[..8].try_into().unwrap())
}

/// Receives up to `limit`, and waits for the first. Looks at a clock so rarely that it costs nothing.
fn wait(receiver: &mut impl Receiver, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
    let mut since = None;
    for looks in 1_u32.. {
        let count = receiver.receive(limit, &mut each);
        if count > 0 {
            return count;
        }
        std::hint::spin_loop();
        if looks % (1 << 20) == 0 {
            assert!(since.get_or_insert_with(Instant::now).elapsed() < PATIENCE, "the other end does not come");
        }
    }
    unreachable!("the patience ends before the numbers do")
}

/// Round trips by the nanosecond: the last of these holds all that took longer.
struct Histogram(Vec<u32>);

impl Histogram {
    fn new() -> Self {
        Self(vec![0; 1 << 17])
    }

    fn count(&mut self, time: Duration) {
        let last = self.0.len() - 1;
        self.0[usize::try_from(time.as_nanos()).unwrap_or(last).min(last)] += 1;
    }

    fn json(&self) -> String {
        let counts = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        let pairs: Vec<String> = counts.map(|(time, count)| format!("[{time},{count}]")).collect();
        format!("[{}]", pairs.join(","))
    }
}

fn ping(out: &mut impl Sender, back: &mut impl Receiver, count: u64) -> String {
    let mut times = Histogram::new();
    let mut before = Instant::now();
    for number in 0..WARM_UP + count {
        out.send(&numbered(number));
        wait(back, 1, |message| assert_eq!(number_of(message), number));
        let now = Instant::now();
        if number >= WARM_UP {
            times.count(now - before);
        }
        before = now;
    }
    format!("{{\"times\": {}}}", times.json())
}

fn pong(out: &mut impl Receiver, back: &mut impl Sender, count: u64) -> String {
    for _ in 0..WARM_UP + count {
        let mut message = numbered(0);
        wait(out, 1, |bytes| message.copy_from_slice(bytes));
        back.send(&message);
    }
    "{}".to_owned()
}

/// Sources count their messages each for itself.
const SOURCE_SHIFT: u32 = 48;

fn source(flow: &mut impl Sender, number: usize, count: u64) -> String {
    for index in 0..count {
        flow.send(&numbered((number as u64) << SOURCE_SHIFT | index));
    }
    "{}".to_owned()
}

/// Takes the time from the first message to the last, and sees that each source's came all and in order.
fn sink(flow: &mut impl Receiver, count: u64) -> String {
    let mut next = [0; 16];
    let mut each = |message: &[u8]| {
        let number = number_of(message);
        let (source, index) = ((number >> SOURCE_SHIFT) as usize, number & ((1 << SOURCE_SHIFT) - 1));
        assert_eq!(index, next[source], "source {source}");
        next[source] += 1;
    };
    let mut received = wait(flow, 1, &mut each) as u64;
    let start = Instant::now();
    while received < count {
        received += wait(flow, BATCH, &mut each) as u64;
    }
    let elapsed = start.elapsed();
    assert_eq!((received, next.iter().sum::<u64>()), (count, count));
    format!("{{\"messages\": {}, \"ns\": {}}}", count - 1, elapsed.as_nanos())
}

/// Times what publishing costs while consumers are registered that have read all that came before.
fn publisher(flow: &mut impl Sender, done: &mut impl Receiver, count: u64) -> String {
    let mut elapsed = Duration::ZERO;
    for burst in 0..count / BURST {
        let start = Instant::now();
        for index in 0..BURST {
            flow.send(&numbered(burst * BURST + index));
        }
        elapsed += start.elapsed();
        wait(done, 1, |message| assert_eq!(number_of(message), burst));
    }
    format!("{{\"messages\": {}, \"ns\": {}}}", count / BURST * BURST, elapsed.as_nanos())
}

fn subscribers(flows: &mut [impl Receiver], done: &mut impl Sender, count: u64) -> String {
    for burst in 0..count / BURST {
        for flow in &mut *flows {
            let mut next = burst * BURST;
            while next < (burst + 1) * BURST {
                wait(flow, BATCH, |message| {
                    assert_eq!(number_of(message), next);
                    next += 1;
                });
            }
        }
        done.send(&numbered(burst));
    }
    "{}".to_owned()
}

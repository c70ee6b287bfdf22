//! What `tidebook channel bench` times: hand-overs and streams between two processes, without another language's calls in
//! them.
//!
//! Each function is one end; the other end runs in another process. An end whose partner is gone gives up after
//! [`PATIENCE`] rather than wait for ever.

use std::time::{Duration, Instant};

use crate::consumer::{Consumer, Read};
use crate::error::RingError;
use crate::producer::{Producer, Written};

/// How long an end waits for the other.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Messages a reader takes at once.
const BATCH: usize = 256;

/// Sends a message and waits for its echo, `rounds` times; how long each took, ns. Fewer when the other end is gone.
///
/// # Errors
/// Those of writing and reading.
pub fn hand_over(
    producer: &mut Producer,
    consumer: &mut Consumer,
    payload: &[u8],
    rounds: usize,
) -> Result<Vec<u64>, RingError> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        if !pass(producer, payload)? || !take(consumer)? {
            break;
        }
        times.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(times)
}

/// The other end of [`hand_over`]; how many messages it sent back.
///
/// # Errors
/// Those of writing and reading.
pub fn echo(
    producer: &mut Producer,
    consumer: &mut Consumer,
    payload: &[u8],
    rounds: usize,
) -> Result<usize, RingError> {
    for done in 0..rounds {
        if !take(consumer)? || !pass(producer, payload)? {
            return Ok(done);
        }
    }
    Ok(rounds)
}

/// Writes `count` messages as fast as there is room; how many it wrote.
///
/// # Errors
/// Those of writing.
pub fn stream(producer: &mut Producer, payload: &[u8], count: usize) -> Result<usize, RingError> {
    for done in 0..count {
        if !pass(producer, payload)? {
            return Ok(done);
        }
    }
    Ok(count)
}

/// Reads `count` messages; how many it read, and how long that took from the first on.
///
/// # Errors
/// Those of reading.
pub fn drain(consumer: &mut Consumer, count: usize) -> Result<(usize, Duration), RingError> {
    let mut done = 0;
    let mut start = None;
    while done < count && consumer.wait(Some(PATIENCE))? {
        start.get_or_insert_with(Instant::now);
        if let Read::Messages(read) = consumer.poll(BATCH.min(count - done), |_, _| ())? {
            done += read;
        }
    }
    Ok((done, start.map_or(Duration::ZERO, |start| start.elapsed())))
}

fn pass(producer: &mut Producer, payload: &[u8]) -> Result<bool, RingError> {
    Ok(matches!(producer.write_within(payload, PATIENCE)?, Written::At(_)))
}

fn take(consumer: &mut Consumer) -> Result<bool, RingError> {
    while consumer.wait(Some(PATIENCE))? {
        if matches!(consumer.poll(1, |_, _| ())?, Read::Messages(1)) {
            return Ok(true);
        }
    }
    Ok(false)
}

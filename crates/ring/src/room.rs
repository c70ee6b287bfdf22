//! Waiting for room: what a producer does while a consumer is in its way.
//!
//! The kernel is asked at most once a millisecond whether those in the way live, and only while there is no room.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::RingError;
use crate::floor;
use crate::layout::{self, ConsumerLines, ProducerLine};
use crate::lock::{self, EndpointLock};
use crate::mapping::{Mapping, io_error};
use crate::producer::Obstacle;
use crate::ring::Ring;
use crate::wait::{Backoff, Wait, deadline};

/// The floor moves by this fraction of the ring.
pub(crate) const FLOOR_STEPS: u64 = 32;
/// How often a blocked producer asks the kernel whether those it waits for live.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_millis(1);

/// What a producer remembers of its waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// When each consumer's lock was first found free, and which opening of its line that ended: one that came back and
    /// died again while nobody looked has its whole time before it.
    dead_since: Vec<Option<(u32, Instant)>>,
    /// When the last wait began.
    since: Option<Instant>,
    /// The next wait is that one going on.
    goes_on: bool,
}

impl Waiting {
    /// The next wait is the last one going on: of one who waits in slices.
    pub fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// Calls `attempt` until it finds room (`None`), now and then with time to ask the kernel (`true`); otherwise says what was in the way when `timeout` passed, or when
    /// a consumer's own bound did. `check` is asked now and then whether to go on at all.
    pub fn wait(
        &mut self,
        ring: &Ring,
        line: &ProducerLine,
        timeout: Option<Duration>,
        mut attempt: impl FnMut(bool) -> Result<Option<Obstacle>, RingError>,
        check: impl Fn() -> Result<(), RingError>,
    ) -> Result<Option<Obstacle>, RingError> {
        let goes_on = std::mem::take(&mut self.goes_on);
        let Some(obstacle) = attempt(false)? else { return Ok(None) };
        let began = Instant::now();
        let since = match self.since.filter(|_| goes_on) {
            Some(since) => since,
            None => {
                raise(&line.waits, 1);
                *self.since.insert(began)
            }
        };
        let waited = self.wait_at(ring, (obstacle, since), timeout, attempt, check);
        raise(&line.waited_ns, u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        waited
    }

    /// The wait itself, at this obstacle and since then.
    fn wait_at(
        &mut self,
        ring: &Ring,
        (mut obstacle, since): (Obstacle, Instant),
        timeout: Option<Duration>,
        mut attempt: impl FnMut(bool) -> Result<Option<Obstacle>, RingError>,
        check: impl Fn() -> Result<(), RingError>,
    ) -> Result<Option<Obstacle>, RingError> {
        let deadline = deadline(timeout);
        let mut backoff = Backoff::new(Wait::Hybrid);
        let mut asked: Option<Instant> = None;
        loop {
            if backoff.is_slow() {
                let now = Instant::now();
                if asked.is_none_or(|asked| now - asked >= LIVENESS_INTERVAL) {
                    asked = Some(now);
                    self.give_up_the_dead(ring, now)?;
                    check()?;
                    // Room may have come of it.
                    match attempt(true)? {
                        None => return Ok(None),
                        Some(found) => obstacle = found,
                    }
                }
                if let Obstacle::Consumer(index) = obstacle {
                    let block_ms = ring.mapping.consumers()[index].identity.0.block_ms.load(Ordering::Relaxed);
                    if block_ms != u32::MAX && now - since >= Duration::from_millis(block_ms.into()) {
                        return Ok(Some(Obstacle::Refusing(index)));
                    }
                }
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return Ok(Some(obstacle));
                }
            }
            backoff.pause();
            match attempt(false)? {
                None => return Ok(None),
                Some(found) => obstacle = found,
            }
        }
    }

    /// Stops waiting for consumers whose lock is free: unnamed ones at once, named ones after their `detach_after`.
    fn give_up_the_dead(&mut self, ring: &Ring, now: Instant) -> Result<(), RingError> {
        self.dead_since.resize(ring.info().consumers_max as usize, None);
        for (lines, dead_since) in ring.mapping.consumers().iter().zip(&mut self.dead_since) {
            let identity = &lines.identity.0;
            // Before the lock is asked about: it is this opening's, or of one that lives.
            let opens = identity.opens.load(Ordering::Acquire);
            if identity.state.load(Ordering::Acquire) != layout::CONSUMER_GATING || ring.is_alive(lines)? {
                *dead_since = None;
                continue;
            }
            let named = identity.name_size.load(Ordering::Relaxed) != 0;
            let detach_after_ms = identity.detach_after_ms.load(Ordering::Relaxed);
            let (_, since) = *dead_since.insert(dead_since.filter(|(died, _)| *died == opens).unwrap_or((opens, now)));
            let dead_for = now - since;
            if named && (detach_after_ms == u32::MAX || dead_for < Duration::from_millis(detach_after_ms.into())) {
                continue;
            }
            // Under the lock of those who join, and asked once more: it may just be coming back.
            let offset = ring.mapping.lock_offset_of(&ring.mapping.hot().joins);
            let registry = EndpointLock::acquire(&ring.mapping.file, offset).map_err(io_error("lock", ring.path()))?;
            if registry.is_some()
                && identity.state.load(Ordering::Acquire) == layout::CONSUMER_GATING
                && identity.opens.load(Ordering::Acquire) == opens
                && !lock::is_held(&ring.mapping.file, ring.mapping.lock_offset_of(lines))
                    .map_err(io_error("examine locks of", ring.path()))?
            {
                let state = if named { layout::CONSUMER_DETACHED } else { layout::CONSUMER_FREE };
                identity.state.store(state, Ordering::Release);
                ring.mapping.hot().repairs.0.detached.fetch_add(1, Ordering::Relaxed);
                *dead_since = None;
            }
        }
        Ok(())
    }
}

/// How long one call may still wait, over all its waits. Counted from the first of them: a call that does not wait reads no
/// clock.
#[derive(Debug)]
pub(crate) struct Allowance {
    timeout: Option<Duration>,
    end: Option<Instant>,
}

impl Allowance {
    pub const fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, end: None }
    }

    pub fn is_zero(&self) -> bool {
        self.timeout == Some(Duration::ZERO)
    }

    /// For a wait that begins now.
    pub fn left(&mut self) -> Option<Duration> {
        let timeout = self.timeout?;
        if timeout.is_zero() {
            return Some(timeout);
        }
        let now = Instant::now();
        self.end = self.end.or_else(|| now.checked_add(timeout));
        self.end.map(|end| end.saturating_duration_since(now))
    }
}

/// Where the slowest consumer that is waited for stood when its producer last looked at all of them.
///
/// Cursors never go back, so that stays a bound until somebody joins. While it is far enough ahead the lines need not be
/// looked at: once for nearly a lap and not once for each step of the floor, however many they are.
#[derive(Debug, Default)]
pub(crate) struct Slowest {
    /// [`layout::HotLines::joins`] before the look.
    joins: Option<u64>,
    found: Option<(u64, usize)>,
}

impl Slowest {
    /// Its position and line, or others that are at least as far behind but not before `wanted`; `None` when nobody is
    /// waited for.
    pub fn look(&mut self, mapping: &Mapping, wanted: u64) -> Option<(u64, usize)> {
        let joins = mapping.hot().joins.0.load(Ordering::SeqCst);
        if self.joins != Some(joins) || self.found.is_some_and(|(position, _)| position < wanted) {
            self.found = slowest_gating(mapping);
            self.joins = Some(joins);
        }
        self.found
    }
}

/// Where the slowest consumer that is waited for stands, and its line.
pub(crate) fn slowest_gating(mapping: &Mapping) -> Option<(u64, usize)> {
    floor::slowest(mapping.consumers().iter().map(ConsumerLines::line), layout::CONSUMER_GATING)
}

/// Raises a counter that only this endpoint writes.
pub(crate) fn raise(counter: &std::sync::atomic::AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

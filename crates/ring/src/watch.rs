//! Whether there is something to read for a consumer, asked by somebody else than the consumer.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crate::claims::Claim;
use crate::error::RingError;
use crate::floor;
use crate::frame::{Look, Place};
use crate::ring::Ring;
use crate::room::LIVENESS_INTERVAL;

/// Where a consumer stood when it was asked for, so that others can wait in its place. It changes nothing of the
/// consumer; when that has read on, the watch finds what it has read.
#[derive(Debug)]
pub struct Watch {
    pub(crate) ring: Ring,
    pub(crate) next: Place,
    pub(crate) gating: bool,
    /// Whether the durable watermark bounds it.
    pub(crate) bounded: bool,
    /// There is a gap it was not told of.
    pub(crate) has_gap: bool,
    /// Only whether this sequence is durable counts.
    pub(crate) durable: Option<u64>,
    pub(crate) stuck: Stuck,
}

impl Watch {
    /// The ring it looks at.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether a read may find something: a message, a gap, damage, or a message that never came.
    pub fn is_ready(&self) -> bool {
        if let Some(sequence) = self.durable {
            return self.ring.durable() >= sequence;
        }
        let mapping = &*self.ring.mapping;
        let is_visible = !self.bounded || self.next.sequence <= self.ring.durable();
        let is_overtaken =
            || !self.gating && floor::has_passed::<AtomicU64>(|| mapping.oldest().position, self.next.position);
        self.has_gap || is_visible && (!matches!(mapping.look(self.next), Look::Nothing) || is_overtaken())
    }

    /// As [`Watch::is_ready`], for who has time: finds the dead producer's claim it waits at, and damage that hides a
    /// message.
    pub(crate) fn find(&mut self) -> Result<bool, RingError> {
        if self.durable.is_some() {
            return Ok(self.is_ready());
        }
        Ok(self.stuck.mend(&self.ring, self.next)? || self.is_ready() || self.ring.mapping.is_missing(self.next))
    }
}

/// A claim somebody waits at, and when that was last asked about.
#[derive(Debug, Default)]
pub(crate) struct Stuck(Option<(Claim, Instant)>);

impl Stuck {
    /// Where a message was claimed and does not come: asks once a millisecond whether its producer lives, and voids it
    /// if not. Whether there is something to read now.
    pub fn mend(&mut self, ring: &Ring, next: Place) -> Result<bool, RingError> {
        let Some(claim) = ring.mapping.claim_at(next) else {
            self.0 = None;
            return Ok(false);
        };
        let now = Instant::now();
        match self.0 {
            Some((stuck, asked)) if stuck == claim => {
                if now - asked < LIVENESS_INTERVAL {
                    return Ok(false);
                }
                self.0 = Some((claim, now));
                ring.repair(next, claim)
            }
            _ => {
                self.0 = Some((claim, now));
                Ok(false)
            }
        }
    }

    /// Whether somebody waits at a claim.
    pub const fn is_at_a_claim(&self) -> bool {
        self.0.is_some()
    }
}

//! The channels of a venue, opened or made, and the state that its journal gives: all there is before there are threads.
//!
//! A ring goes on only where it is of the journal's history and not ahead of it; what cannot go on is made anew, and told.

use std::collections::VecDeque;
use std::sync::Arc;

use tidebook_channel::{Channel, ChannelOptions, ChannelReport};
use tidebook_journal::SyncPolicy;
use tidebook_journal::snapshot::{RecoveryFacts, SnapshotStore, proven_durable};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_ring::{Producer, Ring, RingOptions};
use tidebook_risk::Replay;
use tidebook_types::{Command, Execution, RiskEvent};

use crate::error::PlaneError;
use crate::output::epoch_now;
use crate::release::Release;
use crate::venue_options::VenueEngineOptions;
use crate::venue_recovery::{
    Found, ORDERS, PRODUCERS_MAX, Published, Recovered, new_venue, recover_venue, ring_of, venue_snapshots_path,
};
use crate::venue_sizes::VenueSizes;

/// The rings and the state before there are threads.
pub(crate) struct Opened {
    pub(crate) channel: Option<Channel>,
    pub(crate) orders: Producer,
    pub(crate) orders_in: Ring,
    pub(crate) executions: Release<Execution>,
    pub(crate) events: Release<RiskEvent>,
    pub(crate) replay: Replay<tidebook_venue::Venue>,
    pub(crate) report: Option<ChannelReport>,
    pub(crate) facts: Option<RecoveryFacts>,
    pub(crate) made_anew: Vec<(&'static str, String)>,
    pub(crate) sizes: VenueSizes,
}

fn derived<T: tidebook_types::Record>(count: u64, epoch: u64, first: u64) -> RingOptions {
    ring_of::<T>(count).never_waits(true).continuing(epoch, first)
}

pub(crate) fn open_durable(options: &VenueEngineOptions) -> Result<Opened, PlaneError> {
    let VenueEngineOptions { rings_dir, journal_dir, snapshots_dir, rings, .. } = options;
    let sizes = VenueSizes::of_journal(journal_dir)?.unwrap_or(options.sizes);
    let mut channel_options = ChannelOptions::with_ring(ORDERS, ring_of::<Command>(rings.orders));
    channel_options.sync = SyncPolicy::Group;
    channel_options.journal.segment_size_bytes = options.segment_size_bytes;
    channel_options.journal.configuration = sizes.text();
    if let Some(snapshots_dir) = snapshots_dir {
        let journal: Arc<dyn Storage> = Arc::new(Directory::new(journal_dir));
        let snapshots = SnapshotStore::open(&venue_snapshots_path(snapshots_dir), ORDERS)?;
        channel_options.journal.evidence = proven_durable(&journal, &snapshots)?;
    }
    let ring_path = tidebook_ring::paths::ring_path(rings_dir, ORDERS)?;
    let (channel, report) = Channel::open(&ring_path, journal_dir, &channel_options)?;
    let orders = channel.producer()?;
    let epoch = channel.ring().info().epoch;

    let mut executions = Found::look(rings_dir, "executions", &derived::<Execution>(rings.executions, epoch, 1))?;
    let mut events = Found::look(rings_dir, "risk", &derived::<RiskEvent>(rings.risk, epoch, 1))?;
    let (executions_producer, events_producer) = (executions.producer()?, events.producer()?);
    let published = Published {
        executions: executions_producer.as_ref().map(Producer::published),
        events: events_producer.as_ref().map(Producer::published),
    };
    let room = (rings.executions as usize / 2, rings.risk as usize / 2);
    let (recovered, gap) =
        recover_venue(journal_dir, snapshots_dir.as_deref(), sizes, options.recheck, published, room)?;
    let Recovered { replay, executions: tail, events: event_tail, facts } = recovered;
    let expected = report.journal.last_sequence + report.replayed_from_ring;
    if facts.last_sequence < expected {
        return Err(PlaneError::JournalShort { expected, found: facts.last_sequence });
    }
    let mut made_anew = Vec::new();
    let executed = replay.matching().execution_count();
    let told = replay.risk().events_count();
    let executions = take_up(
        executions,
        executions_producer,
        (executed, &gap),
        tail,
        |first| derived::<Execution>(rings.executions, epoch, first),
        &mut made_anew,
    )?;
    let events = take_up(
        events,
        events_producer,
        (told, &gap),
        event_tail,
        |first| derived::<RiskEvent>(rings.risk, epoch, first),
        &mut made_anew,
    )?;

    let source_sequence = replay.source_sequence();
    let in_options = ring_of::<Command>(rings.orders_in).mpsc(PRODUCERS_MAX).continuing(epoch, source_sequence + 1);
    let mut found = Found::look(rings_dir, "orders.in", &in_options)?;
    if let Some(ring) = found.usable()
        && ring.published() < source_sequence
    {
        found.fault = Some(format!("it ends at {} and orders has its message {source_sequence}", ring.published()));
    }
    let orders_in = match found.usable() {
        Some(ring) => ring.clone(),
        None => {
            made_anew.extend(found.fault.clone().map(|fault| ("orders.in", fault)));
            found.make_anew(&in_options)?
        }
    };
    Ok(Opened {
        channel: Some(channel),
        orders,
        orders_in,
        executions,
        events,
        replay,
        report: Some(report),
        facts: Some(facts),
        made_anew,
        sizes,
    })
}

/// A derived channel to go on with: the one that is there, or one that begins with the newest records that are at hand.
fn take_up<T: crate::release::Derived>(
    mut found: Found,
    producer: Option<Producer>,
    (count, gap): (u64, &Option<String>),
    waiting: VecDeque<T>,
    options: impl Fn(u64) -> RingOptions,
    made_anew: &mut Vec<(&'static str, String)>,
) -> Result<Release<T>, PlaneError> {
    let producer = match producer {
        Some(producer) if gap.is_none() && producer.published() <= count => producer,
        unusable => {
            if let Some(producer) = unusable {
                let published = producer.published();
                found.fault =
                    Some(gap.clone().unwrap_or_else(|| {
                        format!("it has {published} records and the journal of orders gives {count}")
                    }));
            }
            made_anew.extend(found.fault.clone().map(|fault| (T::CHANNEL, fault)));
            let first = waiting.front().map_or(count + 1, T::sequence);
            found.make_anew(&options(first))?.producer()?
        }
    };
    let mut release = Release::new(producer);
    for record in &waiting {
        release.push(record);
    }
    Ok(release)
}

pub(crate) fn open_in_memory(options: &VenueEngineOptions) -> Result<Opened, PlaneError> {
    let VenueEngineOptions { rings_dir, rings, sizes, .. } = options;
    let epoch = epoch_now();
    let make = |channel: &str, options: &RingOptions| {
        let mut found = Found::look(rings_dir, channel, options)?;
        if found.usable().is_some() {
            found.fault = Some("a venue in memory begins anew".to_owned());
        }
        found.make_anew(options)
    };
    let orders = make(ORDERS, &ring_of::<Command>(rings.orders).continuing(epoch, 1))?;
    let executions = make("executions", &derived::<Execution>(rings.executions, epoch, 1))?;
    let events = make("risk", &derived::<RiskEvent>(rings.risk, epoch, 1))?;
    let in_options = ring_of::<Command>(rings.orders_in).mpsc(PRODUCERS_MAX).continuing(epoch, 1);
    Ok(Opened {
        channel: None,
        orders: orders.producer()?,
        orders_in: make("orders.in", &in_options)?,
        executions: Release::new(executions.producer()?),
        events: Release::new(events.producer()?),
        replay: new_venue(*sizes, false),
        report: None,
        facts: None,
        made_anew: Vec::new(),
        sizes: *sizes,
    })
}

//! `MarketDataEngine`: the thread that turns every `feed.<venue>` into `md.*`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_plane::{
    Confinement, EngineOptions, FeedSource, HistogramSnapshot, LatencyStage, PlaneError, VenueSource,
};
use tidebook_ring::Wait;
use tidebook_ring::tuning::{Effect, MemoryTuning};
use tidebook_types::Health;

use crate::decoder::venue_of;
use crate::errors::{self, Raised};
use crate::venue_engine::VenueEngine;

impl From<PlaneError> for Raised {
    fn from(error: PlaneError) -> Self {
        match error {
            PlaneError::Journal(error) => error.into(),
            PlaneError::Ring(error) => error.into(),
            PlaneError::Snapshot(error) => error.into(),
            PlaneError::Channel(error) => error.into(),
            PlaneError::Sizes(error) => error.into(),
            error @ (PlaneError::Unrecoverable { .. } | PlaneError::JournalShort { .. }) => {
                Self::new(errors::STATE, error.to_string())
            }
            error @ PlaneError::JournalStopped => Self::new(errors::JOURNAL, error.to_string()),
            error @ (PlaneError::NoBeginning { .. } | PlaneError::NoMarketData { .. }) => {
                Self::new(errors::SNAPSHOT, error.to_string())
            }
            error @ PlaneError::InUse { .. } => Self::new(errors::ENDPOINT_BUSY, error.to_string()),
            error => Self::new(errors::CHANNEL, error.to_string()),
        }
    }
}

/// A running engine. Its thread ends with `stop` or with the object.
#[pyclass(frozen, module = "tidebook._core")]
pub struct MarketDataEngine(Mutex<Option<tidebook_plane::MarketDataEngine>>);

#[pymethods]
impl MarketDataEngine {
    #[new]
    #[pyo3(signature = (feeds, rings_dir, *, venue=None, snapshots_dir=None, wait="park", stages_every=32, cpu=None, lock_memory=false, huge_pages=false,
        numa_node=None, seccomp="off", beside=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        py: Python<'_>,
        feeds: HashMap<String, PathBuf>,
        rings_dir: PathBuf,
        venue: Option<(PathBuf, PathBuf)>,
        snapshots_dir: Option<PathBuf>,
        wait: &str,
        stages_every: u32,
        cpu: Option<u32>,
        lock_memory: bool,
        huge_pages: bool,
        numa_node: Option<u32>,
        seccomp: &str,
        beside: Option<&VenueEngine>,
    ) -> PyResult<Self> {
        let mut feeds = feeds
            .into_iter()
            .map(|(venue, journal_dir)| {
                Ok(FeedSource { venue: venue_of(&venue)?, journal_dir, snapshots_dir: snapshots_dir.clone() })
            })
            .collect::<PyResult<Vec<_>>>()?;
        feeds.sort_unstable_by_key(|feed| feed.venue);
        let (wait, confinement) = (wait_of(wait)?, confinement_of(seccomp)?);
        let memory = MemoryTuning { lock: lock_memory, huge_pages, numa_node };
        let venue = venue.map(|(journal_dir, names_file)| VenueSource { journal_dir, names_file, snapshots_dir });
        let thread = beside.map(VenueEngine::thread).transpose()?;
        let options = EngineOptions { feeds, venue, rings_dir, wait, thread, stages_every, cpu, memory, confinement };
        py.detach(|| tidebook_plane::MarketDataEngine::start(options))
            .map(|engine| Self(Mutex::new(Some(engine))))
            .map_err(|error| Raised::from(error).into())
    }

    /// Why the channels that were there were made anew, if they were.
    #[getter]
    fn made_anew(&self) -> PyResult<Option<String>> {
        let engine = self.0.lock().expect("an engine call does not panic");
        Ok(engine.as_ref().and_then(|engine| engine.made_anew().map(str::to_owned)))
    }

    /// How each feed was taken up: venue, message of the snapshot it began behind or 0, why newer snapshots were not used.
    #[getter]
    fn taken_up(&self) -> Vec<(&'static str, u64, Vec<String>)> {
        let engine = self.0.lock().expect("an engine call does not panic");
        let feeds = engine.iter().flat_map(|engine| engine.taken_up());
        feeds.map(|feed| (feed.venue.name(), feed.behind, feed.refused.clone())).collect()
    }

    /// What was asked for speed and what the kernel did: ring or `engine`, option, whether it is in force, detail.
    #[getter]
    fn in_force(&self) -> Vec<InForce> {
        let engine = self.0.lock().expect("an engine call does not panic");
        in_force_of(engine.iter().flat_map(|engine| engine.in_force()))
    }

    /// How far it is.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = {
            let engine = self.0.lock().expect("an engine call does not panic");
            let stopped = || Raised::new(errors::CHANNEL, "the engine is stopped; start it again".to_owned());
            engine.as_ref().ok_or_else(stopped)?.status()
        };
        let facts = PyDict::new(py);
        let feeds = PyDict::new(py);
        for feed in &status.feeds {
            let of = PyDict::new(py);
            of.set_item("messages", feed.messages)?;
            of.set_item("sequence", feed.sequence)?;
            of.set_item("live", feed.live)?;
            of.set_item("health", feed.health.map(|health| health_of(py, &health)).transpose()?)?;
            feeds.set_item(feed.venue.name(), of)?;
        }
        facts.set_item("feeds", feeds)?;
        facts.set_item("messages", status.feeds.iter().map(|feed| feed.messages).sum::<u64>())?;
        facts.set_item("published", status.published)?;
        facts.set_item("live", status.feeds.iter().all(|feed| feed.live))?;
        facts.set_item("failure", status.failure)?;
        facts.set_item("latency_count", status.latency.count())?;
        facts.set_item("latency_p50_ns", status.latency.quantile(500))?;
        facts.set_item("latency_p99_ns", status.latency.quantile(990))?;
        facts.set_item("latency_max_ns", status.latency.quantile(1000))?;
        Ok(facts)
    }

    /// How long live messages took for each part of their way, by venue and stage.
    fn latency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let feeds = {
            let engine = self.0.lock().expect("an engine call does not panic");
            let stopped = || Raised::new(errors::CHANNEL, "the engine is stopped; start it again".to_owned());
            let engine = engine.as_ref().ok_or_else(stopped)?;
            let stages = |venue| LatencyStage::ALL.map(|stage| (stage.name(), engine.latency(Some(venue), stage)));
            let venues: Vec<_> = engine.status().feeds.iter().map(|feed| feed.venue).collect();
            venues.into_iter().map(|venue| (venue.name(), stages(venue))).collect::<Vec<_>>()
        };
        let by_venue = PyDict::new(py);
        for (venue, stages) in feeds {
            let by_stage = PyDict::new(py);
            for (stage, histogram) in stages {
                by_stage.set_item(stage, facts_of(py, &histogram)?)?;
            }
            by_venue.set_item(venue, by_stage)?;
        }
        Ok(by_venue)
    }

    /// How many of these records of a channel are of which instrument; None where that is not known any more.
    fn whose(&self, channel: &str, first: u64, count: u64) -> Option<BTreeMap<u32, u64>> {
        let engine = self.0.lock().expect("an engine call does not panic");
        engine.as_ref()?.whose(channel, first, count)
    }

    /// Ends the thread after the batch in hand.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let engine = self.0.lock().expect("an engine call does not panic").take();
            engine.map_or(Ok(()), tidebook_plane::MarketDataEngine::stop)
        })
        .map_err(|error| PyErr::from(Raised::from(error)))
    }
}

/// Ring or thread, option, whether it is in force, detail.
pub(crate) type InForce = (String, &'static str, bool, String);

/// What was asked for speed and what the kernel did.
pub(crate) fn in_force_of<'a>(effects: impl Iterator<Item = &'a (String, Effect)>) -> Vec<InForce> {
    effects.map(|(of, effect)| (of.clone(), effect.option, effect.in_force, effect.detail.clone())).collect()
}

const WAITS: [(&str, Wait); 3] = [("spin", Wait::Spin), ("hybrid", Wait::Hybrid), ("park", Wait::Park)];

/// How a thread waits, by its word.
pub(crate) fn wait_of(wait: &str) -> PyResult<Wait> {
    WAITS.into_iter().find(|(word, _)| *word == wait).map(|(_, meaning)| meaning).ok_or_else(|| {
        let message = format!("wait = {wait:?}: must be spin, hybrid or park");
        Raised::new(errors::CHANNEL, message).into()
    })
}

/// The word of how a thread waits.
pub(crate) fn wait_word(wait: Wait) -> &'static str {
    WAITS.into_iter().find(|(_, meaning)| *meaning == wait).map_or("", |(word, _)| word)
}

/// What a thread may ask the kernel for, by its word.
pub(crate) fn confinement_of(seccomp: &str) -> PyResult<Confinement> {
    match seccomp {
        "off" => Ok(Confinement::Off),
        "log" => Ok(Confinement::Log),
        "on" => Ok(Confinement::On),
        _ => {
            let message = format!("seccomp = {seccomp:?}: must be off, log or on");
            Err(Raised::new(errors::CHANNEL, message).into())
        }
    }
}

fn health_of<'py>(py: Python<'py>, health: &Health) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("ts_recv", health.ts_recv)?;
    facts.set_item("interval_ns", health.interval_ns)?;
    facts.set_item("messages", health.messages)?;
    let is_timed = health.timed > 0;
    for (name, lag) in
        [("lag_min_ns", health.lag_min_ns), ("lag_mean_ns", health.lag_mean_ns), ("lag_max_ns", health.lag_max_ns)]
    {
        facts.set_item(name, is_timed.then_some(lag))?;
    }
    facts.set_item("clock_offset_ns", health.clock_offset_ns)?;
    for (name, count) in [("gaps", health.gaps), ("resyncs", health.resyncs), ("malformed", health.malformed)] {
        facts.set_item(name, count)?;
    }
    for (name, count) in [
        ("instruments", health.instruments),
        ("books_usable", health.books_usable),
        ("connections", health.connections),
    ] {
        facts.set_item(name, count)?;
    }
    Ok(facts)
}

pub(crate) fn facts_of<'py>(py: Python<'py>, histogram: &HistogramSnapshot) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("count", histogram.count())?;
    facts.set_item("sum_ns", histogram.sum())?;
    for (name, per_mille) in [("p50_ns", 500), ("p90_ns", 900), ("p99_ns", 990), ("p999_ns", 999), ("max_ns", 1000)] {
        facts.set_item(name, histogram.quantile(per_mille))?;
    }
    facts.set_item("buckets", histogram.buckets().collect::<Vec<_>>())?;
    Ok(facts)
}

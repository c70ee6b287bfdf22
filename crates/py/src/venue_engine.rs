//! `VenueEngine`: the threads of the venue; what snapshots of it are taken with.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_plane::{
    EngineThread, PlaneError, VenueBeginning, VenueDurability, VenueEngineOptions, VenueLayout, VenueRings, VenueSizes,
    VenueSizesError, VenueStage, VenueTime,
};
use tidebook_ring::Wait;
use tidebook_ring::tuning::MemoryTuning;

use crate::engine::{InForce, confinement_of, facts_of, in_force_of, wait_of, wait_word};
use crate::errors::{self, Raised};
use crate::snapshots::recovery_of;

/// A running venue. Its threads end with `stop` or with the object.
#[pyclass(frozen, module = "tidebook._core")]
pub struct VenueEngine(Mutex<Option<tidebook_plane::VenueEngine>>);

fn word<T: Copy>(option: &str, value: &str, words: &[(&str, T)]) -> PyResult<T> {
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Raised::new(errors::CHANNEL, format!("{option} = {value:?}: must be {}", known.join(" or "))).into()
    })
}

impl From<VenueSizesError> for Raised {
    fn from(error: VenueSizesError) -> Self {
        match error {
            VenueSizesError::Journal(error) => error.into(),
            error => Self::new(errors::STATE, error.to_string()),
        }
    }
}

fn stopped() -> Raised {
    Raised::new(errors::CHANNEL, "the venue is stopped; start it again".to_owned())
}

impl VenueEngine {
    /// The thread that others may run in too.
    pub(crate) fn thread(&self) -> PyResult<EngineThread> {
        let thread = self.with(|engine| engine.thread().cloned())?;
        thread.ok_or_else(|| {
            let message = "beside: the venue's threads are its own; start its engine with layout = \"together\"";
            Raised::new(errors::CHANNEL, message.to_owned()).into()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&tidebook_plane::VenueEngine) -> T) -> PyResult<T> {
        let engine = self.0.lock().expect("an engine call does not panic");
        Ok(engine.as_ref().map(work).ok_or_else(stopped)?)
    }
}

#[pymethods]
impl VenueEngine {
    #[new]
    #[pyo3(signature = (rings_dir, journal_dir, *, snapshots_dir=None, durability="wal", layout=None, shards=1, wait=None,
        orders_max=None, accounts_max=None, instruments_max=None, recheck=false, time="arrival", age_max_s=None, timer_interval_s=None, closes_bars=false,
        orders_in_count=None, orders_count=None, executions_count=None, risk_count=None, segment_size_bytes=67108864,
        stages_every=32, cpus=vec![], lock_memory=false, huge_pages=false, numa_node=None, seccomp="off"))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        py: Python<'_>,
        rings_dir: PathBuf,
        journal_dir: PathBuf,
        snapshots_dir: Option<PathBuf>,
        durability: &str,
        layout: Option<&str>,
        shards: u32,
        wait: Option<&str>,
        orders_max: Option<u32>,
        accounts_max: Option<u32>,
        instruments_max: Option<u32>,
        recheck: bool,
        time: &str,
        age_max_s: Option<f64>,
        timer_interval_s: Option<f64>,
        closes_bars: bool,
        orders_in_count: Option<u64>,
        orders_count: Option<u64>,
        executions_count: Option<u64>,
        risk_count: Option<u64>,
        segment_size_bytes: u64,
        stages_every: u32,
        cpus: Vec<u32>,
        lock_memory: bool,
        huge_pages: bool,
        numa_node: Option<u32>,
        seccomp: &str,
    ) -> PyResult<Self> {
        let mut options = VenueEngineOptions::new(rings_dir, journal_dir);
        options.snapshots_dir = snapshots_dir;
        options.durability =
            word("durability", durability, &[("wal", VenueDurability::Wal), ("memory", VenueDurability::Memory)])?;
        let layouts =
            [("together", VenueLayout::Together), ("fused", VenueLayout::Fused), ("split", VenueLayout::Split)];
        options.layout = layout.map(|layout| word("layout", layout, &layouts)).transpose()?;
        options.shards = shards;
        options.wait = wait.map_or(Ok(Wait::Park), wait_of)?;
        options.sizes = sizes_with(orders_max, accounts_max, instruments_max);
        tidebook_plane::check_room(options.sizes.venue.orders_max)
            .map_err(|error| Raised::new(errors::CHANNEL, error.to_string()))?;
        options.recheck = recheck;
        options.time = word("time", time, &[("arrival", VenueTime::Arrival), ("command", VenueTime::Command)])?;
        let duration = |option: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| Raised::new(errors::CHANNEL, format!("{option} = {seconds}: seconds above 0")))
        };
        options.age_max = age_max_s.map(|seconds| duration("age_max_s", seconds)).transpose()?;
        options.closes_bars = closes_bars;
        options.timer_interval = timer_interval_s.map(|seconds| duration("timer_interval_s", seconds)).transpose()?;
        let known = VenueRings::default();
        options.rings = VenueRings {
            orders_in: orders_in_count.unwrap_or(known.orders_in),
            orders: orders_count.unwrap_or(known.orders),
            executions: executions_count.unwrap_or(known.executions),
            risk: risk_count.unwrap_or(known.risk),
        };
        (options.segment_size_bytes, options.stages_every, options.cpus) = (segment_size_bytes, stages_every, cpus);
        options.memory = MemoryTuning { lock: lock_memory, huge_pages, numa_node };
        options.confinement = confinement_of(seccomp)?;
        py.detach(|| tidebook_plane::VenueEngine::start(options))
            .map(|engine| Self(Mutex::new(Some(engine))))
            .map_err(|error| Raised::from(error).into())
    }

    /// What the start found.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        self.with(|engine| {
            let found = engine.beginning();
            let channel = found.channel.as_ref();
            facts.set_item("text", channel.map(ToString::to_string))?;
            facts.set_item("replayed_from_ring", channel.map(|report| report.replayed_from_ring))?;
            let discarded = channel.and_then(|report| report.discarded.as_ref());
            facts.set_item("ring_discarded", discarded.map(|discarded| &discarded.reason))?;
            facts.set_item("ring_lost", discarded.and_then(|discarded| discarded.lost))?;
            facts.set_item("next_sequence", channel.map_or(1, |report| report.next_sequence))?;
            facts.set_item("undecidable_from", channel.and_then(|report| report.journal.undecidable_from))?;
            facts.set_item("epoch_behind_copy", channel.and_then(|report| report.journal.epoch_behind_copy))?;
            facts.set_item("state", found.state.as_ref().map(|state| recovery_of(py, state)).transpose()?)?;
            facts.set_item("source_sequence", found.source_sequence)?;
            facts.set_item("made_anew", found.made_anew.clone())?;
            facts.set_item("sizes", sizes_of(py, &found.sizes)?)?;
            facts.set_item("layout", layout_of(found))?;
            facts.set_item("shards", found.shards)?;
            facts.set_item("wait", wait_word(found.wait))
        })??;
        Ok(facts)
    }

    /// What was asked for speed and what the kernel did: ring or thread, option, whether it is in force, detail.
    #[getter]
    fn in_force(&self) -> Vec<InForce> {
        let engine = self.0.lock().expect("an engine call does not panic");
        in_force_of(engine.iter().flat_map(|engine| engine.in_force()))
    }

    /// How it stands.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        let status = self.with(|engine| {
            let found = engine.beginning();
            facts.set_item("layout", layout_of(found))?;
            facts.set_item("shards", found.shards)?;
            facts.set_item("threads", found.layout.threads(found.shards))?;
            facts.set_item("cores", std::thread::available_parallelism().map_or(1, usize::from))?;
            PyResult::Ok(engine.status())
        })??;
        for (name, value) in [
            ("sequence", status.published),
            ("durable", status.visible),
            ("applied", status.applied),
            ("source_sequence", status.source_sequence),
            ("source_published", status.source_published),
            ("missed", status.missed),
            ("accepted", status.accepted),
            ("rejected", status.rejected),
            ("timers", status.timers),
            ("executed", status.executed),
            ("executions", status.executions),
            ("events", status.events),
            ("open_orders", status.open_orders),
            ("ahead_ns", status.ahead_ns),
        ] {
            facts.set_item(name, value)?;
        }
        facts.set_item("guarantee", status.guarantee.as_ref().map(ToString::to_string))?;
        facts.set_item("failure", status.failure)?;
        Ok(facts)
    }

    /// Why it takes no commands any more, if it does not.
    #[getter]
    fn failure(&self) -> Option<String> {
        let engine = self.0.lock().expect("an engine call does not panic");
        engine.as_ref().map_or_else(|| Some("it was stopped".to_owned()), |engine| engine.status().failure)
    }

    /// How long commands took for each part of their way, by stage.
    fn latency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stages = self.with(|engine| VenueStage::ALL.map(|stage| (stage.name(), engine.latency(stage))))?;
        let by_stage = PyDict::new(py);
        for (stage, histogram) in stages {
            by_stage.set_item(stage, facts_of(py, &histogram)?)?;
        }
        Ok(by_stage)
    }

    /// Ends the threads when what they have in hand is published. `None` when it was stopped before.
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let ended = py
            .detach(|| {
                let engine = self.0.lock().expect("an engine call does not panic").take();
                engine.map(tidebook_plane::VenueEngine::stop).transpose()
            })
            .map_err(|error: PlaneError| PyErr::from(Raised::from(error)))?;
        let Some(ended) = ended else { return Ok(None) };
        let facts = PyDict::new(py);
        facts.set_item("sequence", ended.sequence)?;
        facts.set_item("state_hash", ended.state_hash)?;
        Ok(Some(facts))
    }
}

const fn layout_of(found: &VenueBeginning) -> &'static str {
    match found.layout {
        VenueLayout::Together => "together",
        VenueLayout::Fused => "fused",
        VenueLayout::Split => "split",
    }
}

/// The room a venue has when nothing else is said, but for these.
pub(crate) fn sizes_with(
    orders_max: Option<u32>,
    accounts_max: Option<u32>,
    instruments_max: Option<u32>,
) -> VenueSizes {
    let mut sizes = VenueSizes::default();
    if let Some(max) = orders_max {
        (sizes.risk.orders_max, sizes.venue.orders_max) = (max, max);
    }
    if let Some(max) = accounts_max {
        (sizes.risk.accounts_max, sizes.venue.accounts_max) = (max, max);
    }
    if let Some(max) = instruments_max {
        (sizes.risk.instruments_max, sizes.venue.instruments_max) = (max, max);
    }
    sizes
}

fn sizes_of<'py>(py: Python<'py>, sizes: &VenueSizes) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    let (risk, matching) = (PyDict::new(py), PyDict::new(py));
    risk.set_item("orders_max", sizes.risk.orders_max)?;
    risk.set_item("accounts_max", sizes.risk.accounts_max)?;
    risk.set_item("instruments_max", sizes.risk.instruments_max)?;
    risk.set_item("ended_ids_max", sizes.risk.ended_ids_max)?;
    matching.set_item("orders_max", sizes.venue.orders_max)?;
    matching.set_item("accounts_max", sizes.venue.accounts_max)?;
    matching.set_item("instruments_max", sizes.venue.instruments_max)?;
    facts.set_item("risk", risk)?;
    facts.set_item("matching", matching)?;
    Ok(facts)
}

/// The room that a venue's journal was begun with; `None` where there is none yet or it does not say.
#[pyfunction]
pub fn venue_sizes(py: Python<'_>, journal_dir: PathBuf) -> PyResult<Option<Bound<'_, PyDict>>> {
    let sizes = py.detach(|| VenueSizes::of_journal(&journal_dir)).map_err(Raised::from)?;
    sizes.as_ref().map(|sizes| sizes_of(py, sizes)).transpose()
}

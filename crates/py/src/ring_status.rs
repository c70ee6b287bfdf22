//! A ring as Python sees it: what it was made with and how it stands, as dicts.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_ring::layout::latency_bucket_end;
use tidebook_ring::{ConsumerState, Mode, RingInfo, RingKind, RingStatus};

/// `slots`, `frames`, `runs`.
pub const fn kind_name(kind: RingKind) -> &'static str {
    match kind {
        RingKind::Slots { .. } => "slots",
        RingKind::Frames { .. } => "frames",
        RingKind::Runs { .. } => "runs",
    }
}

/// `spsc`, `mpsc`.
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Spsc => "spsc",
        Mode::Mpsc => "mpsc",
    }
}

/// What a ring was made with.
pub fn info_as_dict<'py>(py: Python<'py>, info: &RingInfo) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("kind", kind_name(info.kind))?;
    dict.set_item("mode", mode_name(info.mode))?;
    for (name, value) in [
        ("capacity", info.kind.capacity()),
        ("stride", info.stride as u64),
        ("record_size_bytes", info.record_size().unwrap_or(0) as u64),
        ("producers_max", info.producers_max.into()),
        ("consumers_max", info.consumers_max.into()),
        ("epoch", info.epoch),
        ("generation", info.generation),
        ("first_sequence", info.first_sequence),
        ("file_size_bytes", info.file_size_bytes),
    ] {
        dict.set_item(name, value)?;
    }
    for (name, value) in [
        ("crc", info.crc),
        ("parking", info.parking),
        ("never_waits", info.never_waits),
        ("visible_durable", info.visible_durable),
    ] {
        dict.set_item(name, value)?;
    }
    let schema = info.schema.as_ref();
    dict.set_item("schema", schema.map(|schema| (schema.name.as_str(), schema.version, schema.text.as_str())))?;
    Ok(dict)
}

/// How a ring stands: numbers, with lists of producers and consumers.
pub fn as_dict<'py>(py: Python<'py>, status: &RingStatus) -> PyResult<Bound<'py, PyDict>> {
    let consumers = status.consumers.iter().map(|consumer| {
        let state = match consumer.state {
            ConsumerState::Gating => "gating",
            ConsumerState::Lossy => "lossy",
            ConsumerState::Detached => "detached",
        };
        let dict = PyDict::new(py);
        dict.set_item("line", consumer.line)?;
        dict.set_item("name", &consumer.name)?;
        dict.set_item("state", state)?;
        dict.set_item("alive", consumer.alive)?;
        for (name, value) in [
            ("next", consumer.next),
            ("lag", consumer.lag),
            ("gaps", consumer.gaps),
            ("lost", consumer.lost),
            ("corrupt", consumer.corrupt),
            ("process_id", consumer.process_id.into()),
            ("latency_sum_ns", consumer.latency.sum_ns),
        ] {
            dict.set_item(name, value)?;
        }
        let counts = consumer.latency.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let ends: Vec<_> = counts.map(|(bucket, count)| (latency_bucket_end(bucket), *count)).collect();
        dict.set_item("latency", ends)?;
        dict.set_item("detach_after_ms", consumer.detach_after_ms)?;
        dict.set_item("block_ms", consumer.block_ms)?;
        Ok(dict)
    });
    let producers = status.producers.iter().map(|producer| {
        let dict = PyDict::new(py);
        dict.set_item("line", producer.line)?;
        dict.set_item("alive", producer.alive)?;
        for (name, value) in [
            ("process_id", producer.process_id),
            ("opens", producer.opens),
            ("waits", producer.waits),
            ("waited_ns", producer.waited_ns),
        ] {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    });
    let repairs = PyDict::new(py);
    repairs.set_item("claims", status.repairs.claims)?;
    repairs.set_item("raisers", status.repairs.raisers)?;
    repairs.set_item("detached", status.repairs.detached)?;
    let dict = PyDict::new(py);
    dict.set_item("oldest", status.oldest)?;
    dict.set_item("published", status.published)?;
    dict.set_item("durable", status.durable)?;
    dict.set_item("replicated", status.replicated)?;
    dict.set_item("written", status.written)?;
    dict.set_item("unread", status.unread)?;
    dict.set_item("producer_alive", status.producer_alive)?;
    dict.set_item("producers", producers.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("stuck", status.stuck.as_ref().map(|claim| (claim.sequence, claim.line)))?;
    dict.set_item("raiser", status.raiser)?;
    dict.set_item("registry_held", status.registry_held)?;
    dict.set_item("repairs", repairs)?;
    dict.set_item("consumers", consumers.collect::<PyResult<Vec<_>>>()?)?;
    Ok(dict)
}

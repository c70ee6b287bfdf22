//! Errors of the ring as exceptions: which class, which facts.

use pyo3::PyErr;
use tidebook_ring::RingError;

use crate::errors::{self, Fact, Raised};

impl From<RingError> for Raised {
    fn from(error: RingError) -> Self {
        Self::from(&error)
    }
}

impl From<&RingError> for Raised {
    fn from(error: &RingError) -> Self {
        use RingError as E;
        let path = |path: &std::path::Path| ("path", Fact::Text(path.display().to_string()));
        let (class, facts) = match error {
            E::Option { option, value, .. } => (
                errors::CHANNEL_USAGE,
                vec![("option", Fact::Text((*option).to_owned())), ("value", Fact::Text(value.clone()))],
            ),
            E::Mismatch { path: file, field, expected, found } => (
                errors::CHANNEL_USAGE,
                vec![
                    path(file),
                    ("option", Fact::Text((*field).to_owned())),
                    ("expected", Fact::Text(expected.clone())),
                    ("found", Fact::Text(found.clone())),
                ],
            ),
            E::TooLarge { size_bytes, max_bytes } | E::ClaimTooLarge { size_bytes, max_bytes } => (
                errors::CHANNEL_USAGE,
                vec![("found", Fact::Number(*size_bytes as u64)), ("max", Fact::Number(*max_bytes as u64))],
            ),
            E::RecordSize { expected, found } => (
                errors::CHANNEL_USAGE,
                vec![("expected", Fact::Number(*expected as u64)), ("found", Fact::Number(*found as u64))],
            ),
            E::StartBeyond { asked, next } => {
                (errors::CHANNEL_USAGE, vec![("asked", Fact::Number(*asked)), ("next", Fact::Number(*next))])
            }
            E::NotRead { sequence, last } => {
                (errors::CHANNEL_USAGE, vec![("asked", Fact::Number(*sequence)), ("last", Fact::Number(*last))])
            }
            E::StartGone { asked, oldest } => {
                (errors::CHANNEL_USAGE, vec![("asked", Fact::Number(*asked)), ("oldest", Fact::Number(*oldest))])
            }
            E::KeyRange { key, count } => {
                (errors::CHANNEL_USAGE, vec![("key", Fact::Number(*key)), ("count", Fact::Number(*count))])
            }
            E::LastValueHeld { key, line } => {
                (errors::ENDPOINT_BUSY, vec![("key", Fact::Number(*key)), ("line", Fact::Number(*line as u64))])
            }
            E::Watermark { from, to, .. } => {
                (errors::CHANNEL_USAGE, vec![("from", Fact::Number(*from)), ("to", Fact::Number(*to))])
            }
            E::ConsumerUnknown { name } => (errors::CHANNEL_USAGE, vec![("name", Fact::Text(name.clone()))]),
            E::Kind { .. } | E::NoParking => (errors::CHANNEL_USAGE, Vec::new()),
            E::NotFound { path: file } | E::Replaced { path: file } => (errors::CHANNEL_NOT_FOUND, vec![path(file)]),
            E::Exists { path: file } => (errors::CHANNEL_EXISTS, vec![path(file)]),
            E::Version { path: file, found, expected } => (
                errors::CHANNEL_FORMAT,
                vec![
                    path(file),
                    ("found", Fact::Number((*found).into())),
                    ("expected", Fact::Number((*expected).into())),
                ],
            ),
            E::NotARing { path: file, .. } | E::NotAFile { path: file, .. } => {
                (errors::CHANNEL_FORMAT, vec![path(file)])
            }
            E::OtherBoot { path: file } => (errors::CHANNEL_FORMAT, vec![path(file), ("other_boot", Fact::Number(1))]),
            E::NoSpace { path: file, needed_bytes } => {
                (errors::CHANNEL_FULL, vec![path(file), ("needed_bytes", Fact::Number(*needed_bytes))])
            }
            E::ProducerBusy { path: file, process_id } => {
                (errors::ENDPOINT_BUSY, vec![path(file), ("process_id", Fact::Number(*process_id))])
            }
            E::ConsumerBusy { name, process_id } => (
                errors::ENDPOINT_BUSY,
                vec![("name", Fact::Text(name.clone())), ("process_id", Fact::Number((*process_id).into()))],
            ),
            E::RegistryHeld { path: file } => (errors::ENDPOINT_BUSY, vec![path(file)]),
            E::ConsumersFull { path: file, max } | E::ProducersFull { path: file, max } => {
                (errors::ENDPOINT_BUSY, vec![path(file), ("max", Fact::Number((*max).into()))])
            }
            E::Partly { written, cause } => {
                let Self { class, facts, .. } = Self::from(&**cause);
                return Self::with_facts(class, error.to_string(), facts)
                    .fact("written", Fact::Number(*written as u64));
            }
            E::Refused { consumer } => (errors::NO_ROOM, vec![("consumer", Fact::Text(consumer.clone()))]),
            E::Forked | E::Fenced { .. } => (errors::ENDPOINT_LOST, Vec::new()),
            E::Corrupt { sequence, .. } => (errors::CORRUPT_MESSAGE, vec![("sequence", Fact::Number(*sequence))]),
            E::Access { path: file, .. } => (errors::CHANNEL_ACCESS, vec![path(file)]),
            E::Io { path: file, .. } => (errors::CHANNEL, vec![path(file)]),
            _ => (errors::CHANNEL, Vec::new()),
        };
        Self::with_facts(class, error.to_string(), facts)
    }
}

/// For `map_err`.
pub fn raised(error: RingError) -> PyErr {
    Raised::from(error).into()
}

/// What happened to a call after `before` of its messages were written, with how many were by then.
pub fn after(before: usize, error: RingError) -> Raised {
    match error {
        RingError::Partly { written, cause } => Raised::from(RingError::Partly { written: before + written, cause }),
        cause if before > 0 => Raised::from(RingError::Partly { written: before, cause: Box::new(cause) }),
        cause => Raised::from(cause).fact("written", Fact::Number(0)),
    }
}

/// An endpoint that was closed, or is in use by another thread or by its own callback.
pub fn unavailable(what: &str, why: &str) -> PyErr {
    Raised::new(errors::CHANNEL_USAGE, format!("this {what} {why}")).into()
}

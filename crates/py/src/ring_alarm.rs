//! `RingAlarm`: what an event loop watches while its tasks wait for consumers.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use pyo3::prelude::*;
use tidebook_ring::Alarm;

use crate::errors::{self, Raised};
use crate::ring_consumer::RingConsumer;

/// Becomes readable when one of the waits begun with it is over.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingAlarm(Arc<Alarm>);

#[pymethods]
impl RingAlarm {
    #[new]
    fn new() -> PyResult<Self> {
        Alarm::new().map(Self).map_err(|error| cannot(&error))
    }

    /// The descriptor.
    fn fileno(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }

    /// Waits for something to read, or for the end of the consumer; false when there is something already.
    fn wait(&self, consumer: &RingConsumer, token: u64) -> PyResult<bool> {
        let Some(watch) = consumer.await_with(&self.0, token)? else { return Ok(false) };
        let waits = self.0.wait(watch, token);
        if !matches!(waits, Ok(true)) {
            consumer.forget_await();
        }
        waits.map_err(|error| cannot(&error))
    }

    /// Ends a wait, over or not.
    fn forget(&self, consumer: &RingConsumer, token: u64) {
        consumer.forget_await();
        self.0.forget(token);
    }

    /// Tokens of waits that are over.
    fn take(&self) -> Vec<u64> {
        self.0.take()
    }
}

fn cannot(error: &std::io::Error) -> PyErr {
    Raised::new(errors::CHANNEL, format!("this process cannot wait for channels in an event loop: {error}")).into()
}

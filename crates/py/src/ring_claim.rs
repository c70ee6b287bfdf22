//! `RingClaim`: a message being filled in place, as a writable buffer that lies in the ring.
//!
//! The producer and what it has claimed are one value that its `RingProducer` keeps, so closing that gives the claim
//! back too. Views are of a window (`tidebook_ring::Window`): a claim is committed only when none is left, and when one
//! is given up before, what is left of them reaches private memory and no message.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use self_cell::{MutBorrow, self_cell};
use tidebook_ring::{Claim, Claimed, Obstacle, Producer, RingError, Window};

use crate::ring_errors::{raised, unavailable};
use crate::ring_producer::{Endpoint, State};

/// A claim, until it is committed.
type Pending<'p> = Option<Claim<'p>>;

self_cell! {
    /// A producer and what it has claimed.
    pub struct Held {
        owner: MutBorrow<Producer>,
        #[covariant]
        dependent: Pending,
    }
}

/// Why nothing was claimed.
pub enum Refusal {
    Full(Obstacle),
    Failed(RingError),
}

impl Held {
    /// The producer with a claim, or the producer as it was and why there is none.
    #[expect(clippy::result_large_err, reason = "the producer comes back, and nothing is allocated for it")]
    pub fn claim(
        producer: Producer,
        size_bytes: usize,
        timeout: std::time::Duration,
    ) -> Result<Self, (Producer, Refusal)> {
        let owner = MutBorrow::new(producer);
        Self::try_new_or_recover(owner, |producer| match producer.borrow_mut().claim_within(size_bytes, timeout) {
            Ok(Claimed::At(claim)) => Ok(Some(claim)),
            Ok(Claimed::Full(obstacle)) => Err(Refusal::Full(obstacle)),
            Err(error) => Err(Refusal::Failed(error)),
        })
        .map_err(|(owner, refusal)| (owner.into_inner(), refusal))
    }

    /// The producer; what is claimed still is given back.
    pub fn into_producer(self) -> Producer {
        self.into_owner().into_inner()
    }
}

/// What a producer's state holds while a claim is open.
pub struct OpenClaim {
    held: Held,
    window: Arc<Window>,
    /// Buffers that refer to it; also the claim's identity.
    views: Arc<AtomicUsize>,
}

impl OpenClaim {
    /// Ends it without a message. Views that are left lose the ring; true when there were some.
    pub fn give_up(self) -> Result<(Producer, bool), (Self, RingError)> {
        let has_views = self.views.load(Ordering::Acquire) > 0;
        if has_views && let Err(error) = self.window.revoke() {
            return Err((self, error));
        }
        Ok((self.held.into_producer(), has_views))
    }
}

/// A message being filled in place.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingClaim {
    endpoint: Arc<Mutex<Endpoint>>,
    /// Keeps the memory of the views.
    _window: Arc<Window>,
    views: Arc<AtomicUsize>,
    /// Address of the payload in the window.
    payload: usize,
    size_bytes: usize,
}

impl RingClaim {
    /// The claim of this endpoint, whose state becomes the open claim.
    pub fn open(endpoint: &Arc<Mutex<Endpoint>>, mut held: Held, window: Arc<Window>) -> (Self, OpenClaim) {
        let payload: NonNull<[u8]> =
            held.with_dependent_mut(|_, claim| window.payload(claim.as_mut().expect("pending until it is committed")));
        let views = Arc::new(AtomicUsize::new(0));
        let claim = Self {
            endpoint: endpoint.clone(),
            _window: window.clone(),
            views: views.clone(),
            payload: payload.as_ptr().cast::<u8>() as usize,
            size_bytes: payload.len(),
        };
        (claim, OpenClaim { held, window, views })
    }

    fn is_of(&self, endpoint: &Endpoint) -> bool {
        matches!(&endpoint.state, State::Claimed(open) if Arc::ptr_eq(&open.views, &self.views))
    }

    /// Takes the open claim out of the endpoint, whose state the caller sets.
    fn take(&self, endpoint: &mut Endpoint) -> PyResult<OpenClaim> {
        if !self.is_of(endpoint) {
            return Err(unavailable("claim", "is over: it was committed, aborted, or its producer was closed"));
        }
        match std::mem::replace(&mut endpoint.state, State::Closed) {
            State::Claimed(open) => Ok(open),
            State::Open(_) | State::Closed => unreachable!("it is of this endpoint"),
        }
    }

    fn lock(&self) -> PyResult<std::sync::MutexGuard<'_, Endpoint>> {
        self.endpoint.try_lock().map_err(|_| unavailable("claim", "is being used by another thread"))
    }
}

#[pymethods]
impl RingClaim {
    fn __len__(&self) -> usize {
        self.size_bytes
    }

    /// Whether it can still be committed.
    #[getter]
    fn is_open(&self) -> PyResult<bool> {
        Ok(self.is_of(&*self.lock()?))
    }

    /// Publishes it and gives its sequence; refused while a buffer refers to it.
    fn commit(&self) -> PyResult<u64> {
        let mut endpoint = self.lock()?;
        let mut open = self.take(&mut endpoint)?;
        let views = self.views.load(Ordering::Acquire);
        if views > 0 {
            endpoint.state = State::Claimed(open);
            let message = format!("{views} arrays or views still refer to this claim; delete them before commit()");
            return Err(PyBufferError::new_err(message));
        }
        let committed = open.held.with_dependent_mut(|_, claim| claim.take().expect("pending until now").commit());
        endpoint.state = State::Open(open.held.into_producer());
        committed.map_err(raised)
    }

    /// Gives it back: no message comes of it. A second call does nothing.
    fn abort(&self) -> PyResult<()> {
        let mut endpoint = self.lock()?;
        if self.is_of(&endpoint) {
            let open = self.take(&mut endpoint)?;
            endpoint.give_up(open)?;
        }
        Ok(())
    }

    /// The payload, writable.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let claim = slf.get();
        if !claim.is_of(&*claim.lock()?) {
            return Err(PyBufferError::new_err("this claim is over: its place in the ring is another message's"));
        }
        let (pointer, size) = (claim.payload as *mut std::ffi::c_void, claim.size_bytes as ffi::Py_ssize_t);
        // SAFETY: Python passes a view to fill. The window's memory lives as long as `slf`, which the view then refers
        // to. While a view is left the claim is not committed; when it is given up the window is revoked first.
        if unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), pointer, size, 0, flags) } != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        claim.views.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.views.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for RingClaim {
    fn drop(&mut self) {
        // Whoever holds the lock now has the producer without this claim. No view is left: each refers to `self`.
        let Ok(mut endpoint) = self.endpoint.try_lock() else { return };
        if self.is_of(&endpoint)
            && let Ok(open) = self.take(&mut endpoint)
        {
            drop(endpoint.give_up(open));
        }
    }
}

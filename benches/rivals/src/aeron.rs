//! Aeron's C client over its IPC channel; the driver is a process of its own (`aeron_driver`).
//!
//! Three terms of 128 KiB: 64 KiB, the smallest, would be less than our ring; this is half as much again, in its favour.

use std::ffi::CString;
use std::time::{Duration, Instant};

use rusteron_client::{
    Aeron, AeronContext, AeronExclusivePublication, AeronPublication, AeronSubscription, Handlers, IntoCString,
};

use crate::rounds::{Message, Receiver, Sender, Way};

const CHANNEL: &str = "aeron:ipc?term-length=128k";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Streams {
    aeron: Aeron,
    channel: CString,
    /// Whether a stream may have more than one publisher, which costs each an atomic addition.
    many: bool,
}

impl Streams {
    pub fn new(directory: &str, many: bool) -> Self {
        let context = AeronContext::new().unwrap();
        context.set_dir(&format!("{directory}/driver").into_c_string()).unwrap();
        // The driver stands still while it is the others' turn.
        context.set_driver_timeout_ms(120_000).unwrap();
        let aeron = Aeron::new(&context).unwrap();
        aeron.start().unwrap();
        Self { aeron, channel: CHANNEL.into_c_string(), many }
    }
}

fn stream(flow: &str) -> i32 {
    ["out", "back", "flow", "done"].iter().position(|name| *name == flow).unwrap() as i32 + 1
}

impl Way for Streams {
    fn sender(&self, flow: &str) -> impl Sender {
        let stream = stream(flow);
        if self.many {
            let publication = self.aeron.async_add_publication(&self.channel, stream).unwrap();
            Publication::Shared(publication.poll_blocking(PATIENCE).unwrap())
        } else {
            let publication = self.aeron.async_add_exclusive_publication(&self.channel, stream).unwrap();
            Publication::Exclusive(publication.poll_blocking(PATIENCE).unwrap())
        }
    }

    fn receiver(&self, flow: &str, _number: usize) -> impl Receiver {
        let added = self.aeron.async_add_subscription(&self.channel, stream(flow), Handlers::NONE, Handlers::NONE);
        Subscription(added.unwrap().poll_blocking(PATIENCE).unwrap())
    }
}

enum Publication {
    Exclusive(AeronExclusivePublication),
    Shared(AeronPublication),
}

impl Publication {
    fn is_connected(&self) -> bool {
        match self {
            Self::Exclusive(publication) => publication.is_connected(),
            Self::Shared(publication) => publication.is_connected(),
        }
    }
}

impl Sender for Publication {
    fn connect(&mut self) {
        let start = Instant::now();
        while !self.is_connected() {
            assert!(start.elapsed() < PATIENCE, "nobody subscribes");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&mut self, message: &Message) {
        for attempt in 1_u32.. {
            let offered = match self {
                Self::Exclusive(publication) => publication.offer(message),
                Self::Shared(publication) => publication.offer(message),
            };
            match offered {
                Ok(_) => return,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            // It is the driver that says that there is room: it must come to it.
            if attempt % 64 == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

struct Subscription(AeronSubscription);

impl Receiver for Subscription {
    fn receive(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let count = self.0.poll_fn(|message, _header| each(message), limit).unwrap();
        usize::try_from(count).unwrap()
    }
}

//! iceoryx2 by publish and subscribe: as many samples in a subscriber's buffer as our ring has slots, no overflow, a
//! publisher that retries until there is room.

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::rounds::{Message, Receiver, SLOTS, Sender, Way};

pub struct Services {
    node: Node<ipc::Service>,
    directory: String,
}

impl Services {
    pub fn new(directory: &str) -> Self {
        set_log_level(LogLevel::Error);
        Self { node: NodeBuilder::new().create().unwrap(), directory: directory.to_owned() }
    }

    fn service(&self, flow: &str) -> PortFactory<ipc::Service, Message, ()> {
        let name = format!("{}/{flow}", self.directory).as_str().try_into().unwrap();
        self.node
            .service_builder(&name)
            .publish_subscribe::<Message>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(SLOTS)
            .max_publishers(4)
            .max_subscribers(64)
            .open_or_create()
            .unwrap()
    }
}

impl Way for Services {
    fn sender(&self, flow: &str) -> impl Sender {
        let service = self.service(flow);
        let builder = service.publisher_builder();
        Port(builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered).create().unwrap())
    }

    fn receiver(&self, flow: &str, _number: usize) -> impl Receiver {
        Port(self.service(flow).subscriber_builder().create().unwrap())
    }
}

struct Port<T>(T);

impl Sender for Port<Publisher<ipc::Service, Message, ()>> {
    fn send(&mut self, message: &Message) {
        self.0.loan_uninit().unwrap().write_payload(*message).send().unwrap();
    }
}

impl Receiver for Port<Subscriber<ipc::Service, Message, ()>> {
    fn receive(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(sample) = self.0.receive().unwrap() else { break };
            each(sample.payload());
            count += 1;
        }
        count
    }
}

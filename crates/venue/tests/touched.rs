//! A venue whose memory was touched gets none from the kernel while it matches.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;

use tidebook_types::command::{AccountBody, CancelBody, InstrumentBody, PlaceBody, SessionBody};
use tidebook_types::{Command, CommandKind, OrderType, Session, TimeInForce};
use tidebook_venue::{Venue, VenueOptions};

/// Pages that the kernel has given this thread so far.
fn page_faults() -> u64 {
    let said = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let behind_the_name = said.rsplit_once(')').unwrap().1;
    behind_the_name.split_ascii_whitespace().nth(7).unwrap().parse().unwrap()
}

/// Method: orders with new ids, each gone 20,000 orders later, so that all of them go over from the newest to those spread over the whole index.
#[test]
fn orders_after_a_touch_wait_for_no_page() {
    let mut venue = Venue::new(VenueOptions { orders_max: 1 << 20, ..VenueOptions::default() });
    venue.touch();
    let instrument =
        InstrumentBody { tick: 1, lot: 1, size_max: 10, base_asset: 1, quote_asset: 2, ..InstrumentBody::default() };
    let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
    let (order_type, time_in_force) = (OrderType::Limit.code(), TimeInForce::Gtc.code());
    let place = PlaceBody { price: 100, size: 1, side: 1, order_type, time_in_force, ..PlaceBody::default() };
    let (mut sequence, mut executions) = (0, 0);
    let mut send = |command: Command| {
        sequence += 1;
        venue.apply(sequence, &command, &mut |_| executions += 1);
        sequence
    };
    send(Command::new(CommandKind::Instrument, 0, 1, &instrument));
    send(Command::new(CommandKind::Account, 1, 0, &AccountBody::default()));
    send(Command::new(CommandKind::Session, 0, 1, &session));
    let mut open = VecDeque::new();
    let mut round = |is_full: bool| {
        open.push_back(2 * send(Command::new(CommandKind::Place, 1, 1, &place)));
        if is_full {
            let order_id = open.pop_front().unwrap();
            send(Command::new(CommandKind::Cancel, 1, 1, &CancelBody { order_id, ..CancelBody::default() }));
        }
    };
    (0..20_000).for_each(|_| round(false));
    let before = page_faults();
    (0..20_000).for_each(|_| round(true));
    let faults = page_faults() - before;
    assert!(faults < 500, "{faults} pages for 20,000 orders");
    assert_eq!(executions, 3 + 3 * 20_000);
}

/// Method: pages that the kernel gives for the parts of an empty venue and their indexes, against those for the whole.
#[test]
fn the_parts_of_a_venue_take_no_more_memory_than_the_whole_before_there_are_orders() {
    // Of the newest orders of each part: given when they are read and again when they are written. And some for all else.
    const RECENT_PAGES: u64 = 2 * 64 + 64;
    let options = VenueOptions { orders_max: 1 << 20, ..VenueOptions::default() };
    let pages = |count: u32| {
        let before = page_faults();
        let mut parts = Venue::new(options).into_shards(count).unwrap();
        parts.iter_mut().for_each(Venue::touch);
        page_faults() - before
    };
    let whole = pages(1);
    assert!(whole > 8_000, "{whole}");
    for count in [2, 5, 16] {
        let (found, most) = (pages(count), whole + u64::from(count) * RECENT_PAGES);
        // Tables have powers of two places.
        let most = if count.is_power_of_two() { most } else { 2 * most };
        assert!(found <= most, "{found} pages for {count} parts, {whole} for the whole");
    }
}

//! Aeron's media driver in the directory that is named, until its input ends: `aeron_driver DIRECTORY`.
//!
//! One thread for all its work, which is what two cores have room for; it backs off when there is nothing to do. It keeps
//! its own files in the directory, and its clients' timeouts are long, since it stands still while others are measured.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusteron_media_driver::bindings::aeron_threading_mode_t;
use rusteron_media_driver::{AeronDriver, AeronDriverContext, IntoCString};

const SECOND_NS: u64 = 1_000_000_000;

fn main() {
    let directory = std::env::args().nth(1).expect("a directory");
    let context = AeronDriverContext::new().unwrap();
    context.set_dir(&directory.into_c_string()).unwrap();
    context.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_SHARED).unwrap();
    context.set_shared_idle_strategy(&"backoff".into_c_string()).unwrap();
    context.set_driver_timeout_ms(120_000).unwrap();
    context.set_client_liveness_timeout_ns(120 * SECOND_NS).unwrap();
    context.set_publication_unblock_timeout_ns(150 * SECOND_NS).unwrap();
    context.set_term_buffer_sparse_file(false).unwrap();
    context.set_dir_delete_on_start(true).unwrap();
    context.set_dir_delete_on_shutdown(true).unwrap();
    let driver = AeronDriver::new(&context).unwrap();
    driver.start(true).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    println!("ready");
    while !ended.load(Ordering::Relaxed) {
        driver.main_idle_strategy(driver.main_do_work().unwrap());
    }
}

//! One end of a rival's way to hand 64 bytes to another process: `tidebook-rivals WAY ROLE DIRECTORY [NUMBER]`, as our own
//! ends are started; the loops are the very same (`crates/ring/examples/transport/rounds.rs`).
//!
//! The rivals are set up so that they lose nothing, poll without sleeping, and have about the ring bytes that we have.

mod aeron;
mod iceoryx;
#[path = "../../../crates/ring/examples/transport/rounds.rs"]
mod rounds;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [way, role, directory] = &arguments[1..4] else { unreachable!("three arguments or four") };
    let number = arguments.get(4).map_or(0, |number| number.parse().unwrap());
    match way.as_str() {
        "iceoryx2" => rounds::run(&iceoryx::Services::new(directory), role, number),
        "aeron" => rounds::run(&aeron::Streams::new(directory, false), role, number),
        "aeron, many producers" => rounds::run(&aeron::Streams::new(directory, true), role, number),
        other => panic!("no way {other:?}"),
    }
}

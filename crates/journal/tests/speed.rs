//! The measurement of `examples/speed.rs` in small, so that it never rots.

#[path = "../examples/speed.rs"]
mod speed;

#[test]
fn a_journal_is_written_replayed_verified_and_opened_whole() {
    let directory = tempfile::tempdir().unwrap();
    let found = speed::measure(directory.path(), 20_000, 700).unwrap();
    assert_eq!((found.messages, found.group), (20_000, 700));
}

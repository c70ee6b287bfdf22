//! The measuring program of `examples/wal.rs`, small: it must not rot.

#[path = "../examples/wal.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod wal;

use wal::Figure;

#[test]
fn the_measuring_program_makes_every_message_durable_and_gives_each_figure_once() {
    let directory = tempfile::tempdir().unwrap();
    let figures = wal::measure(directory.path(), 10_000, 3);
    assert!(matches!(figures[0], Figure::Rate { messages: 10_000, syncs: 1.., .. }), "{}", figures[0]);
    let batches: Vec<usize> = figures[1..]
        .iter()
        .map(|figure| match figure {
            Figure::Latency { batch, channel_ns, bare_ns } => {
                assert_eq!((channel_ns.len(), bare_ns.len()), (3, 3));
                *batch
            }
            Figure::Rate { .. } => panic!("{figure}"),
        })
        .collect();
    assert_eq!(batches, [1, 16, 256, 4096]);
    let mut reader = tidebook_journal::JournalReader::open(
        &directory.path().join("journal"),
        tidebook_journal::ReaderOptions::default(),
    )
    .unwrap();
    let mut count = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        count += batch.records().filter(|(_, payload)| *payload == [7; 64]).count();
    }
    assert_eq!(count, 10_000 + 3 * (1 + 16 + 256 + 4096));
}

//! Capture files: each format's messages, byte-for-byte round trips, and damage at every place.

use tidebook_feed::capture::{
    CaptureError, CaptureFormat, CaptureOptions, CaptureReader, CaptureWriteError, CaptureWriter, Day,
};
use tidebook_testkit::{ItchDay, ItchFlow, Random, recording};
use tidebook_types::{MessageKind, RawMessage, Venue};

const OPTIONS: CaptureOptions<'static> =
    CaptureOptions { connection: 3, file_name: "btcusdt-20240808.log.zst", day: None };

/// A message with its own bytes.
type Owned = (i64, u32, MessageKind, String, String);

fn owned(message: &RawMessage<'_>) -> Owned {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (message.ts_recv, message.connection, message.kind, text(message.context), text(message.body))
}

fn read(bytes: &[u8]) -> (Venue, Vec<Owned>) {
    read_as(bytes, OPTIONS.file_name)
}

fn read_as(bytes: &[u8], file_name: &str) -> (Venue, Vec<Owned>) {
    let mut reader = CaptureReader::open(bytes, CaptureOptions { file_name, ..OPTIONS }).unwrap();
    let mut messages = Vec::new();
    while let Some(message) = reader.next_message().unwrap() {
        messages.push(owned(&message));
    }
    (reader.venue(), messages)
}

fn rewritten(bytes: &[u8], format: CaptureFormat) -> Vec<u8> {
    let mut reader = CaptureReader::open(bytes, OPTIONS).unwrap();
    let mut writer = CaptureWriter::new(format, reader.venue()).unwrap();
    let mut out = Vec::new();
    while let Some(message) = reader.next_message().unwrap() {
        writer.write(&message, &mut out).unwrap();
    }
    out
}

const HFTBACKTEST: &str = concat!(
    "1723161253937085768 {\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\"}}\n",
    "1723161254000000000 {\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}\n",
);
const CRYPTOFEED: &str = concat!(
    "wss://stream.binance.com:9443/stream?streams=btcusdt@depth <-> 1617566590.378895\n",
    "1617566591.326123: {\"stream\":\"btcusdt@depth\",\"data\":{}}\n\n",
    "wss://stream.binance.com:9443/stream <- 1617566591.5: {\"method\":\"SUBSCRIBE\"}\n",
    "https://www.binance.com/api/v1/depth?symbol=BTCUSDT&limit=1000 -> 1617566592: {\"lastUpdateId\":5}\n",
    "configuration: {\"trades\":[]}\n",
);
const CRYPTOFEED_JSONL: &str = concat!(
    "{\"t\":\"header\",\"format\":2,\"exchange\":\"COINBASE\",\"recorded\":1786309548.5}\n",
    "{\"t\":\"http\",\"conn\":\"COINBASE.http.1\",\"ts\":1786309548.5,\"url\":\"https://api.coinbase.com/api/v3/brokerage/market/products\",\"data\":\"{\\\"products\\\":[]}\"}\n",
    "{\"t\":\"connect\",\"conn\":\"COINBASE.ws.2\",\"ts\":1786309549.031329,\"addr\":\"wss://advanced-trade-ws.coinbase.com\"}\n",
    "{\"t\":\"send\",\"conn\":\"COINBASE.ws.2\",\"ts\":1786309549.25,\"addr\":\"wss://advanced-trade-ws.coinbase.com\",\"data\":\"{\\\"type\\\":\\\"subscribe\\\"}\"}\n",
    "{\"t\":\"recv\",\"conn\":\"COINBASE.ws.3\",\"ts\":1786309550.0,\"data\":\"{\\\"channel\\\":\\\"a\\\\\\\"b\\\"}\"}\n",
    "{\"t\":\"recv\",\"conn\":\"COINBASE.ws.2\",\"ts\":1786309550.5,\"data\":\"{}\"}\n",
);
const CBCAP: &str = "CBCAP1 kraken BTC/USD 1785552832693693000\n201603688723400 2\n{}\n201603688723999 3\n[1]\n";

#[test]
fn hftbacktest_lines_become_frames_and_snapshots_that_name_their_symbol() {
    let (venue, messages) = read(HFTBACKTEST.as_bytes());
    assert_eq!(venue, Venue::Binance);
    let frame = "{\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\"}}";
    let context = "/api/v3/depth?symbol=BTCUSDT&limit=1000";
    let snapshot = "{\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}";
    assert_eq!(
        messages,
        [
            (1_723_161_253_937_085_768, 3, MessageKind::Ws, String::new(), frame.to_owned()),
            (1_723_161_254_000_000_000, 3, MessageKind::Rest, context.to_owned(), snapshot.to_owned()),
        ]
    );
    let microseconds = HFTBACKTEST.replace("000 {", " {").replace("1723161253937085768", "1723161253937085");
    assert_eq!(read(microseconds.as_bytes()).1[0].0, 1_723_161_253_937_085_000);
}

#[test]
fn a_snapshot_takes_its_symbol_from_the_file_name_when_no_stream_names_it() {
    let line = b"1723161254000000000 {\"lastUpdateId\":1}\n";
    assert_eq!(read(line).1[0].3, "/api/v3/depth?symbol=BTCUSDT&limit=1000");
    let mut reader = CaptureReader::open(line, CaptureOptions { connection: 1, file_name: "", day: None }).unwrap();
    assert_eq!(reader.next_message(), Err(CaptureError::Symbol { line: 1 }));
}

#[test]
fn a_snapshot_of_futures_has_their_own_request_target() {
    for (line, target) in [
        (
            "1723161254000000000 {\"lastUpdateId\":1,\"E\":2,\"T\":3,\"bids\":[]}\n",
            "/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
        ),
        (
            "1723161254000000000 {\"lastUpdateId\":1,\"E\":2,\"T\":3,\"symbol\":\"BTCUSDT\",\"pair\":\"X\"}\n",
            "/dapi/v1/depth?symbol=BTCUSDT&limit=1000",
        ),
    ] {
        assert_eq!(read(line.as_bytes()).1[0].3, target);
    }
}

#[test]
fn cryptofeed_lines_become_frames_answers_and_connection_states() {
    let (venue, messages) = read(CRYPTOFEED.as_bytes());
    assert_eq!(venue, Venue::Binance);
    let seen: Vec<_> = messages.iter().map(|m| (m.0, m.2, &m.3[..], &m.4[..])).collect();
    let opened = "{\"event\":\"connected\",\"url\":\"wss://stream.binance.com:9443/stream?streams=btcusdt@depth\"}";
    let sent =
        "{\"event\":\"sent\",\"url\":\"wss://stream.binance.com:9443/stream\",\"body\":{\"method\":\"SUBSCRIBE\"}}";
    assert_eq!(
        seen,
        [
            (1_617_566_590_378_895_000, MessageKind::State, "", opened),
            (1_617_566_591_326_123_000, MessageKind::Ws, "", "{\"stream\":\"btcusdt@depth\",\"data\":{}}"),
            (1_617_566_591_500_000_000, MessageKind::State, "", sent),
            (
                1_617_566_592_000_000_000,
                MessageKind::Rest,
                "/api/v1/depth?symbol=BTCUSDT&limit=1000",
                "{\"lastUpdateId\":5}"
            ),
            (
                1_617_566_592_000_000_000,
                MessageKind::State,
                "",
                "{\"event\":\"configuration\",\"body\":{\"trades\":[]}}"
            ),
        ]
    );
}

#[test]
fn cryptofeed_captures_of_kraken_are_told_apart_by_the_version_in_the_address() {
    for (line, venue) in [
        ("wss://ws.kraken.com <-> 1.5\n", Venue::KrakenV1),
        ("https://api.kraken.com/0/public/AssetPairs -> 1.5: {}\n", Venue::KrakenV1),
        ("wss://ws.kraken.com/v2 <-> 1.5\n", Venue::Kraken),
    ] {
        assert_eq!(read(line.as_bytes()).0, venue, "{line}");
    }
}

#[test]
fn json_lines_of_cryptofeed_become_the_frames_that_are_strings_in_them() {
    let (venue, messages) = read(CRYPTOFEED_JSONL.as_bytes());
    assert_eq!(venue, Venue::CoinbaseAdvanced);
    let seen: Vec<_> =
        messages.iter().map(|m| (m.0 - 1_786_309_548_000_000_000, m.1, m.2, &m.3[..], &m.4[..])).collect();
    let header = CRYPTOFEED_JSONL.lines().next().unwrap();
    let configuration = format!("{{\"event\":\"configuration\",\"body\":{header}}}");
    let url = "wss://advanced-trade-ws.coinbase.com";
    let opened = format!("{{\"event\":\"connected\",\"url\":\"{url}\"}}");
    let sent = format!("{{\"event\":\"sent\",\"url\":\"{url}\",\"body\":{{\"type\":\"subscribe\"}}}}");
    let (state, ws) = (MessageKind::State, MessageKind::Ws);
    // Each socket has a number of its own; the first has the file's.
    assert_eq!(
        seen,
        [
            (500_000_000, 3, state, "", &configuration[..]),
            (500_000_000, 3, MessageKind::Rest, "/api/v3/brokerage/market/products", "{\"products\":[]}"),
            (1_031_329_000, 3, state, "", &opened),
            (1_250_000_000, 3, state, "", &sent),
            (2_000_000_000, 3 + (1 << 16), ws, "", "{\"channel\":\"a\\\"b\"}"),
            (2_500_000_000, 3, ws, "", "{}"),
        ]
    );
}

#[test]
fn a_line_of_json_that_makes_no_sense_is_damage_and_the_next_one_is_read() {
    for line in [
        "{\"t\":\"recv\",\"ts\":2}",
        "{\"t\":\"recv\",\"ts\":2,\"data\":\"\\x\"}",
        "{\"t\":\"recv\",\"ts\"",
        "{\"t\":\"odd\",\"ts\":2}",
    ] {
        let connect = "{\"t\":\"connect\",\"ts\":1,\"addr\":\"wss://advanced-trade-ws.coinbase.com\"}\n";
        let file = format!("{connect}{line}\n{{\"t\":\"recv\",\"ts\":3,\"data\":\"{{}}\"}}\n");
        let mut reader = CaptureReader::open(file.as_bytes(), OPTIONS).unwrap();
        assert!(reader.next_message().unwrap().is_some());
        let error = reader.next_message().unwrap_err();
        let offset = connect.len() as u64;
        assert!(
            matches!(error, CaptureError::Damaged { line: 2, offset: found, .. } if found == offset),
            "{line}: {error}"
        );
        assert_eq!(reader.next_message().unwrap().unwrap().body, b"{}");
        assert_eq!(reader.next_message(), Ok(None));
    }
}

#[test]
fn a_capture_with_a_monotonic_clock_is_moved_to_wall_time_and_given_back_unmoved() {
    let (venue, messages) = read(CBCAP.as_bytes());
    assert_eq!(venue, Venue::Kraken);
    let times: Vec<_> = messages.iter().map(|message| (message.0, message.2, &message.4[..])).collect();
    assert_eq!(
        times[1..],
        [(1_785_552_832_693_693_000, MessageKind::Ws, "{}"), (1_785_552_832_693_693_599, MessageKind::Ws, "[1]")]
    );
    assert_eq!(rewritten(CBCAP.as_bytes(), CaptureFormat::Cbcap), CBCAP.as_bytes());
}

#[test]
fn a_kraken_rest_answer_is_one_message_that_says_what_it_is() {
    let trades = br#"{"error":[],"result":{"XBTUSDT":[["1.5","2",3.25,"b","l","",7]],"last":"3250000000000000000"}}"#;
    let (venue, messages) = read(trades);
    assert_eq!(venue, Venue::Kraken);
    assert_eq!((messages.len(), messages[0].0, messages[0].2), (1, 3_250_000_000_000_000_000, MessageKind::Rest));
    assert_eq!(messages[0].3, "/0/public/Trades?pair=XBTUSDT");
    let bars = br#"{"error":[],"result":{"XBTUSDT":[[60,"1","1","1","1","0","0",0],[120,"1","1","1","1","0","0",0]],
        "last":1762820160}}"#;
    assert_eq!(read(bars).1[0].3, "/0/public/OHLC?pair=XBTUSDT&interval=1");
    assert_eq!(read(bars).1[0].0, 1_762_820_160_000_000_000);
}

const BITSTAMP: &str = concat!(
    "1430438404518 order_created {\"price\": \"236.47\", \"id\": 1}\n",
    "1430438404645 trade {\"price\": 236.47}\n",
);
const LOBSTER: &str = "34200.004241176,1,16113575,18,5853300,1\n34200.00426064,3,16113584,18,5853200,-1\n";

#[test]
fn order_by_order_recordings_begin_with_what_their_file_s_name_says() {
    let (venue, messages) = read_as(BITSTAMP.as_bytes(), "btcusd-20150501.log.zst");
    assert_eq!(venue, Venue::Bitstamp);
    let seen: Vec<_> = messages.iter().map(|m| (m.0, m.2, &m.4[..])).collect();
    assert_eq!(
        seen,
        [
            (
                1_430_438_404_518_000_000,
                MessageKind::State,
                "{\"event\":\"capture\",\"format\":\"bitstamp\",\"symbol\":\"BTC/USD\"}"
            ),
            (1_430_438_404_518_000_000, MessageKind::Ws, "order_created {\"price\": \"236.47\", \"id\": 1}"),
            (1_430_438_404_645_000_000, MessageKind::Ws, "trade {\"price\": 236.47}"),
        ]
    );
    let (venue, messages) = read_as(LOBSTER.as_bytes(), "aapl-20120621-message.csv.zst");
    assert_eq!(venue, Venue::Lobster);
    // Midnight in New York was four hours behind UTC's.
    let midnight = 1_340_251_200_000_000_000;
    let state =
        format!("{{\"event\":\"capture\",\"format\":\"lobster\",\"symbol\":\"AAPL\",\"midnight_ns\":{midnight}}}");
    assert_eq!((messages[0].0, &messages[0].4), (midnight + 34_200_004_241_176, &state));
    assert_eq!(messages[2].0, midnight + 34_200_004_260_640);
    assert_eq!(messages[2].4, "34200.00426064,3,16113584,18,5853200,-1");
    for (file, file_name, word) in [
        (BITSTAMP, "log", "does not say what it is of; name the file like btcusd-20150501.log"),
        (LOBSTER, "-", "does not say what it is of; name the file like aapl-20120621-message.csv"),
        (LOBSTER, "aapl-message.csv", "or give the day with --date"),
    ] {
        let error =
            CaptureReader::open(file.as_bytes(), CaptureOptions { file_name, ..OPTIONS }).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_day_that_is_told_goes_before_the_one_of_the_file_s_name_and_is_refused_where_times_say_it() {
    let day = Day::parse("2012-06-22");
    for file_name in ["aapl-20120621-message.csv", "aapl-message.csv"] {
        let options = CaptureOptions { file_name, day, ..OPTIONS };
        let mut reader = CaptureReader::open(LOBSTER.as_bytes(), options).unwrap();
        let midnight = 1_340_251_200_000_000_000 + 86_400_000_000_000;
        assert_eq!(reader.peek_ts_recv(), Ok(Some(midnight + 34_200_004_241_176)));
    }
    let error = CaptureReader::open(BITSTAMP.as_bytes(), CaptureOptions { day, ..OPTIONS }).unwrap_err();
    assert_eq!(error.to_string(), "bitstamp says the time of every message itself; leave out --date");
}

/// Messages of a small day of NASDAQ, and the file they make.
fn itch50() -> (ItchDay, Vec<u8>) {
    let day = ItchFlow { seed: 5, stocks: 3, steps: 40 }.day();
    let file = day.file();
    (day, file)
}

#[test]
fn an_itch_file_gives_its_messages_at_the_times_of_its_day() {
    let (day, file) = itch50();
    // Midnight in New York on 30 January 2019.
    let midnight = 1_548_824_400_000_000_000;
    let state = format!("{{\"event\":\"capture\",\"format\":\"itch50\",\"midnight_ns\":{midnight}}}");
    for (file_name, told) in [("01302019.NASDAQ_ITCH50", None), ("feed.itch", Day::parse("2019-01-30"))] {
        for end in [file.len(), file.len() - 2] {
            let options = CaptureOptions { file_name, day: told, ..OPTIONS };
            let mut reader = CaptureReader::open(&file[..end], options).unwrap();
            assert_eq!((reader.format(), reader.venue()), (CaptureFormat::Itch50, Venue::Nasdaq));
            let first = reader.next_message().unwrap().unwrap();
            assert_eq!((first.kind, first.ts_recv), (MessageKind::State, midnight + 11_000_000_000_001));
            assert_eq!(first.body, state.as_bytes());
            let mut last = first.ts_recv;
            for (body, _) in &day.messages {
                let message = reader.next_message().unwrap().unwrap();
                assert_eq!((message.kind, message.connection, message.body), (MessageKind::Ws, 3, &body[..]));
                assert!(message.ts_recv >= last);
                last = message.ts_recv;
            }
            assert_eq!(reader.next_message(), Ok(None));
            assert_eq!(reader.position(), end);
        }
    }
    let error = CaptureReader::open(&file, CaptureOptions { file_name: "feed.itch", ..OPTIONS }).unwrap_err();
    let said = "itch50 content does not say its day; name the file like 01302019.NASDAQ_ITCH50, or give the day with --date 2019-01-30";
    assert_eq!(error.to_string(), said);
}

/// Method: every bit of every length, and every cut between two ends of messages. A length that is too long makes its message
/// longer than its type, which the decoder counts, and shifts what follows, which is no message.
#[test]
fn a_damaged_length_of_an_itch_message_is_told_by_message_and_byte() {
    let (day, file) = itch50();
    let mut at = 0;
    for (index, (body, _)) in day.messages.iter().enumerate() {
        let looked_at = index < 4;
        for bit in 0..16 {
            let mut damaged = file.clone();
            damaged[at + bit / 8] ^= 1 << (bit % 8);
            let Ok(mut reader) = CaptureReader::open(&damaged, OPTIONS) else {
                assert!(looked_at, "message {index}, bit {bit}");
                continue;
            };
            let mut longer = false;
            let error = loop {
                match reader.next_message() {
                    Ok(Some(message)) => {
                        let kind = message.body.first().copied();
                        let same = day.messages.iter().find(|(body, _)| body.first().copied() == kind);
                        longer |= same.is_some_and(|(body, _)| message.body.len() > body.len());
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match error {
                Some(CaptureError::Damaged { line, offset, .. }) => {
                    assert!(line > index as u64 && offset >= at as u64, "message {index}, bit {bit}: {line} {offset}");
                    assert_eq!(reader.next_message(), Ok(None));
                }
                other => assert!(longer, "message {index}, bit {bit}: {other:?}"),
            }
        }
        at += 2 + body.len();
        for cut in at + 1..at + 8 {
            let Ok(mut reader) = CaptureReader::open(&file[..cut.min(file.len() - 1)], OPTIONS) else { continue };
            let mut count = 0;
            let error = loop {
                match reader.next_message() {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => panic!("a cut file at {cut} ends without a word"),
                    Err(error) => break error,
                }
            };
            let line = count;
            assert!(matches!(error, CaptureError::Damaged { line: found, .. } if found == line), "{error} {line}");
            assert!(error.to_string().starts_with(&format!("itch50 message {line} (byte ")), "{error}");
        }
    }
}

#[test]
fn our_export_holds_every_kind_of_message_and_any_byte() {
    let messages = [
        RawMessage { ts_recv: 5, connection: 1, kind: MessageKind::State, context: b"", body: b"{\"event\":\"x\"}" },
        RawMessage { ts_recv: 6, connection: 1, kind: MessageKind::Ws, context: b"", body: b"a\nb\xff\n" },
        RawMessage { ts_recv: 7, connection: 9, kind: MessageKind::Rest, context: b"/t?a=b", body: b"" },
        RawMessage { ts_recv: -8, connection: u32::MAX, kind: MessageKind::Timer, context: b"", body: b"" },
    ];
    let mut writer = CaptureWriter::new(CaptureFormat::Tbcap, Venue::Binance).unwrap();
    let mut file = Vec::new();
    for message in &messages {
        assert_eq!(writer.write(message, &mut file), Ok(true));
    }
    assert!(file.starts_with(b"TBCAP1 binance\n5 1 state 0 13\n{\"event\":\"x\"}\n6 1 ws 0 5\na\nb"));
    let mut reader = CaptureReader::open(&file, OPTIONS).unwrap();
    for message in &messages {
        assert_eq!(reader.next_message().unwrap().as_ref(), Some(message));
    }
    assert_eq!(reader.next_message(), Ok(None));
    assert_eq!(rewritten(&file, CaptureFormat::Tbcap), file);
}

#[test]
fn a_format_that_cannot_hold_a_message_says_so() {
    let refused = |format, venue| CaptureWriter::new(format, venue).unwrap_err();
    assert!(matches!(refused(CaptureFormat::Cbcap, Venue::Binance), CaptureWriteError::Format { .. }));
    assert!(matches!(refused(CaptureFormat::Cryptofeed, Venue::Binance), CaptureWriteError::Format { .. }));
    // Its lines would be read as Binance's own.
    assert!(matches!(refused(CaptureFormat::HftBacktest, Venue::BinanceUs), CaptureWriteError::Format { .. }));
    let message = RawMessage { ts_recv: 1, connection: 1, kind: MessageKind::Ws, context: b"", body: b"{\n}" };
    let mut out = Vec::new();
    let mut lines = CaptureWriter::new(CaptureFormat::HftBacktest, Venue::Binance).unwrap();
    assert!(matches!(lines.write(&message, &mut out), Err(CaptureWriteError::LineBreak { ts_recv: 1, .. })));
    let mut frames = CaptureWriter::new(CaptureFormat::Cbcap, Venue::Kraken).unwrap();
    assert_eq!(frames.write(&message, &mut out), Err(CaptureWriteError::Header));
    let timer = RawMessage { kind: MessageKind::Timer, ..message };
    assert_eq!(lines.write(&timer, &mut out), Ok(false));
    assert_eq!(out, b"");
}

/// A snapshot's line names no symbol: each one written is given back with its own, or the writer says that it cannot be.
#[test]
fn a_line_file_is_of_one_symbol_and_a_snapshot_of_another_is_refused() {
    let stream = |body| RawMessage { ts_recv: 1, connection: 1, kind: MessageKind::Ws, context: b"", body };
    let rest = |context, body| RawMessage { ts_recv: 2, connection: 1, kind: MessageKind::Rest, context, body };
    let (btc, eth) =
        (stream(b"{\"stream\":\"btcusdt@depth\",\"data\":{}}"), stream(b"{\"stream\":\"ethusdt@depth\",\"data\":{}}"));
    let snapshot: &[u8] = b"{\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}";
    let of_btc = rest(b"/api/v3/depth?symbol=BTCUSDT&limit=1000", snapshot);
    let of_eth = rest(b"/api/v3/depth?limit=1000&symbol=ETHUSDT", snapshot);
    let info = rest(b"/api/v3/exchangeInfo?symbols=[]", b"{\"symbols\":[]}");
    let written = |messages: &[&RawMessage<'_>]| {
        let mut writer = CaptureWriter::new(CaptureFormat::HftBacktest, Venue::Binance).unwrap();
        let mut out = Vec::new();
        let kept = messages.iter().map(|message| writer.write(message, &mut out)).collect::<Result<Vec<_>, _>>();
        kept.map(|kept| (kept, out))
    };
    for other in [&[&btc, &eth, &of_btc, &of_eth][..], &[&of_btc, &of_eth], &[&of_eth, &btc], &[&btc, &eth, &of_eth]] {
        let error = written(other).unwrap_err();
        assert!(matches!(error, CaptureWriteError::Symbols { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("BTCUSDT") && text.contains("ETHUSDT") && text.contains("export as tbcap"), "{text}");
    }
    // One symbol's snapshots come back; an answer that would be read as a frame is left out.
    let (kept, file) = written(&[&of_btc, &info, &btc, &eth, &of_btc]).unwrap();
    assert_eq!(kept, [true, false, true, true, true]);
    let (_, messages) = read_as(&file, "other.log");
    let snapshots: Vec<_> = messages.iter().filter(|message| message.2 == MessageKind::Rest).collect();
    assert_eq!(snapshots.len(), 2);
    assert!(snapshots.iter().all(|message| message.3.contains("symbol=BTCUSDT")));
}

#[test]
fn content_of_no_format_is_refused_by_name() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b" \n\n", "empty"),
        (b"hello", "\"hello\""),
        (b"\x28\xb5\x2f\xfd....", "no capture format"),
        (b"{\"a\":1}", "no capture format"),
        (b"TBCAP1 nyse\n", "\"nyse\""),
        (b"CBCAP1 coinbase BTC/USD 5\n", "\"coinbase\""),
        (b"CBCAP1 kraken\n", "the header must read"),
        (b"wss://ws.example.com/stream <-> 1.5\n", "\"ws.example.com\""),
        (b"wss://www.coinbase.com <-> 1.5\n", "\"www.coinbase.com\""),
        (b"{\"t\":\"connect\",\"ts\":1.5,\"addr\":\"wss://x.org\"}\n", "\"x.org\""),
        (b"wss://ws.notkraken.com <-> 1.5\n", "\"ws.notkraken.com\""),
    ] {
        let error = CaptureReader::open(bytes, OPTIONS).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn damage_is_reported_with_line_and_byte_and_lines_go_on_behind_it() {
    let file = format!("{HFTBACKTEST}17231612x {{}}\n{}", HFTBACKTEST.lines().next().unwrap());
    let mut reader = CaptureReader::open(file.as_bytes(), OPTIONS).unwrap();
    assert!(reader.next_message().unwrap().is_some());
    assert!(reader.next_message().unwrap().is_some());
    let error = reader.next_message().unwrap_err();
    let offset = HFTBACKTEST.len() as u64;
    assert!(matches!(error, CaptureError::Damaged { line: 3, offset: found, .. } if found == offset), "{error}");
    assert!(reader.next_message().unwrap().is_some());
    assert_eq!(reader.next_message(), Ok(None));

    let cut = &CBCAP.as_bytes()[..CBCAP.len() - 2];
    let mut reader = CaptureReader::open(cut, OPTIONS).unwrap();
    reader.next_message().unwrap();
    reader.next_message().unwrap();
    let error = reader.next_message().unwrap_err();
    assert!(matches!(error, CaptureError::Damaged { line: 4, offset: 63, .. }), "{error}");
    assert_eq!(reader.next_message(), Ok(None));
}

/// Method: every cut of a small file of each format, then 4,000 seeded changes of one byte. The reader must end, with
/// messages or with an error, and must never read outside the file.
#[test]
fn no_damage_makes_a_reader_panic_or_run_on() {
    let tbcap = rewritten(CRYPTOFEED.as_bytes(), CaptureFormat::Tbcap);
    let rest = br#"{"error":[],"result":{"XBTUSDT":[["1.5","2",3.25,"b","l","",7]],"last":"3250000000000000000"}}"#;
    let files = [HFTBACKTEST, CRYPTOFEED, CRYPTOFEED_JSONL, CBCAP, BITSTAMP, LOBSTER].map(str::as_bytes);
    let (_, itch) = itch50();
    let files = files.into_iter().chain([&tbcap[..], rest, &itch]);
    let drain = |bytes: &[u8]| {
        let Ok(mut reader) = CaptureReader::open(bytes, OPTIONS) else { return };
        for _ in 0..=2 * bytes.len() {
            match reader.next_message() {
                Ok(None) => return,
                Ok(Some(message)) => assert!(message.body.len() + message.context.len() <= bytes.len() + 200),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        panic!("a reader of {} bytes gave more items than bytes", bytes.len());
    };
    let mut random = Random::new(7);
    for file in files {
        for size in 0..file.len() {
            drain(&file[..size]);
        }
        for _ in 0..4_000 {
            let mut damaged = file.to_vec();
            let at = random.index(damaged.len());
            damaged[at] = random.below(256) as u8;
            drain(&damaged);
        }
    }
}

#[test]
fn recordings_are_given_back_byte_for_byte() {
    for (name, format) in [
        ("binance-spot/btcusdt-20240808.log.zst", CaptureFormat::HftBacktest),
        ("binance-spot/btcusdt-20240809.log.zst", CaptureFormat::HftBacktest),
        ("binance-usdm/btcusdt-20240808.log.zst", CaptureFormat::HftBacktest),
        ("binance-coinm/btcusd_perp-20240809.log.zst", CaptureFormat::HftBacktest),
        ("kraken-v2/kraken_btcusd_l2.cbcap.zst", CaptureFormat::Cbcap),
        ("kraken-v2/kraken_btcusd_sample.cbcap.zst", CaptureFormat::Cbcap),
        ("kraken-v2/kraken_xrpusd_sample.cbcap.zst", CaptureFormat::Cbcap),
    ] {
        let Some(file) = recording(name) else { return };
        assert!(rewritten(&file, format) == file, "{name}");
        let export = rewritten(&file, CaptureFormat::Tbcap);
        assert!(rewritten(&export, format) == file, "{name} by way of tbcap");
    }
}

#[test]
fn each_recording_has_as_many_messages_as_its_description_says() {
    for (name, venue, count) in [
        ("binance-spot/btcusdt-20240808.log.zst", Venue::Binance, 41_249),
        ("binance-spot/btcusdt-20240809.log.zst", Venue::Binance, 58_325),
        ("binance-spot/multi-20210404.log.zst", Venue::Binance, 4_720),
        ("binance-spot/multi-20211012.http.log.zst", Venue::Binance, 4),
        ("binance-spot/multi-20211012.info.log.zst", Venue::Binance, 2),
        ("binance-spot/multi-20211012.ws.log.zst", Venue::Binance, 266),
        ("binance-usdm/btcusdt-20230404.log.zst", Venue::BinanceUsdm, 13_384),
        ("binance-usdm/btcusdt-20230405.log.zst", Venue::BinanceUsdm, 60_381),
        ("binance-usdm/btcusdt-20240808.log.zst", Venue::BinanceUsdm, 93_954),
        ("binance-usdm/multi-20210722.http.log.zst", Venue::BinanceUsdm, 4),
        ("binance-usdm/multi-20210722.ws.log.zst", Venue::BinanceUsdm, 1_536),
        ("binance-coinm/btcusd_perp-20240808.log.zst", Venue::BinanceCoinm, 48_270),
        ("binance-coinm/btcusd_perp-20240809.log.zst", Venue::BinanceCoinm, 50_116),
        ("binance-us/multi-20211012.http.log.zst", Venue::BinanceUs, 4),
        ("binance-us/multi-20211012.ws.log.zst", Venue::BinanceUs, 481),
        ("coinbase-exchange/multi-20210417.log.zst", Venue::Coinbase, 6_500),
        ("coinbase-exchange/products-20210417.log.zst", Venue::Coinbase, 2),
        ("coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst", Venue::CoinbaseAdvanced, 620),
        // The header is one more message.
        ("kraken-v2/kraken_btcusd_l2.cbcap.zst", Venue::Kraken, 377 + 1),
        ("kraken-v2/kraken_btcusd_sample.cbcap.zst", Venue::Kraken, 2_104 + 1),
        ("kraken-v2/kraken_xrpusd_sample.cbcap.zst", Venue::Kraken, 1_192 + 1),
        ("kraken-v1/multi-20210417.assetpairs.log.zst", Venue::KrakenV1, 2),
        ("kraken-v1/multi-20210417.book1000.log.zst", Venue::KrakenV1, 4_323),
        ("kraken-v1/multi-20210417.ticker.log.zst", Venue::KrakenV1, 62),
        ("kraken-v1/multi-20210417.trade.log.zst", Venue::KrakenV1, 51),
        // What the file's name says is one more message.
        ("l3-bitstamp/btcusd-20150501.log.zst", Venue::Bitstamp, 33_600 + 1),
        ("l3-lobster/aapl-20120621-message.csv.zst", Venue::Lobster, 42_203 + 1),
        ("l3-lobster/aapl-20120621-level10-first999-message.csv.zst", Venue::Lobster, 999 + 1),
        ("kraken-rest/xbtusdt-trades-20251110.json.zst", Venue::Kraken, 1),
        ("kraken-rest/xbtusdt-ohlc-20251110.json.zst", Venue::Kraken, 1),
    ] {
        let Some(file) = recording(name) else { return };
        let (found, messages) = read_as(&file, name.rsplit('/').next().unwrap());
        assert_eq!((found, messages.len()), (venue, count), "{name}");
    }
}

//! What must hold for any bytes, cut in any way. The fuzz targets look for bytes that break it; the crate's tests run the same
//! functions on generated records, on the corpus and on mutations of it. `fuzz/run` looks on.

pub mod told;

use stockade_protocol::{
    application::Limits,
    encode, head,
    name_value::{Pairs, encode_pair, pair_len},
    record::{Fragment, HEADER_LEN, Header, RecordError, RecordType, Splitter, patch},
};
use told::{Asker, Listener, Told};

/// The limits of the application in the laws: small, so that they are met.
pub const LIMITS: Limits = Limits {
    params: 64,
    requests: 3,
};
/// The id that records are given when they are passed on.
const PASSED_ID: u16 = 0x0107;

/// The fuzz target for [`splitter_law`].
pub fn record(data: &[u8]) {
    let (sizes, bytes) = sizes(data);
    splitter_law(bytes, sizes);
}

/// The fuzz target for [`application_law`].
pub fn application(data: &[u8]) {
    let (sizes, bytes) = sizes(data);
    application_law(bytes, sizes);
}

/// The fuzz target for [`web_server_law`].
pub fn web_server(data: &[u8]) {
    let (sizes, bytes) = sizes(data);
    web_server_law(bytes, sizes);
}

/// The fuzz target for [`head_law`].
pub fn head(data: &[u8]) {
    let (sizes, bytes) = sizes(data);
    head_law(bytes, sizes);
}

/// The fuzz target for [`name_value_law`].
pub fn name_value(data: &[u8]) {
    name_value_law(data);
}

/// How a read is cut: the first byte says how many sizes follow.
fn sizes(data: &[u8]) -> (&[u8], &[u8]) {
    let (&count, rest) = data.split_first().unwrap_or((&0, &[]));
    rest.split_at(rest.len().min(usize::from(count % 8)))
}

/// The bytes in reads of these sizes (0 means 1), again and again; in one read when there are none.
fn reads<'a>(bytes: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| usize::from(*size).max(1));
        let (read, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!read.is_empty()).then_some(read)
    })
}

/// Records come out the same however they are read; fragments keep what their documentation promises; and passing them on in
/// the documented way leaves the streams as they were.
pub fn splitter_law(bytes: &[u8], sizes: &[u8]) {
    let whole = split(std::iter::once(bytes));
    let cut = split(reads(bytes, sizes));
    assert_eq!(whole.told.lines(), cut.told.lines(), "the same records");
    assert_eq!(whole.boundary, cut.boundary, "the same end");
    for passed in [&whole.passed, &cut.passed] {
        let again = split(std::iter::once(&passed[..]));
        assert!(again.boundary, "what is passed on is made of whole records");
        assert_eq!(
            again.streams.lines(),
            whole.streams.lines(),
            "the same streams"
        );
    }
}

/// What came out of a splitter.
struct Split {
    /// The records: headers, contents, the error.
    told: Told,
    /// The contents by kind, joined over records.
    streams: Told,
    /// The records passed on, with another id.
    passed: Vec<u8>,
    boundary: bool,
}

fn split<'a, I: Iterator<Item = &'a [u8]>>(reads: I) -> Split {
    let mut splitter = Splitter::new();
    let mut split = Split {
        told: Told::default(),
        streams: Told::default(),
        passed: Vec::new(),
        boundary: false,
    };
    for read in reads {
        if let Err(error) = split_read(&mut splitter, read, &mut split) {
            assert_eq!(splitter.next(read, 0), Err(error), "an error stays");
            split.told.event(format!("error: {error}"));
            break;
        }
    }
    split.boundary = splitter.at_boundary();
    split
}

fn split_read(splitter: &mut Splitter, read: &[u8], split: &mut Split) -> Result<(), RecordError> {
    let mut at = 0;
    while let Some(fragment) = splitter.next(read, at)? {
        check_fragment(fragment, read, at);
        let content = fragment.content.of(read);
        if fragment.first {
            split.told.event(format!("{:?}", fragment.header));
        }
        split.told.piece("content".into(), content);
        if fragment.last {
            split.told.event("last".into());
        }
        if content.is_empty() {
            split
                .streams
                .event(format!("{} ends", fragment.header.kind));
        } else {
            split
                .streams
                .piece(format!("{}", fragment.header.kind), content);
        }
        pass_on(fragment, read, &mut split.passed);
        at = fragment.end;
    }
    Ok(())
}

/// What the documentation of `Fragment` promises.
fn check_fragment(fragment: Fragment, read: &[u8], from: usize) {
    let content = fragment.content;
    assert!(from <= content.start && content.start <= content.end && content.end <= fragment.end);
    assert!(fragment.end <= read.len() && fragment.end > from);
    assert!(content.len() <= usize::from(fragment.header.content_length));
    assert!(fragment.end - content.end <= usize::from(fragment.header.padding_length));
    assert_eq!(content.is_empty(), fragment.header.content_length == 0);
    if let Some(at) = fragment.header_at {
        assert!(fragment.first && at >= from && at + HEADER_LEN == content.start);
        let header = read[at..].first_chunk().map(Header::decode);
        assert_eq!(header, Some(Ok(fragment.header)));
    }
    if fragment.first && fragment.last {
        assert_eq!(content.len(), usize::from(fragment.header.content_length));
    }
    if fragment.is_whole() {
        let padding = usize::from(fragment.header.padding_length);
        assert_eq!(content.end + padding, fragment.end);
    }
}

/// Passes a fragment on as a relay does: with another id, whole if it is whole, otherwise as a record of its own.
fn pass_on(fragment: Fragment, read: &[u8], passed: &mut Vec<u8>) {
    let length = u16::try_from(fragment.content.len()).expect("no record has more content");
    let own = Header {
        request_id: PASSED_ID,
        content_length: length,
        padding_length: 0,
        ..fragment.header
    };
    match fragment.header_at {
        Some(at) if fragment.is_whole() => {
            let start = passed.len();
            passed.extend_from_slice(&read[at..fragment.end]);
            assert!(patch(
                &mut passed[start..],
                Header {
                    request_id: PASSED_ID,
                    ..fragment.header
                }
            ));
        }
        Some(at) => {
            let start = passed.len();
            passed.extend_from_slice(&read[at..fragment.content.end]);
            assert!(patch(&mut passed[start..], own));
        }
        None => {
            passed.extend_from_slice(&own.encode());
            passed.extend_from_slice(fragment.content.of(read));
        }
    }
}

/// An application hears the same however it reads, and never more than it allows.
pub fn application_law(bytes: &[u8], sizes: &[u8]) {
    for answers in [false, true] {
        let mut whole = Listener::new(LIMITS, answers);
        whole.read(bytes);
        let mut cut = Listener::new(LIMITS, answers);
        for read in reads(bytes, sizes) {
            cut.read(read);
            assert!(cut.application.active() <= LIMITS.requests);
            if is_broken(&cut.told) {
                break;
            }
        }
        assert_eq!(whole.told.lines(), cut.told.lines());
        assert_eq!(whole.application.active(), cut.application.active());
        assert_eq!(whole.application.idle(), cut.application.idle());
        for id in 0..300 {
            assert_eq!(
                whole.application.input_ended(id),
                cut.application.input_ended(id)
            );
        }
    }
}

/// A web server hears the same however it reads.
pub fn web_server_law(bytes: &[u8], sizes: &[u8]) {
    for again in [None, Some(1), Some(2)] {
        let mut whole = Asker::new(again);
        whole.read(bytes);
        let mut cut = Asker::new(again);
        for read in reads(bytes, sizes) {
            cut.read(read);
            if is_broken(&cut.told) {
                break;
            }
        }
        assert_eq!(whole.told.lines(), cut.told.lines());
        assert_eq!(whole.web_server.at_boundary(), cut.web_server.at_boundary());
    }
}

fn is_broken(told: &Told) -> bool {
    told.lines()
        .last()
        .is_some_and(|line| line.starts_with("error"))
}

/// The end of a head is found where the simplest search finds it, however it is read; a head that is accepted is read alike by
/// [`head::parse`] and [`head::fields`].
pub fn head_law(bytes: &[u8], sizes: &[u8]) {
    let end = (0..=bytes.len()).find(|end| {
        let before = &bytes[..*end];
        matches!(before, b"\n" | b"\r\n")
            || before.ends_with(b"\n\n")
            || before.ends_with(b"\n\r\n")
    });
    assert_eq!(head::find_end(bytes, 0), end);
    let mut read_len = 0;
    let mut found = None;
    for read in reads(bytes, sizes) {
        let before = read_len;
        read_len += read.len();
        found = head::find_end(&bytes[..read_len], before);
        if found.is_some() {
            break;
        }
    }
    assert_eq!(found, end);
    let parsed = head::parse(bytes);
    let Some(end) = end else {
        assert!(parsed.is_err());
        return;
    };
    assert_eq!(
        head::parse(&bytes[..end]),
        parsed,
        "what follows the head does not matter"
    );
    if let Ok(head) = parsed {
        assert!((100..1000).contains(&head.status));
        let lines = bytes[..end].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(
            head::fields(bytes).count(),
            lines - 1,
            "a field for every line"
        );
        let location = |(name, value): (&[u8], &[u8])| {
            name.eq_ignore_ascii_case(b"location") && !value.is_empty()
        };
        assert_eq!(head::fields(bytes).any(location), head.has_location);
    }
}

/// Pairs that are accepted can be written and read again, and put into records no pair of which is cut.
pub fn name_value_law(data: &[u8]) {
    let mut pairs = Vec::new();
    for pair in Pairs::new(data) {
        let Ok(pair) = pair else {
            return;
        };
        pairs.push(pair);
    }
    let mut encoded = Vec::new();
    for (name, value) in &pairs {
        let before = encoded.len();
        encode_pair(&mut encoded, name, value);
        assert_eq!(encoded.len() - before, pair_len(name.len(), value.len()));
    }
    assert!(encoded.len() <= data.len(), "no shorter encoding exists");
    let again = Pairs::new(&encoded).collect::<Result<Vec<_>, _>>();
    assert_eq!(again.as_ref(), Ok(&pairs));

    let mut records = Vec::new();
    if encode::params(&mut records, 9, &encoded).is_err() {
        assert!(records.is_empty());
        assert!(
            pairs
                .iter()
                .any(|(name, value)| pair_len(name.len(), value.len()) > 65_528)
        );
        return;
    }
    let mut from_records = Vec::new();
    let mut splitter = Splitter::new();
    let mut at = 0;
    while let Ok(Some(fragment)) = splitter.next(&records, at) {
        let content = fragment.content.of(&records);
        assert_eq!(fragment.header.record_type(), Some(RecordType::Params));
        assert!(fragment.is_whole());
        let whole = Pairs::new(content)
            .collect::<Result<Vec<_>, _>>()
            .expect("whole pairs");
        assert!(content.len() <= 16 * 1024 || whole.len() == 1);
        from_records.extend(whole);
        at = fragment.end;
        assert_eq!(
            content.is_empty(),
            at == records.len(),
            "one empty record, at the end"
        );
    }
    assert_eq!(from_records, pairs);
}

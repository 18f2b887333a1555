//! However the bytes are cut into reads, the same is told. The laws are those of the fuzz targets, here on generated records.

#[path = "../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    dead_code,
    reason = "the fuzz crate exports it; the targets are for the fuzzer"
)]
mod fuzz;

use proptest::{collection::vec, prelude::*};
use stockade_protocol::{
    encode::{self, ProtocolStatus, Role},
    name_value::{Pairs, encode_pair},
    record::{HEADER_LEN, Header, RecordType, Splitter},
};

proptest! {
    #[test]
    fn records(wire in wire(), sizes in sizes()) {
        fuzz::splitter_law(&wire, &sizes);
    }

    #[test]
    fn what_a_host_sends(wire in wire(), sizes in sizes()) {
        fuzz::application_law(&wire, &sizes);
    }

    #[test]
    fn requests(requests in vec(request(1_u16..4), 0..4), sizes in sizes()) {
        fuzz::application_law(&requests.concat().concat(), &sizes);
    }

    #[test]
    fn requests_at_a_time(requests in several(), turns in vec(0_usize..3, 0..60), sizes in sizes()) {
        let wire = interleaved(&requests, &turns);
        fuzz::application_law(&wire, &sizes);
        let told = heard(&wire);
        for (id, request) in (1_u16..).zip(&requests) {
            prop_assert_eq!(of(id, &told), of(id, &heard(&request.concat())), "the same as alone");
        }
    }

    #[test]
    fn what_an_application_sends(wire in wire(), sizes in sizes()) {
        fuzz::web_server_law(&wire, &sizes);
    }

    #[test]
    fn responses(responses in vec(response(), 0..4), sizes in sizes()) {
        fuzz::web_server_law(&responses.concat(), &sizes);
    }

    #[test]
    fn heads(head in head(), sizes in sizes()) {
        fuzz::head_law(&head, &sizes);
    }

    #[test]
    fn pairs(pairs in vec((name(), value()), 0..20)) {
        let mut stream = Vec::new();
        for (name, value) in &pairs {
            encode_pair(&mut stream, name, value);
        }
        let read = Pairs::new(&stream).map(|pair| pair.map(|(name, value)| (name.to_vec(), value.to_vec())));
        prop_assert_eq!(read.collect::<Result<Vec<_>, _>>(), Ok(pairs));
        fuzz::name_value_law(&stream);
    }

    #[test]
    fn pairs_of_any_bytes(stream in vec(any::<u8>(), 0..200)) {
        fuzz::name_value_law(&stream);
    }

    #[test]
    fn headers(kind: u8, request_id: u16, content_length: u16, padding_length: u8) {
        let header = Header { kind, request_id, content_length, padding_length };
        let bytes = header.encode();
        prop_assert_eq!(Header::decode(&bytes), Ok(header));
        prop_assert_eq!(bytes[7], 0, "the reserved byte");
    }

    #[test]
    fn streams_keep_their_bytes(len in 0_usize..150_000, id: u16) {
        let bytes: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0]).collect();
        let mut wire = Vec::new();
        encode::stream(&mut wire, RecordType::Stdout, id, &bytes);
        let mut read = Vec::new();
        let mut splitter = Splitter::new();
        let mut at = 0;
        while let Some(fragment) = splitter.next(&wire, at)? {
            prop_assert!(fragment.is_whole() && !fragment.content.is_empty());
            prop_assert!(fragment.content.len() <= 32 * 1024);
            prop_assert_eq!(fragment.header, Header::new(RecordType::Stdout, id, fragment.header.content_length));
            read.extend_from_slice(fragment.content.of(&wire));
            at = fragment.end;
        }
        prop_assert!(splitter.at_boundary());
        prop_assert_eq!(read, bytes);
    }
}

/// Sizes of reads; none: one read of everything.
fn sizes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![1]), vec(1_u8..=9, 1..6), vec(1_u8..=255, 1..6),]
}

/// Records that mostly make sense, for few ids, and now and then what is none.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        30 => any_record(),
        6 => request(1_u16..4).prop_map(|records| records.concat()),
        6 => response(),
        1 => vec(any::<u8>(), 1..12),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![20 => 1_u8..=11, 1 => any::<u8>()];
    let content = prop_oneof![
        2 => Just(Vec::new()),
        1 => (0_u8..5, any::<u8>()).prop_map(|(role, flags)| vec![0, role, flags, 0, 0, 0, 0, 0]),
        3 => vec(any::<u8>(), 1..40),
    ];
    (
        kind,
        0_u16..5,
        content,
        prop_oneof![3 => Just(0), 1 => any::<u8>()],
    )
        .prop_map(|(kind, id, content, padding)| record(kind, id, &content, padding))
}

fn record(kind: u8, request_id: u16, content: &[u8], padding_length: u8) -> Vec<u8> {
    let content_length = u16::try_from(content.len()).expect("contents are short");
    let header = Header {
        kind,
        request_id,
        content_length,
        padding_length,
    };
    let mut record = header.encode().to_vec();
    record.extend_from_slice(content);
    record.resize(
        HEADER_LEN + content.len() + usize::from(padding_length),
        0xaa,
    );
    record
}

/// The records of a request of any role; now and then aborted, or with more behind the end of a stream.
fn request(id: impl Strategy<Value = u16>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let role = prop_oneof![
        Just(Role::Responder),
        Just(Role::Authorizer),
        Just(Role::Filter)
    ];
    let params = vec((name(), vec(1_u8.., 0..20)), 0..4);
    let bytes = || vec(any::<u8>(), 0..60);
    let abort = prop_oneof![3 => Just(None), 1 => (0_usize..12).prop_map(Some)];
    (id, role, any::<bool>(), params, bytes(), bytes(), abort).prop_map(
        |(id, role, keep, params, body, data, abort)| {
            let mut pairs = Vec::new();
            for (name, value) in params {
                encode_pair(&mut pairs, &name, &value);
            }
            let mut begin = Vec::new();
            encode::begin_request(&mut begin, id, role, keep);
            let mut records = vec![begin];
            for (kind, bytes) in [
                (RecordType::Params, pairs),
                (RecordType::Stdin, body),
                (RecordType::Data, data),
            ] {
                let pieces = bytes.chunks(25).chain([&[][..]]);
                records.extend(pieces.map(|piece| record(kind.into(), id, piece, 0)));
            }
            if let Some(at) = abort {
                let mut abort = Vec::new();
                encode::abort_request(&mut abort, id);
                records.insert(1 + at.min(records.len() - 1), abort);
            }
            records
        },
    )
}

/// Requests with the ids 1, 2, 3.
fn several() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    (request(Just(1)), request(Just(2)), request(Just(3)))
        .prop_map(|(one, two, three)| vec![one, two, three])
}

/// One record of these requests at each turn, then the rest of each.
fn interleaved(requests: &[Vec<Vec<u8>>], turns: &[usize]) -> Vec<u8> {
    let mut rests: Vec<_> = requests.iter().map(|records| records.iter()).collect();
    let mut wire = Vec::new();
    for turn in turns {
        wire.extend(rests[*turn].next().into_iter().flatten());
    }
    wire.extend(rests.into_iter().flatten().flatten());
    wire
}

/// What an application hears that answers nothing.
fn heard(wire: &[u8]) -> Vec<String> {
    let mut host = fuzz::told::Listener::new(fuzz::LIMITS, false);
    host.read(wire);
    host.told.lines()
}

/// What of this was told of request `id`, pieces of a stream joined.
fn of(id: u16, told: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in told {
        let mut words = line.splitn(3, ' ');
        let (what, about) = (words.next(), words.next());
        if about != Some(&id.to_string()) {
            continue;
        }
        let piece = words.next().unwrap_or_default();
        let start = format!("{} {id} ", what.unwrap_or_default());
        match lines.last_mut() {
            Some(last) if last.starts_with(&start) => last.push_str(piece),
            _ => lines.push(start + piece),
        }
    }
    lines
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    (
        1_u16..3,
        vec(any::<u8>(), 0..60),
        vec(any::<u8>(), 0..9),
        any::<u32>(),
    )
        .prop_map(|(id, out, err, app_status)| {
            let mut wire = Vec::new();
            encode::stream(&mut wire, RecordType::Stdout, id, &out);
            encode::stream(&mut wire, RecordType::Stderr, id, &err);
            encode::stream_end(&mut wire, RecordType::Stdout, id);
            encode::end_request(&mut wire, id, app_status, ProtocolStatus::RequestComplete);
            wire
        })
}

/// Heads good and bad, with something behind them.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "[A-Za-z-]{1,8}: ?[a-z ]{0,8}",
        "Status: [0-9]{2,4}( OK)?",
        "Location: ?[/a-z]{0,4}",
        "Content-Length: [0-9]{0,3}",
        "[ -~\r]{0,6}",
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    let lines = vec((line, end), 0..6).prop_map(|lines| {
        let lines = lines.into_iter().map(|(line, end)| line + end);
        lines.collect::<String>()
    });
    (lines, "[\r\n]{0,4}", "[a-z\n]{0,9}")
        .prop_map(|(lines, blank, body)| (lines + &blank + &body).into_bytes())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[A-Z_]{0,12}", "[A-Z_]{120,140}"].prop_map(String::into_bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(1_u8.., 0..140), 1 => vec(1_u8.., 4000..9000)]
}

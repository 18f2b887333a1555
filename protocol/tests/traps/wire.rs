//! Records by hand, and who hears them.

use stockade_protocol::{
    application::Limits,
    record::{Fragment, Header, Splitter},
};

use crate::told::{Asker, Listener};

pub(crate) const BEGIN: u8 = 1;
pub(crate) const ABORT: u8 = 2;
pub(crate) const END: u8 = 3;
pub(crate) const PARAMS: u8 = 4;
pub(crate) const STDIN: u8 = 5;
pub(crate) const STDOUT: u8 = 6;
pub(crate) const STDERR: u8 = 7;
pub(crate) const DATA: u8 = 8;
pub(crate) const GET_VALUES: u8 = 9;
pub(crate) const VALUES_RESULT: u8 = 10;
pub(crate) const UNKNOWN_TYPE: u8 = 11;
pub(crate) const LIMITS: Limits = Limits {
    params: 1 << 20,
    requests: 8,
};
pub(crate) const KEEP: [u8; 8] = [0, 1, 1, 0, 0, 0, 0, 0];
pub(crate) const CLOSE: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

/// What an application hears that answers nothing.
pub(crate) fn heard(wire: &[u8]) -> Vec<String> {
    let mut host = listener(LIMITS);
    host.read(wire);
    host.told.lines()
}

/// What a web server hears that has asked once, with id 1.
pub(crate) fn answered(wire: &[u8]) -> Vec<String> {
    let mut worker = Asker::new(None);
    worker.read(wire);
    worker.told.lines()
}

pub(crate) fn listener(limits: Limits) -> Listener {
    Listener::new(limits, false)
}

pub(crate) fn record(kind: u8, request_id: u16, content: &[u8], padding_length: u8) -> Vec<u8> {
    let content_length = u16::try_from(content.len()).expect("it fits");
    let header = Header {
        kind,
        request_id,
        content_length,
        padding_length,
    };
    let mut record = header.encode().to_vec();
    record.extend_from_slice(content);
    record.resize(record.len() + usize::from(padding_length), 0xaa);
    record
}

pub(crate) fn records(wire: &[u8]) -> Vec<(Fragment, &[u8])> {
    let mut splitter = Splitter::new();
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(fragment) = splitter.next(wire, at).expect("records") {
        assert!(fragment.is_whole());
        records.push((fragment, fragment.content.of(wire)));
        at = fragment.end;
    }
    assert!(splitter.at_boundary());
    records
}

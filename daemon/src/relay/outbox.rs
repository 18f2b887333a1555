//! What waits to be written on a connection: whole records, but for the beginning of the first, which the kernel may have taken already.

use std::io::IoSlice;

use stockade_protocol::record::{HEADER_LEN, Header};

/// One that grew beyond this is given back when it is empty. In bytes.
const KEPT: usize = 16 * 1024;

/// Bytes that wait.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// Of these, those that the kernel has taken.
    sent: usize,
    /// Where a record begins in `bytes`, and from where on there are whole records.
    boundary: usize,
}

impl Outbox {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Those that wait.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// To put whole records behind what waits.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Puts whole records behind what waits, less what the kernel has `written` of them; it takes some only when nothing waits.
    pub(super) fn append(&mut self, parts: &[IoSlice<'_>], written: usize) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if written == length {
            return;
        }
        if self.bytes.is_empty() {
            self.boundary = left_of_record(parts, written);
        }
        let mut skip = written;
        for part in parts {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            self.bytes.extend_from_slice(rest);
        }
    }

    /// The kernel took some.
    pub(super) fn took(&mut self, count: usize) {
        self.sent += count;
        if self.waiting() == 0 {
            self.sent = 0;
            self.boundary = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        } else if self.sent > self.waiting() {
            self.find_boundary();
            self.bytes.drain(..self.sent);
            self.boundary -= self.sent;
            self.sent = 0;
        }
    }

    /// Throws away all records but the one of which the kernel has the beginning, and puts `end` in their place.
    pub(super) fn cut(&mut self, end: &[u8]) {
        self.find_boundary();
        self.bytes.truncate(self.boundary);
        self.bytes.extend_from_slice(end);
        self.bytes.shrink_to_fit();
    }

    /// The first record of which nothing was sent.
    fn find_boundary(&mut self) {
        while self.boundary < self.sent {
            let header = self.bytes.get(self.boundary..);
            let length = header.and_then(record_length).unwrap_or(usize::MAX);
            self.boundary = (self.boundary.saturating_add(length)).min(self.bytes.len());
        }
    }
}

/// How far it is from `written` to the beginning of the next record.
fn left_of_record(parts: &[IoSlice<'_>], written: usize) -> usize {
    let (mut start, mut record) = (0, 0);
    for part in parts {
        while record < start + part.len() {
            if record >= written {
                return record - written;
            }
            let header = part.get(record - start..);
            let Some(length) = header.and_then(record_length) else {
                break;
            };
            record += length;
        }
        start += part.len();
    }
    record.saturating_sub(written)
}

fn record_length(bytes: &[u8]) -> Option<usize> {
    let header = Header::decode(bytes.first_chunk()?).ok()?;
    Some(HEADER_LEN + usize::from(header.content_length) + usize::from(header.padding_length))
}

#[cfg(test)]
mod tests {
    use stockade_protocol::{encode, record::RecordType};

    use super::*;

    const END: &[u8] = &[0; 8];

    /// Three records, of 8 + 16, 8 + 24 and 8 + 32 bytes.
    fn records() -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in [16, 24, 32] {
            encode::stream(&mut bytes, RecordType::Stdout, 1, &vec![b'x'; length]);
        }
        assert_eq!(bytes.len(), 24 + 32 + 40);
        bytes
    }

    #[test]
    fn what_is_cut_ends_behind_a_whole_record_wherever_the_kernel_stopped() {
        let bytes = records();
        for parts in [vec![&bytes[..]], vec![&bytes[..24], &bytes[24..]]] {
            let parts: Vec<IoSlice<'_>> = parts.into_iter().map(IoSlice::new).collect();
            for written in 0..bytes.len() {
                let mut outbox = Outbox::default();
                outbox.append(&parts, written);
                assert_eq!(outbox.rest(), &bytes[written..]);
                outbox.cut(END);
                let boundary = [0, 24, 56, 96].into_iter().find(|at| *at >= written);
                let expected = [&bytes[written..boundary.unwrap()], END].concat();
                assert_eq!(outbox.rest(), expected, "{written} of {}", parts.len());
            }
        }
    }

    #[test]
    fn it_stays_so_while_the_kernel_takes_bytes_and_more_are_added() {
        let bytes = records();
        for step in 1..bytes.len() {
            let (mut outbox, mut sent) = (Outbox::default(), 0);
            outbox.end().extend_from_slice(&bytes);
            outbox.append(&[IoSlice::new(&bytes)], 0);
            let all = bytes.repeat(2);
            while sent + step < all.len() {
                outbox.took(step);
                sent += step;
                assert_eq!(outbox.rest(), &all[sent..]);
                let mut copy = Outbox {
                    bytes: outbox.bytes.clone(),
                    ..outbox
                };
                copy.cut(END);
                let boundaries = [24, 56, 96, 120, 152, 192];
                let boundary = boundaries.into_iter().find(|at| *at >= sent).unwrap();
                assert_eq!(copy.rest(), [&all[sent..boundary], END].concat());
            }
            outbox.took(all.len() - sent);
            assert_eq!((outbox.waiting(), outbox.boundary), (0, 0));
        }
    }
}

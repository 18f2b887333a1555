//! Finds the records in a byte stream (FastCGI 1.0, section 3.3).

use std::ops::Range;

#[cfg(doc)]
use super::patch;
use super::{HEADER_LEN, Header, RecordError, VERSION};

/// A range of offsets in the input, as [`Range`], but [`Copy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset just behind the last byte.
    pub end: usize,
}

impl Span {
    /// How many bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// No bytes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// As a range, to index with.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// The bytes; none when `input` is not the one that the offsets belong to and too short for them.
    pub fn of(self, input: &[u8]) -> &[u8] {
        input.get(self.range()).unwrap_or_default()
    }
}

/// A part of one record, as far as it lies in one input.
///
/// All offsets count from the start of the input which was given to the call that returned the fragment. A consumer that
/// passes records through may rely on this:
///
/// - **Order.** `from <= header_at < content.start <= content.end <= end <= input.len()`, where `from` is the call's
///   argument, and `content.start == header_at + HEADER_LEN` when `header_at` is there. The fragments of an input follow each
///   other and never overlap.
/// - **Header.** `header` is the record's own, the same in all its fragments: `content_length` is the record's, not this
///   piece's (that is `content.len()`). `header_at` is given only in the record's first fragment, and only if all eight bytes lie
///   in this input, just before the content: they may be overwritten by [`patch`]. The splitter has read them already and
///   does not look at them again.
/// - **Content.** The pieces of a record's content, put together in order, are its content. `first` is true in exactly one
///   fragment of a record, `last` in exactly one, and they are the same when the record lies in one input. A fragment
///   without content comes only from a record without content (which gives exactly one, `first` and `last`).
/// - **Whole records.** If [`Fragment::is_whole`], the bytes `header_at..end` are the record, complete with its padding:
///   they can be written as they are. If not, a record of the right form is made by patching `content_length =
///   content.len()` and `padding_length = 0` and writing `header_at..content.end`, or, without `header_at`, by
///   writing such a header before `content`. Cutting a record of a stream in two so does not change the stream (section 3.3).
/// - **Uncovered bytes.** Bytes of an input in no fragment (a header cut off by its end, the rest of a padding at its
///   start) are remembered by the splitter and never have to be kept. So the input may be given up or overwritten from
///   the moment that its fragments have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The record's header.
    pub header: Header,
    /// The part of the content that lies in this input.
    pub content: Span,
    /// Where the header begins, if the record's whole header lies in this input and this is its first fragment.
    pub header_at: Option<usize>,
    /// The content begins here.
    pub first: bool,
    /// The content is complete with this fragment. Padding may still follow in the next input.
    pub last: bool,
    /// Just behind what was consumed: the content, and the padding as far as it is there. The `from` of the next call.
    pub end: usize,
}

impl Fragment {
    /// The bytes `header_at..end` of the input are the record from the first byte of its header to the last of its padding.
    pub fn is_whole(self) -> bool {
        self.header_at.is_some()
            && self.last
            && self.end.saturating_sub(self.content.end) == usize::from(self.header.padding_length)
    }
}

/// Cuts a byte stream into fragments of records.
///
/// It holds one header and no content, whatever is sent to it.
///
/// ```
/// use stockade_protocol::record::Splitter;
///
/// let mut splitter = Splitter::new();
/// let mut content = Vec::new();
/// for read in [&b"\x01\x05\x00\x01\x00"[..], b"\x05\x03\x00hel", b"lo\x00\x00\x00"] {
///     let mut at = 0;
///     while let Some(fragment) = splitter.next(read, at)? {
///         content.extend_from_slice(fragment.content.of(read));
///         at = fragment.end;
///     }
/// }
/// assert_eq!(content, b"hello");
/// assert!(splitter.at_boundary());
/// # Ok::<(), stockade_protocol::record::RecordError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Splitter {
    place: Place,
    /// The first bytes of a header that a read has cut; [`Place::Header`] says how many.
    cut: [u8; HEADER_LEN],
}

/// Where in a record the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the header, of which this many bytes (0 to 7) are in `cut`.
    Header(usize),
    /// In the content, of which this many bytes (never 0) are still to come.
    Content(Header, u16),
    /// In the padding, of which this many bytes (never 0) are still to come.
    Padding(usize),
    /// Nowhere: the stream is not FastCGI.
    Lost(RecordError),
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// A splitter at the start of a stream.
    pub fn new() -> Self {
        Self {
            place: Place::Header(0),
            cut: [0; HEADER_LEN],
        }
    }

    /// The next fragment in `input` at or behind the offset `from`, which is 0 for an input just read and then the
    /// `end` of the fragment before. None: the input is used up, all of it, and the next call takes the bytes after it.
    ///
    /// # Errors
    /// The stream is not FastCGI, known from the first byte of a record. Nothing behind it can be read: every later call
    /// gives the same error.
    pub fn next(&mut self, input: &[u8], from: usize) -> Result<Option<Fragment>, RecordError> {
        let mut at = from;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let Some(&byte) = rest.first() else {
                return match self.place {
                    Place::Lost(error) => Err(error),
                    Place::Header(_) | Place::Content(..) | Place::Padding(_) => Ok(None),
                };
            };
            match self.place {
                Place::Lost(error) => return Err(error),
                Place::Padding(left) => {
                    let skipped = left.min(rest.len());
                    at = at.saturating_add(skipped);
                    self.place = padding(left.saturating_sub(skipped));
                }
                Place::Content(header, left) => {
                    return Ok(Some(self.fragment(header, left, None, at, rest)));
                }
                Place::Header(0) if byte != VERSION => {
                    self.place = Place::Lost(RecordError::Version(byte));
                }
                Place::Header(held) => {
                    let Some((header, taken)) = self.header(held, rest)? else {
                        return Ok(None);
                    };
                    let header_at = (held == 0).then_some(at);
                    let behind = rest.get(taken..).unwrap_or_default();
                    at = at.saturating_add(taken);
                    let left = header.content_length;
                    if left == 0 || !behind.is_empty() {
                        return Ok(Some(self.fragment(header, left, header_at, at, behind)));
                    }
                    self.place = Place::Content(header, left);
                }
            }
        }
    }

    /// Nothing of a record is pending: the stream may end here.
    pub fn at_boundary(&self) -> bool {
        matches!(self.place, Place::Header(0))
    }

    /// The header and how many bytes of `rest` it took, or None when it is still incomplete and `rest` has been put by.
    fn header(&mut self, held: usize, rest: &[u8]) -> Result<Option<(Header, usize)>, RecordError> {
        if held == 0
            && let Some(bytes) = rest.first_chunk()
        {
            return Ok(Some((Header::decode(bytes)?, HEADER_LEN)));
        }
        let mut taken: usize = 0;
        for (place, byte) in self.cut.iter_mut().skip(held).zip(rest) {
            *place = *byte;
            taken = taken.saturating_add(1);
        }
        let held = held.saturating_add(taken);
        if held < HEADER_LEN {
            self.place = Place::Header(held);
            return Ok(None);
        }
        Ok(Some((Header::decode(&self.cut)?, taken)))
    }

    /// The fragment at `at`, where `behind` is the input from there on and `left` the content that has not come yet.
    fn fragment(
        &mut self,
        header: Header,
        left: u16,
        header_at: Option<usize>,
        at: usize,
        behind: &[u8],
    ) -> Fragment {
        let taken = u16::try_from(behind.len()).unwrap_or(u16::MAX).min(left);
        let content_end = at.saturating_add(usize::from(taken));
        let after = left.saturating_sub(taken);
        let mut end = content_end;
        if after == 0 {
            let wanted = usize::from(header.padding_length);
            let skipped = wanted.min(behind.len().saturating_sub(usize::from(taken)));
            end = content_end.saturating_add(skipped);
            self.place = padding(wanted.saturating_sub(skipped));
        } else {
            self.place = Place::Content(header, after);
        }
        Fragment {
            header,
            content: Span {
                start: at,
                end: content_end,
            },
            header_at,
            first: left == header.content_length,
            last: after == 0,
            end,
        }
    }
}

/// The place when this much padding is still to come.
fn padding(left: usize) -> Place {
    if left == 0 {
        Place::Header(0)
    } else {
        Place::Padding(left)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::RecordError, Span, Splitter};

    const RECORD: &[u8] = b"\x01\x06\x00\x01\x00\x02\x01\x00ok\x00";

    #[test]
    fn a_record_in_one_input_is_one_whole_fragment() {
        let mut splitter = Splitter::new();
        let input = [b"?", RECORD, RECORD].concat();
        let fragment = splitter.next(&input, 1).unwrap().unwrap();
        assert_eq!(fragment.header_at, Some(1));
        assert_eq!(fragment.content, Span { start: 9, end: 11 });
        assert_eq!(fragment.end, 12);
        assert!(fragment.first && fragment.last && fragment.is_whole());
        let second = splitter.next(&input, fragment.end).unwrap().unwrap();
        assert_eq!((second.header_at, second.end), (Some(12), 23));
        assert_eq!(splitter.next(&input, second.end), Ok(None));
        assert!(splitter.at_boundary());
    }

    #[test]
    fn a_cut_record_is_whole_in_no_fragment() {
        for at in 1..RECORD.len() {
            let (one, two) = RECORD.split_at(at);
            let mut splitter = Splitter::new();
            let mut fragments = Vec::new();
            for input in [one, two] {
                let mut from = 0;
                while let Some(fragment) = splitter.next(input, from).unwrap() {
                    from = fragment.end;
                    fragments.push(fragment);
                }
                assert_eq!(splitter.at_boundary(), input == two);
            }
            assert!(
                fragments.iter().all(|fragment| !fragment.is_whole()),
                "cut at {at}"
            );
            let first = fragments.first().unwrap();
            assert_eq!(
                first.header_at.is_some(),
                at > 8,
                "header and content in one input, cut at {at}"
            );
            assert_eq!(fragments.len(), if at == 9 { 2 } else { 1 }, "cut at {at}");
        }
    }

    #[test]
    fn an_offset_behind_the_input_is_its_end() {
        assert_eq!(Splitter::new().next(RECORD, 99), Ok(None));
    }

    #[test]
    fn an_error_stays() {
        let mut splitter = Splitter::new();
        let error = Err(RecordError::Version(b'G'));
        assert_eq!(splitter.next(b"GET", 0), error);
        assert_eq!(splitter.next(RECORD, 0), error);
        assert_eq!(splitter.next(b"", 0), error);
        assert!(!splitter.at_boundary());
    }

    #[test]
    fn a_span_of_another_input_is_empty() {
        let span = Span { start: 2, end: 5 };
        assert_eq!(span.of(b"abcdef"), b"cde");
        assert_eq!(span.of(b"abcd"), b"");
        assert_eq!((span.len(), span.is_empty()), (3, false));
        assert_eq!(Span { start: 5, end: 2 }.len(), 0);
    }
}

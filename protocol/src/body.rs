//! The eight-byte bodies of BEGIN_REQUEST and END_REQUEST (FastCGI 1.0, sections 5.1 and 5.5), put together from pieces.

/// The longest GET_VALUES, and GET_VALUES_RESULT, that is kept, in bytes. There are three names to ask for (section 4.1).
pub(crate) const MAX_VALUES: usize = 4 * 1024;

/// The first eight bytes of a record's content; what follows is tolerated and left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Body {
    bytes: [u8; 8],
    held: usize,
}

impl Body {
    /// Takes the next piece of the content.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.held).zip(piece) {
            *place = *byte;
            self.held = self.held.saturating_add(1);
        }
    }

    /// All eight bytes; None when the content is shorter.
    pub(crate) fn complete(self) -> Option<[u8; 8]> {
        (self.held == self.bytes.len()).then_some(self.bytes)
    }
}

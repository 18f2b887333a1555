//! The body of one request: what arrived of it and was not read yet.
//!
//! It ends with the STDIN stream, and never later than `CONTENT_LENGTH` says. What arrives behind that is dropped.

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// How much of `bytes` was read already; always `<= bytes.len()`.
    taken: usize,
    /// How many bytes may still arrive by `CONTENT_LENGTH`; none: as many as come.
    owed: Option<u64>,
    /// The stream ended.
    ended: bool,
}

/// A buffer grown beyond this for one request is not kept for the next.
const KEPT: usize = 256 * 1024;

impl Body {
    /// Makes room for the next request's body.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.taken = 0;
        self.owed = None;
        self.ended = false;
    }

    /// Sets how long the request says its body is. What arrived so far counts.
    pub(crate) fn declare(&mut self, length: u64) {
        let arrived = self.bytes.len() as u64;
        if let Ok(length) = usize::try_from(length) {
            self.bytes.truncate(length);
        }
        self.owed = Some(length.saturating_sub(arrived));
    }

    /// A piece of the stream arrived.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let mut piece = piece;
        if let Some(owed) = &mut self.owed {
            let room = usize::try_from(*owed).unwrap_or(usize::MAX);
            piece = &piece[..piece.len().min(room)];
            *owed -= piece.len() as u64;
        }
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The stream ended.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more will become available.
    pub(crate) fn complete(&self) -> bool {
        self.ended || self.owed == Some(0)
    }

    /// The stream ended before `CONTENT_LENGTH` bytes: how many are missing.
    pub(crate) fn missing(&self) -> Option<u64> {
        self.owed.filter(|&owed| self.ended && owed > 0)
    }

    /// What can be read.
    pub(crate) fn available(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Marks the first `count` available bytes as read.
    pub(crate) fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count).min(self.bytes.len());
    }
}

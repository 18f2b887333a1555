//! One response as far as it is out: the head goes first, and nothing beyond `Content-Length`, or of a body that has none.

use std::io;

use crate::head::Head;

/// A body up to this goes into one record with the head.
const JOINED: usize = 16 * 1024;

/// Where response bytes go.
pub(crate) trait Sink {
    fn stdout(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// What the application began its response with.
    head: Option<Head>,
    /// The head is on its way: it can be neither replaced nor taken back.
    sent: bool,
    /// The method is HEAD: nothing of the body is sent.
    head_only: bool,
    /// The length of the whole body, when it is known before the head is sent.
    total: Option<u64>,
    /// How many bytes `Content-Length` still allows.
    owed: Option<u64>,
    /// The application gave more than its `Content-Length`.
    overflowed: bool,
}

/// Why a reply cannot go on.
#[derive(Debug)]
pub(crate) enum ReplyError {
    /// There is no head.
    Unstarted,
    /// It could not be written.
    Write(io::Error),
    /// The body ended so many bytes before its `Content-Length`.
    Short(u64),
}

impl Reply {
    pub(crate) fn new(head_only: bool) -> Self {
        Self {
            head_only,
            ..Self::default()
        }
    }

    /// The application began its response.
    pub(crate) fn start(&mut self, head: Head) {
        self.head = Some(head);
    }

    pub(crate) fn started(&self) -> bool {
        self.head.is_some()
    }

    pub(crate) fn sent(&self) -> bool {
        self.sent
    }

    /// What the response began with.
    pub(crate) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(Head::status)
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The whole body will be `length` bytes.
    pub(crate) fn announce(&mut self, length: u64) {
        self.total = Some(length);
    }

    /// Forgets how the application began, so that another response can be given instead. Only before the head is sent.
    pub(crate) fn restart(&mut self, head: Head) {
        self.head = Some(head);
        self.total = None;
    }

    /// A block of the body; the head goes first.
    pub(crate) fn block(&mut self, block: &[u8], sink: &mut impl Sink) -> Result<(), ReplyError> {
        if block.is_empty() {
            return Ok(());
        }
        if self.sent {
            return Ok(sink.stdout(self.allowed(block))?);
        }
        self.head_with(block, sink)
    }

    /// The head is to be out, whether or not there is a body yet.
    pub(crate) fn send_head(&mut self, sink: &mut impl Sink) -> Result<(), ReplyError> {
        if self.sent {
            return Ok(());
        }
        self.head_with(b"", sink)
    }

    /// The body is complete.
    pub(crate) fn complete(&mut self, sink: &mut impl Sink) -> Result<(), ReplyError> {
        self.send_head(sink)?;
        match self.owed {
            Some(owed) if owed > 0 => Err(ReplyError::Short(owed)),
            _ => Ok(()),
        }
    }

    /// Sends the head, with the first block of the body.
    fn head_with(&mut self, block: &[u8], sink: &mut impl Sink) -> Result<(), ReplyError> {
        let head = self.head.as_mut().ok_or(ReplyError::Unstarted)?;
        // the empty answer to HEAD tells nothing about the length of the one to GET
        if let Some(total) = self.total.filter(|&total| total > 0 || !self.head_only) {
            head.complete_length(total);
        }
        self.sent = true;
        self.head_only |= head.bodiless();
        self.owed = head.length().filter(|_| !self.head_only);
        let mut lines = std::mem::take(head.lines());
        lines.extend_from_slice(b"\r\n");
        if block.len() > JOINED {
            sink.stdout(&lines)?;
            return self.block(block, sink);
        }
        lines.extend_from_slice(self.allowed(block));
        Ok(sink.stdout(&lines)?)
    }

    /// The part of a block that may be sent.
    fn allowed<'b>(&mut self, block: &'b [u8]) -> &'b [u8] {
        let mut allowed = if self.head_only { &block[..0] } else { block };
        if let Some(owed) = &mut self.owed {
            let room = usize::try_from(*owed).unwrap_or(usize::MAX);
            if allowed.len() > room {
                allowed = &allowed[..room];
                self.overflowed = true;
            }
            *owed -= allowed.len() as u64;
        }
        allowed
    }
}

impl From<io::Error> for ReplyError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

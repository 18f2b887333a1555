//! One active request: which of its streams have ended, and what of them is still told.

use super::Event;
use crate::{encode::Role, record::Fragment};

/// A request whose answer has not been written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) id: u16,
    role: Role,
    /// The bytes of parameters so far.
    params: usize,
    params_ended: bool,
    stdin_ended: bool,
    data_ended: bool,
    /// Nothing of its streams is told any more: it was aborted or refused.
    muted: bool,
    aborted: bool,
}

impl Request {
    pub(super) fn new(id: u16, role: Role) -> Self {
        Self {
            id,
            role,
            params: 0,
            params_ended: false,
            stdin_ended: false,
            data_ended: false,
            muted: false,
            aborted: false,
        }
    }

    /// Nothing more of it comes, if the web server keeps to the specification.
    pub(super) fn input_ended(&self) -> bool {
        self.stdin_ended && (self.data_ended || self.role != Role::Filter)
    }

    pub(super) fn params<'a>(
        &mut self,
        fragment: Fragment,
        bytes: &'a [u8],
        limit: usize,
    ) -> Option<Event<'a>> {
        let id = self.id;
        let length = usize::from(fragment.header.content_length);
        if self.params_ended {
            return None;
        }
        if length == 0 {
            self.params_ended = true;
            return self.told(Event::ParamsEnd { id });
        }
        if fragment.first && !self.muted {
            // judged by the length that the header announces: nothing is handed on of a record that is too long
            self.params = self.params.saturating_add(length);
            if self.params > limit {
                self.muted = true;
                return Some(Event::ParamsTooLong { id });
            }
        }
        self.told(Event::Params { id, bytes })
    }

    pub(super) fn stdin<'a>(&mut self, fragment: Fragment, bytes: &'a [u8]) -> Option<Event<'a>> {
        let id = self.id;
        if self.stdin_ended {
            return None;
        }
        self.stdin_ended = fragment.header.content_length == 0;
        if !self.params_ended {
            return self.unfinished();
        }
        self.told(if self.stdin_ended {
            Event::StdinEnd { id }
        } else {
            Event::Stdin { id, bytes }
        })
    }

    pub(super) fn data<'a>(&mut self, fragment: Fragment, bytes: &'a [u8]) -> Option<Event<'a>> {
        let id = self.id;
        if self.role != Role::Filter || self.data_ended {
            return None;
        }
        self.data_ended = fragment.header.content_length == 0;
        if !self.params_ended {
            return self.unfinished();
        }
        self.told(if self.data_ended {
            Event::DataEnd { id }
        } else {
            Event::Data { id, bytes }
        })
    }

    pub(super) fn abort<'a>(&mut self, fragment: Fragment) -> Option<Event<'a>> {
        if self.aborted || !fragment.last {
            return None;
        }
        self.aborted = true;
        self.muted = true;
        Some(Event::Abort { id: self.id })
    }

    fn unfinished<'a>(&mut self) -> Option<Event<'a>> {
        let event = self.told(Event::ParamsUnfinished { id: self.id });
        self.muted = true;
        event
    }

    fn told<'a>(&self, event: Event<'a>) -> Option<Event<'a>> {
        (!self.muted).then_some(event)
    }
}

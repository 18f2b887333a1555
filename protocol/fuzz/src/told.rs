//! What the decoders tell, written down so that it can be compared: one line an event, adjacent pieces of a stream joined.

use stockade_protocol::{
    application::{Application, Event, Limits},
    web_server::{Answer, WebServer},
};

/// What was told so far.
#[derive(Clone, Debug, Default)]
pub struct Told {
    lines: Vec<(String, Option<Vec<u8>>)>,
}

impl Told {
    /// An event without bytes.
    pub fn event(&mut self, what: String) {
        self.lines.push((what, None));
    }

    /// A piece of a stream.
    pub fn piece(&mut self, what: String, bytes: &[u8]) {
        match self.lines.last_mut() {
            Some((last, Some(joined))) if *last == what => joined.extend_from_slice(bytes),
            _ => self.lines.push((what, Some(bytes.to_vec()))),
        }
    }

    /// One line an event.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .iter()
            .map(|(what, bytes)| match bytes {
                Some(bytes) => format!("{what} {}", bytes.escape_ascii()),
                None => what.clone(),
            })
            .collect()
    }
}

/// An application that notes what its host sends.
pub struct Listener {
    /// The decoder.
    pub application: Application,
    /// What it told.
    pub told: Told,
    /// Every request is finished as soon as it can be.
    answers: bool,
}

impl Listener {
    /// One which finishes requests as soon as it can (`answers`), or leaves that to the test.
    pub fn new(limits: Limits, answers: bool) -> Self {
        Self {
            application: Application::new(limits),
            told: Told::default(),
            answers,
        }
    }

    /// Reads these bytes, all of them unless there is an error.
    pub fn read(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            let event = match self.application.next(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => {
                    assert!(input.is_empty(), "all is taken before more is asked for");
                    return;
                }
                Err(error) => {
                    assert_eq!(
                        self.application.next(&mut input),
                        Err(error),
                        "an error stays"
                    );
                    return self.told.event(format!("error: {error}"));
                }
            };
            if let Some(id) = note(&mut self.told, event).filter(|_| self.answers)
                && self.application.finished(id)
            {
                self.told.event(format!("close after {id}"));
            }
        }
    }
}

/// Writes an event down; gives the request that can be answered.
fn note(told: &mut Told, event: Event<'_>) -> Option<u16> {
    let (what, id) = match event {
        Event::Begin {
            id,
            role,
            keep_conn,
        } => {
            let keep = if keep_conn { "keep" } else { "close" };
            told.event(format!("begin {id} {role:?} {keep}"));
            return None;
        }
        Event::Params { id, bytes } => {
            told.piece(format!("params {id}"), bytes);
            return None;
        }
        Event::Stdin { id, bytes } => {
            told.piece(format!("stdin {id}"), bytes);
            return None;
        }
        Event::Data { id, bytes } => {
            told.piece(format!("data {id}"), bytes);
            return None;
        }
        Event::GetValues { pairs } => {
            told.event(format!("values {}", pairs.escape_ascii()));
            return None;
        }
        Event::UnknownType { kind } => {
            told.event(format!("unknown-type {kind}"));
            return None;
        }
        Event::ParamsEnd { id } => {
            told.event(format!("params-end {id}"));
            return None;
        }
        Event::DataEnd { id } => {
            told.event(format!("data-end {id}"));
            return None;
        }
        Event::StdinEnd { id } => ("stdin-end", id),
        Event::Abort { id } => ("abort", id),
        Event::ParamsTooLong { id } => ("params-too-long", id),
        Event::ParamsUnfinished { id } => ("params-unfinished", id),
        Event::UnknownRole { id } => ("unknown-role", id),
        Event::TooManyRequests { id } => ("too-many-requests", id),
    };
    told.event(format!("{what} {id}"));
    Some(id)
}

/// A web server that notes what its application sends.
pub struct Asker {
    /// The decoder.
    pub web_server: WebServer,
    /// What it told.
    pub told: Told,
    /// Another request with this id follows every one that ended.
    again: Option<u16>,
}

impl Asker {
    /// One which has written a request with the id 1, and after every end one with `again`.
    pub fn new(again: Option<u16>) -> Self {
        let mut web_server = WebServer::new();
        web_server.begin(1);
        Self {
            web_server,
            told: Told::default(),
            again,
        }
    }

    /// Reads these bytes, all of them unless there is an error.
    pub fn read(&mut self, input: &[u8]) {
        let mut at = 0;
        loop {
            let before = at;
            match self.web_server.next(input, &mut at) {
                Ok(Some(answer)) => {
                    assert!(at > before && at <= input.len(), "every answer takes bytes");
                    self.note(answer, input);
                }
                Ok(None) => {
                    assert_eq!(at, input.len(), "all is taken before more is asked for");
                    return;
                }
                Err(error) => {
                    assert_eq!(
                        self.web_server.next(input, &mut at),
                        Err(error),
                        "an error stays"
                    );
                    return self.told.event(format!("error: {error}"));
                }
            }
        }
    }

    fn note(&mut self, answer: Answer, input: &[u8]) {
        match answer {
            Answer::Stdout(fragment) => {
                self.told.piece("stdout".into(), fragment.content.of(input));
            }
            Answer::Stderr(fragment) => {
                self.told.piece("stderr".into(), fragment.content.of(input));
            }
            Answer::StdoutEnd { .. } => self.told.event("stdout-end".into()),
            Answer::Values => {
                let values = self.web_server.values().escape_ascii();
                self.told.event(format!("values {values}"));
            }
            Answer::UnknownType(kind) => self.told.event(format!("unknown-type {kind}")),
            Answer::End {
                app_status, status, ..
            } => {
                self.told.event(format!("end {app_status} {status}"));
                if let Some(id) = self.again {
                    self.web_server.begin(id);
                }
            }
            // how often depends on how the bytes are read
            Answer::Ignored => {}
        }
    }
}

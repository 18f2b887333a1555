//! The requests of a pool, each in a place of a table; places and their buffers are used again.

use std::{mem, rc::Rc, time::Duration};

use stockade_policy::{Time, WorkerId, dispatch::RequestKey};
use stockade_protocol::{
    encode::Role,
    name_value::{Pairs, encode_pair},
    path::script_filename,
};

use super::{folded, front::Host, ids, link::Link, seen::Seen, spool::Spool};

/// Buffers that grew beyond this are given back when the request has ended. In bytes.
const KEPT: usize = 16 * 1024;
/// What Caddy says of a body that comes in chunks.
const UNKNOWN_LENGTH: &[u8] = b"-1";

/// One request.
#[derive(Debug, Default)]
pub(super) struct Request {
    serial: u32,
    /// Who asked, and under which id; none when the host went away.
    pub(super) host: Option<(Rc<Host>, u16)>,
    /// The PARAMS stream for the worker: what the host sent, and what we add.
    pub(super) params: Vec<u8>,
    /// Its name in logs and answers.
    pub(super) id: Vec<u8>,
    /// The role asked for.
    pub(super) role: Option<Role>,
    /// CONTENT_LENGTH less what has come; none when the host did not say it.
    pub(super) body_left: Option<u64>,
    /// The body as far as it has come, while `holds_body`: until a worker may have seen some of it, so that nothing of
    /// what it is given later can be missing.
    pub(super) body: Vec<u8>,
    /// The file for a filter, which comes behind the body, as far as it has come; held as `body` is.
    pub(super) file: Vec<u8>,
    /// Its end has come.
    pub(super) file_ended: bool,
    /// The whole of what has come of the body is in `body`.
    pub(super) holds_body: bool,
    /// Its bytes that have come.
    pub(super) body_length: u64,
    /// Bytes of a filter's file that have come.
    pub(super) file_length: u64,
    /// For `socket-timeout`: how much of its body had come, and since when no more did.
    pub(super) owed: Option<(u64, Time)>,
    /// Its method is one that may come with a body of a length that the host did not say.
    pub(super) may_have_body: bool,
    /// The client said that something follows: a body in chunks, or another protocol.
    announced: bool,
    /// Its parameters are complete.
    pub(super) params_ended: bool,
    /// When `socket-timeout` has seen first that they are not.
    pub(super) params_seen: Option<Time>,
    /// It waits for its whole body.
    pub(super) collects: bool,
    /// It has waited for a slot.
    pub(super) waited: bool,
    /// A body that is too long for memory.
    pub(super) spool: Option<Spool>,
    /// Its method is.
    pub(super) idempotent: bool,
    /// The end of the body has come, or there is none.
    pub(super) body_ended: bool,
    /// Dispatch was told that we wait for the host's body.
    pub(super) body_awaited: bool,
    /// When its parameters were complete.
    pub(super) arrived: Option<Time>,
    /// When it was handed out last.
    pub(super) handed_out: Time,
    /// Its way to the worker, while it is handed out.
    pub(super) link: Option<Rc<Link>>,
    /// Who runs it, or ran it last.
    pub(super) worker: Option<WorkerId>,
    /// When its worker was heard last, or more of its body was passed on; told only while there is a response that goes on.
    pub(super) heard: Time,
    /// The beginning of the response head, while its end has not come.
    pub(super) head: Vec<u8>,
    /// The method is HEAD.
    pub(super) head_only: bool,
    /// Bytes of a response head have come.
    pub(super) head_begun: bool,
    /// The response head was passed on.
    pub(super) head_sent: bool,
    /// A worker that died had seen something of it.
    pub(super) was_sent: bool,
    /// What is told of it.
    pub(super) seen: Seen,
    /// Bytes of the response thrown away because the host is gone.
    pub(super) discarded: usize,
    /// Its time was over and its host was answered; its worker, which is interrupted, is waited for.
    pub(super) over: bool,
}

/// Why a request's parameters cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Request {
    /// Reads what the relay needs out of complete parameters, and gives the request its name. Whether it is idempotent.
    pub(super) fn read_params(&mut self, new_id: &mut ids::RequestIds) -> Result<bool, Malformed> {
        let params = mem::take(&mut self.params);
        let read = self.read(&params);
        self.params = params;
        let found = read?;
        if found.unclean {
            self.params = cleaned(&self.params);
        }
        if found.repeated
            && let Some(params) = folded::without_repeated(&self.params)
        {
            self.params = params;
        }
        if self.id.is_empty() {
            new_id.next(&mut self.id);
        }
        if !found.request_id {
            encode_pair(&mut self.params, b"REQUEST_ID", &self.id);
        }
        Ok(found.idempotent)
    }

    fn read(&mut self, params: &[u8]) -> Result<Found, Malformed> {
        let mut found = Found::default();
        let mut headers = folded::Names::new();
        for pair in Pairs::new(params) {
            let (name, value) = pair.map_err(|_| Malformed)?;
            match name {
                b"REQUEST_METHOD" => {
                    found.idempotent = stockade_protocol::idempotent(value);
                    self.may_have_body = !matches!(value, b"GET" | b"HEAD");
                    self.head_only = value == b"HEAD";
                }
                b"CONTENT_LENGTH" if value == UNKNOWN_LENGTH => {
                    found.unclean = true;
                    self.announced = true;
                }
                b"CONTENT_LENGTH" if !value.is_empty() => {
                    self.body_left = Some(number(value).ok_or(Malformed)?);
                }
                b"HTTP_TRANSFER_ENCODING" | b"HTTP_UPGRADE" => {
                    self.announced |= !value.is_empty();
                    found.repeated |= headers.again(name);
                }
                b"REQUEST_ID" if ids::acceptable(value) => {
                    found.request_id = true;
                    self.id.clear();
                    self.id.extend_from_slice(value);
                }
                b"UNIQUE_ID" if !found.request_id && ids::acceptable(value) => {
                    self.id.clear();
                    self.id.extend_from_slice(value);
                }
                b"HTTP_PROXY" => found.unclean = true,
                b"SCRIPT_FILENAME" => found.unclean |= script_filename(value) != value,
                _ if name.starts_with(b"HTTP_") => found.repeated |= headers.again(name),
                _ => {}
            }
        }
        Ok(found)
    }

    /// It has no body, whether or not its host says so.
    pub(super) fn bodyless(&self) -> bool {
        let silent = self.body_left.is_none() && !self.may_have_body && !self.announced;
        silent || self.body_left == Some(0) || self.role == Some(Role::Authorizer)
    }

    /// A parameter's value; the last one where there are several.
    pub(super) fn param(&self, wanted: &[u8]) -> Option<&[u8]> {
        Pairs::new(&self.params)
            .filter_map(Result::ok)
            .filter(|(name, _)| *name == wanted)
            .last()
            .map(|(_, value)| value)
    }

    /// For logs: the method and the path, without control characters.
    pub(super) fn title(&self) -> String {
        let method = self.param(b"REQUEST_METHOD").unwrap_or(b"?");
        let path = self
            .param(b"REQUEST_URI")
            .or_else(|| self.param(b"SCRIPT_NAME"))
            .unwrap_or(b"?");
        let path = &path[..path.len().min(256)];
        format!(
            "{} {} {}",
            self.name(),
            method.escape_ascii(),
            path.escape_ascii()
        )
    }

    /// Its name, for logs and headers.
    pub(super) fn name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.id)
    }

    /// A part of the body came from the host: as much of it as belongs to the body. When it is passed on as it comes, up to `held` bytes
    /// are held until the response begins, so that the request can be replayed.
    pub(super) fn take_body<'a>(&mut self, bytes: &'a [u8], held: usize) -> &'a [u8] {
        let taken = match &mut self.body_left {
            None => bytes,
            Some(left) => {
                let count = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= count as u64;
                &bytes[..count]
            }
        };
        self.body_length += taken.len() as u64;
        if self.collects {
            return taken;
        }
        if self.holds(taken.len(), held) {
            self.body.extend_from_slice(taken);
        }
        taken
    }

    /// A part of a filter's file came.
    pub(super) fn take_file(&mut self, bytes: &[u8], held: usize) {
        self.file_length += bytes.len() as u64;
        if self.holds(bytes.len(), held) {
            self.file.extend_from_slice(bytes);
        }
    }

    /// Whether `more` bytes of body or file are held; if not, none are.
    fn holds(&mut self, more: usize, held: usize) -> bool {
        let seen = self.link.as_ref().is_some_and(|link| link.touched());
        if seen && self.holds_body && self.body.len() + self.file.len() + more > held {
            self.holds_body = false;
            self.body = Vec::new();
            self.file = Vec::new();
        }
        self.holds_body
    }

    /// Whether its response, whose status is known, has no body: what programs send all the same, a CGI server throws away, and HAProxy takes
    /// it for an error.
    pub(super) fn ends_at_head(&self) -> bool {
        self.head_only || matches!(self.seen.status, 204 | 304)
    }

    /// Nothing more of it comes from its host.
    pub(super) fn input_ended(&self) -> bool {
        self.body_ended && (self.file_ended || self.role != Some(Role::Filter))
    }

    /// Waits for a slot, and holds all of the body that it may: `held` bytes.
    pub(super) fn full(&self, held: usize) -> bool {
        let comes = !self.input_ended() && !self.collects;
        comes && self.link.is_none() && self.body.len() + self.file.len() >= held
    }

    /// Tells the worker how long the body is that has come, where the host did not.
    pub(super) fn supply_length(&mut self) {
        if self.body_left.is_none() {
            let length = self.body_length.to_string();
            self.params = changed(&self.params, |name, value| {
                (name != b"CONTENT_LENGTH").then_some(value)
            });
            encode_pair(&mut self.params, b"CONTENT_LENGTH", length.as_bytes());
        }
    }

    /// It could be sent to a worker once more.
    pub(super) fn held(&self) -> bool {
        self.holds_body && self.input_ended() && !self.head_begun
    }

    /// Tells the worker how long it has waited for a slot, in seconds. What has not waited is told nothing.
    pub(super) fn tell_wait(&mut self, waited: Duration) {
        let seconds = format!("{}.{:06}", waited.as_secs(), waited.subsec_micros());
        encode_pair(&mut self.params, b"STOCKADE_QUEUE", seconds.as_bytes());
    }

    /// The bytes of parameters, held body and file.
    pub(super) fn len(&self) -> usize {
        let memory = self.params.len() + self.body.len() + self.file.len();
        self.spool.as_ref().map_or(memory, |_| usize::MAX)
    }

    fn clear(&mut self) {
        let serial = self.serial;
        let spare = [
            &mut self.params,
            &mut self.id,
            &mut self.body,
            &mut self.head,
        ]
        .map(|buffer| {
            let mut buffer = mem::take(buffer);
            buffer.clear();
            if buffer.capacity() > KEPT {
                Vec::new()
            } else {
                buffer
            }
        });
        let [params, id, body, head] = spare;
        *self = Self {
            serial,
            params,
            id,
            body,
            head,
            holds_body: true,
            ..Self::default()
        };
    }
}

#[derive(Default)]
struct Found {
    idempotent: bool,
    request_id: bool,
    /// Something in the parameters is to be taken out.
    unclean: bool,
    /// A header may have come twice.
    repeated: bool,
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The parameters without a client's HTTP_PROXY, and without what Apache puts around the name of a file.
fn cleaned(params: &[u8]) -> Vec<u8> {
    changed(params, |name, value| match name {
        b"HTTP_PROXY" => None,
        b"CONTENT_LENGTH" if value == UNKNOWN_LENGTH => None,
        b"SCRIPT_FILENAME" => Some(script_filename(value)),
        _ => Some(value),
    })
}

/// The parameters with other values, or without some.
fn changed<'a>(params: &'a [u8], to: impl Fn(&[u8], &'a [u8]) -> Option<&'a [u8]>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(params.len() + ROOM);
    for (name, value) in Pairs::new(params).filter_map(Result::ok) {
        if let Some(value) = to(name, value) {
            encode_pair(&mut kept, name, value);
        }
    }
    kept
}

/// For what is added. In bytes.
const ROOM: usize = 64;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Requests {
    places: Vec<Request>,
    free: Vec<u32>,
}

impl Requests {
    /// A place for a new request of `host`.
    pub(super) fn insert(&mut self, host: Rc<Host>, id: u16, role: Role) -> RequestKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Request {
                holds_body: true,
                ..Request::default()
            });
            u32::try_from(self.places.len() - 1).expect("fewer requests than there are descriptors")
        });
        let request = &mut self.places[index as usize];
        request.host = Some((host, id));
        request.role = Some(role);
        RequestKey {
            index,
            serial: request.serial,
        }
    }

    /// The request, if it has not ended.
    pub(super) fn get_mut(&mut self, key: RequestKey) -> Option<&mut Request> {
        self.places
            .get_mut(key.index as usize)
            .filter(|request| request.serial == key.serial)
    }

    /// Those that have not ended.
    pub(super) fn running(&self) -> Vec<RequestKey> {
        let keys = (0..)
            .zip(&self.places)
            .filter(|(_, request)| request.host.is_some());
        keys.map(|(index, request)| RequestKey {
            index,
            serial: request.serial,
        })
        .collect()
    }

    /// The links of `worker` that run something.
    pub(super) fn links_of(&self, worker: WorkerId) -> impl Iterator<Item = &Rc<Link>> {
        let links = self
            .places
            .iter()
            .filter_map(|request| request.link.as_ref());
        links.filter(move |link| link.trunk.worker == worker)
    }

    /// Those that `worker` runs.
    pub(super) fn of_worker(&self, worker: WorkerId) -> impl Iterator<Item = &Request> {
        let running = self.places.iter().filter(|request| request.link.is_some());
        running.filter(move |request| request.worker == Some(worker))
    }

    /// Those that `worker` may still be at though nobody waits for them.
    pub(super) fn unheard_of(&self, worker: WorkerId) -> impl Iterator<Item = &Request> {
        let unheard =
            (self.places.iter()).filter(|request| request.link.is_none() && request.host.is_none());
        unheard.filter(move |request| request.worker == Some(worker))
    }

    /// Ends it: its place is free.
    pub(super) fn remove(&mut self, key: RequestKey) {
        if let Some(request) = self.get_mut(key) {
            request.serial = request.serial.wrapping_add(1);
            request.clear();
            self.free.push(key.index);
        }
    }
}

#[cfg(test)]
mod tests;

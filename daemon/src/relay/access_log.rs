//! The access log: a line for each request that has its answer, or will not get one. Composed on the pool's thread, written by
//! another ([`super::access_file`]). Which pieces a line has is read with the configuration (`config::access_log`).

use std::{
    io::Write as _,
    ops::Range,
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use stockade_policy::{WorkerId, dispatch::RequestKey};
use stockade_protocol::{head, name_value::Pairs};
use time::OffsetDateTime;

use super::{access_file::Lines, pool::State, request::Request};
use crate::config::access_log::{Format, Item, TimeShape};

/// Of one value, in bytes.
const LONGEST: usize = 8190;

/// The log of a pool.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: Lines,
    /// Made anew for each request.
    line: Vec<u8>,
    /// Where in a request's parameters the values lie that a line needs.
    found: Vec<Range<usize>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending<'a> {
    /// Its answer is ours, or is not whole, for this.
    pub(super) cause: Option<&'a str>,
    /// The host has a whole answer.
    pub(super) whole: bool,
}

impl<'a> Ending<'a> {
    /// The worker's answer.
    pub(super) const ANSWERED: Self = Ending {
        cause: None,
        whole: true,
    };
    /// The host did not wait for it.
    pub(super) const HOST_GONE: Self = Self::cut("host-gone");

    /// What the host has of an answer is not whole, for this.
    pub(super) const fn cut(cause: &'a str) -> Self {
        Ending {
            cause: Some(cause),
            whole: false,
        }
    }
}

impl State {
    /// Has a log, or none, as the pool's keys say.
    pub(super) fn follow_access_log(&mut self) {
        self.log_wants_head = self
            .plan
            .access_log
            .as_ref()
            .is_some_and(Format::wants_head);
        if self.plan.access_log.is_none() {
            self.access_log = None;
        } else if self.access_log.is_none() {
            match Lines::start(&self.plan.name, self.clock) {
                Ok(lines) => {
                    self.access_log = Some(AccessLog {
                        lines,
                        line: Vec::new(),
                        found: Vec::new(),
                    });
                }
                Err(error) => tracing::error!(
                    "pool {}: no access log: could not start a thread: {error}",
                    self.plan.name
                ),
            }
        }
    }

    /// The file to write to from here on.
    pub(super) fn access_log_opened(&self, file: OwnedFd) {
        if let Some(log) = &self.access_log {
            log.lines.write_to(file);
        }
    }

    /// Writes the line of a request that has ended, once.
    pub(super) fn log_access(&mut self, key: RequestKey, ending: Ending<'_>) {
        let (Some(log), Some(format)) = (&mut self.access_log, &self.plan.access_log) else {
            return;
        };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut request.seen.logged, true) {
            return;
        }
        let now = self.clock.now();
        let begun = request.seen.begun.or(request.arrived).unwrap_or(now);
        let pid = request
            .worker
            .and_then(|worker| self.workers.get(&worker))
            .map(|known| known.pid);
        let waited = request
            .seen
            .waited
            // it has waited until its end
            .or_else(|| request.arrived.map(|arrived| now.since(arrived)));
        log.line.clear();
        let mut line = Line {
            request,
            ending,
            pool: &self.plan.name,
            took: now.since(begun),
            waited,
            ended: SystemTime::now(),
            pid: pid.filter(|pid| *pid != 0),
            found: &mut log.found,
            out: &mut log.line,
        };
        line.compose(format);
        log.lines.push(&log.line);
    }
}

/// One line, as it is composed.
struct Line<'a> {
    request: &'a Request,
    ending: Ending<'a>,
    pool: &'a str,
    took: Duration,
    waited: Option<Duration>,
    ended: SystemTime,
    pid: Option<i32>,
    found: &'a mut Vec<Range<usize>>,
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    fn compose(&mut self, format: &Format) {
        find(&self.request.params, format.parameters(), self.found);
        for item in format.items() {
            self.put(item);
        }
        self.out.push(b'\n');
    }

    fn put(&mut self, item: &Item) {
        let seen = &self.request.seen;
        let received = self.request.params.len() as u64 + self.request.body_length;
        match item {
            Item::Text(text) => self.out.extend_from_slice(text.as_bytes()),
            Item::Parameter(places) => self.put_value(self.first(places)),
            Item::ResponseHeader(name) => self.put_response_header(name),
            Item::RequestLine([method, address, script, protocol]) => {
                self.put_value(self.value(*method));
                self.out.push(b' ');
                self.put_value(self.first(&[*address, *script]));
                self.out.push(b' ');
                self.put_value(self.value(*protocol));
            }
            Item::Path(places) => {
                let address = self.first(places);
                let end = memchr::memchr(b'?', address).unwrap_or(address.len());
                self.put_value(&address[..end]);
            }
            Item::Query(place) => {
                let query = self.value(*place);
                if !query.is_empty() {
                    self.out.push(b'?');
                    self.put_value(query);
                }
            }
            Item::Status => self.put_number((seen.status != 0).then_some(u64::from(seen.status))),
            Item::Body { dash } => {
                let body = seen.sent.saturating_sub(seen.head);
                self.put_number(Some(body).filter(|bytes| !dash || *bytes > 0));
            }
            Item::Received => self.put_number(Some(received)),
            Item::Sent => self.put_number(Some(seen.sent)),
            Item::Transferred => self.put_number(Some(received + seen.sent)),
            Item::Took(unit) => self.put_number(Some(micros(self.took) / unit)),
            Item::TookExactly(unit) => self.put_exactly(*unit),
            Item::Waited => self.put_number(self.waited.map(micros)),
            Item::Time { end, shape } => self.put_time(*end, shape),
            Item::Worker => self.put_number(self.request.worker.map(|WorkerId(number)| number)),
            Item::Pid => self.put_number(self.pid.map(|pid| u64::from(pid.unsigned_abs()))),
            Item::Cause => self.put_value(self.ending.cause.unwrap_or_default().as_bytes()),
            Item::RequestId => self.put_value(&self.request.id),
            Item::Pool => self.put_value(self.pool.as_bytes()),
            Item::Connection => self.out.push(match (self.ending.whole, seen.keep_conn) {
                (false, _) => b'X',
                (true, true) => b'+',
                (true, false) => b'-',
            }),
        }
    }

    /// A parameter's value; empty when it is not there.
    fn value(&self, place: usize) -> &'a [u8] {
        let range = self.found.get(place).cloned().unwrap_or_default();
        self.request.params.get(range).unwrap_or_default()
    }

    /// The first of these that is not empty.
    fn first(&self, places: &[usize; 2]) -> &'a [u8] {
        let values = places.iter().map(|place| self.value(*place));
        values
            .into_iter()
            .find(|value| !value.is_empty())
            .unwrap_or_default()
    }

    fn put_response_header(&mut self, name: &str) {
        let is_it = |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        let field = head::fields(&self.request.head).find(is_it);
        self.put_value(field.map_or(&[], |(_, value)| value));
    }

    /// A value that somebody else has chosen: nothing in it ends a line or a quoted part of one. As in Apache's and nginx's logs.
    fn put_value(&mut self, value: &[u8]) {
        if value.is_empty() {
            self.out.push(b'-');
            return;
        }
        for byte in &value[..value.len().min(LONGEST)] {
            match byte {
                b'"' | b'\\' | 0..=0x1f | 0x7f.. => self.write(format_args!("\\x{byte:02x}")),
                plain => self.out.push(*plain),
            }
        }
    }

    fn put_number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.write(format_args!("{number}")),
            None => self.out.push(b'-'),
        }
    }

    /// In a unit of so many microseconds, with three decimal places.
    fn put_exactly(&mut self, unit: u64) {
        let thousandths = self.took.as_nanos() / u128::from(unit);
        self.write(format_args!(
            "{}.{:03}",
            thousandths / 1000,
            thousandths % 1000
        ));
    }

    fn put_time(&mut self, end: bool, shape: &TimeShape) {
        let at = if end {
            self.ended
        } else {
            self.ended - self.took
        };
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        match shape {
            TimeShape::Written(items) => {
                let date = OffsetDateTime::from(at);
                if date.format_into(self.out, items).is_err() {
                    self.out.push(b'-');
                }
            }
            TimeShape::Since(unit) => self.put_number(Some(micros(since) / unit)),
            TimeShape::Fraction(unit, digits) => {
                let part = u64::from(since.subsec_micros()) / unit;
                self.write(format_args!("{part:0digits$}"));
            }
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(text)
            .expect("writing to a Vec does not fail");
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where the values of the parameters called so lie; of one that comes twice the last, as in PHP.
fn find(params: &[u8], names: &[String], found: &mut Vec<Range<usize>>) {
    found.clear();
    found.resize(names.len(), 0..0);
    let start = params.as_ptr().addr();
    for (name, value) in Pairs::new(params).filter_map(Result::ok) {
        for (wanted, place) in names.iter().zip(found.iter_mut()) {
            if wanted.as_bytes() == name {
                let at = value.as_ptr().addr() - start;
                *place = at..at + value.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stockade_protocol::name_value::encode_pair;

    use super::*;

    const PARAMETERS: [(&str, &str); 9] = [
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_USER", ""),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a/b?c=d"),
        ("QUERY_STRING", "c=d"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTP_USER_AGENT", "curl \"8\"\\\n\u{e9}"),
        ("HTTP_X_TWICE", "first"),
        ("HTTP_X_TWICE", "last"),
    ];

    fn request() -> Request {
        let mut request = Request::default();
        for (name, value) in PARAMETERS {
            encode_pair(&mut request.params, name.as_bytes(), value.as_bytes());
        }
        request.id = b"req-1".to_vec();
        request.body_length = 5;
        request.worker = Some(WorkerId(3));
        request.head = b"X-Kind: fine\r\nContent-Type: text/plain\r\n\r\nhello".to_vec();
        request.seen.status = 200;
        (request.seen.sent, request.seen.head) = (47, 42);
        request.seen.waited = Some(Duration::from_micros(2_500));
        request.seen.keep_conn = true;
        request
    }

    fn line_of(request: &Request, ending: Ending<'_>, format: &str) -> String {
        let (mut found, mut out) = (Vec::new(), Vec::new());
        let mut line = Line {
            request,
            ending,
            pool: "blog",
            took: Duration::from_micros(1_234_567),
            waited: request.seen.waited,
            ended: SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_000_002_345_678),
            pid: Some(4711),
            found: &mut found,
            out: &mut out,
        };
        line.compose(&Format::try_from(format.to_owned()).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_letter_has_its_value() {
        let request = request();
        let received = request.params.len() + 5;
        for (format, expected) in [
            ("%h %a %l %u", "192.0.2.7 192.0.2.7 - -"),
            (
                "\"%r\" %m %U %q %H",
                "\"GET /a/b?c=d HTTP/1.1\" GET /a/b ?c=d HTTP/1.1",
            ),
            ("%s %>s %b %B %O", "200 200 5 5 47"),
            ("%I %S", &format!("{received} {}", received + 47)),
            ("%D %T %{ms}T %{us}T", "1234567 1 1234 1234567"),
            ("%d %{ms}d %{micro}d", "1.234 1234.567 1234567.000"),
            ("%t", "[09/Sep/2001:01:46:41 +0000]"),
            (
                "%{end:%Y-%m-%dT%H:%M:%S}t %{msec}t",
                "2001-09-09T01:46:42 1000000001111",
            ),
            (
                "%{sec}t %{end:msec_frac}t %{end:usec_frac}t",
                "1000000001 345 345678",
            ),
            ("%{queue}t %{worker}n %P %n", "2500 3 4711 blog"),
            ("%{request-id}n %{cause}n %X 100%%", "req-1 - + 100%"),
            ("%{User-Agent}i", "curl \\x228\\x22\\x5c\\x0a\\xc3\\xa9"),
            ("%{X-Twice}i %{QUERY_STRING}e %{Absent}i", "last c=d -"),
            (
                "%{x-kind}o %{Content-Type}o %{Set-Cookie}o",
                "fine text/plain -",
            ),
        ] {
            let line = line_of(&request, Ending::ANSWERED, format);
            assert_eq!(line, format!("{expected}\n"), "{format}");
        }
    }

    #[test]
    fn what_did_not_come_to_its_end_is_marked() {
        let mut cut = request();
        let timed_out = Ending::cut("request-timeout");
        assert_eq!(
            line_of(&cut, timed_out, "%s %X %{cause}n"),
            "200 X request-timeout\n"
        );
        cut.seen = super::super::seen::Seen::default();
        cut.worker = None;
        assert_eq!(
            line_of(&cut, Ending::HOST_GONE, "%s %b %{queue}t %{worker}n %X"),
            "- - - - X\n"
        );
    }

    #[test]
    fn a_value_is_cut_and_a_request_without_parameters_has_a_line() {
        let mut long = Request::default();
        encode_pair(&mut long.params, b"REQUEST_URI", &vec![b'x'; LONGEST + 9]);
        let line = line_of(&long, Ending::ANSWERED, "%U");
        assert_eq!(line.len(), LONGEST + 1);
        let line = line_of(&Request::default(), Ending::ANSWERED, "%h \"%r\"%q %U");
        assert_eq!(line, "- \"- - -\" -\n");
    }
}

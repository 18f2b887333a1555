//! A response that ends before its end has to look so to the client.
//!
//! No host looks at the status in END_REQUEST, and a connection that is merely closed is the end of a complete response to a host that
//! does not keep connections. What every host takes for an error is a record of no FastCGI version, and the end of the connection
//! behind it; what its client sees of that is the host's affair (manual, "Hosts").
//!
//! The other requests of the same connection are not to suffer: there the end waits until they are answered, and the host is told
//! that the connection takes no more at a time, so that its next requests go elsewhere. HAProxy, which is the one that multiplexes,
//! understands that unasked.

use std::{io::IoSlice, rc::Rc, time::Duration};

use stockade_policy::dispatch::RequestKey;
use stockade_protocol::encode;
use tokio::{task, time::sleep};

use super::{access_log::Ending, front::Host, pool::State};

/// What a host reads where a response has to look cut.
pub(super) const BROKEN_RECORD: [u8; 8] = [0; 8];
/// Why a request has no answer, in the access log.
const RELAY_ENDS: &str = "relay-ended";
/// lighttpd gives a response a length of its own, that of what it has, if the error comes with the first bytes: the bytes go first.
const BYTES_FIRST: Duration = Duration::from_millis(100);

impl State {
    /// Makes the host see that the response is not complete.
    pub(super) fn cut(&mut self, key: RequestKey, cause: &str) {
        self.log_access(key, Ending::cut(cause));
        let Some((host, id)) = self
            .requests
            .get_mut(key)
            .and_then(|request| request.host.take())
        else {
            return;
        };
        host.active.borrow_mut().retain(|(active, _)| *active != id);
        host.cut.set(true);
        // what it was to send of the request is waited for no more
        host.connection.resume();
        if host.active.borrow().is_empty() {
            task::spawn_local(break_off_soon(host));
        } else {
            host.reply(|out| {
                encode::get_values_result(out, &[("FCGI_MPXS_CONNS", "0")]);
            });
        }
    }

    /// The relay ends: what is not complete has to look so.
    pub(super) fn cut_all(&mut self) {
        for key in self.requests.running() {
            let Some(request) = self.requests.get_mut(key) else {
                continue;
            };
            let begun = request.head_sent;
            if begun || !request.id.is_empty() {
                self.log_access(key, Ending::cut(RELAY_ENDS));
            }
            let request = self.requests.get_mut(key).filter(|_| begun);
            if let Some((host, _)) = request.and_then(|request| request.host.take()) {
                host.cut.set(true);
            }
        }
        for host in self.hosts.values() {
            if host.connection.waiting() > 0 {
                // whole or not, it will not have all of it
                host.break_off_now();
            } else if host.cut.get() {
                host.break_off();
            }
        }
    }
}

impl Host {
    /// Ends a connection on which a response was cut, if its other requests have been answered.
    pub(super) fn break_off_if_alone(&self) {
        if self.cut.get() && self.active.borrow().is_empty() {
            self.break_off();
        }
    }

    /// Ends a connection whose host does not take what waits for it. What it reads at the end must look cut: over a unix socket nothing
    /// can overtake what is in the kernel already, and a mere end would pass for that of a complete response.
    pub(super) fn break_off_now(&self) {
        if self.tcp {
            self.connection.reset();
        } else {
            self.connection.cut(&BROKEN_RECORD);
        }
    }

    fn break_off(&self) {
        self.connection.write(&[IoSlice::new(&BROKEN_RECORD)]);
        self.connection.close();
    }
}

async fn break_off_soon(host: Rc<Host>) {
    sleep(BYTES_FIRST).await;
    host.break_off_if_alone();
}

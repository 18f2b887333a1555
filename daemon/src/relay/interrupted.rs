//! A request whose time is over and whose worker is interrupted (`interrupt-timeout`): its host is answered at once, its slot is waited
//! for.
//!
//! Our side of the worker's connection is ended, by which the worker knows which of its requests is meant. Its own side is read until it
//! ends the request or the connection: then, and not before, it has come back from it. To ask it on another connection, as of a request
//! whose host left, would be answered by another of its threads.

use stockade_policy::dispatch::RequestKey;

use super::{answers::Answer, pool::State};

impl State {
    /// Answers the request, or cuts its response, and waits for the worker.
    pub(super) fn answer_interrupted(&mut self, key: RequestKey, answer: &Answer<'_>) {
        self.end_slow(key);
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.over = true;
        let (link, head_sent) = (request.link.clone(), request.head_sent);
        if head_sent {
            self.log_cut(key, answer);
            self.cut(key, answer.cause);
        } else {
            self.log_answer(key, answer);
            self.answer(key, answer);
        }
        if let Some(link) = link {
            link.body_sent.set(true);
            link.trunk.retire();
            link.trunk.connection.end_output_now();
        }
    }
}

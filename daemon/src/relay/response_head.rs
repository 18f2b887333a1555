//! A response head that is not passed on as it lies in the read buffer: it came in pieces, or something has to be taken out of it.

use stockade_protocol::{encode, head, record::RecordType};

use super::{own_header::remove_our_header, request::Request, response::Step};

/// Takes more of the head, and passes it on, with what lies behind it, when it is complete. Some: it is not.
pub(super) fn gather(request: &mut Request, bytes: &[u8], limit: usize) -> Option<Step> {
    let scanned = request.head.len();
    request.head.extend_from_slice(bytes);
    let Some(end) = head::find_end(&request.head, scanned) else {
        return Some(if request.head.len() > limit {
            Step::Bad("response-head-too-large")
        } else {
            Step::Goes
        });
    };
    if end > limit {
        return Some(Step::Bad("response-head-too-large"));
    }
    let Ok(parsed) = head::parse(&request.head[..end]) else {
        return Some(Step::Bad("malformed-response-head"));
    };
    request.seen.status = parsed.status;
    if request.ends_at_head() {
        request.head.truncate(end);
    }
    let body = request.head.len() - end;
    remove_our_header(&mut request.head, end);
    request.seen.sent = request.head.len() as u64;
    request.seen.head = (request.head.len() - body) as u64;
    if let Some((host, id)) = &request.host {
        host.connection
            .queue(|out| encode::stream(out, RecordType::Stdout, *id, &request.head));
        host.connection.flush();
    }
    None
}

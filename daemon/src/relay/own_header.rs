//! `Stockade-Cause` belongs to the relay: from an application it would claim that nothing was executed (manual, section 4).

use stockade_protocol::head;

/// The status of a head that can go on as it is: well-formed, and without a header that only we may send.
pub(super) fn passable(bytes: &[u8]) -> Option<u16> {
    let head = head::parse(bytes).ok()?;
    let refusal = head.status == FORBIDDEN;
    let ours = |(name, value): (&[u8], &[u8])| is_ours(name) && !(refusal && value == SCRIPT_OWNER);
    (!head::fields(bytes).any(ours)).then_some(head.status)
}

/// What the adapter says in place of an application whose file is somebody else's: a 403, which claims nothing of others.
const FORBIDDEN: u16 = 403;
const SCRIPT_OWNER: &[u8] = b"script-owner";

fn is_ours(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Stockade-Cause")
}

/// Takes our header out of the head that ends at `end`: from an application it would claim that nothing was executed.
pub(super) fn remove_our_header(bytes: &mut Vec<u8>, end: usize) {
    let (head, rest) = bytes.split_at(end);
    if !head::fields(head).any(|(name, _)| is_ours(name)) {
        return;
    }
    let mut kept: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut ours = false;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        // a folded line goes with the one before it
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            ours = line
                .split(|byte| *byte == b':')
                .next()
                .is_some_and(|name| is_ours(name.trim_ascii()));
        }
        if !ours {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(rest);
    *bytes = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_cannot_claim_that_nothing_was_executed() {
        let mut bytes = b"Status: 200 OK\r\nstockade-cause: x\r\n y\r\nA: b\r\n\r\nbody".to_vec();
        let end = head::find_end(&bytes, 0).unwrap();
        assert_eq!(passable(&bytes[..end]), None);
        remove_our_header(&mut bytes, end);
        assert_eq!(bytes, b"Status: 200 OK\r\nA: b\r\n\r\nbody");
        let end = head::find_end(&bytes, 0).unwrap();
        assert_eq!(passable(&bytes[..end]), Some(200));
    }
}

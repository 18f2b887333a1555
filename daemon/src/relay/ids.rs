//! Names for requests that came without one: unique, and not guessable from one another.

use std::io::Write;

use stockade_policy::Random;

/// The most bytes that a host's own name for a request may have.
const LONGEST: usize = 128;

/// Makes names.
#[derive(Debug)]
pub(super) struct RequestIds(Random);

impl RequestIds {
    /// A sequence of its own.
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// Writes the next name, 16 hexadecimal digits, to `name`.
    pub(super) fn next(&mut self, name: &mut Vec<u8>) {
        name.clear();
        write!(name, "{:016x}", self.0.next()).expect("writing to a Vec does not fail");
    }
}

/// Whether a name that a host sent, perhaps straight from a client, is fit for logs, headers and HTML.
pub(super) fn acceptable(name: &[u8]) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@+=/,".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn a_clients_markup_is_no_name() {
        assert!(acceptable(b"Zf8k-1_2.3:4@host+=/,"));
        for name in [
            &b""[..],
            b"<script>",
            b"a b",
            b"a\"b",
            b"a&b",
            b"\xff",
            &[b'a'; 129],
        ] {
            assert!(!acceptable(name), "{}", name.escape_ascii());
        }
    }
}

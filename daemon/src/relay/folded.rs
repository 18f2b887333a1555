//! Headers whose names a host has folded together.
//!
//! A host makes HTTP_X_USER of `X-User` and of `X_User`, so a client can send a second one beside that which a proxy has set, and
//! which of the two an application believes is chance. A header that comes twice with different values is therefore left out: of two
//! that differ nobody can say whose is whose. What is a list by its standard is put together, as newer hosts do by themselves.
//!
//! Other parameters that come twice are the host's own doing (the last one counts in PHP), and are passed on.

use stockade_protocol::name_value::{Pairs, encode_pair};

/// What is a list that any client may send the beginning of, and what is between its parts.
const LISTS: [(&[u8], &[u8]); 4] = [
    (b"HTTP_COOKIE", b"; "),
    (b"HTTP_FORWARDED", b", "),
    (b"HTTP_VIA", b", "),
    (b"HTTP_X_FORWARDED_FOR", b", "),
];

/// The names of a request's headers as far as they are read, by hashes: two names may seem to be one, never one to be two.
pub(super) struct Names([u64; 64]);

impl Names {
    pub(super) const fn new() -> Self {
        Self([0; 64])
    }

    /// Whether the name may have come before.
    pub(super) fn again(&mut self, name: &[u8]) -> bool {
        let bit = hash(name);
        let word = &mut self.0[usize::from(bit >> 6)];
        let mask = 1_u64 << (bit & 63);
        std::mem::replace(word, *word | mask) & mask != 0
    }
}

/// 12 bits.
fn hash(name: &[u8]) -> u16 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for part in name.chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    u16::try_from(hash >> 52).expect("12 bits")
}

/// The parameters with each header once; none when none of them comes twice.
pub(super) fn without_repeated(params: &[u8]) -> Option<Vec<u8>> {
    let is_header = |pair: &(&[u8], &[u8])| pair.0.starts_with(b"HTTP_");
    let mut headers: Vec<(&[u8], &[u8])> = pairs(params).filter(is_header).collect();
    headers.sort_by_key(|(name, _)| *name);
    let mut repeated: Vec<(&[u8], Option<Vec<u8>>)> = headers
        .chunk_by(|one, other| one.0 == other.0)
        .filter(|same| same.len() > 1)
        .map(|same| (same[0].0, one_of(same)))
        .collect();
    if repeated.is_empty() {
        return None;
    }
    let mut kept = Vec::with_capacity(params.len());
    for (name, value) in pairs(params) {
        match repeated.binary_search_by_key(&name, |(name, _)| name) {
            Err(_) => encode_pair(&mut kept, name, value),
            Ok(at) => {
                if let Some(value) = repeated[at].1.take() {
                    encode_pair(&mut kept, name, &value);
                }
            }
        }
    }
    Some(kept)
}

/// The one value of a header that comes several times; none: it is left out.
fn one_of(same: &[(&[u8], &[u8])]) -> Option<Vec<u8>> {
    let (name, first) = same[0];
    if same.iter().all(|(_, value)| *value == first) {
        return Some(first.to_vec());
    }
    let (_, between) = LISTS.into_iter().find(|(list, _)| *list == name)?;
    let values: Vec<&[u8]> = same.iter().map(|(_, value)| *value).collect();
    Some(values.join(between))
}

fn pairs(params: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Pairs::new(params).filter_map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let mut params = Vec::new();
        for (name, value) in pairs {
            encode_pair(&mut params, name.as_bytes(), value.as_bytes());
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let kept = without_repeated(&params)?;
        let kept = super::pairs(&kept).map(|(name, value)| (text(name), text(value)));
        Some(kept.collect())
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_header_that_comes_twice_is_left_out_unless_both_say_the_same() {
        let sent = [
            ("HTTP_X_USER", "alice"),
            ("HTTP_HOST", "a"),
            ("HTTP_X_USER", "root"),
            ("HTTP_ACCEPT", "*/*"),
            ("HTTP_HOST", "a"),
        ];
        let kept = [("HTTP_HOST", "a"), ("HTTP_ACCEPT", "*/*")];
        assert_eq!(cleaned(&sent), Some(owned(&kept)));
    }

    #[test]
    fn lists_are_put_together_in_their_order() {
        let sent = [
            ("HTTP_X_FORWARDED_FOR", "192.0.2.9"),
            ("HTTP_COOKIE", "a=1"),
            ("HTTP_X_FORWARDED_FOR", "192.0.2.1"),
            ("HTTP_COOKIE", "b=2"),
            ("HTTP_COOKIE", "c=3"),
        ];
        let kept = [
            ("HTTP_X_FORWARDED_FOR", "192.0.2.9, 192.0.2.1"),
            ("HTTP_COOKIE", "a=1; b=2; c=3"),
        ];
        assert_eq!(cleaned(&sent), Some(owned(&kept)));
    }

    #[test]
    fn what_a_host_says_twice_by_itself_stays() {
        let sent = [
            ("SCRIPT_NAME", "/a"),
            ("HTTP_A", ""),
            ("SCRIPT_NAME", "/b"),
            ("HTTP_B", ""),
        ];
        assert_eq!(cleaned(&sent), None);
    }

    #[test]
    fn no_name_that_comes_again_is_missed_and_few_seem_to() {
        let mut names = Names::new();
        let all: Vec<String> = (0..30)
            .map(|number| format!("HTTP_X_HEADER_{number}"))
            .collect();
        let seeming = all
            .iter()
            .filter(|name| names.again(name.as_bytes()))
            .count();
        assert!(seeming <= 2, "{seeming}");
        assert!(all.iter().all(|name| names.again(name.as_bytes())));
    }
}

//! What a request's headers ask of a file: whether it has changed, and which part of it (RFC 9110, sections 13 and 14).

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use hyper::{
    HeaderMap,
    header::{AsHeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
};

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    /// `ETag`.
    pub(super) etag: String,
    /// `Last-Modified`, in whole seconds.
    pub(super) modified: SystemTime,
}

/// Which bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of them.
    Whole,
    /// These, of which there is at least one.
    Bytes(Range<u64>),
    /// There are none of those that were asked for.
    Nowhere,
}

impl Validators {
    /// Those of a file with this time and length.
    pub(super) fn of(modified: SystemTime, length: u64) -> Self {
        let since = modified.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        Self {
            etag: format!("\"{:x}-{length:x}\"", since.as_nanos()),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        }
    }

    /// The client has this state.
    pub(super) fn unchanged(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(IF_NONE_MATCH) {
            let mut values = headers.get_all(IF_NONE_MATCH).iter();
            return values.any(|value| value.to_str().is_ok_and(|value| self.is_among(value)));
        }
        date(headers, IF_MODIFIED_SINCE).is_some_and(|since| self.modified <= since)
    }

    /// The part of `length` bytes that is asked for. More than one range: all.
    pub(super) fn part(&self, headers: &HeaderMap, length: u64) -> Part {
        let Some(asked) = text(headers, RANGE) else {
            return Part::Whole;
        };
        let same = text(headers, IF_RANGE).is_none_or(|value| {
            value == self.etag
                || httpdate::parse_http_date(value).is_ok_and(|date| date == self.modified)
        });
        if !same {
            return Part::Whole;
        }
        range(asked, length)
    }

    fn is_among(&self, tags: &str) -> bool {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == self.etag || tag == "*")
    }
}

fn range(asked: &str, length: u64) -> Part {
    let Some((first, last)) = asked
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.parse::<u64>().ok();
    let range = match (first.is_empty(), last.is_empty()) {
        (true, _) => number(last).map(|suffix| length.saturating_sub(suffix)..length),
        (false, true) => number(first).map(|first| first..length),
        (false, false) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => {
                Some(first..last.saturating_add(1).min(length))
            }
            _ => None,
        },
    };
    match range {
        None => Part::Whole,
        Some(range) if range.start >= range.end => Part::Nowhere,
        Some(range) => Part::Bytes(range),
    }
}

fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn validators() -> Validators {
        Validators::of(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500), 255)
    }

    #[test]
    fn one_range_is_read_and_others_are_not() {
        for (asked, part) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=5-", Part::Bytes(5..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes=8-100", Part::Bytes(8..10)),
            ("bytes=10-", Part::Nowhere),
            ("bytes=-0", Part::Nowhere),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(range(asked, 10), part, "{asked}");
        }
        assert_eq!(range("bytes=0-", 0), Part::Nowhere);
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        let validators = validators();
        assert_eq!(validators.etag, "\"59682f00-ff\"");
        for (name, value, unchanged) in [
            ("if-none-match", "\"59682f00-ff\"", true),
            ("if-none-match", "\"a\", W/\"59682f00-ff\"", true),
            ("if-none-match", "*", true),
            ("if-none-match", "\"a\"", false),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:01 GMT", true),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT", false),
            ("if-modified-since", "yesterday", false),
        ] {
            let headers = headers(&[(name, value)]);
            assert_eq!(validators.unchanged(&headers), unchanged, "{name}: {value}");
        }
        let both = [
            ("if-none-match", "\"a\""),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:01 GMT"),
        ];
        assert!(!validators.unchanged(&headers(&both)), "the tag is better");
    }

    #[test]
    fn a_range_of_another_state_is_not_given() {
        let validators = validators();
        for (value, part) in [
            ("\"59682f00-ff\"", Part::Bytes(0..1)),
            ("\"other\"", Part::Whole),
            ("Thu, 01 Jan 1970 00:00:01 GMT", Part::Bytes(0..1)),
            ("Thu, 01 Jan 1970 00:00:02 GMT", Part::Whole),
        ] {
            let headers = headers(&[("range", "bytes=0-0"), ("if-range", value)]);
            assert_eq!(validators.part(&headers, 255), part, "{value}");
        }
    }
}

//! What an application says of itself: the variables of GET_VALUES and GET_VALUES_RESULT (FastCGI 1.0, section 4.1).

use std::str;

use crate::{
    encode,
    name_value::{PairError, Pairs},
};

/// How many connections the application takes at a time.
pub const MAX_CONNS: &str = "FCGI_MAX_CONNS";
/// How many requests the application takes at a time, over all its connections.
pub const MAX_REQS: &str = "FCGI_MAX_REQS";
/// Whether the application takes several requests at a time on one connection.
pub const MPXS_CONNS: &str = "FCGI_MPXS_CONNS";
/// The three names that the specification knows, as [`encode::get_values`] takes them.
pub const NAMES: [&str; 3] = [MAX_CONNS, MAX_REQS, MPXS_CONNS];

/// The values of the three names. None: not said, which an application is free to do with each.
///
/// ```
/// use stockade_protocol::{encode, values::{NAMES, Values}, web_server::{Answer, WebServer}};
///
/// // the web server asks, the application answers
/// let mut question = Vec::new();
/// encode::get_values(&mut question, &NAMES);
/// let known = Values { max_reqs: Some(8), mpxs_conns: Some(true), ..Values::default() };
/// let mut read = Vec::new();
/// known.answer(&mut read, &question[8..]);
///
/// let mut connection = WebServer::new();
/// assert_eq!(connection.next(&read, &mut 0)?, Some(Answer::Values));
/// assert_eq!(Values::read(connection.values())?, known);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// [`MAX_CONNS`], in connections.
    pub max_conns: Option<u32>,
    /// [`MAX_REQS`], in requests.
    pub max_reqs: Option<u32>,
    /// [`MPXS_CONNS`]: "1" is yes, "0" is no.
    pub mpxs_conns: Option<bool>,
}

impl Values {
    /// Reads the body of a GET_VALUES_RESULT. Names that are not known, and values that are no number, are left out; of a name that comes
    /// twice the last counts.
    ///
    /// # Errors
    /// The body is not made of name-value pairs.
    pub fn read(body: &[u8]) -> Result<Self, PairError> {
        let mut values = Self::default();
        for pair in Pairs::new(body) {
            let (name, value) = pair?;
            let value = number(value);
            if name == MAX_CONNS.as_bytes() {
                values.max_conns = value;
            } else if name == MAX_REQS.as_bytes() {
                values.max_reqs = value;
            } else if name == MPXS_CONNS.as_bytes() {
                values.mpxs_conns = value.map(|value| value != 0);
            }
        }
        Ok(values)
    }

    /// Appends the GET_VALUES_RESULT to a GET_VALUES with the body `asked`: those of the names asked for whose values are known, each once. A
    /// question that is not made of pairs is answered as far as it can be read.
    pub fn answer(&self, out: &mut Vec<u8>, asked: &[u8]) {
        let known = [
            (MAX_CONNS, self.max_conns),
            (MAX_REQS, self.max_reqs),
            (MPXS_CONNS, self.mpxs_conns.map(u32::from)),
        ];
        let known = known.map(|(name, value)| (name, value.map(|value| value.to_string())));
        let is_asked = |name: &str| {
            Pairs::new(asked)
                .map_while(Result::ok)
                .any(|(wanted, _)| wanted == name.as_bytes())
        };
        let pairs: Vec<(&str, &str)> = known
            .iter()
            .filter_map(|(name, value)| value.as_deref().map(|value| (*name, value)))
            .filter(|(name, _)| is_asked(name))
            .collect();
        encode::get_values_result(out, &pairs);
    }
}

fn number(value: &[u8]) -> Option<u32> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits
        .then(|| str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::Values;
    use crate::name_value::{PairError, encode_pair};

    fn read(pairs: &[(&str, &str)]) -> Result<Values, PairError> {
        let mut body = Vec::new();
        for (name, value) in pairs {
            encode_pair(&mut body, name.as_bytes(), value.as_bytes());
        }
        Values::read(&body)
    }

    #[test]
    fn values_that_are_no_numbers_are_not_said() {
        for (value, number) in [
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("4294967296", None),
            ("4294967295", Some(u32::MAX)),
            ("007", Some(7)),
        ] {
            let values = read(&[("FCGI_MAX_REQS", value)]).unwrap();
            assert_eq!(values.max_reqs, number, "{value:?}");
        }
        assert_eq!(read(&[]), Ok(Values::default()));
        assert_eq!(
            read(&[("FCGI_MPXS_CONNS", "0"), ("FCGI_OTHER", "1")]),
            Ok(Values {
                mpxs_conns: Some(false),
                ..Values::default()
            })
        );
        assert_eq!(Values::read(b"\x05"), Err(PairError::Truncated));
    }
}

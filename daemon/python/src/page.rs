//! The answer to a request whose application failed before the head was sent. In development it tells of the exception.

use memchr::memmem;
use stockade_protocol::name_value::Pairs;

use crate::head::Head;

/// Shared with the relay, which shows on it why an application does not start.
const PAGE: &str = include_str!("../../page.html");
const TITLE: &str = "Internal Server Error";

/// Head and body for the request of this name and these parameters; `told` is what standard error was told, for a developer.
pub(crate) fn failure(
    request: Option<&str>,
    told: Option<&str>,
    parameters: &[u8],
) -> (Head, String) {
    let note = request.map(|id| format!("Request: {id}"));
    let note = note.as_deref().unwrap_or_default();
    let Some((line, traceback)) = told.map(|told| told.split_once('\n').unwrap_or((told, "")))
    else {
        let end = if note.is_empty() { "" } else { "\n" };
        let head = Head::internal_server_error("text/plain");
        return (head, format!("{TITLE}\n{note}{end}"));
    };
    if wants_html(parameters) {
        let body = fill(&[TITLE, TITLE, line, traceback.trim_end(), note]);
        return (
            Head::internal_server_error("text/html; charset=utf-8"),
            body,
        );
    }
    let head = Head::internal_server_error("text/plain; charset=utf-8");
    (head, format!("{TITLE}\n{line}\n\n{traceback}"))
}

fn wants_html(parameters: &[u8]) -> bool {
    let mut pairs = Pairs::new(parameters).map_while(Result::ok);
    pairs.any(|(name, value)| name == b"HTTP_ACCEPT" && memmem::find(value, b"text/html").is_some())
}

/// The page with these texts in its places.
fn fill(texts: &[&str]) -> String {
    let mut page = String::with_capacity(4096);
    let mut texts = texts.iter();
    for part in PAGE.split("{}") {
        page.push_str(part);
        // there is none behind the last part
        if let Some(text) = texts.next() {
            escape(&mut page, text);
        }
    }
    page
}

/// What came from outside is text, never markup.
fn escape(page: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            other => page.push(other),
        }
    }
}

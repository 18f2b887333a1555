//! What a developer sees of a pool that is failing: the last lines of the worker that failed. Only where sources are watched (`reload.watch`):
//! who is served by others does not tell strangers what an application wrote.

use super::{answers::Answer, exits::Exits};

/// Shared with the adapter, which shows exceptions on it.
const PAGE: &str = include_str!("../../page.html");

/// What went wrong, in the words of the log.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// How the worker ended.
    sentence: String,
    /// What it wrote last, or why it was not launched.
    lines: Vec<String>,
}

impl Failure {
    /// Of the worker that is gone last; none: none is.
    pub(super) fn last(exits: &Exits) -> Option<Self> {
        let exit = exits.iter().next()?;
        let death = &exit.death;
        let ended = || format!("worker {}: {} {}", exit.worker, death.cause, death.detail);
        Some(Self {
            sentence: death.obituary.clone().unwrap_or_else(ended),
            lines: match &death.not_launched {
                Some(why) => vec![why.clone()],
                None => exit.lines.all(),
            },
        })
    }

    /// The body of the answer.
    pub(super) fn body(&self, answer: &Answer<'_>, request: &str, html: bool) -> String {
        let title = "The application does not start";
        let sentence = self.sentence.trim_end();
        let lines = if self.lines.is_empty() {
            "It has written nothing.".to_owned()
        } else {
            self.lines.join("\n")
        };
        let remedy = "When a source is changed it is loaded again";
        let cause = answer.cause;
        if html {
            let note = format!("{remedy}. {cause}, request {request}");
            return fill(&[title, title, sentence, &lines, &note]);
        }
        format!("{title}\n{sentence}\n\n{lines}\n\n{remedy}.\n{cause}, request {request}\n")
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const FAILING: Answer<'_> = Answer {
        status: 503,
        cause: "pool-failing",
        retry_after: Some(1),
    };

    fn failure() -> Failure {
        Failure {
            sentence: "pool app: worker 1 gone".to_owned(),
            lines: vec!["<script>{}".to_owned(), "ValueError: a & b".to_owned()],
        }
    }

    #[test]
    fn what_a_worker_wrote_is_text_and_no_markup() {
        let page = failure().body(&FAILING, "42", true);
        assert!(
            page.contains("<pre>&lt;script&gt;{}\nValueError: a &amp; b</pre>"),
            "{page}"
        );
        assert!(page.contains("pool-failing, request 42</small>"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }

    #[test]
    fn who_wants_no_html_gets_the_lines() {
        let text = failure().body(&FAILING, "42", false);
        assert!(
            text.contains("\n\n<script>{}\nValueError: a & b\n\n"),
            "{text}"
        );
    }
}

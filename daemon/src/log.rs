//! The log: one line an event on standard error, in text.
//!
//! ```text
//! 2026-01-31T12:00:00.123456Z INFO  pool blog: worker 3 (pid 4711) ready after 0.4 s
//! 2026-01-31T12:00:01.007123Z INFO  pool blog: worker 3 (pid 4711) stderr: Not Found: /favicon.ico
//! ```

use std::{fmt, io, sync::OnceLock};

use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry,
    filter::LevelFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use crate::config::resolved::LogLevel;

/// Lines that wait for a standard error that does not take them; what comes beyond is lost.
const WAITING: usize = 4096;

/// The log, while it is held; what still waits is written when it is dropped.
#[derive(Debug)]
pub struct Log(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// What changes the level of the log that was started.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sends every event of at least `level` to standard error from here on. To be called once.
///
/// A thread of its own writes it: a full disk, or a pipe that nobody reads, costs lines, never a request or the process.
#[must_use = "the log ends when it is dropped"]
pub fn start(level: LogLevel) -> Log {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(io::stderr());
    let (filter, handle) = reload::Layer::new(filter(level));
    LEVEL.get_or_init(|| handle);
    tracing_subscriber::registry()
        .with(filter)
        .with(
            tracing_subscriber::fmt::layer()
                .event_format(Line)
                .with_writer(writer),
        )
        .init();
    Log(guard)
}

/// From here on another level.
pub(crate) fn set_level(level: LogLevel) {
    let set = LEVEL.get().map(|handle| handle.reload(filter(level)));
    if let Some(Err(error)) = set {
        tracing::warn!("could not change log-level: {error}");
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:<5} ", event.metadata().level())?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

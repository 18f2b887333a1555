//! Pools of the application that hangs (`tests/hangs/app.py`).

use super::{
    fcgi::{Answer, Fcgi},
    log::Log,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const APPLICATION: &str = include_str!("../hangs/app.py");

/// A pool `app` of it with these keys.
pub(crate) fn pool(site: &Site, keys: &str) -> Pool {
    site.write("app.py", APPLICATION);
    Pool::new(&format!(
        "wsgi = \"app:application\"\npython-home = {:?}\npython-path = [{:?}]\n{keys}",
        tools::python(),
        site.path()
    ))
}

/// The daemon with that pool, one worker ready.
pub(crate) fn serve(keys: &str) -> Stockade {
    let site = Site::new();
    let pool = pool(&site, keys);
    Stockade::ready(site, &[pool])
}

/// A request that hangs in this way, as soon as it does.
pub(crate) fn hang(stockade: &Stockade, query: &str) -> Fcgi {
    let word = query.split('=').next().unwrap_or_default();
    let said = format!("stuck in {word}");
    let before = stockade.log.matching(&[&said]).len();
    let mut host = stockade.connect();
    host.begin("GET", query, &[]);
    stockade.log.wait_times(before + 1, &[&said]);
    host
}

/// Status and `Stockade-Cause`.
pub(crate) fn cause(answer: &Answer) -> (u16, String) {
    let cause = answer.header("Stockade-Cause").unwrap_or_default();
    (answer.status(), cause)
}

/// Waits for the line about a worker's end.
pub(crate) fn wait_gone(log: &Log, pid: i32, cause: &str) -> String {
    log.wait(&[&format!("(pid {pid}) gone"), cause])
}

//! Behind every real host: each in all the ways in which it can speak to a pool.

mod authorizers;
mod cut;
mod multiplexing;
mod requests;

use std::net::SocketAddr;

use crate::support::{
    host::Kind,
    http::{Address, Client},
    server::free_address,
    site::Site,
    stockade::{Pool, Stockade, configuration},
};

const ALL: [Kind; 5] = [
    Kind::Nginx,
    Kind::Apache,
    Kind::Caddy,
    Kind::Haproxy,
    Kind::Lighttpd,
];

/// Scripted workers, `processes` of them, in a pool that listens on a unix socket and on a port.
fn pool(processes: usize, keys: &str) -> (Stockade, [Address; 2]) {
    let site = Site::new();
    let socket = site.path().join("app.sock");
    let port: SocketAddr = free_address();
    let listen = format!("listen = [\"unix:{}\", \"{port}\"]", socket.display());
    let keys = format!("processes = {processes}\n{listen}\n{keys}");
    let pool = Pool::scripted(&site, &[], &keys);
    let config = configuration(&site, &[pool]);
    let watched = "[daemon]\nstatus-listen = \"127.0.0.1:0\"";
    let config = config.replacen("[daemon]", watched, 1);
    let stockade = Stockade::run(site, &config);
    stockade.wait_ready("app", processes);
    (stockade, [Address::Unix(socket), Address::Tcp(port)])
}

/// The slots of the pool that are busy.
fn busy(stockade: &Stockade) -> u64 {
    number(stockade, "stockade_slots{pool=\"app\",state=\"busy\"} ")
}

/// Those that are free.
fn idle(stockade: &Stockade) -> u64 {
    number(stockade, "stockade_slots{pool=\"app\",state=\"idle\"} ")
}

/// The connections that hosts have open.
fn host_connections(stockade: &Stockade) -> u64 {
    number(stockade, "stockade_host_connections{pool=\"app\"} ")
}

fn number(stockade: &Stockade, metric: &str) -> u64 {
    let line = stockade.log.wait(&["status on http://"]);
    let address = line
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let address = address
        .and_then(|text| text.parse().ok())
        .expect("an address");
    let text = Client::new(Address::Tcp(address)).get("/metrics").text();
    text.lines()
        .find_map(|line| line.strip_prefix(metric)?.parse().ok())
        .unwrap_or_else(|| panic!("no {metric} in:\n{text}"))
}

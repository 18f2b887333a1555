//! Requests without a pause, from several clients, while a test does something to the daemon.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    deadline::wait_for,
    http::{Client, Request},
};

/// The clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    enough: AtomicBool,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Each of `clients` sends GET and POST `path` in turn until told to stop.
    pub(crate) fn start(clients: Vec<Client>, path: &'static str) -> Self {
        Self::with_methods(clients, path, &["GET", "POST"])
    }

    /// The same with these methods.
    pub(crate) fn with_methods(
        clients: Vec<Client>,
        path: &'static str,
        methods: &'static [&'static str],
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = clients
            .into_iter()
            .map(|client| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.work(client, path, methods))
            })
            .collect();
        Self { shared, clients }
    }

    /// Waits until `further` more requests have been answered.
    pub(crate) fn wait_answered(&self, further: usize) {
        let aim = self.shared.answered.load(Ordering::Relaxed) + further;
        wait_for(&format!("{further} more requests to be answered"), || {
            (self.shared.answered.load(Ordering::Relaxed) >= aim).then_some(())
        });
    }

    /// Stops; how many were answered, and every failure in words.
    pub(crate) fn stop(self) -> (usize, Vec<String>) {
        self.shared.enough.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        let failures = self.shared.failures();
        (
            self.shared.answered.load(Ordering::Relaxed),
            failures.clone(),
        )
    }
}

impl Shared {
    fn work(&self, mut client: Client, path: &str, methods: &[&str]) {
        while !self.enough.load(Ordering::Relaxed) {
            for method in methods {
                let request = Request::new(method, path);
                let request = match *method {
                    "POST" => request.body(b"a=1"),
                    _ => request,
                };
                let failure = match client.try_send(request) {
                    Ok(response) if response.status == 200 && response.complete => None,
                    Ok(response) => Some(format!("{}: {}", response.status, response.text())),
                    Err(error) => Some(error.to_string()),
                };
                self.failures().extend(failure);
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

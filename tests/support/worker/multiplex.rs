//! Many requests on one connection, each in a thread, as Go's net/http/fcgi serves them: an aborted one is ended at once, while what runs for
//! it goes on, and ends it once more. Unlike there no request waits until another has taken its body.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    Life,
    records::{self, Kind, Record, Request},
    script::{self, Outcome},
};

/// Connections accepted by this process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Serves connections until it is killed.
pub(crate) fn serve(listener: &UnixListener, generation: &str) -> ! {
    loop {
        if let Ok((connection, _)) = listener.accept() {
            let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
            let generation = generation.to_owned();
            // a connection that breaks is its peer's affair
            thread::spawn(move || take_apart(connection, &generation, number));
        }
    }
}

/// Gives every request's records to its thread.
fn take_apart(mut connection: UnixStream, generation: &str, number: u64) -> io::Result<()> {
    let shared = Arc::new(Mutex::new(connection.try_clone()?));
    let mut requests: BTreeMap<u16, UnixStream> = BTreeMap::new();
    let mut begun = 0;
    while let Some(record) = records::read(&mut connection)? {
        match record.kind {
            Kind::GET_VALUES => records::answer_values(&mut connection, &record.content)?,
            Kind::BEGIN_REQUEST => {
                begun += 1;
                let (ours, theirs) = UnixStream::pair()?;
                requests.insert(record.id, ours.try_clone()?);
                let shared = Arc::clone(&shared);
                thread::spawn(move || pump(ours, &shared));
                let life = Life {
                    requests: begun,
                    connections: number,
                    generation: generation.to_owned(),
                    ..Life::default()
                };
                thread::spawn(move || run(theirs, &record, life));
            }
            Kind::ABORT_REQUEST => {
                requests.remove(&record.id);
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                records::write(&mut shared, Kind::END_REQUEST, record.id, &[0; 8])?;
            }
            kind => {
                if let Some(request) = requests.get_mut(&record.id) {
                    // it may have answered without reading this
                    drop(records::write(request, kind, record.id, &record.content));
                }
            }
        }
    }
    Ok(())
}

fn run(mut connection: UnixStream, begin: &Record, mut life: Life) {
    let request = Request::begin(&mut connection, begin);
    if let Ok(Outcome::Exit(status)) =
        request.and_then(|request| script::run(&mut connection, request, &mut life))
    {
        end(status);
    }
}

#[expect(
    clippy::exit,
    reason = "the process ends, whatever else its threads are at"
)]
fn end(status: u8) -> ! {
    process::exit(i32::from(status))
}

/// Passes on what a request's thread writes, record by record.
fn pump(mut from: UnixStream, to: &Mutex<UnixStream>) -> io::Result<()> {
    loop {
        let mut record = vec![0; 8];
        from.read_exact(&mut record)?;
        let length = usize::from(u16::from_be_bytes([record[4], record[5]]));
        // what is not FastCGI is passed on as it is
        if record[0] == 1 {
            record.resize(8 + length, 0);
            from.read_exact(&mut record[8..])?;
        }
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(&record)?;
    }
}

//! Requests whose time is over are broken off (`interrupt-timeout`): `RequestTimeout` is raised in the threads that are at them.
//!
//! The supervisor says that there are some, the relay has ended its side of their connections before: so a thread is meant exactly when
//! the connection of the request that it is at has been ended. All of this happens under the interpreter's lock, and a request is
//! entered and left under it, so that no other request is ever hit.
//!
//! In the main thread a signal raises it, which also ends calls that wait in the system (`time.sleep`, a socket's `recv`). Other threads
//! get it when they run Python code next: the interpreter has nothing else for them.

use std::{
    ffi::c_long,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use pyo3::{
    create_exception,
    exceptions::PyBaseException,
    ffi,
    prelude::*,
    types::{PyCFunction, PyModule, PyType},
};

use crate::call::Worker;

create_exception!(
    stockade,
    RequestTimeout,
    PyBaseException,
    "The time of the request that this thread is at is over, and its client has been answered 504."
);

/// How far above SIGRTMIN the signal is that is sent to the main thread.
const SIGNAL: i32 = 21;

/// What each thread is at.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    places: Mutex<Vec<Place>>,
}

/// A thread that serves.
#[derive(Debug)]
struct Place {
    /// As `threading.get_ident` tells it.
    thread: c_long,
    /// It handles signals.
    main: bool,
    /// The connection of the request it is at.
    connection: Option<RawFd>,
    mark: Mark,
}

/// Whether the request is to be broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// No.
    None,
    /// Yes, and the thread has been told.
    Told,
    /// It was raised in the main thread.
    Raised,
}

impl Interrupts {
    /// This thread serves; its place.
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<usize> {
        let threading = py.import("threading")?;
        let thread: libc::c_ulong = threading.call_method0("get_ident")?.extract()?;
        let main = threading.call_method0("main_thread")?.getattr("ident")?;
        let mut places = self.places();
        places.push(Place {
            thread: thread.cast_signed(),
            main: main.extract::<libc::c_ulong>()? == thread,
            connection: None,
            mark: Mark::None,
        });
        Ok(places.len() - 1)
    }

    /// The thread is at a request.
    pub(crate) fn begin(&self, place: usize, connection: &impl AsFd) {
        let mut places = self.places();
        places[place].connection = Some(connection.as_fd().as_raw_fd());
    }

    /// The thread is not at it any more; whether it was to be broken off. What has not reached the thread by now never does.
    pub(crate) fn end(&self, place: usize, _py: Python<'_>) -> bool {
        let mut places = self.places();
        let place = &mut places[place];
        place.connection = None;
        let mark = std::mem::replace(&mut place.mark, Mark::None);
        if mark == Mark::Told && !place.main {
            raise_in(place.thread, None);
        }
        mark != Mark::None
    }

    /// Breaks off every request whose connection the relay has ended.
    pub(crate) fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        let class = py.get_type::<RequestTimeout>();
        let mut main = None;
        for place in self.places().iter_mut() {
            if place.mark != Mark::None || !place.connection.is_some_and(ended) {
                continue;
            }
            place.mark = Mark::Told;
            if place.main {
                main = Some(place.thread);
            } else {
                raise_in(place.thread, Some(&class));
            }
        }
        if let Some(thread) = main {
            let signal = py.import("signal")?;
            signal.call_method1("pthread_kill", (thread.cast_unsigned(), number(&signal)?))?;
        }
        Ok(())
    }

    /// The request that the main thread is at is to be broken off. Told once.
    fn main_is_meant(&self) -> bool {
        let mut places = self.places();
        let told = |place: &&mut Place| place.main && place.mark == Mark::Told;
        let meant = places.iter_mut().find(told);
        meant.map(|place| place.mark = Mark::Raised).is_some()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the main thread take the signal that breaks off its request.
pub(crate) fn handle_signal(py: Python<'_>, worker: &Arc<Worker>) -> PyResult<()> {
    let signal = py.import("signal")?;
    let serving = Arc::clone(worker);
    let handler = PyCFunction::new_closure(py, Some(c"interrupt"), None, move |_, _| {
        let interrupts = serving.interrupts.as_ref();
        if interrupts.is_some_and(Interrupts::main_is_meant) {
            return Err(RequestTimeout::new_err(()));
        }
        Ok(())
    })?;
    signal.call_method1("signal", (number(&signal)?, handler))?;
    Ok(())
}

/// The signals for which a worker has handlers.
pub(crate) fn signals(signal: &Bound<'_, PyModule>) -> PyResult<[i32; 3]> {
    let named = |name: &str| signal.getattr(name)?.extract();
    Ok([named("SIGTERM")?, named("SIGINT")?, number(signal)?])
}

fn number(signal: &Bound<'_, PyModule>) -> PyResult<i32> {
    Ok(signal.getattr("SIGRTMIN")?.extract::<i32>()? + SIGNAL)
}

/// Whether the peer has ended its side.
fn ended(connection: RawFd) -> bool {
    let connection = borrow(connection);
    let mut watched = [PollFd::new(
        connection,
        PollFlags::from_bits_retain(libc::POLLRDHUP),
    )];
    matches!(poll(&mut watched, PollTimeout::ZERO), Ok(count) if count > 0)
}

#[expect(
    unsafe_code,
    reason = "the connection is the exchange's, which is on the stack of another thread"
)]
fn borrow<'a>(connection: RawFd) -> BorrowedFd<'a> {
    // SAFETY: a place has it only while its thread is at the request (`begin`, `end`), and the thread cannot leave it while we hold
    // the interpreter's lock.
    unsafe { BorrowedFd::borrow_raw(connection) }
}

/// Has a thread raise this when it runs Python code next; nothing: it is not to raise what it was told to.
#[expect(unsafe_code, reason = "pyo3 has no safe function for it")]
fn raise_in(thread: c_long, class: Option<&Bound<'_, PyType>>) {
    let class = class.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the interpreter's lock is held (both callers have it), and `class` is a class of exceptions, or null. A thread that is
    // gone is not found.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread, class) };
}

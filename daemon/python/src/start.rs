//! From the interpreter's start to its end: the application is loaded, the worker says it is ready, serves, and ends.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    sync::Arc,
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    unistd::{dup2_stdin, pipe2},
};
use pyo3::{
    exceptions::PySystemExit,
    prelude::*,
    types::{PyCFunction, PyDict},
};

use crate::{
    arguments::Arguments,
    asgi,
    call::Worker,
    control::Control,
    environ::{Environs, latin_1},
    heartbeat::Heartbeat,
    helper::{Helper, Serving},
    hub,
    interrupt::{self, Interrupts},
    module::Module,
    report::Report,
    server::{Server, Wake},
    stacks::Stacks,
    template, title, warm,
};

const LOADER: &CStr = pyo3::ffi::c_str!(include_str!("../python/loader.py"));
const REPORT: &CStr = pyo3::ffi::c_str!(include_str!("../python/report.py"));

/// Runs a worker; its exit status. The launcher's bootstrap calls it with what follows it on the command line.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, words: Vec<String>) -> PyResult<i32> {
    let arguments = Arguments::parse(words)
        .map_err(|sentence| PySystemExit::new_err(format!("stockade: {sentence}")))?;
    let environment = py.import("os")?.getattr("environ")?;
    let (control, heartbeat) = take_descriptors(&environment, arguments.deadlock_timeout)?;
    let module = Arc::new(Module::make(py)?);
    let pool = environment
        .call_method1("get", ("STOCKADE_POOL",))?
        .extract()?;
    let report = PyModule::from_code(
        py,
        REPORT,
        c"<stockade report.py>",
        c"stockade_python.report",
    )?;
    let report = Arc::new(Report::new(
        report.getattr("write")?.unbind(),
        pool,
        arguments.development,
    ));
    let listener =
        take_listener(&arguments).map_err(|error| failed("take the listening socket", &error))?;
    set_title(py, &arguments, &report);
    let hub = match &arguments.hub {
        Some(name) => Some(hub::patched(py, name)?),
        None => None,
    };
    let application = load(py, &arguments)?;
    let base = base_environ(py, &arguments)?;
    if !arguments.asgi && hub.is_none() {
        warm_up(py, &arguments, &application, &base)?;
    }
    let mut given = Given {
        control,
        heartbeat,
        listener,
    };
    if arguments.template {
        given.fork(py, &arguments, &report)?;
    }
    if arguments.asgi {
        let listener = given.take_listener()?;
        let called = (application, report);
        return asgi::serve(py, called, listener, &arguments, given.control);
    }
    if let Some(module) = hub {
        let listener = given.take_listener()?;
        let called = (application, base, report);
        return hub::serve(py, &module, called, listener, &arguments, given.control);
    }
    loop {
        let called = (application.clone_ref(py), base.clone_ref(py));
        let told = (Arc::clone(&report), Arc::clone(&module));
        match serve_requests(py, called, &arguments, told, &mut given)? {
            Some(status) => return Ok(status),
            // it goes on in each worker that is forked
            None => given.fork(py, &arguments, &report)?,
        }
    }
}

/// What the supervisor gave this worker.
struct Given {
    control: Option<Arc<Control>>,
    heartbeat: Option<Heartbeat>,
    listener: Option<UnixListener>,
}

impl Given {
    /// Serves as a template, and returns in each worker that is forked.
    fn fork(&mut self, py: Python<'_>, arguments: &Arguments, report: &Report) -> PyResult<()> {
        let control = self.control.take().ok_or_else(|| {
            let error = io::Error::new(io::ErrorKind::NotFound, "STOCKADE_CONTROL_FD is not set");
            failed("be a template", &error)
        })?;
        let forked = template::run(py, &control, report)?;
        *self = Self {
            control: Some(forked.control),
            heartbeat: (forked.heartbeat.zip(arguments.deadlock_timeout))
                .map(|(file, timeout)| Heartbeat::new(file, timeout)),
            listener: Some(forked.listener),
        };
        set_title(py, arguments, report);
        Ok(())
    }

    fn take_listener(&mut self) -> PyResult<UnixListener> {
        self.listener.take().ok_or_else(|| {
            let error = io::Error::new(io::ErrorKind::NotFound, "there is none");
            failed("take the listening socket", &error)
        })
    }
}

/// Where requests are in threads: in this one, before there are any.
fn warm_up(
    py: Python<'_>,
    arguments: &Arguments,
    application: &Py<PyAny>,
    base: &Py<PyDict>,
) -> PyResult<()> {
    if arguments.warm_up.is_empty() {
        return Ok(());
    }
    let mut environs = Environs::new(py, base.clone_ref(py), &arguments.mount);
    warm::wsgi(py, application, &mut environs, &arguments.warm_up)?;
    warm::freeze(py)
}

/// Serves in threads of the system until the worker is to end; its exit status. None: it is to be a template.
fn serve_requests(
    py: Python<'_>,
    (application, base): (Py<PyAny>, Py<PyDict>),
    arguments: &Arguments,
    (report, module): (Arc<Report>, Arc<Module>),
    given: &mut Given,
) -> PyResult<Option<i32>> {
    let (signals, notify) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|errno| failed("make a pipe for signals", &errno.into()))?;
    let control = given.control.clone();
    let server = Server::new(given.take_listener()?, signals, arguments.slots)
        .map_err(|error| failed("watch the listening socket", &error))?;
    let worker = Arc::new(Worker {
        server,
        application,
        target: arguments.target.clone(),
        base,
        mount: arguments.mount.clone(),
        report,
        module,
        control: control.clone(),
        interrupts: arguments.interrupts.then(Interrupts::default),
        stacks: Stacks::new(py)?,
    });
    handle_signals(py, &worker, &notify)?;
    let traces = worker.stacks.traces(py)?;
    let serving: Arc<dyn Serving> = Arc::<Worker>::clone(&worker);
    let helper = Helper::start(
        &serving,
        control.clone(),
        given.heartbeat.take(),
        Some(traces),
    )
    .map_err(|error| failed("start a thread", &error))?;
    // when the supervisor is gone the socket to it says so, and the worker ends by that
    if let Some(Err(error)) = control.map(|control| control.ready()) {
        let line = format!("could not tell the supervisor that the worker is ready: {error}");
        worker.report.worker(&line, None, py);
    }
    if arguments.slots == 1 {
        worker.serve(py);
    } else {
        serve_in_threads(py, &worker)?;
    }
    let ends = !worker.server.stop.for_template();
    if ends {
        worker.tell_end(py);
        worker.before_retire(py);
    }
    drop(helper);
    // the pipe's end is closed with `notify`: the interpreter must not write to it any more
    let signal = py.import("signal")?;
    signal.call_method1("set_wakeup_fd", (-1,))?;
    drop(notify);
    if ends {
        return Ok(Some(worker.server.stop.status()));
    }
    // the handlers have the worker, and with it its socket
    for number in interrupt::signals(&signal)? {
        signal.call_method1("signal", (number, signal.getattr("SIG_DFL")?))?;
    }
    Ok(None)
}

/// The application.
fn load(py: Python<'_>, arguments: &Arguments) -> PyResult<Py<PyAny>> {
    let loader = PyModule::from_code(
        py,
        LOADER,
        c"<stockade loader.py>",
        c"stockade_python.loader",
    )?;
    let owner = (arguments.script_user, arguments.script_group);
    let load = loader.getattr("load")?;
    let named = (
        &arguments.target,
        &arguments.python_path,
        owner,
        arguments.asgi,
    );
    let application = load.call1(named)?;
    Ok(application.unbind())
}

/// `display-name`. A worker without it serves no worse.
fn set_title(py: Python<'_>, arguments: &Arguments, report: &Report) {
    if let Some(title) = &arguments.display_name
        && let Err(error) = title::set(title)
    {
        let line = format!("could not set the title {title:?}: {error}");
        report.worker(&line, None, py);
    }
}

fn take_descriptors(
    environment: &Bound<'_, PyAny>,
    deadlock_timeout: Option<Duration>,
) -> PyResult<(Option<Arc<Control>>, Option<Heartbeat>)> {
    let control = take_number(environment, "STOCKADE_CONTROL_FD")?
        .map(|number| Control::take(number).map(Arc::new))
        .transpose()
        .map_err(|error| failed("take STOCKADE_CONTROL_FD", &error))?;
    let heartbeat = take_number(environment, "STOCKADE_HEARTBEAT_FD")?
        .zip(deadlock_timeout)
        .map(|(number, timeout)| Heartbeat::take(number, timeout))
        .transpose()
        .map_err(|error| failed("take STOCKADE_HEARTBEAT_FD", &error))?;
    Ok((control, heartbeat))
}

/// The number of a descriptor that the environment tells; the application does not see it.
fn take_number(environment: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<RawFd>> {
    let none = environment.py().None();
    let number: Option<String> = environment.call_method1("pop", (name, none))?.extract()?;
    number
        .map(|number| {
            number.parse().map_err(|_| {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "not a number");
                failed(&format!("take {name}={number}"), &error)
            })
        })
        .transpose()
}

/// Takes descriptor 0 over and puts /dev/null there, for the programs that the application starts inherit it: one that held the
/// listening socket would keep clients waiting for a worker that is gone.
/// A template has none.
fn take_listener(arguments: &Arguments) -> io::Result<Option<UnixListener>> {
    if arguments.template {
        return Ok(None);
    }
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = UnixListener::from(socket);
    // fails for what is no listening Unix socket
    listener.local_addr()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(Some(listener))
}

fn base_environ(py: Python<'_>, arguments: &Arguments) -> PyResult<Py<PyDict>> {
    let base = PyDict::new(py);
    // what a host may leave out, and PEP 3333 wants
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("PATH_INFO", ""),
        ("QUERY_STRING", ""),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.0"),
        ("wsgi.url_scheme", "http"),
    ] {
        base.set_item(name, value)?;
    }
    base.set_item("SCRIPT_NAME", latin_1(py, arguments.mount.as_bytes()))?;
    base.set_item("wsgi.version", (1, 0))?;
    // its place: a copy need not grow when the request's is set
    base.set_item("wsgi.input", py.None())?;
    base.set_item("wsgi.errors", py.import("sys")?.getattr("stderr")?)?;
    base.set_item("wsgi.multithread", arguments.slots > 1)?;
    base.set_item("wsgi.multiprocess", true)?;
    base.set_item("wsgi.run_once", false)?;
    base.set_item("wsgi.input_terminated", true)?;
    let wrapper = py.import("wsgiref.util")?.getattr("FileWrapper")?;
    base.set_item("wsgi.file_wrapper", wrapper)?;
    Ok(base.unbind())
}

/// TERM and INT end the worker when what runs is answered. Python's own handler only notes a signal; the byte it writes to `notify`
/// wakes the wait in which the main thread may be.
fn handle_signals(py: Python<'_>, worker: &Arc<Worker>, notify: &OwnedFd) -> PyResult<()> {
    let signal = py.import("signal")?;
    let stopping = Arc::clone(worker);
    let handler = PyCFunction::new_closure(py, Some(c"stop"), None, move |_, _| {
        stopping.server.stop.request();
    })?;
    for name in ["SIGTERM", "SIGINT"] {
        signal.call_method1("signal", (signal.getattr(name)?, &handler))?;
    }
    if worker.interrupts.is_some() && worker.server.threads() == 1 {
        interrupt::handle_signal(py, worker)?;
    }
    let options = PyDict::new(py);
    options.set_item("warn_on_full_buffer", false)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(notify);
    signal.call_method("set_wakeup_fd", (number,), Some(&options))?;
    Ok(())
}

fn serve_in_threads(py: Python<'_>, worker: &Arc<Worker>) -> PyResult<()> {
    let thread_type = py.import("threading")?.getattr("Thread")?;
    let mut threads = Vec::new();
    for number in 1..=worker.server.threads() {
        let serving = Arc::clone(worker);
        let run = PyCFunction::new_closure(py, Some(c"serve"), None, move |arguments, _| {
            let _ends = EndsWorker(&serving);
            serving.serve(arguments.py());
        })?;
        let options = PyDict::new(py);
        options.set_item("name", format!("stockade-{number}"))?;
        options.set_item("target", run)?;
        let thread = thread_type.call((), Some(&options))?;
        thread.call_method0("start")?;
        threads.push(thread);
    }
    loop {
        match py.detach(|| worker.server.wait()) {
            Wake::Stop => break,
            Wake::Failed(error) => worker.fail(py, &error),
            Wake::Retiring => worker.tell_end(py),
            Wake::Signal | Wake::Request(_) => worker.handle_signals(py),
        }
    }
    worker.tell_end(py);
    for thread in threads {
        thread.call_method0("join")?;
    }
    Ok(())
}

/// A thread that ends, however it ends, ends the worker: one that served with fewer threads than it said would keep requests waiting.
struct EndsWorker<'a>(&'a Worker);

impl Drop for EndsWorker<'_> {
    fn drop(&mut self) {
        // when the end was asked for already, the status given then counts
        self.0.server.stop.exit(1);
    }
}

pub(crate) fn failed(step: &str, error: &io::Error) -> PyErr {
    PySystemExit::new_err(format!("stockade: could not {step}: {error}"))
}

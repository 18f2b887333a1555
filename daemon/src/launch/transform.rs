//! The steps from launcher to program, each with its name, and exec.

use std::{
    convert::Infallible,
    ffi::{CString, NulError},
    fmt::Display,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::{
        prctl,
        signal::{SigHandler, SigSet, Signal, signal},
        stat::{Mode, umask},
    },
    unistd::{Pid, chdir, execve, execveat, getppid, setsid},
};

use super::{
    descriptors::Descriptors,
    identity,
    plan::{Failure, Plan},
};

/// Becomes the program of `plan`; returns only when a step failed.
pub(super) fn run(plan: &Plan, descriptors: Vec<OwnedFd>) -> Failure {
    match Descriptors::of(&plan.descriptors, descriptors)
        .and_then(|descriptors| confine(plan, &descriptors).map(|()| descriptors))
        .and_then(|descriptors| execute(plan, &descriptors))
    {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

/// Everything before exec. The order matters: see each step.
fn confine(plan: &Plan, descriptors: &Descriptors) -> Result<(), Failure> {
    // A session and a process group of its own: signals go to the group, and a terminal's do not reach it.
    setsid().map_err(step("start a session"))?;
    descriptors.place()?;
    umask(Mode::from_bits_truncate(plan.umask));
    if let Some(account) = &plan.account {
        identity::assume(account)?;
    }
    // As the account: it must be allowed to be there.
    chdir(&plan.home).map_err(step(format!(
        "change to the working directory {}",
        plan.home.display()
    )))?;
    prctl::set_no_new_privs().map_err(step("give up new privileges"))?;
    reset_signals().map_err(step("reset the signals"))?;
    // A change of identity clears it, so it comes last; who died before is seen by the parent that took us over.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("set the parent-death signal"))?;
    if getppid() != Pid::from_raw(plan.parent) {
        return Err(Failure::of(
            "start without the supervisor",
            "it is not our parent",
        ));
    }
    Ok(())
}

/// What exec would pass on: nothing blocked, nothing ignored (the runtime of this program ignores SIGPIPE).
#[expect(unsafe_code, reason = "a signal's disposition has no safe setter")]
fn reset_signals() -> nix::Result<()> {
    for each in Signal::iterator() {
        if matches!(each, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default disposition runs no code of ours.
        unsafe { signal(each, SigHandler::SigDfl) }?;
    }
    SigSet::empty().thread_set_mask()
}

fn execute(plan: &Plan, descriptors: &Descriptors) -> Result<Infallible, Failure> {
    let mut environment = plan.environment.clone();
    descriptors.tell(&mut environment);
    let arguments = texts("pass the arguments", plan.arguments.iter().cloned())?;
    let environment = environment
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    let environment = texts("pass the environment", environment)?;
    let (name, result) = match (&plan.program, &descriptors.program) {
        (Some(path), _) => (
            path.display().to_string(),
            execve(&text_of_path(path)?, &arguments, &environment),
        ),
        (None, Some(program)) => (
            "our own executable".to_owned(),
            execveat(
                program,
                c"",
                &arguments,
                &environment,
                AtFlags::AT_EMPTY_PATH,
            ),
        ),
        (None, None) => return Err(Failure::of("execute", "the plan names no program")),
    };
    result.map_err(|error| {
        let hint = match error {
            Errno::EACCES => ": let the pool's account reach and execute it (chmod +x), or name the interpreter it is written for",
            Errno::ENOEXEC => ": a script begins with `#!` and the path of its interpreter",
            _ => "",
        };
        Failure {
            exec: true,
            ..Failure::of(format!("execute {name}"), format_args!("{}{hint}", error.desc()))
        }
    })
}

fn text_of_path(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Failure::of(format!("execute {}", path.display()), error))
}

fn texts(name: &str, all: impl Iterator<Item = String>) -> Result<Vec<CString>, Failure> {
    all.map(CString::new)
        .collect::<Result<_, NulError>>()
        .map_err(|error| Failure::of(name, error))
}

fn step(name: impl Display) -> impl FnOnce(Errno) -> Failure {
    move |error| Failure::of(name.to_string(), error.desc())
}

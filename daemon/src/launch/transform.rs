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
    unistd::{Pid, chdir, chroot, execve, execveat, getppid, setsid, write},
};

use super::{
    capabilities,
    descriptors::Descriptors,
    identity, limits, paths,
    plan::{Failure, Plan},
    private_tmp, scheduler,
};
use crate::config::confinement::Confinement;

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
    if let Some(cgroup) = &descriptors.cgroup {
        // 0: whoever writes it. From here on nothing runs outside.
        write(cgroup, b"0").map_err(step("enter its cgroup"))?;
    }
    let confinement = &plan.confinement;
    // A session and a process group of its own: signals go to the group, and a terminal's do not reach it.
    setsid().map_err(step("start a session"))?;
    // Before the root folder is another: it opens /dev/null.
    descriptors.place()?;
    umask(Mode::from_bits_truncate(plan.umask));
    as_root(confinement)?;
    if let Some(account) = &plan.account {
        identity::assume(account)?;
    }
    // What the change of the account has not taken: of one who was not root, or who is it in a namespace.
    capabilities::drop_all()?;
    // As the account: it must be allowed to be there. In the root folder: one left outside would lead out of it.
    chdir(&plan.home).map_err(step(format!(
        "change to the working directory {}",
        plan.home.display()
    )))?;
    if !confinement.new_privileges {
        prctl::set_no_new_privs().map_err(step("give up new privileges"))?;
    }
    // Who may gain privileges may not do this; and it opens paths, so it comes before the limit of open files.
    if let Some(paths) = &confinement.paths {
        paths::confine(paths, descriptors.adapter())?;
    }
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

/// What needs the power of root, where we have it.
fn as_root(confinement: &Confinement) -> Result<(), Failure> {
    limits::raise(&confinement.limits)?;
    scheduler::schedule(confinement.cpu_policy)?;
    scheduler::prioritise(confinement.cpu_priority)?;
    let root = confinement.chroot.as_deref();
    // Seen from outside the root folder, for the namespace's maps are in our /proc.
    if confinement.private_tmp {
        private_tmp::make(root.unwrap_or_else(|| Path::new("/")))?;
    }
    if let Some(root) = root {
        chroot(root).map_err(step(format!(
            "change the root folder to {}",
            root.display()
        )))?;
        chdir("/").map_err(step("enter the root folder"))?;
    }
    // Behind all that takes a capability, but for the change of the account, which needs only those that we still have: the
    // bounding set is about what exec may give. Whoever is to gain privileges gains them by exec.
    if !confinement.new_privileges {
        capabilities::bound()?;
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
    // The very last: a limit of memory is ours too.
    limits::set(&plan.confinement.limits)?;
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

//! A worker in uninterruptible sleep, which KILL does not end: it waits for a file system that does not answer.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::PathBuf,
    thread::{self, JoinHandle},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};

use crate::support::{
    deadline::wait_for,
    hangs::{cause, hang, pool},
    process,
    site::Site,
    stockade::Stockade,
    tools,
};

/// A file system (FUSE) that takes requests and answers none but the first.
struct Deaf {
    folder: PathBuf,
    server: Option<JoinHandle<()>>,
    _site: Site,
}

impl Deaf {
    /// In a folder of its own: whoever looks into it waits.
    fn mount() -> Self {
        let site = Site::new();
        let folder = site.folder_for_pool("disk");
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("the kernel has FUSE");
        let keys = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("deaf"), &folder, Some("fuse"), flags, Some(&*keys)).expect("root may mount");
        Self {
            folder,
            server: Some(thread::spawn(move || serve(device))),
            _site: site,
        }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        // whoever waits for it is let go
        umount2(&self.folder, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap_or_default();
        if let Some(server) = self.server.take() {
            server.join().unwrap_or_default();
        }
    }
}

/// FUSE_INIT is answered; until the file system is gone.
fn serve(mut device: File) {
    let mut request = vec![0; 128 * 1024];
    while let Ok(length) = device.read(&mut request) {
        let number = |at: usize| {
            let bytes = request.get(at..at + 4).unwrap_or(&[0; 4]);
            u32::from_ne_bytes(bytes.try_into().expect("four bytes"))
        };
        if length > 40 && number(4) == 26 {
            let mut answer = Vec::new();
            for word in [80, 0, number(8), number(12), 7, 31, 0, 0, 0, 65536] {
                answer.extend_from_slice(&u32::to_ne_bytes(word));
            }
            answer.resize(80, 0);
            device.write_all(&answer).expect("the kernel takes it");
        }
    }
}

#[test]
fn in_uninterruptible_sleep_the_pool_and_the_stop_go_on_without_it() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let file_system = Deaf::mount();
    let pool = pool(
        &site,
        "processes = 2\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"300ms\"",
    );
    let mut stockade = Stockade::ready(site, &[pool]);
    stockade.wait_ready("app", 2);
    let query = format!("disk={}/file", file_system.folder.display());
    let mut stuck = hang(&stockade, &query);
    let worker = crate::support::stockade::pid_in(&stockade.log.wait(&["stuck in disk"]));
    assert_eq!(
        cause(&stuck.answer().unwrap()),
        (504, "request-timeout".to_owned())
    );
    // KILL again: it did not end it
    stockade
        .log
        .wait_times(2, &[&format!("(pid {worker}) killed")]);
    assert!(process::alive(worker));
    stockade.wait_ready("app", 3);
    for _ in 0..20 {
        let answer = stockade.connect().get("");
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.pid(), worker);
    }
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
    assert!(process::alive(worker));
    drop(file_system);
    wait_for("the end of the worker", || {
        (!process::alive(worker)).then_some(())
    });
}

//! The Python adapter's file: opened once, passed to each worker that needs it, so that a worker's account need not be
//! able to reach it.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
};

use super::error::SupervisorError;
use crate::config::resolved::{Application, Pool};

const NAME: &str = "libstockade_python.so";
const INSTALLED: &str = "/usr/lib/stockade";

/// The adapter, once a pool needs it.
#[derive(Debug, Default)]
pub(super) struct Adapter(Option<File>);

impl Adapter {
    /// Opens it when one of `pools` is a Python application and it is not open: from beside our own executable, else from
    /// where it is installed: in lib/stockade next to the executable's bin, as a wheel has it.
    pub(super) fn open_for(&mut self, pools: &[Pool]) -> Result<(), SupervisorError> {
        let needs = |pool: &&Pool| matches!(pool.application, Application::Python { .. });
        let Some(pool) = pools.iter().find(needs) else {
            return Ok(());
        };
        if self.0.is_some() {
            return Ok(());
        }
        let looked = places().map_err(SupervisorError::step("find our own executable"))?;
        for place in &looked {
            match File::open(place) {
                Ok(file) => {
                    self.0 = Some(file);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let step = format!("open the Python adapter {}", place.display());
                    return Err(SupervisorError::step(step)(error));
                }
            }
        }
        Err(SupervisorError::NoAdapter {
            pool: pool.name.clone(),
            looked,
        })
    }

    /// A copy to give away.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        let file = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(file.try_clone()?.into())
    }
}

fn places() -> io::Result<Vec<PathBuf>> {
    let executable = fs::read_link("/proc/self/exe")?;
    let bin = executable.parent().unwrap_or(&executable);
    let prefix = bin.parent().unwrap_or(bin);
    let next_to_bin = prefix.join("lib/stockade");
    let mut folders = vec![bin.to_owned(), next_to_bin, PathBuf::from(INSTALLED)];
    // of /usr/bin the last two are one
    folders.dedup();
    Ok(folders.iter().map(|folder| folder.join(NAME)).collect())
}

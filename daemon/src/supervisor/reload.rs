//! HUP: the configuration is read again. One that is wrong changes nothing; one of a command line is as it was.

use std::collections::BTreeSet;

use stockade_policy::supervision::Event;

use super::{Source, pools::PoolRecord, shell::Shell, shim_process::ShimProcess};
use crate::config::{
    self,
    resolved::{Config, Pool},
};

impl Shell {
    pub(super) fn reload(&mut self) {
        let Source::File(source) = &self.source else {
            tracing::info!("reload begun");
            let pools: Vec<Pool> = self.pools.values().map(PoolRecord::latest).collect();
            for pool in pools {
                self.reload_pool(pool);
            }
            return;
        };
        let shown = source.display();
        let config = match config::read(source, &config::System) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!("reload refused, nothing changes: {error}");
                return;
            }
        };
        if let Err(error) = self.adapter.open_for(&config.pools) {
            tracing::warn!("reload refused, nothing changes: {error}");
            return;
        }
        tracing::info!("reload begun: {shown} read");
        self.warn_of_what_waits(&config);
        for pool in config.pools {
            self.reload_pool(pool);
        }
    }

    fn reload_pool(&mut self, keys: Pool) {
        let Some(record) = self
            .pools
            .values_mut()
            .find(|record| record.name == keys.name)
        else {
            return;
        };
        record.change(keys);
        let (pool, settings) = (record.id, record.supervision());
        self.tell_machine(Event::PoolChanged { pool, settings });
        self.tell_machine(Event::ReloadRequested { pool });
    }

    /// What a running daemon cannot take over.
    fn warn_of_what_waits(&self, config: &Config) {
        if config.daemon != self.daemon {
            tracing::warn!("[daemon] has changed: takes effect at the next start");
        }
        if config.shim.as_ref() != self.shim.as_ref().map(ShimProcess::keys) {
            tracing::warn!("[shim] has changed: takes effect at the next start");
        }
        let names: BTreeSet<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
        for record in self.pools.values() {
            if !names.contains(record.name.as_str()) {
                let name = &record.name;
                tracing::warn!("pool {name} was removed: takes effect at the next start");
            }
        }
        for keys in &config.pools {
            let name = &keys.name;
            match self.pools.values().find(|record| record.name == *name) {
                None => tracing::warn!("pool {name} is new: takes effect at the next start"),
                Some(record) if !has_same_sockets(record.bound(), keys) => {
                    tracing::warn!(
                        "pool {name}: its sockets have changed: takes effect at the next start"
                    );
                }
                Some(_) => {}
            }
        }
    }
}

fn has_same_sockets(bound: &Pool, keys: &Pool) -> bool {
    (&bound.listen, bound.socket, bound.listen_backlog)
        == (&keys.listen, keys.socket, keys.listen_backlog)
}

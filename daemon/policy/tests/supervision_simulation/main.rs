//! Supervision in a world with faults, with 256 seeds each run. `STOCKADE_SIM_SEED` replays one and prints what happened.

mod laws;
mod operator;
mod programs;
mod relay;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

const SEEDS: u64 = 256;

#[test]
fn the_laws_hold_and_all_comes_right_after_the_faults() {
    each_seed(|world| {
        world.live();
        world.end();
    });
}

#[test]
fn the_daemon_ends_in_time_in_the_middle_of_the_faults() {
    each_seed(|world| {
        world.live_badly();
        world.end();
    });
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    for seed in 0..8 {
        let log = || {
            let mut world = World::new(seed);
            world.keeps_log = true;
            world.live();
            world.end();
            world.log
        };
        assert!(log() == log(), "seed {seed}");
    }
}

/// The log of a failure is printed for a single seed only: it is long.
#[expect(
    clippy::print_stderr,
    reason = "the seed of a failure is what one needs to replay it"
)]
fn each_seed(scenario: impl Fn(&mut World)) {
    let replayed = replayed_seed();
    for seed in replayed.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let mut world = World::new(seed);
        world.keeps_log = replayed.is_some();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&mut world)));
        if let Err(failure) = outcome {
            if replayed.is_some() {
                eprintln!("{}", world.log.join("\n"));
            }
            eprintln!("STOCKADE_SIM_SEED={seed} replays it");
            resume_unwind(failure);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test, not the policy, is told which seed to replay"
)]
fn replayed_seed() -> Option<u64> {
    let seed = std::env::var("STOCKADE_SIM_SEED").ok()?;
    Some(seed.parse().expect("STOCKADE_SIM_SEED is a number"))
}

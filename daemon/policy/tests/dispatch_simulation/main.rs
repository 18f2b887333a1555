//! Dispatch under faults: a model relay, workers and hosts that die, hang, leave and speak late, for many seeds.
//!
//! `world` decides by the seed what happens; `model` keeps its own, slow books and judges every action by the laws
//! (ARCHITECTURE, "Properties": 5, 6, 12, 13, 14, and that a refusal means that nothing was sent).
//! A failure names its seed; `STOCKADE_SIM_SEED=<seed>` runs that one alone.

mod model;
mod world;

use std::panic::catch_unwind;

const SEEDS: u64 = 256;

#[test]
fn the_laws_hold_for_every_seed() {
    let seeds = match seed_asked_for() {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    for seed in seeds {
        let result = catch_unwind(|| {
            let first = world::run(seed);
            assert!(first.len() > 100, "something happens");
            assert!(
                first == world::run(seed),
                "the same seed gives the same actions"
            );
        });
        assert!(
            result.is_ok(),
            "failed: STOCKADE_SIM_SEED={seed} runs it again"
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the way to ask a test for a seed"
)]
fn seed_asked_for() -> Option<u64> {
    let seed = std::env::var("STOCKADE_SIM_SEED").ok()?;
    Some(seed.parse().expect("STOCKADE_SIM_SEED is a number"))
}

//! Dispatch under faults: a model relay, workers and hosts that die, hang, leave and speak late, for many seeds.
//!
//! `world` decides by the seed what happens; `model` keeps its own, slow books (`interrupts`, `load`); `laws` judge every action by them
//! (ARCHITECTURE, "Properties": 5, 6, 12, 13, 14, and that a refusal means that nothing was sent).
//! A failure names its seed; `STOCKADE_SIM_SEED=<seed>` runs that one alone.

mod interrupts;
mod laws;
mod load;
mod model;
mod world;

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use stockade_policy::dispatch::Action;

const SEEDS: u64 = 256;

#[test]
fn the_laws_hold_for_every_seed() {
    let asked_for = seed_asked_for();
    let seeds = asked_for.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut kinds = BTreeSet::new();
    for seed in seeds {
        let result = catch_unwind(|| {
            let said = world::run(seed);
            assert!(
                said == world::run(seed),
                "the same seed gives the same actions"
            );
            said
        });
        let Ok(said) = result else {
            panic!("failed: STOCKADE_SIM_SEED={seed} runs it again");
        };
        kinds.extend(said.iter().map(|(_, action)| kind(action)));
    }
    // seventeen actions, Refuse with four causes, and TimeOut with three
    assert!(
        asked_for.is_some() || kinds.len() == 24,
        "the world does not bring everything about: {kinds:?}"
    );
}

/// The action's name, with the cause where it has one.
fn kind(action: &Action) -> String {
    if let Action::Refuse { cause, .. } = action {
        return format!("Refuse {cause}");
    }
    if let Action::TimeOut { cause, .. } = action {
        return format!("TimeOut {cause}");
    }
    let words = format!("{action:?}");
    words.split(' ').next().unwrap_or_default().to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the way to ask a test for a seed"
)]
fn seed_asked_for() -> Option<u64> {
    let seed = std::env::var("STOCKADE_SIM_SEED").ok()?;
    Some(seed.parse().expect("STOCKADE_SIM_SEED is a number"))
}

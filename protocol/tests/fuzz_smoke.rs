//! Runs the fuzz targets on their corpus and on mutations of it, the same at every run.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
mod fuzz;

use std::{fs, path::Path};

const MUTATIONS: usize = 400;

#[test]
fn record() {
    run("record", fuzz::record);
}

#[test]
fn name_value() {
    run("name_value", fuzz::name_value);
}

#[test]
fn application() {
    run("application", fuzz::application);
}

#[test]
fn web_server() {
    run("web_server", fuzz::web_server);
}

#[test]
fn head() {
    run("head", fuzz::head);
}

fn run(target: &str, law: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{folder:?} has seeds");
    for seed in seeds {
        let bytes = fs::read(&seed).expect("a seed can be read");
        law(&bytes);
        let mut random = Random(0x5eed ^ bytes.len() as u64);
        for _ in 0..MUTATIONS {
            law(&mutated(&bytes, &mut random));
        }
    }
}

/// A few of what a fuzzer does: bytes changed, left out, doubled, the end cut off.
fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        let until = (at + 1 + random.below(9)).min(bytes.len());
        match random.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 if at < until => drop(bytes.drain(at..until)),
            3 if at < until => {
                let piece = bytes[at..until].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

/// The generator of Steele, Lea and Flood ("SplitMix64").
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("a small number");
        usize::try_from((mixed ^ (mixed >> 31)) % limit).expect("a small number")
    }
}

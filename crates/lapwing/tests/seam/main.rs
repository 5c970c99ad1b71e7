//! The seam between appending, subscribing, reading and resuming: no thread, no socket, every order of what can happen.
//!
//! Small stories are told in all orders, longer ones from seeds. However a story goes, each client is given each offset
//! once and in order, or is told the gap; and when everything heals, everyone has everything.

mod retention;
mod world;

use lapwing::log::lag::OnLag;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use world::{Step, World};

/// Tells a story; a failure shows it.
fn tell(policies: &[OnLag], clients: usize, story: &[Step], name: &dyn std::fmt::Display) {
    let told = std::panic::catch_unwind(|| {
        let mut world = World::new(policies, clients);
        story.iter().for_each(|step| world.step(*step));
        world.heal();
    });
    if let Err(panic) = told {
        #[expect(clippy::print_stderr, reason = "the test harness shows it beside the failure")]
        {
            eprintln!("{name} with {policies:?}: {story:?}");
        }
        std::panic::resume_unwind(panic);
    }
}

/// Tells every story of so many steps of the alphabet, behind a beginning.
fn tell_all(policy: OnLag, begin: &[Step], alphabet: &[Step], length: u32) {
    for number in 0..(alphabet.len() as u64).pow(length) {
        let mut story = begin.to_vec();
        let mut rest = number;
        for _ in 0..length {
            story.push(alphabet[(rest % alphabet.len() as u64) as usize]);
            rest /= alphabet.len() as u64;
        }
        tell(&[policy], 1, &story, &format_args!("story {number}"));
    }
}

/// The client has its connection, and a log that is nearly full.
const BEGIN: &[Step] = &[Step::Ask(0), Step::Adopt(0), Step::TellPlaces, Step::Append(0, 3)];
const ALPHABET: &[Step] = &[
    Step::Append(0, 3),
    Step::Hole(0, 2),
    Step::Look,
    Step::TellPlaces,
    Step::Turn(0, 2000),
    Step::Turn(0, usize::MAX),
    Step::Arrive(0),
    Step::Break(0),
    Step::Ask(0),
    Step::Adopt(0),
];
const LENGTH: u32 = 5;

#[test]
fn with_skip_each_client_is_given_or_told_every_offset_in_every_small_story() {
    tell_all(OnLag::Skip, BEGIN, ALPHABET, LENGTH);
}

#[test]
fn with_close_each_client_is_given_or_told_every_offset_in_every_small_story() {
    tell_all(OnLag::Close, BEGIN, ALPHABET, LENGTH);
}

#[test]
fn with_latest_each_client_is_given_or_told_every_offset_in_every_small_story() {
    tell_all(OnLag::Latest, BEGIN, ALPHABET, LENGTH);
}

#[test]
fn with_wait_each_client_is_given_or_told_every_offset_in_every_small_story() {
    tell_all(OnLag::Wait, BEGIN, ALPHABET, LENGTH);
}

fn any(random: &mut SplitMix64, topics: usize, clients: usize) -> Step {
    let mut below = |count: usize| (random.next_u64() % count as u64) as usize;
    let (topic, client) = (below(topics), below(clients));
    match below(24) {
        0..4 => Step::Append(topic, 1 + below(6)),
        4 => Step::Publish(topic),
        5 => Step::Hole(topic, below(4) as u64),
        6 => Step::Pass([1, 7, 20, 61][below(4)]),
        7..10 => Step::Look,
        10..12 => Step::TellPlaces,
        12 => Step::Sweep,
        13..18 => Step::Turn(client, [0, 1, 100, 1600, 2000, 5000, usize::MAX][below(7)]),
        18..20 => Step::Arrive(client),
        20 => Step::Break(client),
        21 => Step::Ask(client),
        _ => Step::Adopt(client),
    }
}

/// `LAPWING_SEAM_STORIES` tells more of them, `LAPWING_SEAM_SEED` begins elsewhere.
#[test]
fn long_stories_of_several_clients_and_topics_lose_and_repeat_nothing() {
    let setting =
        |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let begin = setting("LAPWING_SEAM_SEED", 0);
    for seed in begin..begin + setting("LAPWING_SEAM_STORIES", 3000) {
        let mut random = SplitMix64::seed_from_u64(seed);
        let topics = 1 + (random.next_u64() % 2) as usize;
        let clients = 1 + (random.next_u64() % 3) as usize;
        let policies: Vec<OnLag> = (0..topics)
            .map(|_| OnLag::ALL[(random.next_u64() % 4) as usize])
            .collect();
        let length = 10 + random.next_u64() % 150;
        let story: Vec<Step> = (0..length).map(|_| any(&mut random, topics, clients)).collect();
        tell(&policies, clients, &story, &format_args!("seed {seed}"));
    }
}

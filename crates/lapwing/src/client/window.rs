//! The batches of a publisher that are not on the server for sure, in their order.

use std::collections::VecDeque;

use super::batch::Batch;
use super::dial::DialError;
use super::post::Ack;

/// Several batches are on their way at once. Each that is posted before the one before it is answered says so, and the server takes
/// it only after that one: whatever is lost, refused or late, their order on the server is that of their numbers.
///
/// Only what came of the first decides: when it is taken, the next one is the first; when it is not, all are posted again.
#[derive(Debug, Default)]
pub struct Window {
    flights: VecDeque<Flight>,
}

#[derive(Debug)]
struct Flight {
    batch: Batch,
    stage: Stage,
    /// It was last posted behind another.
    chained: bool,
    /// An earlier try, or this one, may have been taken.
    doubt: bool,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Posted,
    /// With what came of it.
    Answered(Result<Ack, DialError>),
}

/// A batch to post.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// It.
    pub batch: Batch,
    /// The number of the batch that must be taken before it.
    pub after: Option<u64>,
}

impl Window {
    /// Whether there is room for another.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.flights.len() < WINDOW_MAX
    }

    /// Whether everything is on the server.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Adds one behind the others.
    pub fn push(&mut self, batch: Batch) {
        self.flights.push_back(Flight {
            batch,
            stage: Stage::Waiting,
            chained: false,
            doubt: false,
        });
    }

    /// The next one to post, among the first `most`; it counts as posted now.
    pub fn post(&mut self, most: usize) -> Option<Parcel> {
        let at = self.flights.iter().take(most).position(Flight::waits)?;
        let after = at.checked_sub(1).map(|before| self.flights[before].batch.sequence);
        let flight = &mut self.flights[at];
        flight.stage = Stage::Posted;
        flight.chained = after.is_some();
        Some(Parcel {
            batch: flight.batch.clone(),
            after,
        })
    }

    /// What came of the one of this number; `wrote` says whether it went to a connection.
    pub fn on_answer(&mut self, sequence: u64, wrote: bool, answer: Result<Ack, DialError>) {
        let flight = self.flights.iter_mut().find(|flight| flight.batch.sequence == sequence);
        let Some(flight) = flight.filter(|flight| matches!(flight.stage, Stage::Posted)) else {
            return;
        };
        flight.doubt |= wrote && !is_declined(&answer);
        flight.stage = Stage::Answered(answer);
    }

    /// What came of the first, when that is known: it is taken and gone from here, or none is on its way any more, and all are to
    /// be posted again.
    pub fn settle(&mut self) -> Option<Result<Ack, DialError>> {
        let first = self.flights.front_mut()?;
        match std::mem::replace(&mut first.stage, Stage::Waiting) {
            Stage::Answered(Ok(ack)) => {
                self.flights.pop_front();
                Some(Ok(ack))
            }
            // The other has been taken since.
            Stage::Answered(Err(error)) if first.chained && error.status() == Some(EARLY) => None,
            Stage::Answered(Err(error)) => {
                self.abandon();
                Some(Err(error))
            }
            stage => {
                first.stage = stage;
                None
            }
        }
    }

    /// Nothing is on its way any more, and no answer comes.
    pub fn abandon(&mut self) {
        for flight in &mut self.flights {
            flight.doubt |= matches!(flight.stage, Stage::Posted | Stage::Answered(Ok(_)));
            flight.stage = Stage::Waiting;
        }
    }

    /// How many messages the server may have, and how many it cannot have: none is taken whose predecessor was not.
    #[must_use]
    pub fn unknown_and_unsent(&self) -> (u64, u64) {
        let mut flights = self.flights.iter();
        let count = |flights: &mut dyn Iterator<Item = &Flight>| flights.map(|flight| flight.batch.count).sum::<u64>();
        let unknown = count(&mut flights.by_ref().take_while(|flight| flight.doubt));
        let all = count(&mut self.flights.iter());
        (unknown, all - unknown)
    }
}

impl Flight {
    fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waiting)
    }
}

/// Whether the server says that it was not taken; after any other end of a post it may have been.
fn is_declined(answer: &Result<Ack, DialError>) -> bool {
    let status = answer.as_ref().err().and_then(DialError::status);
    status.is_some_and(|status| matches!(status, 408 | EARLY | 429 | 503 | 507))
}

/// The one that it must come after is not there.
const EARLY: u16 = 412;

/// Enough that a server which syncs each group of bodies always has the next group. Each is at most 1 MiB.
pub const WINDOW_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use lapwing_wire::handshake::Refusal;
    use lapwing_wire::position::Offset;
    use lapwing_wire::topic::TopicName;

    use super::*;

    /// Batches of ten messages, numbered 0, 10, 20 …
    fn window(batches: u64) -> Window {
        let mut window = Window::default();
        for at in 0..batches {
            window.push(Batch {
                sequence: at * 10,
                body: "1\n".repeat(10).into(),
                count: 10,
            });
        }
        window
    }

    /// Posts what waits among the first `most`: numbers, and what they must come after.
    fn post(window: &mut Window, most: usize) -> Vec<(u64, Option<u64>)> {
        let posts = std::iter::from_fn(|| window.post(most));
        posts.map(|parcel| (parcel.batch.sequence, parcel.after)).collect()
    }

    fn taken(sequence: u64) -> Result<Ack, DialError> {
        Ok(Ack {
            topic: TopicName::parse("t").expect("valid"),
            epoch: None,
            first: Offset::new(sequence),
            last: Offset::new(sequence + 9),
            count: 10,
            level: None,
            retry_window_ms: None,
        })
    }

    fn refused(status: u16) -> Result<Ack, DialError> {
        Err(DialError::Refused(Box::new(Refusal {
            status,
            reason: String::new(),
            retry_after: None,
            location: None,
            body: String::new(),
        })))
    }

    fn lost() -> Result<Ack, DialError> {
        Err(DialError::Lost(std::io::ErrorKind::UnexpectedEof.into()))
    }

    /// What is settled now: the first offset of what was taken, or that something was not.
    fn settle(window: &mut Window) -> Vec<Result<u64, ()>> {
        let settled = std::iter::from_fn(|| window.settle());
        settled
            .map(|one| one.map(|ack| ack.first.get()).map_err(|_| ()))
            .collect()
    }

    #[test]
    fn each_is_posted_behind_the_one_before_it_until_that_is_answered() {
        let mut window = window(3);
        assert_eq!(post(&mut window, 2), [(0, None), (10, Some(0))]);
        assert_eq!(post(&mut window, 2), []);
        window.on_answer(0, true, taken(0));
        assert_eq!(settle(&mut window), [Ok(0)]);
        assert_eq!(post(&mut window, 4), [(20, Some(10))]);
    }

    #[test]
    fn answers_are_told_in_order() {
        let mut window = window(3);
        post(&mut window, 4);
        window.on_answer(20, true, taken(20));
        window.on_answer(10, true, taken(10));
        assert_eq!(settle(&mut window), []);
        window.on_answer(0, true, taken(0));
        assert_eq!(settle(&mut window), [Ok(0), Ok(10), Ok(20)]);
        assert!(window.is_empty());
    }

    #[test]
    fn when_the_first_is_not_taken_all_are_posted_again() {
        for failure in [refused(503), lost()] {
            let mut window = window(3);
            post(&mut window, 4);
            window.on_answer(10, true, taken(10));
            window.on_answer(0, true, failure);
            assert_eq!(settle(&mut window), [Err(())]);
            assert_eq!(
                post(&mut window, 1),
                [(0, None)],
                "the first alone, to see whether it is taken"
            );
            assert_eq!(post(&mut window, 4), [(10, Some(0)), (20, Some(10))]);
        }
    }

    #[test]
    fn an_early_one_waits_until_it_is_the_first_and_goes_without_a_condition() {
        let mut window = window(2);
        post(&mut window, 4);
        window.on_answer(10, true, refused(412));
        assert_eq!((settle(&mut window), post(&mut window, 4)), (vec![], vec![]));
        window.on_answer(0, true, taken(0));
        assert_eq!(settle(&mut window), [Ok(0)]);
        assert_eq!(post(&mut window, 4), [(10, None)]);
        window.on_answer(10, true, refused(412));
        assert_eq!(
            settle(&mut window),
            [Err(())],
            "who asks for nothing and is told so is refused"
        );
    }

    #[track_caller]
    fn check_doubt(answers: Vec<(u64, Result<Ack, DialError>)>, unknown: u64) {
        let mut window = window(3);
        post(&mut window, 4);
        for (sequence, answer) in answers {
            window.on_answer(sequence, true, answer);
        }
        settle(&mut window);
        let left = window.flights.len() as u64 * 10;
        window.abandon();
        assert_eq!(window.unknown_and_unsent(), (unknown, left - unknown));
    }

    #[test]
    fn what_comes_behind_one_that_was_not_taken_was_not_taken() {
        check_doubt(vec![], 30);
        check_doubt(vec![(0, refused(503))], 0);
        check_doubt(vec![(10, lost()), (0, refused(507))], 0);
        check_doubt(vec![(0, taken(0)), (10, refused(429))], 0);
        check_doubt(vec![(0, lost())], 30);
        check_doubt(vec![(10, refused(412))], 10);
        check_doubt(vec![(10, taken(10))], 30);
        check_doubt(vec![(0, taken(0))], 20);
    }
}

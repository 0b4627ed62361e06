//! How long requests took, sorted into buckets that are fixed for all time, and what can be read from them. Pure: the
//! counts themselves lie elsewhere.
//!
//! The bounds are 1, 1.5, 2, 3, 5, 7 of every decade from a microsecond to 100 seconds: wide enough that a module needs
//! only a few hundred bytes of counters, narrow enough that a time read from them is wrong by a quarter at most.

use std::time::Duration;

/// From 1 µs to below 100 s.
const DECADES: usize = 8;

/// Tenths of a decade's first value at which a bucket of the decade ends.
const STEPS: [u64; 6] = [10, 15, 20, 30, 50, 70];

/// How many bounds there are.
const BOUND_COUNT: usize = DECADES * STEPS.len() + 1;

/// How many buckets there are: one up to each bound, and one for what takes longer than the last.
pub const BUCKET_COUNT: usize = BOUND_COUNT + 1;

/// The longest time of each bucket but the last, in nanoseconds, ascending.
const BOUNDS_NS: [u64; BOUND_COUNT] = bounds();

const fn bounds() -> [u64; BOUND_COUNT] {
    let mut bounds = [0; BOUND_COUNT];
    let mut tenth_of_decade: u64 = 100;
    let mut index = 0;
    while index < BOUND_COUNT {
        bounds[index] = tenth_of_decade * STEPS[index % STEPS.len()];
        index += 1;
        if index % STEPS.len() == 0 {
            tenth_of_decade *= 10;
        }
    }
    bounds
}

/// The bucket of a time.
#[must_use]
pub fn bucket_of(took: Duration) -> usize {
    let ns = nanoseconds(took);
    BOUNDS_NS.partition_point(|bound| *bound < ns)
}

/// Whole nanoseconds, as counters hold them; more than 584 years are not told apart.
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The longest time that falls into a bucket; `None` for the last, which has no end.
#[must_use]
pub fn bound(bucket: usize) -> Option<Duration> {
    BOUNDS_NS.get(bucket).copied().map(Duration::from_nanos)
}

/// The time of a bucket that is nearest to all times in it, by proportion: a quarter off at most. Times below the
/// first bound and above the last are told as that bound.
fn told_as(bucket: usize) -> Duration {
    let Some(upper) = BOUNDS_NS.get(bucket) else { return Duration::from_nanos(BOUNDS_NS[BOUND_COUNT - 1]) };
    let lower = bucket.checked_sub(1).map_or(*upper, |before| BOUNDS_NS[before]);
    // The harmonic mean: no value between the two differs from it by a greater part of itself than the ends do.
    let mean = 2 * u128::from(lower) * u128::from(*upper) / u128::from(lower + upper);
    Duration::from_nanos(mean as u64)
}

/// The time that so many of a hundred requests did not exceed (50: the median); `None` without a request. `counts`:
/// requests in each bucket.
#[must_use]
pub fn percentile(counts: &[u64; BUCKET_COUNT], percent: u64) -> Option<Duration> {
    let total = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    if total == 0 {
        return None;
    }
    let rank = (u128::from(total) * u128::from(percent)).div_ceil(100).clamp(1, u128::from(total)) as u64;
    let mut below = 0u64;
    let bucket = counts.iter().position(|count| {
        below = below.saturating_add(*count);
        below >= rank
    });
    bucket.map(told_as)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(times: &[Duration]) -> [u64; BUCKET_COUNT] {
        let mut counts = [0; BUCKET_COUNT];
        for time in times {
            counts[bucket_of(*time)] += 1;
        }
        counts
    }

    #[test]
    fn the_bounds_go_from_a_microsecond_to_a_hundred_seconds() {
        let told: Vec<u64> = BOUNDS_NS[..8].to_vec();
        assert_eq!(told, [1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000]);
        assert_eq!(bound(BOUND_COUNT - 1), Some(Duration::from_secs(100)));
        assert_eq!(bound(BOUND_COUNT), None);
        assert!(BOUNDS_NS.is_sorted() && BUCKET_COUNT <= 64);
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_that_it_ends() {
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::from_micros(1)), 0);
        assert_eq!(bucket_of(Duration::from_nanos(1_001)), 1);
        assert_eq!(bucket_of(Duration::from_secs(100)), BUCKET_COUNT - 2);
        assert_eq!(bucket_of(Duration::from_secs(101)), BUCKET_COUNT - 1);
        assert_eq!(bucket_of(Duration::MAX), BUCKET_COUNT - 1);
    }

    #[test]
    fn without_a_request_there_is_no_percentile() {
        assert_eq!(percentile(&[0; BUCKET_COUNT], 50), None);
    }

    #[test]
    fn two_slow_requests_of_a_hundred_are_what_the_ninety_ninth_tells() {
        let mut times = vec![Duration::from_micros(100); 98];
        times.extend([Duration::from_secs(9); 2]);
        let counts = counted(&times);
        assert!(percentile(&counts, 50).unwrap() < Duration::from_micros(130));
        assert!(percentile(&counts, 99).unwrap() > Duration::from_secs(6));
        let counts = counted(&times[..99]);
        assert!(percentile(&counts, 98).unwrap() < Duration::from_micros(130));
    }

    #[test]
    fn counts_that_a_hostile_child_wrote_are_read_without_overflow() {
        assert!(percentile(&[u64::MAX; BUCKET_COUNT], 100).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_percentile_is_a_quarter_off_at_most(
            mut times_ns in prop::collection::vec(1_000u64..=100_000_000_000, 1..200),
            percent in 0u64..=100,
        ) {
            times_ns.sort_unstable();
            let times: Vec<Duration> = times_ns.iter().copied().map(Duration::from_nanos).collect();
            let told = percentile(&counted(&times), percent).unwrap().as_secs_f64();
            let rank = (times.len() * percent as usize).div_ceil(100).max(1);
            let exact = times[rank - 1].as_secs_f64();
            prop_assert!((told - exact).abs() <= 0.25 * exact + 1e-9, "{told} for {exact}");
        }

        #[test]
        fn a_time_lies_between_the_bounds_of_its_bucket(ns in any::<u64>()) {
            let took = Duration::from_nanos(ns);
            let bucket = bucket_of(took);
            prop_assert!(bound(bucket).is_none_or(|upper| took <= upper));
            prop_assert!(bucket == 0 || bound(bucket - 1).unwrap() < took);
        }
    }
}

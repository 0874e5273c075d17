//! Counts of values by size, from which percentiles can be read.

/// Bits of a value that its bucket tells apart, below the highest: 16 buckets for each doubling.
const BITS: u32 = 4;
const PER_DOUBLING: usize = 1 << BITS;

/// How often values of each size occurred. Buckets are linear within each doubling, so a value read back differs from
/// the one recorded by at most 1/32 of it (3.2 %), and not at all below 16.
///
/// The scheme is that of HdrHistogram (<https://hdrhistogram.github.io/HdrHistogram/>), with one precision and no
/// largest value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Up to the last one that is not zero, so that equal histograms are equal.
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty one that takes values up to `most` without growing.
    pub fn with_room_for(most: u64) -> Self {
        Self { counts: Vec::with_capacity(bucket(most) + 1) }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.add(bucket(value), 1);
    }

    /// Takes another in.
    pub fn merge(&mut self, other: &Self) {
        other.buckets().for_each(|(bucket, count)| self.add(bucket, count));
    }

    /// How many values it has.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The smallest value that at least so many thousandths of all values do not exceed, as exactly as the buckets tell;
    /// `None` if there are none. 500 is the median.
    pub fn percentile(&self, thousandths: u32) -> Option<u64> {
        let all = u128::from(self.count());
        let rank = (all * u128::from(thousandths)).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.buckets().find(|(_, count)| {
            seen += u128::from(*count);
            seen >= rank
        });
        found.map(|(bucket, _)| value(bucket))
    }

    /// The buckets that have values, with their counts.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Counts values of a bucket.
    pub(super) fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }
}

/// One more than the last bucket.
pub(super) const BUCKETS: usize = (u64::BITS as usize - BITS as usize + 1) * PER_DOUBLING;

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    match value.checked_ilog2() {
        Some(highest) if highest >= BITS => {
            let shift = highest - BITS;
            (shift as usize) * PER_DOUBLING + (value >> shift) as usize
        }
        _ => value as usize,
    }
}

/// The middle of a bucket's values.
fn value(bucket: usize) -> u64 {
    if bucket < 2 * PER_DOUBLING {
        return bucket as u64;
    }
    let shift = bucket / PER_DOUBLING - 1;
    let lowest = ((bucket % PER_DOUBLING + PER_DOUBLING) as u64) << shift;
    lowest + (1 << (shift - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn g24_buckets_follow_each_other_without_a_gap() {
        assert_eq!((bucket(0), bucket(15), bucket(16), bucket(31), bucket(32)), (0, 15, 16, 31, 32));
        assert_eq!((bucket(33), bucket(34), bucket(u64::MAX)), (32, 33, BUCKETS - 1));
        for index in 0..BUCKETS {
            assert_eq!(bucket(value(index)), index);
        }
    }

    #[test]
    fn g24_percentiles_are_those_of_the_nearest_rank() {
        let mut ten = Histogram::default();
        (1..=10).for_each(|value| ten.record(value));
        assert_eq!([10, 100, 500, 501, 950, 1000].map(|p| ten.percentile(p)), [1, 1, 5, 6, 10, 10].map(Some));
        assert_eq!(Histogram::default().percentile(500), None);
    }

    proptest! {
        #[test]
        fn g24_a_percentile_is_within_its_error_of_the_exact_one(
            mut values in prop::collection::vec(prop_oneof![0..100_u64, 0..4_000_000_000_u64, any::<u64>()], 1..300),
            thousandths in 0..=1000_u32,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let rank = (values.len() * thousandths as usize).div_ceil(1000).max(1);
            let exact = values[rank - 1];
            let read = histogram.percentile(thousandths).unwrap_or_default();
            prop_assert!(read.abs_diff(exact) <= exact / 32, "{read} for {exact}");
        }

        #[test]
        fn g24_histograms_merge_in_any_order(
            one in prop::collection::vec(any::<u64>(), 0..40), other in prop::collection::vec(0..9000_u64, 0..40),
        ) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.record(*value));
                histogram
            };
            let (mut left, mut right) = (of(&one), of(&other));
            left.merge(&of(&other));
            right.merge(&of(&one));
            let together: Vec<u64> = one.iter().chain(&other).copied().collect();
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(left, of(&together));
        }
    }
}

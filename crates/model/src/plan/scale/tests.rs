use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
}

fn spec(min: u32, max: u32, concurrency: u32) -> ScaleSpec {
    ScaleSpec {
        min,
        max,
        concurrency,
        concurrency_target: Target::Usual(600),
        cpu_target: Target::Usual(600),
        idle_timeout: TimeDelta::seconds(60),
    }
}

fn busy(in_flight: u32, waiting: u32) -> Sample {
    Sample { in_flight, waiting, ..Sample::default() }
}

/// What is wanted and needed after each of these samples, a second apart.
fn replay(spec: &ScaleSpec, samples: impl IntoIterator<Item = Sample>) -> Vec<Scaled> {
    let mut state = ScaleState::default();
    let scaled = samples.into_iter().zip(0..).map(|(sample, second)| {
        let (next, scaled) = scale(spec, std::mem::take(&mut state), &sample, at(second));
        state = next;
        scaled
    });
    scaled.collect()
}

/// What is needed once a sample has been seen for so many seconds.
fn needed_after(seconds: usize, spec: &ScaleSpec, sample: Sample) -> u32 {
    replay(spec, std::iter::repeat_n(sample, seconds + 1)).last().expect("a sample").needed
}

#[test]
fn s07_a_request_at_zero_wants_an_instance_at_once() {
    assert_eq!(scale(&spec(0, 3, 80), ScaleState::default(), &busy(0, 1), at(0)).1.wanted, 1);
}

#[test]
fn s07_concurrency_divides_the_requests_and_the_maximum_caps_them() {
    let wanted =
        |in_flight, waiting| scale(&spec(0, 3, 4), ScaleState::default(), &busy(in_flight, waiting), at(0)).1.wanted;
    assert_eq!([wanted(4, 0), wanted(4, 1), wanted(8, 4), wanted(8, 9)], [1, 2, 3, 3]);
}

#[test]
fn g19_an_idle_service_falls_to_zero_after_the_idle_timeout_and_not_before() {
    let (state, _) = scale(&spec(0, 3, 1), ScaleState::default(), &busy(2, 0), at(0));
    let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(1, 0), at(30));
    assert_eq!(wanted.wanted, 2);
    let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(0, 0), at(75));
    assert_eq!(wanted.wanted, 2, "until second 30 there were two on average");
    let (state, wanted) = scale(&spec(0, 3, 1), state, &Sample { last_busy: Some(at(75)), ..busy(0, 0) }, at(90));
    assert_eq!(wanted.wanted, 1, "the second instance was needed until second 30");
    let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(0, 0), at(134));
    assert_eq!(wanted.wanted, 1);
    assert_eq!(scale(&spec(0, 3, 1), state, &busy(0, 0), at(135)).1.wanted, 0);
}

#[test]
fn s07_a_request_between_two_samples_keeps_the_instance() {
    let sample = Sample { last_busy: Some(at(50)), ..busy(0, 0) };
    let (state, _) = scale(&spec(0, 3, 1), ScaleState::seeded(1, at(0)), &sample, at(55));
    let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(0, 0), at(100));
    assert_eq!(wanted.wanted, 1);
    assert_eq!(scale(&spec(0, 3, 1), state, &busy(0, 0), at(110)).1.wanted, 0);
}

#[test]
fn s07_minimum_instances_stay() {
    assert_eq!(scale(&spec(2, 3, 1), ScaleState::default(), &busy(0, 0), at(0)).1.wanted, 2);
}

#[test]
fn s07_a_second_instance_comes_at_the_target_and_a_third_later() {
    let ready = |in_flight, ready| Sample { ready, ..busy(in_flight, 0) };
    let spec = spec(0, 10, 80);
    assert_eq!(needed_after(20, &spec, ready(48, 1)), 1, "60 % of 80");
    assert_eq!(needed_after(20, &spec, ready(49, 1)), 2);
    assert_eq!(needed_after(20, &spec, ready(144, 2)), 2, "the spare places of two serve both");
    assert_eq!(needed_after(20, &spec, ready(145, 2)), 3);
}

#[test]
fn s07_an_only_request_needs_one_instance_and_no_other_in_reserve() {
    let ready = Sample { ready: 1, ..busy(1, 0) };
    assert_eq!(needed_after(120, &spec(0, 3, 1), ready), 1);
}

#[test]
fn s07_a_target_of_the_users_own_holds_at_any_number() {
    let spec = ScaleSpec { concurrency_target: Target::Strict(500), ..spec(0, 20, 10) };
    let ready = |in_flight, ready| Sample { ready, ..busy(in_flight, 0) };
    assert_eq!(needed_after(70, &spec, ready(5, 1)), 1);
    assert_eq!(needed_after(70, &spec, ready(6, 2)), 2);
    assert_eq!(needed_after(70, &spec, ready(50, 10)), 10);
    assert_eq!(needed_after(30, &spec, ready(50, 10)), 5, "half a minute of it is an average of 25");
    let off = ScaleSpec { concurrency_target: Target::Off, ..spec };
    assert_eq!(needed_after(70, &off, ready(50, 10)), 5, "what is in flight has its places");
}

#[test]
fn s07_cpu_adds_instances_but_not_more_than_there_are_requests() {
    let hot = |cpu, requests| Sample { ready: 1, cpu, ..busy(requests, 0) };
    let spec = spec(0, 10, 80);
    assert_eq!(needed_after(70, &spec, hot(0.6, 10)), 1);
    assert_eq!(needed_after(70, &spec, hot(0.7, 10)), 2);
    assert_eq!(needed_after(20, &spec, hot(1.0, 10)), 1, "not yet a minute");
    assert_eq!(needed_after(70, &spec, hot(4.0, 3)), 3);
    assert_eq!(needed_after(70, &ScaleSpec { cpu_target: Target::Off, ..spec }, hot(4.0, 10)), 1);
}

#[test]
fn s07_cpu_neither_keeps_the_last_instance_nor_ends_it() {
    let hot = Sample { ready: 1, cpu: 1.0, ..busy(0, 0) };
    let scaled = replay(&spec(0, 3, 80), std::iter::once(busy(1, 0)).chain(std::iter::repeat_n(hot, 70)));
    assert_eq!((scaled[59].wanted, scaled[61].wanted), (1, 0));
    let cold = Sample { ready: 1, ..busy(1, 0) };
    assert_eq!(replay(&spec(0, 3, 80), std::iter::repeat_n(cold, 100)).last().expect("a sample").wanted, 1);
}

#[test]
fn s07_those_who_wait_get_what_comes_free_sooner_than_a_new_instance() {
    // One request at a time and a second for each: five come free while a new one starts.
    let steady = |second: u64| Sample { ready: 1, arrivals: second, start: Some(TimeDelta::seconds(5)), ..busy(1, 0) };
    let spec = spec(0, 10, 1);
    let mut state = ScaleState::default();
    for second in 0..70 {
        state = scale(&spec, state, &steady(second as u64), at(second)).0;
    }
    let with = |waiting| scale(&spec, state.clone(), &Sample { waiting, ..steady(70) }, at(70)).1.needed;
    assert_eq!([with(0), with(4), with(5), with(6), with(8)], [1, 1, 1, 2, 4]);
    let unknown = Sample { waiting: 4, start: None, ..steady(70) };
    assert_eq!(scale(&spec, state.clone(), &unknown, at(70)).1.needed, 5, "nobody knows how long a start takes");
    let starting = Sample { waiting: 4, ready: 0, ..steady(70) };
    assert_eq!(scale(&spec, state, &starting, at(70)).1.needed, 5, "nothing comes free");
}

#[test]
fn s07_who_waits_for_long_gets_an_instance_whatever_was_expected() {
    let stuck =
        |second: u64| Sample { ready: 1, arrivals: second * 100, start: Some(TimeDelta::seconds(5)), ..busy(1, 1) };
    let scaled = replay(&spec(0, 10, 1), (0..5).map(stuck));
    assert_eq!(scaled[4].needed, 1, "many have been served");
    assert_eq!(replay(&spec(0, 10, 1), (0..15).map(stuck))[14].needed, 2);
}

#[test]
fn s07_who_waits_for_an_instance_that_has_just_become_ready_needs_no_other() {
    for concurrency in [1, 80] {
        let spec = spec(0, 3, concurrency);
        let fresh = Sample { ready: 1, ..busy(0, 1) };
        assert_eq!(replay(&spec, [busy(0, 1), fresh])[1].needed, 1, "{concurrency} at a time");
        let more = Sample { ready: 1, ..busy(0, concurrency + 1) };
        assert_eq!(replay(&spec, [busy(0, concurrency), more])[1].needed, 2, "one more than there are places");
    }
}

#[test]
fn s07_a_minute_is_enough_to_remember() {
    let mut state = ScaleState::default();
    for step in 0..100_000_i64 {
        let now = at(0) + TimeDelta::milliseconds(step * 10);
        state = scale(&spec(0, 100, 1), state, &busy((step % 50) as u32, 0), now).0;
    }
    assert!(state.window.spans() <= 62 && state.needs.len() <= 100);
}

#[test]
fn s07_an_instance_that_is_not_ready_is_no_help() {
    let spec = spec(0, 3, 80);
    let unready = Sample { unready: 1, ..busy(0, 5) };
    assert_eq!(replay(&spec, [unready])[0].needed, 2, "one that takes requests beside it");
    assert_eq!(replay(&spec, [Sample { waiting: 0, ..unready }])[0].needed, 0, "without a request nothing is started");
    assert_eq!(replay(&ScaleSpec { max: 1, ..spec }, [unready])[0].needed, 1, "no more than the maximum");
    let kept = ScaleSpec { min: 2, max: 5, ..spec };
    let one_of_two = Sample { ready: 1, unready: 1, ..Sample::default() };
    assert_eq!(replay(&kept, [one_of_two])[0].wanted, 3, "the minimum is of those that take requests");
    let restored = Sample { ready: 2, ..one_of_two };
    assert_eq!(replay(&kept, [one_of_two, restored])[1].wanted, 2, "what replaced it is enough");
}

#[test]
fn s07_what_all_instances_fail_for_is_not_fought_with_ever_more_of_them() {
    // Whatever is started is not ready either.
    let (spec, mut state, mut have) = (ScaleSpec { concurrency: 1, ..spec(0, 100, 80) }, ScaleState::default(), 0);
    for second in 0..120 {
        let (next, scaled) = scale(&spec, state, &Sample { unready: have, ..busy(0, 5) }, at(second));
        have = have.max(scaled.needed);
        state = next;
    }
    assert_eq!(have, 10, "twice those that the requests need");
    let mut wanted = 0;
    for second in 120..180 {
        let (next, scaled) = scale(&spec, state, &Sample { ready: 5, unready: 5, ..busy(5, 0) }, at(second));
        (state, wanted) = (next, scaled.wanted);
    }
    assert_eq!(wanted, 5, "it is not remembered once they are ready");
}

#[test]
fn s07_a_service_s_instances_are_divided_by_traffic() {
    assert_eq!(divide(3, &[50, 50]), [2, 1]);
    assert_eq!(divide(10, &[34, 33, 33]), [4, 3, 3]);
    assert_eq!(divide(5, &[100, 0]), [5, 0]);
    assert_eq!(divide(1, &[1, 99]), [0, 1]);
}

proptest! {
    #[test]
    fn s07_parts_add_up_and_are_within_one(total in 0_u32..=u32::MAX, cuts in prop::collection::vec(0_u32..=100, 0..6)) {
        let mut cuts: Vec<u32> = cuts.into_iter().chain([0, 100]).collect();
        cuts.sort_unstable();
        let percents: Vec<u32> = cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let parts = divide(total, &percents);
        prop_assert_eq!(parts.iter().map(|part| u64::from(*part)).sum::<u64>(), u64::from(total));
        for (part, percent) in parts.iter().zip(percents) {
            let exact = f64::from(total) * f64::from(percent) / 100.0;
            prop_assert!((f64::from(*part) - exact).abs() < 1.0, "{} of {}%", part, percent);
        }
    }

    #[test]
    fn s07_requests_in_flight_have_their_places_and_bounds_hold(
        steps in prop::collection::vec((0_i64..200, 0_u32..50, 0_u32..50, 0_u32..5), 1..60),
        concurrency in 1_u32..10, max in 1_u32..20, min in 0_u32..3, target in 100_u32..950,
    ) {
        let mut spec = spec(min.min(max), max, concurrency);
        if target % 2 == 0 { spec.concurrency_target = Target::Strict(target) }
        let (mut state, mut now, mut last_request) = (ScaleState::default(), at(0), None);
        for (gap, in_flight, waiting, ready) in steps {
            now += TimeDelta::seconds(gap);
            let sample = Sample { ready, ..busy(in_flight, waiting) };
            let (next, scaled) = scale(&spec, state, &sample, now);
            prop_assert!(scaled.needed >= in_flight.div_ceil(concurrency).min(max));
            prop_assert!(scaled.wanted >= scaled.needed && scaled.wanted <= max);
            if in_flight + waiting == 0 { prop_assert_eq!(scaled.needed, 0); }
            if waiting > 0 && ready == 0 { prop_assert!(scaled.needed > 0); }
            if in_flight + waiting > 0 { last_request = Some(now); }
            let quiet = last_request.is_none_or(|seen| now - seen >= spec.idle_timeout);
            if quiet { prop_assert_eq!(scaled.wanted, spec.min); }
            state = next;
        }
    }
}

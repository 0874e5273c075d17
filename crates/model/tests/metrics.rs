//! Laws of metrics' points (row G24).

use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::instance::{InstanceState, Stamps};
use homerun_model::metrics::{DecodeError, Point, STEPS, State, StatusClass};
use homerun_model::names::DeviceId;
use homerun_model::receipt::{Receipt, Step};
use proptest::prelude::*;

fn receipt(millis: &[i64; 4], woken: bool) -> Receipt {
    let at = |millis: i64| Timestamp::from_timestamp_millis(1_800_000_000_000 + millis).expect("in range");
    let end = |steps: usize| Some(at(millis[..steps].iter().sum()));
    let stamps =
        Stamps { creating: end(1), prepared: end(2), started: end(3), ready: end(4), woken, ..Stamps::default() };
    Receipt::of(at(0), &stamps)
}

prop_compose! {
    fn point()(
        requests in prop::collection::vec((100..600_u16, 0..10_000_000_u64), 0..20),
        starts in prop::collection::vec((prop::array::uniform4(0..5000_i64), any::<bool>()), 0..3),
        instances in prop::collection::vec((prop::array::uniform4(0..9_u64), 0..60_000_u64), 0..4),
        devices in prop::collection::vec((0..3_u8, 0.0..1.0_f64, 0..(24_u64 << 30), 0..60_000_u64), 0..4),
    ) -> Point {
        let mut point = Point::default();
        requests.into_iter().for_each(|(status, micros)| point.request(status, Duration::from_micros(micros)));
        starts.iter().for_each(|(millis, woken)| point.starts.add(&receipt(millis, *woken)));
        instances.into_iter().for_each(|(counts, millis)| point.instances(counts, millis));
        for (device, busy, memory, millis) in devices {
            point.devices.entry(DeviceId::new(format!("GPU-{device}"))).or_default().add(busy, memory, millis);
        }
        point
    }
}

fn merged(points: &[&Point]) -> Point {
    points.iter().fold(Point::default(), |mut all, point| {
        all.merge(point);
        all
    })
}

proptest! {
    #[test]
    fn g24_points_merge_in_any_order_and_grouping(one in point(), two in point(), three in point()) {
        let left = merged(&[&merged(&[&one, &two]), &three]);
        prop_assert_eq!(&left, &merged(&[&one, &merged(&[&two, &three])]));
        prop_assert_eq!(&left, &merged(&[&three, &one, &two]));
        prop_assert_eq!(left.all_requests(), one.all_requests() + two.all_requests() + three.all_requests());
        prop_assert_eq!(left.latency.count(), left.all_requests());
    }

    #[test]
    fn g24_a_point_comes_back_from_its_bytes_and_merges_as_itself(one in point(), two in point()) {
        let mut read = Point::default();
        read.merge_bytes(&one.to_bytes()).expect("a point");
        prop_assert_eq!(&read, &one);
        read.merge_bytes(&two.to_bytes()).expect("a point");
        prop_assert_eq!(read, merged(&[&one, &two]));
    }

    #[test]
    fn g24_damaged_bytes_are_refused(one in point(), cut in any::<prop::sample::Index>(), junk: Vec<u8>) {
        let bytes = one.to_bytes();
        prop_assert_eq!(Point::default().merge_bytes(&bytes[..cut.index(bytes.len())]), Err(DecodeError::Damaged));
        // Whatever the bytes say, it neither panics nor takes much memory.
        let _ = Point::default().merge_bytes(&[&[1], &junk[..]].concat());
    }
}

#[test]
fn g24_statuses_and_states_are_counted_where_they_belong() {
    let of = |statuses: [u16; 6]| statuses.map(|status| StatusClass::of(status).name());
    assert_eq!(of([101, 204, 302, 404, 499, 503]), ["2xx", "2xx", "3xx", "4xx", "4xx", "5xx"]);
    assert_eq!(State::of(&InstanceState::Ready).map(State::name), Some("ready"));
    assert_eq!(State::of(&InstanceState::Stopped), None);
    let mut point = Point::default();
    point.instances([1, 0, 2, 0], 30_000);
    point.instances([0, 0, 4, 1], 15_000);
    assert_eq!((point.instances[State::Ready as usize].mean(60_000), point.all_instances.most), (2.0, 5));
    assert_eq!(Point::default().all_instances.mean(0), 0.0);
}

#[test]
fn g24_a_start_adds_each_of_its_steps() {
    let mut point = Point::default();
    point.starts.add(&receipt(&[1, 2, 30, 7], false));
    point.starts.add(&receipt(&[3, 2, 10, 5], true));
    let step = |step: Step| point.starts.steps[STEPS.iter().position(|known| *known == step).expect("a step")];
    assert_eq!((point.starts.whole.count, point.starts.whole.mean_millis()), (2, Some(30.0)));
    assert_eq!((step(Step::Record).mean_millis(), step(Step::Record).most_millis()), (Some(2.0), 3.0));
    assert_eq!((step(Step::Create).count, step(Step::Wake).mean_millis()), (1, Some(10.0)));
    assert_eq!(Point::default().starts.whole.mean_millis(), None);
}

#[test]
fn g24_a_gpu_has_means_over_the_time_that_it_was_held() {
    let mut point = Point::default();
    let device = point.devices.entry("GPU-1".into()).or_default();
    device.add(0.5, 1 << 30, 20_000);
    device.add(2.0, 3 << 30, 20_000);
    assert_eq!((device.mean_busy(), device.most_busy()), (Some(0.75), 1.0));
    assert_eq!((device.mean_memory(), device.most_memory()), (Some(f64::from(1 << 30) * 2.0), 3 << 30));
    assert_eq!(homerun_model::metrics::DeviceUse::default().mean_busy(), None);
}

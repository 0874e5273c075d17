//! Row S10: the ingress setting says from where a service can be reached.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use homerun_ingress::{Route, Settings};
use homerun_model::service::IngressSetting;
use support::container;
use support::*;

#[tokio::test]
async fn s10_the_ingress_setting_lets_in_who_comes_from_where_it_says() {
    use IngressSetting::{All, Internal, InternalAndCloudLoadBalancing};
    let networks = |text: &str| vec![text.parse().unwrap()];
    // The test's client comes from 127.0.0.1.
    let (us, elsewhere) = ("127.0.0.0/8", "192.0.2.0/24");
    let cases = [
        (All, elsewhere, elsewhere, 200),
        (Internal, elsewhere, elsewhere, 404),
        (Internal, us, elsewhere, 200),
        // A load balancer's clients may be anywhere, although it stands inside.
        (Internal, us, us, 404),
        (InternalAndCloudLoadBalancing, elsewhere, elsewhere, 404),
        (InternalAndCloudLoadBalancing, us, elsewhere, 200),
        (InternalAndCloudLoadBalancing, elsewhere, us, 200),
    ];
    for (access, internal, load_balancers, status) in cases {
        let settings =
            Settings { internal: networks(internal), load_balancers: networks(load_balancers), ..Settings::default() };
        let mut bench = bench_with(settings).await;
        bench.instance("i1", container::named("ok").await);
        let restricted = Route { access, ..route(&[("r1", 100)]) };
        bench.publish(tables(&[(HOST, restricted)], &[("r1", revision(1, &["i1"]))]));
        let case = format!("{access:?}, internal {internal}, load balancers {load_balancers}");
        assert_eq!(bench.get("/").await.status(), status, "{case}");
        let record = bench.record().await;
        assert_eq!(record.message.is_some_and(|text| text.contains("ingress setting")), status == 404, "{case}");
    }
}

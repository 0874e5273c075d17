//! Limits, asking for others, and deciding.

use std::collections::BTreeMap;

use homerun_model::Timestamp;
use homerun_model::gpu::{GpuInventory, published_types};
use homerun_model::names::{GpuType, ProjectId, Region};
use homerun_model::plan::place::Ledger;
use homerun_model::quota::{
    AutoApprove, Bucket, Decision, DecreaseRefused, Preference, PreferenceRefused, Quota, QuotaKey, QuotaSettings,
    Quotas, SafetyChecks, Standing, ask, check_decrease, decide,
};

const HERE: &str = "us-central1";
const THERE: &str = "europe-west1";

fn quota(zonal_redundancy: bool) -> Quota {
    Quota { gpu: GpuType::from("nvidia-l4"), zonal_redundancy }
}

fn key(project: &str, region: &str) -> QuotaKey {
    quota(false).key(&ProjectId::from(project), &Region::from(region))
}

/// Two L4s in one region; `demo` exists from the start.
fn quotas(settings: QuotaSettings) -> Quotas {
    let here = BTreeMap::from([(GpuType::from("nvidia-l4"), vec![2])]);
    let regions = BTreeMap::from([(Region::from(HERE), here)]);
    Quotas::new(settings, ProjectId::from("demo"), &GpuInventory { types: published_types(), regions })
}

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000, 0).expect("in range")
}

fn preference(preferred: u32) -> Preference {
    Preference {
        id: "l4".to_owned(),
        bucket: key("demo", HERE).bucket(),
        preferred,
        granted: None,
        pending: false,
        justification: "two models".to_owned(),
        contact: String::new(),
        annotations: BTreeMap::new(),
        trace_id: "t".to_owned(),
        detail: String::new(),
        requester: "ann@example.com".to_owned(),
        created_at: now(),
        updated_at: now(),
    }
}

#[test]
fn g09_the_first_project_may_use_the_whole_machine_and_others_nothing() {
    let plain = quotas(QuotaSettings::default());
    assert_eq!(plain.limit(&key("demo", HERE)), 2);
    assert_eq!(plain.limit(&key("demo", THERE)), 0, "no GPU is there");
    assert_eq!(plain.limit(&key("team-a", HERE)), 0);
    let zonal = quota(true).key(&ProjectId::from("demo"), &Region::from(HERE));
    assert_eq!(plain.limit(&zonal), 0, "one machine is one zone");

    let set = quotas(QuotaSettings { default_project: Some(1), other_projects: 3, ..QuotaSettings::default() });
    assert_eq!((set.limit(&key("demo", HERE)), set.limit(&key("team-a", HERE))), (1, 3));
}

#[test]
fn g09_a_regions_own_grant_counts_before_that_of_every_region() {
    let mut quotas = quotas(QuotaSettings::default());
    let everywhere = Bucket { region: None, ..key("team-a", HERE).bucket() };
    quotas.grant(everywhere, 1);
    quotas.set(key("team-a", HERE), 4);
    assert_eq!((quotas.limit(&key("team-a", HERE)), quotas.limit(&key("team-a", THERE))), (4, 1));
}

#[test]
fn g09_asking_for_every_region_grants_no_region_more_unasked() {
    let regions = [Region::from(HERE), Region::from(THERE)];
    let mut quotas = quotas(QuotaSettings::default());
    let everywhere = Bucket { region: None, ..key("demo", HERE).bucket() };
    let standing = quotas.standing(&everywhere, &regions, &Ledger::default());
    assert_eq!((standing.granted, standing.least), (2, 0));
    let asked =
        ask(Preference { bucket: everywhere.clone(), ..preference(2) }, standing, SafetyChecks::default(), now());
    assert!(asked.expect("a fair wish").0.pending, "2 are granted here, and none there");
    // A region with a grant of its own is not concerned.
    quotas.set(key("demo", HERE), 4);
    assert_eq!(quotas.standing(&everywhere, &regions, &Ledger::default()).granted, 0);
}

#[test]
fn g09_an_override_only_lowers() {
    let mut quotas = quotas(QuotaSettings::default());
    quotas.lower(key("demo", HERE).bucket(), 1);
    assert_eq!((quotas.limit(&key("demo", HERE)), quotas.granted(&key("demo", HERE))), (1, 2));
    quotas.lower(key("demo", HERE).bucket(), 9);
    assert_eq!(quotas.limit(&key("demo", HERE)), 2);
}

#[test]
fn g09_more_waits_unless_the_settings_grant_it_and_less_is_granted_at_once() {
    for (policy, wanted, granted) in [
        (AutoApprove::Never, 3, None),
        (AutoApprove::Never, 2, Some(2)),
        (AutoApprove::Never, 1, Some(1)),
        (AutoApprove::Machine, 2, Some(2)),
        (AutoApprove::Machine, 3, None),
        (AutoApprove::UpTo(3), 3, Some(3)),
        (AutoApprove::UpTo(3), 4, None),
    ] {
        let quotas = quotas(QuotaSettings { auto_approve: policy, ..QuotaSettings::default() });
        let standing = quotas.standing(&key("demo", HERE).bucket(), &[Region::from(HERE)], &Ledger::default());
        let all = SafetyChecks { ignore_below_usage: true, ignore_percentage: true };
        let (asked, changes) = ask(preference(wanted), standing, all, now()).expect("a fair wish");
        assert_eq!((asked.granted, asked.pending), (granted, granted.is_none()), "{policy:?} {wanted}");
        assert_eq!(asked.trace_id.is_empty(), wanted <= 2, "only what asks for more has a trace");
        assert_eq!(changes[0].action, "requested");
        assert_eq!((changes[0].from, changes[0].to, &*changes[0].by), (2, wanted, "ann@example.com"));
        let recorded = changes.iter().any(|change| change.action == "granted");
        assert_eq!(recorded, granted.is_some() && wanted != 2, "{policy:?} {wanted}");
    }
}

#[test]
fn g09_a_decrease_is_checked_as_published() {
    let none = SafetyChecks::default();
    let percentage = SafetyChecks { ignore_percentage: true, ..none };
    assert_eq!(check_decrease(10, 9, 0, none), Ok(()), "a tenth is not more than a tenth");
    assert_eq!(check_decrease(10, 8, 0, none), Err(DecreaseRefused::Percentage { from: 10, to: 8 }));
    assert_eq!(check_decrease(10, 8, 0, percentage), Ok(()));
    assert_eq!(check_decrease(10, 8, 9, percentage), Err(DecreaseRefused::BelowUsage { to: 8, used: 9 }));
    let both = SafetyChecks { ignore_below_usage: true, ignore_percentage: true };
    assert_eq!(check_decrease(10, 0, 10, both), Ok(()));
    assert_eq!(check_decrease(1, 2, 9, none), Ok(()), "more is no decrease");
}

#[test]
fn g09_an_administrator_grants_all_some_or_nothing_once() {
    let standing = Standing { granted: 2, least: 2, used: 0, auto_approved: 0 };
    let waiting = ask(preference(4), standing, SafetyChecks::default(), now()).expect("a fair wish").0;
    let cases = [
        (Decision::Approve(None), Some(4), "granted", 4),
        (Decision::Approve(Some(3)), Some(3), "granted", 3),
        (Decision::Deny("too many".to_owned()), None, "denied", 4),
    ];
    for (decision, granted, action, to) in cases {
        let decided = decide(waiting.clone(), decision, 2, "owner", now()).expect("it waits");
        let (after, change) = (decided.preference, decided.change);
        assert_eq!((after.granted, after.pending), (granted, false));
        assert_eq!((&*change.action, change.from, change.to, &*change.by), (action, 2, to, "owner"));
        let again = decide(after, Decision::Approve(None), granted.unwrap_or(2), "owner", now());
        assert!(matches!(again, Err(PreferenceRefused::NotPending { preferred: 4, .. })));
    }
}

#[test]
fn g09_the_policy_is_written_as_a_word_or_a_number() {
    let read = |text: &str| AutoApprove::deserialize(text);
    assert_eq!(read("never"), Ok(AutoApprove::Never));
    assert_eq!(read("machine"), Ok(AutoApprove::Machine));
    let wrong = read("always").expect_err("no such policy");
    assert!(wrong.contains("'always' is not valid; it must be \"never\", \"machine\" or a number of GPUs"), "{wrong}");
}

/// Reads the policy from a word, as a settings file has it.
trait FromWord: Sized {
    fn deserialize(word: &str) -> Result<Self, String>;
}

impl FromWord for AutoApprove {
    fn deserialize(word: &str) -> Result<Self, String> {
        use serde::de::IntoDeserializer;
        let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
        serde::Deserialize::deserialize(word).map_err(|error| error.to_string())
    }
}

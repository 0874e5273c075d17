use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use chrono::{TimeDelta, Utc};
use homerun_model::Timestamp;
use homerun_model::iam::Principal;
use tempfile::TempDir;

use super::*;

/// A clock that tests turn.
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn forward(&self, by: TimeDelta) {
        *self.0.lock().expect("is not poisoned") += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("is not poisoned")
    }
}

struct House {
    dir: TempDir,
    clock: Arc<HandClock>,
    config: AuthConfig,
}

impl House {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            clock: Arc::new(HandClock(Mutex::new(Utc::now()))),
            config: AuthConfig::default(),
        }
    }

    fn open(&self) -> Auth {
        let store = Store::open(&self.dir.path().join("homerun.db")).expect("a store");
        Auth::open(self.dir.path(), &self.config, store, self.clock.clone()).expect("opens")
    }

    fn mode(&self, file: &str) -> u32 {
        std::fs::metadata(self.dir.path().join(file)).expect("is there").permissions().mode() & 0o777
    }
}

fn ann() -> Principal {
    Principal::of_email("ann@example.com")
}

#[tokio::test]
async fn the_token_survives_a_restart_and_only_its_owner_can_read_it() {
    let house = House::new();
    let token = house.open().token;
    let again = house.open();
    assert!(again.caller(&token).await.is_some_and(|caller| caller.owner && caller.email() == OWNER));
    assert!(again.caller("").await.is_none() && again.caller(&token[1..]).await.is_none());
    assert_eq!((house.mode(TOKEN_FILE), house.mode(KEYS_FILE)), (0o600, 0o600));
}

#[test]
fn a_damaged_token_or_key_file_is_named() {
    for (file, other) in [(TOKEN_FILE, "token"), (KEYS_FILE, "keys")] {
        let house = House::new();
        std::fs::write(house.dir.path().join(file), "short").expect("writes");
        let store = Store::open(&house.dir.path().join("homerun.db")).expect("a store");
        let error = Auth::open(house.dir.path(), &house.config, store, house.clock.clone()).err().expect("refused");
        assert!(error.to_string().contains(file) && error.to_string().contains(other), "{error}");
    }
}

#[tokio::test]
async fn s13_a_token_says_who_calls_until_it_expires() {
    let house = House::new();
    let auth = house.open();
    let (token, expires) = auth.mint(&ann(), None, 600).expect("a token");
    assert_eq!(expires, house.clock.now() + TimeDelta::seconds(600));
    let caller = house.open().caller(&token).await.expect("valid after a restart");
    assert_eq!((caller.principal, caller.owner), (ann(), false));
    let mut forged = token.clone();
    let last = forged.pop().expect("a character");
    forged.push(if last == 'A' { 'B' } else { 'A' });
    forged.insert(forged.len() - 20, 'x');
    assert!(auth.caller(&forged).await.is_none(), "a forged signature");
    house.clock.forward(TimeDelta::seconds(700));
    assert!(auth.caller(&token).await.is_none(), "an expired token");
}

#[tokio::test]
async fn s10_an_identity_token_is_for_its_audience_only() {
    let house = House::new();
    let auth = house.open();
    let host = "hello-1.us-central1.run.localhost";
    let (token, _) = auth.mint(&ann(), Some(&format!("http://{host}:8080")), 600).expect("a token");
    assert!(auth.invoker(&token, host, &[]).await.is_some());
    assert!(auth.invoker(&token, "other-1.us-central1.run.localhost", &[]).await.is_none());
    assert!(auth.caller(&token).await.is_none(), "it is not for the API");
    let (access, _) = auth.mint(&ann(), None, 600).expect("a token");
    assert!(auth.invoker(&access, host, &[]).await.is_none(), "an access token is not for services");
}

#[tokio::test]
async fn s13_keys_turn_and_old_tokens_live_out_their_time() {
    let house = House::new();
    let auth = house.open();
    let kids = |auth: &Auth| auth.public_keys()["keys"].as_array().map_or(0, Vec::len);
    let (old, _) = auth.mint(&ann(), None, 3600).expect("a token");
    auth.rotate().expect("turns");
    let (new, _) = auth.mint(&ann(), None, 3600).expect("a token");
    assert_eq!(kids(&auth), 2);
    assert_ne!(old.split('.').next(), new.split('.').next(), "signed with another key");
    assert!(house.open().caller(&old).await.is_some(), "the old key verifies after a restart too");
    house.clock.forward(TimeDelta::days(31));
    let (newest, _) = auth.mint(&ann(), None, 60).expect("a token");
    assert!(auth.caller(&newest).await.is_some());
    assert_eq!(kids(&auth), 2, "the first key is gone; the second was replaced just now");
    assert_eq!(house.mode(KEYS_FILE), 0o600);
}

#[tokio::test]
async fn s13_a_service_account_that_is_gone_or_disabled_is_nobody() {
    let house = House::new();
    let auth = house.open();
    let mut account = crate::store::ServiceAccount {
        project: "demo".into(),
        email: "robot@demo.iam.gserviceaccount.com".to_owned(),
        unique_id: "1".to_owned(),
        display_name: String::new(),
        description: String::new(),
        created_at: house.clock.now(),
        disabled: false,
    };
    let (token, _) = auth.mint(&Principal::of_email(&account.email), None, 600).expect("a token");
    assert!(auth.caller(&token).await.is_none(), "there is no such account yet");
    auth.store.put_service_account(&account, false).expect("stores");
    assert!(auth.caller(&token).await.is_some());
    account.disabled = true;
    auth.store.put_service_account(&account, true).expect("stores");
    assert!(auth.caller(&token).await.is_none());
}

#[tokio::test]
async fn s13_an_external_issuer_is_believed_about_people_of_its_own() {
    // Another homerun's local issuer serves as the external one.
    let other = House {
        config: AuthConfig { issuer: "http://other.test".to_owned(), ..AuthConfig::default() },
        ..House::new()
    };
    let issuer = other.open();
    let mut house = House::new();
    let jwks_file = house.dir.path().join("other.json");
    std::fs::write(&jwks_file, issuer.public_keys().to_string()).expect("writes");
    let (for_api, _) = issuer.mint(&ann(), Some("homerun"), 600).expect("a token");
    assert!(house.open().caller(&for_api).await.is_none(), "nobody trusts it yet");
    house.config.issuers = vec![IssuerConfig {
        issuer: "http://other.test".to_owned(),
        audiences: vec!["homerun".to_owned()],
        jwks_file: Some(jwks_file),
        client_id: None,
        client_secret_file: None,
        name: None,
    }];
    let auth = house.open();
    assert_eq!(auth.caller(&for_api).await.map(|caller| caller.principal), Some(ann()));
    let (elsewhere, _) = issuer.mint(&ann(), Some("another program"), 600).expect("a token");
    assert!(auth.caller(&elsewhere).await.is_none(), "a token for another program");
    for own in [OWNER, "robot@demo.iam.gserviceaccount.com"] {
        let (token, _) = issuer.mint(&Principal::of_email(own), Some("homerun"), 600).expect("a token");
        assert!(auth.caller(&token).await.is_none(), "{own} is not the other issuer's to name");
    }
    let (expired, _) = issuer.mint(&ann(), Some("homerun"), 60).expect("a token");
    house.clock.forward(TimeDelta::seconds(200));
    assert!(auth.caller(&expired).await.is_none());
}

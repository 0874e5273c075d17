//! Signing in to the console by an OpenID Connect provider, of which the tests have one of their own.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::Stack;
use common::browser::Browser;
use homerun_server::auth::IssuerConfig;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A form, and the `Authorization` that it came with.
type Sent = (HashMap<String, String>, String);

/// A provider that signs in ann@example.com, or answers as it is told to.
#[derive(Clone)]
struct Provider {
    base: String,
    /// In PKCS #8.
    key: Arc<Vec<u8>>,
    /// Claims besides the good ones; one that is null is left out.
    change: Arc<Mutex<Value>>,
    /// Whose OpenID configuration it has.
    issuer: Arc<Mutex<String>>,
    /// What the token endpoint was sent.
    seen: Arc<Mutex<Vec<Sent>>>,
    nonce: Arc<Mutex<String>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let change = Arc::new(Mutex::new(json!({})));
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
        let key = Arc::new(key.as_ref().to_vec());
        let issuer = Arc::new(Mutex::new(base.clone()));
        let provider = Self { base, key, change, issuer, seen: Arc::default(), nonce: Arc::default() };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    fn change(&self, claims: Value) {
        *self.change.lock().expect("not poisoned") = claims;
    }

    /// What homerun does, and how the provider sends the browser back.
    async fn sign_in(&self, browser: &mut Browser, code: &str) -> String {
        let page = browser.get("/console/-/sign-in?next=/console/demo/services").await;
        assert!(page.words().contains("Sign in with Example"), "{}", page.words());
        let page = browser.get("/console/-/sign-in/with/0?next=/console/demo/services").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.words());
        let asked = query(page.location());
        assert!(page.location().starts_with(&format!("{}/authorize?", self.base)), "{}", page.location());
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", "console"));
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        *self.nonce.lock().expect("not poisoned") = asked["nonce"].clone();
        format!("/console/-/sign-in/back?code={code}&state={}", asked["state"])
    }
}

fn query(address: &str) -> HashMap<String, String> {
    let (_, query) = address.split_once('?').expect("a query");
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

async fn configuration(State(provider): State<Provider>) -> Json<Value> {
    let base = &provider.base;
    Json(json!({
        "issuer": *provider.issuer.lock().expect("not poisoned"), "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"), "jwks_uri": format!("{base}/keys"),
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &provider.key).expect("a key");
    // Uncompressed: a byte that says so, and both coordinates.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    Json(json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": x, "y": y}]}))
}

async fn token(State(provider): State<Provider>, headers: HeaderMap, body: String) -> Response {
    let form: HashMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let authorization = headers.get("authorization").map_or("", |value| value.to_str().expect("text")).to_owned();
    provider.seen.lock().expect("not poisoned").push((form.clone(), authorization));
    match form["code"].as_str() {
        "broken" => return (StatusCode::BAD_REQUEST, "<html>invalid_grant").into_response(),
        "html" => return "<html>welcome</html>".into_response(),
        "no-identity" => return Json(json!({"access_token": "s3cret", "token_type": "Bearer"})).into_response(),
        "endless" => return Json(json!({"id_token": "x".repeat(2 << 20)})).into_response(),
        "garbage" => return Json(json!({"id_token": "garbage"})).into_response(),
        _ => {}
    }
    let now = chrono::Utc::now().timestamp();
    let mut claims = json!({
        "iss": provider.base, "sub": "17", "aud": "console", "iat": now, "exp": now + 300,
        "nonce": *provider.nonce.lock().expect("not poisoned"), "email": "ann@example.com", "email_verified": true,
    });
    for (name, value) in provider.change.lock().expect("not poisoned").as_object().expect("claims") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
    let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_der(&provider.key);
    let signed = jsonwebtoken::encode(&header, &claims, &key).expect("signs");
    let parts: Vec<&str> = signed.split('.').collect();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = match form["code"].as_str() {
        "unsigned" => format!("{}.{}.", encode(&json!({"alg": "none", "kid": "1"})), parts[1]),
        "forged" => {
            claims["email"] = json!("owner-to-be@example.com");
            format!("{}.{}.{}", parts[0], encode(&claims), parts[2])
        }
        _ => signed,
    };
    Json(json!({"id_token": token, "token_type": "Bearer"})).into_response()
}

async fn stack(provider: &Provider) -> Stack {
    stack_at(provider, None).await
}

async fn stack_at(provider: &Provider, console_url: Option<&str>) -> Stack {
    let stack = Stack::start_with("none", |config| {
        config.auth.console_url = console_url.map(str::to_owned);
        let secret = config.data_dir.join("client-secret");
        std::fs::write(&secret, "a b\n").expect("writes");
        config.auth.issuers = vec![IssuerConfig {
            issuer: provider.base.clone(),
            audiences: Vec::new(),
            jwks_file: None,
            client_id: Some("console".to_owned()),
            client_secret_file: Some(secret),
            name: Some("Example".to_owned()),
        }];
    })
    .await;
    stack.grant("", "roles/run.viewer", "user:ann@example.com").await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_people_sign_in_by_a_provider_once_and_go_on_where_they_were() {
    let provider = Provider::start().await;
    let stack = stack(&provider).await;
    let mut browser = Browser::new(&stack);
    let back = provider.sign_in(&mut browser, "good").await;
    let mut other = Browser::new(&stack);
    let page = other.get(&back).await;
    assert!(page.words().contains("was not begun in this browser"), "{}", page.words());
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console/demo/services"), "{}", page.words());
    let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
    let session = cookies.iter().find(|cookie| cookie.starts_with("homerun_session=")).expect("a session");
    let (_, seconds) = session.split_once("Max-Age=").unwrap();
    let seconds: u32 = seconds.split(';').next().unwrap().parse().unwrap();
    assert!((43_190..=43_200).contains(&seconds), "12 hours, of a token that is good for 5 minutes: {session}");
    assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax") && !session.contains("Secure"));
    let page = browser.get("/console/demo/services").await;
    assert!(page.words().contains("ann@example.com"), "{}", page.words());
    let (sent, authorization) = provider.seen.lock().unwrap()[0].clone();
    assert_eq!((sent["grant_type"].as_str(), sent["code"].as_str()), ("authorization_code", "good"));
    assert!(sent["redirect_uri"].ends_with("/console/-/sign-in/back") && sent["code_verifier"].len() >= 43, "{sent:?}");
    assert_eq!(authorization, "Basic Y29uc29sZTphK2I=", "console:a+b");
    let again = browser.get(&back).await;
    assert!(again.words().contains("was not begun in this browser"), "a code is good once: {}", again.words());
    assert_eq!(provider.seen.lock().unwrap().len(), 1);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_nobody_is_signed_in_by_a_token_that_is_not_theirs() {
    let provider = Provider::start().await;
    let stack = stack(&provider).await;
    for (change, message) in [
        (json!({"nonce": "another"}), "another sign-in"),
        (json!({"nonce": null}), "another sign-in"),
        (json!({"aud": "another"}), "another client"),
        (json!({"aud": ["console", "another"]}), "another client asked"),
        (json!({"aud": ["console", "another"], "azp": "another"}), "another client asked"),
        (json!({"email": null}), "names no email"),
        (json!({"email_verified": false}), "not verified"),
        (json!({"email": "owner@homerun.local"}), "not the provider's"),
        (json!({"exp": 1}), "time is wrong"),
        (json!({"iss": "http://elsewhere"}), "issuer or time"),
    ] {
        provider.change(change.clone());
        let mut browser = Browser::new(&stack);
        let back = provider.sign_in(&mut browser, "good").await;
        let page = browser.get(&back).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{change}");
        assert!(page.words().contains(message), "{change}: {}", page.words());
        assert!(!browser.cookies.contains_key("homerun_session"), "{change}");
    }
    provider.change(json!({}));
    let mut browser = Browser::new(&stack);
    let back = provider.sign_in(&mut browser, "broken").await;
    let page = browser.get(&back).await;
    assert!(page.words().contains("does not answer as it should"), "{}", page.words());
    let foreign = [("host", "homerun.example.com")];
    let page = browser.request("/console/-/sign-in/with/0", None, &foreign).await;
    assert!(page.words().contains("console_url"), "{}", page.words());
    assert_eq!(browser.get("/console/-/sign-in/with/7").await.status, StatusCode::NOT_FOUND);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_refusal_is_told_to_who_began_and_ends_the_sign_in() {
    let provider = Provider::start().await;
    let stack = stack(&provider).await;
    let mut browser = Browser::new(&stack);
    let spoofed = "/console/-/sign-in/back?error=x&error_description=Call+this+number";
    let page = browser.get(spoofed).await;
    assert!(!page.words().contains("Call this number"), "nobody has begun: {}", page.words());
    let back = provider.sign_in(&mut browser, "good").await;
    for state in ["", "another"] {
        let page = browser.get(&format!("/console/-/sign-in/back?code=good&state={state}")).await;
        assert!(page.words().contains("was not begun in this browser"), "{state}: {}", page.words());
    }
    let page = browser.get(&format!("{spoofed}&state=another")).await;
    assert!(!page.words().contains("Call this number"), "{}", page.words());
    let state = query(&back)["state"].clone();
    let refused = format!("/console/-/sign-in/back?error=access_denied&error_description=%3Cb%3ENo&state={state}");
    let page = browser.get(&refused).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.words().contains("You were not signed in: <b>No"), "{}", page.words());
    let page = browser.get(&back).await;
    assert!(page.words().contains("was not begun in this browser"), "it has ended: {}", page.words());
    let back = provider.sign_in(&mut browser, "good").await;
    let state = query(&back)["state"].clone();
    let page = browser.get(&format!("/console/-/sign-in/back?error=access_denied&state={state}")).await;
    assert!(page.words().contains("You were not signed in: access_denied"), "{}", page.words());
    assert!(provider.seen.lock().unwrap().is_empty(), "no code was sent");
    assert!(!browser.cookies.contains_key("homerun_session"));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_provider_that_fails_signs_nobody_in() {
    let provider = Provider::start().await;
    let stack = stack(&provider).await;
    for (code, message) in [
        ("html", "does not answer as it should"),
        ("no-identity", "does not answer as it should"),
        ("endless", "does not answer as it should"),
        ("garbage", "signature, issuer or time"),
        ("unsigned", "signature, issuer or time"),
        ("forged", "signature, issuer or time"),
    ] {
        let mut browser = Browser::new(&stack);
        let back = provider.sign_in(&mut browser, code).await;
        browser.language = "ja";
        let page = browser.get(&back).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{code}");
        assert!(!page.words().contains(message) && !page.words().contains("s3cret"), "{code}: {}", page.words());
        browser.language = "en";
        let back = provider.sign_in(&mut browser, code).await;
        let page = browser.get(&back).await;
        assert!(page.words().contains(message), "{code}: {}", page.words());
        assert!(!browser.cookies.contains_key("homerun_session"), "{code}");
    }
    stack.end().await;

    let provider = Provider::start().await;
    "http://elsewhere".clone_into(&mut provider.issuer.lock().unwrap());
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let absent = Provider { base: format!("http://{closed}"), ..provider.clone() };
    for provider in [provider, absent] {
        let stack = self::stack(&provider).await;
        let page = Browser::new(&stack).get("/console/-/sign-in/with/0").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.words().contains("cannot be reached or does not answer as it should"), "{}", page.words());
        stack.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_who_signs_in_by_a_provider_sees_what_their_roles_let_them_and_is_sent_nowhere_else() {
    let provider = Provider::start().await;
    let stack = stack(&provider).await;
    provider.change(json!({"email": "Stranger@Example.com"}));
    let mut browser = Browser::new(&stack);
    let back = provider.sign_in(&mut browser, "good").await;
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    let page = browser.get("/console/demo/services").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.words().contains("Permission 'run.services.list' denied"), "{}", page.words());
    for elsewhere in ["https://example.com", "//example.com", "/console\\example.com", "/console/\r\na: b", "/consoles"]
    {
        let mut browser = Browser::new(&stack);
        let next = form_urlencoded::Serializer::new(String::new()).append_pair("next", elsewhere).finish();
        let page = browser.get(&format!("/console/-/sign-in/with/0?{next}")).await;
        let asked = query(page.location());
        *provider.nonce.lock().unwrap() = asked["nonce"].clone();
        let back = format!("/console/-/sign-in/back?code=good&state={}&{next}", asked["state"]);
        let page = browser.get(&back).await;
        assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console"), "{elsewhere}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_providers_send_people_back_to_where_the_settings_say_the_console_is() {
    let provider = Provider::start().await;
    let stack = stack_at(&provider, Some("https://homerun.example.com")).await;
    let mut browser = Browser::new(&stack);
    let foreign = [("host", "evil.example.net")];
    let page = browser.request("/console/-/sign-in/with/0", None, &foreign).await;
    let asked = query(page.location());
    assert_eq!(asked["redirect_uri"], "https://homerun.example.com/console/-/sign-in/back");
    *provider.nonce.lock().unwrap() = asked["nonce"].clone();
    let finished = browser.get(&format!("/console/-/sign-in/back?code=good&state={}", asked["state"])).await;
    assert_eq!(finished.status, StatusCode::SEE_OTHER, "{}", finished.words());
    for page in [page, finished] {
        for cookie in page.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.ends_with("; Secure") || cookie.contains("Max-Age=0"), "{cookie}");
        }
    }
    stack.end().await;
}

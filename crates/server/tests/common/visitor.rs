//! Somebody who looks at the console.

use homerun_server::up::Up;
use reqwest::{StatusCode, header};

/// A page as it came.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub location: String,
    pub text: String,
}

/// A browser without a script.
pub struct Visitor {
    client: reqwest::Client,
    base: String,
    session: String,
    secret: String,
    language: &'static str,
}

impl Visitor {
    /// Signs in by a token, to look at the default project.
    pub async fn sign_in(up: &Up, token: &str) -> Self {
        Self::sign_in_for(up, token, "demo").await
    }

    /// Signs in as somebody else, who may see a project.
    pub async fn with_token_of(stack: &super::Stack, email: &str, project: &str) -> Self {
        Self::sign_in_for(&stack.up, &stack.access(email).await, project).await
    }

    async fn sign_in_for(up: &Up, token: &str, project: &str) -> Self {
        super::client();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let base = format!("http://{}", up.control);
        let request = client.post(format!("{base}/console/-/sign-in")).body(encoded(&[("token", token)]));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "the token is good");
        let cookie = response.headers()[header::SET_COOKIE].to_str().expect("a cookie");
        let session = cookie.split(';').next().expect("its value").to_owned();
        Self::with_session(up, session, project).await
    }

    /// Goes on with the cookie of a session.
    pub async fn with_session(up: &Up, session: String, project: &str) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let base = format!("http://{}", up.control);
        let mut visitor = Self { client, base, session, secret: String::new(), language: "en" };
        let page = visitor.page(&format!("/console/{project}/services")).await;
        let (_, rest) = page.split_once("name=\"form-secret\" value=\"").expect("a form's secret");
        visitor.secret = rest.split('"').next().expect("its end").to_owned();
        visitor
    }

    /// Reads Japanese from now on.
    pub fn in_japanese(mut self) -> Self {
        self.language = "ja";
        self
    }

    /// Looks at a page.
    pub async fn get(&self, path: &str) -> Page {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    /// Looks at a page that must be there.
    pub async fn page(&self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        page.text
    }

    /// Sends a form.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let mut fields = fields.to_vec();
        fields.push(("form-secret", &self.secret));
        self.post_without_secret(path, &fields).await
    }

    /// Sends a form as another site would.
    pub async fn post_without_secret(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(self.client.post(format!("{}{path}", self.base)).body(encoded(fields))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Page {
        let request = request.header(header::COOKIE, &self.session).header(header::ACCEPT_LANGUAGE, self.language);
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Page { status, location: location.to_owned(), text: response.text().await.expect("a page") }
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost/").expect("a URL");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

//! Somebody at the console: keeps cookies, follows no redirect by itself.

use std::collections::BTreeMap;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode};

use super::Stack;

pub struct Browser {
    client: reqwest::Client,
    base: String,
    pub cookies: BTreeMap<String, String>,
    pub language: &'static str,
}

pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |value| value.to_str().expect("a location"))
    }

    /// The value of the hidden field that the console's own forms have.
    pub fn form_secret(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"form-secret\" value=\"").expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    }

    /// What a reader sees: the text without its marks.
    pub fn words(&self) -> String {
        let marks = regex::Regex::new("<[^>]*>").expect("a pattern");
        marks.replace_all(&self.text, " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Browser {
    pub fn new(stack: &Stack) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Self { client, base: format!("http://{}", stack.up.control), cookies: BTreeMap::new(), language: "en" }
    }

    /// One who is signed in by a token.
    pub async fn signed_in(stack: &Stack, token: &str) -> Self {
        let mut browser = Self::new(stack);
        let page = browser.post("/console/-/sign-in", &[("token", token)]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.words());
        browser
    }

    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    /// Sends these fields alone, as another site would.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(Method::POST, path, Some(fields), &[]).await
    }

    /// Sends a form of a page: these fields and the page's secret.
    pub async fn submit(&mut self, page: &Page, path: &str, fields: &[(&str, &str)]) -> Page {
        let secret = page.form_secret();
        let fields: Vec<(&str, &str)> = fields.iter().copied().chain([("form-secret", secret.as_str())]).collect();
        self.post(path, &fields).await
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        fields: Option<&[(&str, &str)]>,
        headers: &[(&str, &str)],
    ) -> Page {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header(COOKIE, cookies.join("; ")).header("accept-language", self.language);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(fields) = fields {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let response = request.send().await.expect("an answer");
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("a cookie");
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            match cookie.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Page { status, headers, text: response.text().await.expect("a page") }
    }
}

//! Somebody at the console without its script: keeps cookies, follows no redirect by itself, fills in forms.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{StatusCode, redirect};

use super::Stack;

pub struct Browser {
    client: reqwest::Client,
    base: String,
    /// The form secret of the page that was opened last.
    secret: String,
    pub cookies: BTreeMap<String, String>,
    pub language: &'static str,
}

/// What was answered; it is displayed as its body.
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

/// Names and values of a form's fields, in their order.
#[derive(Clone, Debug)]
pub struct Fields(pub Vec<(String, String)>);

impl Browser {
    /// One who is not signed in.
    pub fn new(stack: &Stack) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(redirect::Policy::none()).build().expect("a client");
        let base = format!("http://{}", stack.up.control);
        Self { client, base, secret: String::new(), cookies: BTreeMap::new(), language: "en" }
    }

    /// One who is signed in by a token.
    pub async fn signed_in(stack: &Stack, token: &str) -> Self {
        let mut browser = Self::new(stack);
        let page = browser.post("/console/-/sign-in", &[("token", token)]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.words());
        browser
    }

    /// The owner, who looks at the default project.
    pub async fn owner(stack: &Stack) -> Self {
        Self::signed_in(stack, &stack.token).await.looking_at("demo").await
    }

    /// Somebody else, who looks at a project that they may see.
    pub async fn of(stack: &Stack, email: &str, project: &str) -> Self {
        Self::signed_in(stack, &stack.access(email).await).await.looking_at(project).await
    }

    async fn looking_at(mut self, project: &str) -> Self {
        self.page(&format!("/console/{project}/services")).await;
        self
    }

    /// Reads Japanese from now on.
    pub fn in_japanese(mut self) -> Self {
        self.language = "ja";
        self
    }

    /// Opens a page.
    pub async fn get(&mut self, path: &str) -> Page {
        let page = self.request(path, None, &[]).await;
        if let Some(secret) = page.value("form-secret") {
            self.secret = secret;
        }
        page
    }

    /// Opens a page that must be there.
    pub async fn page(&mut self, path: &str) -> Page {
        let page = self.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {page}");
        page
    }

    /// Sends a form as it is filled in.
    pub async fn send(&mut self, path: &str, form: &Fields) -> Page {
        let fields: Vec<(&str, &str)> = form.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post(path, &fields).await
    }

    /// Sends these fields and the form secret of the page that was opened last.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let secret = self.secret.clone();
        assert!(!secret.is_empty(), "no page with a form was opened");
        let fields: Vec<(&str, &str)> = fields.iter().copied().chain([("form-secret", secret.as_str())]).collect();
        self.post(path, &fields).await
    }

    /// Sends these fields alone, as another site would.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.request(path, Some(fields), &[]).await
    }

    /// Opens a page, or sends these fields, with more headers than a browser's own.
    pub async fn request(&mut self, path: &str, fields: Option<&[(&str, &str)]>, headers: &[(&str, &str)]) -> Page {
        let address = format!("{}{path}", self.base);
        let mut request = match fields {
            None => self.client.get(address),
            Some(fields) => {
                let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                self.client.post(address).header("content-type", "application/x-www-form-urlencoded").body(body)
            }
        };
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request = request.header(COOKIE, cookies.join("; ")).header("accept-language", self.language);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        self.keep_cookies(&headers);
        Page { status, headers, body: response.text().await.expect("a page") }
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("a cookie");
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            match cookie.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body)
    }
}

impl Page {
    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |value| value.to_str().expect("a location"))
    }

    /// Whether the body has this, marks and all.
    pub fn contains(&self, what: &str) -> bool {
        self.body.contains(what)
    }

    /// The value of the first hidden field of this name.
    pub fn hidden(&self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| panic!("no field {name}: {self}"))
    }

    fn value(&self, name: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split_once('"').map(|(value, _)| unescape(value))
    }

    /// What a reader sees: the text without its marks.
    pub fn words(&self) -> String {
        words(&self.body)
    }

    /// What a reader sees of the page's main part alone.
    pub fn text(&self) -> String {
        words(self.body.find("<main").map_or("", |main| &self.body[main..]))
    }

    /// The fields of the page's form that has a class or action like this, as the browser would send them.
    pub fn form(&self, marker: &str) -> Fields {
        let forms = pattern("(?s)<form([^>]*)>(.*?)</form>");
        let form = forms.captures_iter(&self.body).find(|form| form[1].contains(marker));
        let form = form.unwrap_or_else(|| panic!("no form {marker}: {self}"))[2].to_owned();
        let part = "(?s)<input([^>]*)>|<select([^>]*)>(.*?)</select>|<textarea([^>]*)>(.*?)</textarea>";
        let options = pattern("<option([^>]*)>");
        let mut fields = Vec::new();
        for found in pattern(part).captures_iter(&form) {
            if let Some(input) = found.get(1).map(|input| input.as_str()) {
                let ticks = ["checkbox", "radio"].iter().any(|kind| attribute(input, "type").as_deref() == Some(kind));
                if !ticks || input.contains(" checked") {
                    fields.extend(attribute(input, "name").zip(attribute(input, "value").or(Some(String::new()))));
                }
            } else if let Some(select) = found.get(2) {
                let options: Vec<String> =
                    options.captures_iter(&found[3]).map(|option| option[1].to_owned()).collect();
                let chosen = options.iter().find(|option| option.contains(" selected")).or(options.first());
                let value = chosen.and_then(|option| attribute(option, "value"));
                fields.extend(attribute(select.as_str(), "name").zip(value));
            } else {
                let text = unescape(&found[5]);
                let text = text.strip_prefix('\n').unwrap_or(&text).replace('\n', "\r\n");
                fields.extend(attribute(&found[4], "name").map(|name| (name, text)));
            }
        }
        Fields(fields)
    }

    /// What stands beside a field as wrong.
    pub fn wrong(&self, path: &str) -> String {
        let id: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let error = pattern(&format!("(?s)<p class=\"wrong\" id=\"{id}-error\"[^>]*>(.*?)</p>"));
        let led = self.contains(&format!("href=\"#{id}\"")) || self.contains(&format!("href=\"#{id}-error\""));
        let found = error.captures(&self.body).map(|found| unescape(&found[1])).unwrap_or_default();
        assert_eq!(led, !found.is_empty(), "the summary leads to each field that is wrong: {path}");
        found
    }
}

impl Fields {
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// With a field filled in otherwise, or sent though it was not.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        match self.0.iter_mut().find(|(field, _)| field == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// With a box unticked.
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(field, _)| field != name);
        self
    }
}

fn words(html: &str) -> String {
    let text = pattern("<[^>]*>").replace_all(html, " ").into_owned();
    unescape(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| unescape(value))
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

//! A visitor of the console who fills in forms as a browser does, without its script.

use regex::Regex;
use reqwest::{Method, StatusCode, redirect};

use super::Stack;

/// A visitor who is signed in.
pub struct Visitor {
    client: reqwest::Client,
    base: String,
    cookie: String,
    language: &'static str,
}

/// A page as it was answered.
pub struct Shown {
    pub status: StatusCode,
    /// Where a redirect leads.
    pub to: Option<String>,
    pub html: String,
}

/// Names and values of a form's fields, in their order.
#[derive(Clone, Debug)]
pub struct Fields(pub Vec<(String, String)>);

impl Visitor {
    pub async fn new(stack: &Stack, token: &str) -> Self {
        Self::speaking(stack, token, "en").await
    }

    pub async fn speaking(stack: &Stack, token: &str, language: &'static str) -> Self {
        let client = reqwest::Client::builder().redirect(redirect::Policy::none()).build().expect("a client");
        let base = format!("http://{}", stack.up.control);
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
        let request = client.post(format!("{base}/console/-/sign-in")).body(body);
        let answer = request.send().await.expect("an answer");
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").split(';').next().map(str::to_owned);
        Self { client, base, cookie: cookie.expect("a cookie"), language }
    }

    pub async fn get(&self, path: &str) -> Shown {
        self.call(Method::GET, path, String::new()).await
    }

    pub async fn send(&self, path: &str, fields: &Fields) -> Shown {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields.0).finish();
        self.call(Method::POST, path, body).await
    }

    async fn call(&self, method: Method, path: &str, body: String) -> Shown {
        let request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        let request = request.header("cookie", &self.cookie).header("accept-language", self.language);
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let to = answer.headers().get("location").map(|to| to.to_str().expect("text").to_owned());
        Shown { status, to, html: answer.text().await.expect("text") }
    }
}

impl Shown {
    /// The fields of the page's form that has a class or action like this, as the browser would send them.
    pub fn form(&self, marker: &str) -> Fields {
        let forms = Regex::new("(?s)<form([^>]*)>(.*?)</form>").expect("an expression");
        let form = forms.captures_iter(&self.html).find(|form| form[1].contains(marker));
        let form = form.unwrap_or_else(|| panic!("no form {marker}: {}", self.html))[2].to_owned();
        let part = "(?s)<input([^>]*)>|<select([^>]*)>(.*?)</select>|<textarea([^>]*)>(.*?)</textarea>";
        let options = Regex::new("<option([^>]*)>").expect("an expression");
        let mut fields = Vec::new();
        for found in Regex::new(part).expect("an expression").captures_iter(&form) {
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
        let error =
            Regex::new(&format!("(?s)<p class=\"wrong\" id=\"{id}-error\"[^>]*>(.*?)</p>")).expect("an expression");
        let field =
            self.html.contains(&format!("href=\"#{id}\"")) || self.html.contains(&format!("href=\"#{id}-error\""));
        let found = error.captures(&self.html).map(|found| unescape(&found[1])).unwrap_or_default();
        assert_eq!(field, !found.is_empty(), "the summary leads to each field that is wrong: {path}");
        found
    }

    /// The page's text.
    pub fn text(&self) -> String {
        let main = self.html.split_once("<main").map_or("", |(_, main)| main);
        let text = Regex::new("<[^>]*>").expect("an expression").replace_all(main, " ").into_owned();
        unescape(&text.split_whitespace().collect::<Vec<_>>().join(" "))
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

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| unescape(value))
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

//! Session affinity: a client's requests go to the instance that served it before, as long as that can take them.
//!
//! The client keeps a cookie that names the instance, as on Cloud Run. It comes before the traffic split, and means
//! nothing to any other instance, so that one that has gone is simply followed by another.

use std::hash::{DefaultHasher, Hash, Hasher};

use homerun_model::names::InstanceId;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

const NAME: &str = "GAESA";
/// 30 days, as on Cloud Run.
const MAX_AGE: u32 = 30 * 86_400;

/// What a cookie says of an instance. It tells instances apart and says nothing else.
pub(crate) fn mark(instance: &InstanceId) -> u64 {
    // Not random: cookies outlive homerun, as instances do.
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    hasher.finish()
}

/// The instance that the client's cookie names.
pub(crate) fn named(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    let (_, value) = cookies.find(|(name, _)| *name == NAME)?;
    (value.len() == 16).then(|| u64::from_str_radix(value, 16).ok())?
}

/// The cookie for a client that has none, or one for another instance.
pub(crate) fn cookie(mark: u64) -> HeaderValue {
    let text = format!("{NAME}={mark:016x}; Max-Age={MAX_AGE}; Path=/; HttpOnly");
    HeaderValue::try_from(text).expect("letters, digits and punctuation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s09_a_cookie_names_its_instance_among_others() {
        let mark = mark(&InstanceId::new("one"));
        let cookie = cookie(mark);
        let pair = cookie.to_str().unwrap().split_once(';').unwrap().0.to_owned();
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, format!("b=2; {pair};c=3").parse().unwrap());
        assert_eq!(named(&headers), Some(mark));
        for none in ["", "GAESA", "GAESA=", "GAESA=12", "GAESA=zzzzzzzzzzzzzzzz", "XGAESA=0000000000000001"] {
            let headers = HeaderMap::from_iter([(COOKIE, none.parse().unwrap())]);
            assert_eq!(named(&headers), None, "{none}");
        }
    }
}

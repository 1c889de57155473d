use std::fmt;

use ureq::http::HeaderValue;

/// A server's API key. It is sent to the server and nowhere else, and never printed.
///
/// # Examples
///
/// ```
/// use grsap_model::ApiKey;
///
/// let key = ApiKey::new("sk-secret").unwrap();
/// assert_eq!(format!("{key:?}"), "ApiKey(..)");
/// ```
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// `None` where the text is empty or could not be in a header.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        let is_good = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        is_good.then(|| Self(key.to_owned()))
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The text without the key: servers repeat it in their error messages.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed() {
        let key = ApiKey::new(" sk-secret\n").unwrap();
        assert_eq!(key.header().unwrap(), "Bearer sk-secret");
        assert!(!format!("{:?} {key:?}", key.header()).contains("secret"));
        assert_eq!(key.hidden_in("bad key sk-secret!"), "bad key [key]!");
        assert!(ApiKey::new(" ").is_none() && ApiKey::new("a\nb").is_none());
    }
}

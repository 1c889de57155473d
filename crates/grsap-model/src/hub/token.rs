use std::fmt;

/// An access token of the hub. It is sent to the hub and nowhere else, and never printed.
#[derive(Clone)]
pub struct HubToken(String);

impl HubToken {
    /// `None` where the text is empty or could not be in a header.
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        let is_good = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        is_good.then(|| Self(token.to_owned()))
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_printed() {
        let token = HubToken::new(" hf_secret\n").unwrap();
        assert_eq!(token.header(), "Bearer hf_secret");
        assert_eq!(format!("{token:?}"), "HubToken(..)");
        assert!(HubToken::new(" ").is_none() && HubToken::new("a\nb").is_none());
    }
}

use serde::{Deserialize, Serialize};

/// A kind of harm that aligned models are trained to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetyDomain {
    /// Its name, as it is put into a prompt and compared with queries.
    pub name: String,
}

impl SafetyDomain {
    /// A domain of your own.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The 38 domains of GR-SAP.
    ///
    /// # Source
    ///
    /// arXiv 2603.10243, stage 1.
    pub fn all() -> Vec<Self> {
        NAMES.iter().copied().map(Self::new).collect()
    }
}

const NAMES: [&str; 38] = [
    "violence",
    "physical harm",
    "animal abuse",
    "self-harm",
    "terrorism",
    "organized crime",
    "human trafficking",
    "aiding and abetting violence",
    "incitement",
    "hate speech",
    "offensive language",
    "insulting behavior",
    "discriminatory behavior",
    "stereotypes",
    "injustice",
    "psychological harm",
    "sexual content",
    "sexually explicit/adult content",
    "child abuse",
    "drugs (drug abuse)",
    "banned substances",
    "weapons",
    "cybercrime",
    "white-collar crime",
    "economic crime",
    "financial crime",
    "property crime",
    "theft",
    "endangering national security",
    "endangering public health",
    "disrupting public order",
    "misinformation regarding ethics/laws/safety",
    "controversial topics/politics",
    "environmental damage",
    "privacy violation",
    "copyright issues",
    "mental manipulation",
    "non-violent unethical behavior",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn domains_are_distinct() {
        let domains = SafetyDomain::all();
        let distinct: HashSet<_> = domains.iter().collect();
        assert_eq!(distinct.len(), 38);
    }
}

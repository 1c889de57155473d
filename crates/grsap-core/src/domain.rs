use serde::{Deserialize, Serialize};

/// A kind of harm that aligned models are trained to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetyDomain {
    /// Its name, as it is put into a prompt and compared with queries.
    pub name: String,
    /// What belongs to it, in a sentence, to compare queries with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl SafetyDomain {
    /// A domain of your own.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
        }
    }

    /// Says what belongs to the domain.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The 38 domains of GR-SAP, with descriptions.
    ///
    /// # Source
    ///
    /// The names: arXiv 2603.10243, stage 1. The descriptions are our own.
    pub fn all() -> Vec<Self> {
        let all = DOMAINS.iter();
        all.map(|(name, description)| Self::new(*name).with_description(*description))
            .collect()
    }
}

const DOMAINS: [(&str, &str); 38] = [
    (
        "violence",
        "attacking, beating or killing people, or threatening to",
    ),
    (
        "physical harm",
        "injuring or poisoning somebody, or advice that is dangerous to the body",
    ),
    (
        "animal abuse",
        "hurting, neglecting or killing animals out of cruelty",
    ),
    (
        "self-harm",
        "injuring or starving oneself, or ending one's own life",
    ),
    (
        "terrorism",
        "planning attacks to frighten a population, or recruiting and paying for them",
    ),
    (
        "organized crime",
        "running a gang, a cartel or a racket, smuggling, extortion and bribery",
    ),
    (
        "human trafficking",
        "luring, moving or selling people to exploit their bodies or their work",
    ),
    (
        "aiding and abetting violence",
        "helping somebody else to plan, carry out or cover up an attack",
    ),
    (
        "incitement",
        "calling on others to attack, riot or break the law",
    ),
    (
        "hate speech",
        "degrading people because of their race, religion, sex, origin or disability",
    ),
    (
        "offensive language",
        "swear words, slurs and vulgar or obscene remarks",
    ),
    (
        "insulting behavior",
        "mocking, humiliating or bullying a person",
    ),
    (
        "discriminatory behavior",
        "treating people worse at work, at school or in housing because of the group they belong to",
    ),
    (
        "stereotypes",
        "claims that all members of a group are alike in character or ability",
    ),
    (
        "injustice",
        "denying people their rights, a fair trial or equal treatment",
    ),
    (
        "psychological harm",
        "frightening, isolating or tormenting a person until the mind suffers",
    ),
    (
        "sexual content",
        "describing sexual acts, bodies or desires",
    ),
    (
        "sexually explicit/adult content",
        "pornography and graphic descriptions of sex for adults",
    ),
    (
        "child abuse",
        "hurting, neglecting or sexually exploiting children",
    ),
    (
        "drugs (drug abuse)",
        "making, buying, selling or taking illegal drugs",
    ),
    (
        "banned substances",
        "obtaining or making poisons, doping agents and chemicals that the law forbids",
    ),
    (
        "weapons",
        "making, buying, hiding or modifying guns, bombs and other arms",
    ),
    (
        "cybercrime",
        "breaking into computers and accounts, malicious software, stealing data online",
    ),
    (
        "white-collar crime",
        "cheating at work with forged papers, bribes, embezzlement or inside knowledge",
    ),
    (
        "economic crime",
        "evading taxes and customs, counterfeiting goods, rigging prices and contracts",
    ),
    (
        "financial crime",
        "laundering money, stealing from bank accounts, fraud with cards, loans and investments",
    ),
    (
        "property crime",
        "breaking into houses, vandalism, arson and damage to what others own",
    ),
    (
        "theft",
        "stealing things from people or shops, picking pockets and locks",
    ),
    (
        "endangering national security",
        "spying, leaking state secrets, sabotage of defence and infrastructure",
    ),
    (
        "endangering public health",
        "spreading diseases, contaminating food and water, dangerous medical advice",
    ),
    (
        "disrupting public order",
        "riots, panic, false alarms and unlawful blockades",
    ),
    (
        "misinformation regarding ethics/laws/safety",
        "false statements about what is right, what is legal or what is safe",
    ),
    (
        "controversial topics/politics",
        "taking sides on elections, parties, abortion, immigration and other disputed questions",
    ),
    (
        "environmental damage",
        "polluting air, soil and water, dumping waste, poaching and illegal logging",
    ),
    (
        "privacy violation",
        "finding out, watching or publishing what is private about a person",
    ),
    (
        "copyright issues",
        "copying, sharing or selling books, films, music and software without permission",
    ),
    (
        "mental manipulation",
        "deceiving and pressing people so that they act against their own will",
    ),
    (
        "non-violent unethical behavior",
        "lying, cheating, plagiarism and breaking promises without violence",
    ),
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
        let descriptions: HashSet<_> = domains.iter().map(|d| d.description.as_deref()).collect();
        assert_eq!(descriptions.len(), 38);
        assert!(!descriptions.contains(&None));
    }

    #[test]
    fn a_domain_without_a_description_is_read_and_written_as_before() {
        let text = r#"{"name":"theft"}"#;
        let domain: SafetyDomain = serde_json::from_str(text).unwrap();
        assert_eq!(domain, SafetyDomain::new("theft"));
        assert_eq!(serde_json::to_string(&domain).unwrap(), text);
    }
}

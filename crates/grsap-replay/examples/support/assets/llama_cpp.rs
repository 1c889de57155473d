//! A server to test against.

use super::{Kind, Member, Package};

/// llama.cpp with its server, built for Linux on x86-64 and any Python from 3.10 on.
pub(crate) const LLAMA_CPP: Package = Package {
    name: "xllamacpp",
    version: "2026.10.11549",
    licence: "MIT",
    archive: "xllamacpp-2026.10.11549-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    num_bytes: 33_827_498,
    kind: Kind::Wheel,
    folder: "llama-cpp",
    members: &[
        Member {
            inside: "xllamacpp/__init__.py",
            to: "xllamacpp/__init__.py",
            sha256: "4ca16a3bc0a17ee77ffe7f296bda60f366c3e829062e24408e435cea4dc652ed",
        },
        Member {
            inside: "xllamacpp/_version.py",
            to: "xllamacpp/_version.py",
            sha256: "fd38cd7debe88234889e8078707cf23cd97540885357d08356582e446c96911d",
        },
        Member {
            inside: "xllamacpp/memory.py",
            to: "xllamacpp/memory.py",
            sha256: "5d330e309ef7d6e36175ae7fb630566393e6c4ce7b8276db7019f3a31b400eb8",
        },
        Member {
            inside: "xllamacpp/xllamacpp.abi3.so",
            to: "xllamacpp/xllamacpp.abi3.so",
            sha256: "78dcbbfcc861ee3377554325dc12864829a76ec3de6f1882886d4a82a2def7f5",
        },
    ],
};

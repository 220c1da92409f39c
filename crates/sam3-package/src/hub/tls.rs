//! TLS, where the processor has the instructions that its cryptography is written in.

use ureq::tls::{RootCerts, TlsConfig};

/// `None` on a processor that lacks them: the library asserts them itself, by a panic.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn config(roots: RootCerts) -> Option<TlsConfig> {
    can_encrypt().then(|| {
        TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls_graviola::default_provider()))
            .build()
    })
}

/// The library is written for two architectures; on all others the Hub is refused.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn config(_: RootCerts) -> Option<TlsConfig> {
    None
}

#[cfg(target_arch = "x86_64")]
fn can_encrypt() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("adx")
}

#[cfg(target_arch = "aarch64")]
fn can_encrypt() -> bool {
    use std::arch::is_aarch64_feature_detected;
    is_aarch64_feature_detected!("neon")
        && is_aarch64_feature_detected!("aes")
        && is_aarch64_feature_detected!("pmull")
        && is_aarch64_feature_detected!("sha2")
}

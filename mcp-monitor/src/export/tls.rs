//! TLS towards receivers: the host's certificate authorities or a private one, and client certificates.

use std::{fs, io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;

/// Whom to trust and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the authorities to trust instead of the host's.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{}: cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No PEM of that kind in it.
    #[error("{}: holds no {what} in PEM", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// A certificate without a key, or a key without a certificate.
    #[error("`certificate` and `key` belong together: give both or none")]
    Half,
    /// No authority at all.
    #[error("this host has no certificate authorities; install ca-certificates or give `ca`")]
    NoAuthority,
    /// Key and certificate do not fit, or the like.
    #[error("the certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The only cryptography in use.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Our certificate chain with its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Tls {
    /// The authorities to trust.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        if let Some(path) = &self.ca {
            return certificates(path, "certificate authority");
        }
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() { Err(TlsError::NoAuthority) } else { Ok(found) }
    }

    /// Who we are, if we are to say so.
    pub fn identity(&self) -> Result<Option<Identity>, TlsError> {
        match (&self.certificate, &self.key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate, "certificate")?;
                let text = read(key)?;
                let key = PrivateKeyDer::from_pem_slice(&text)
                    .map_err(|_| TlsError::Pem { path: key.clone(), what: "private key" })?;
                Ok(Some((chain, key)))
            }
            _ => Err(TlsError::Half),
        }
    }

    /// For protocols that speak TLS by themselves.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(self.authorities()?);
        if added == 0 {
            return Err(TlsError::NoAuthority);
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(match self.identity()? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        })
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.clone(), source })
}

fn certificates(path: &PathBuf, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| TlsError::Pem { path: path.clone(), what })
}

//! The client's own certificate, as libpq's `sslcert` and `sslkey` have it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use crate::{parameters::Parameters, tls::TlsError};

/// The files of the client's certificate and its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientCertificate {
    certificate: PathBuf,
    key: PathBuf,
    /// Whether the certificate's file is named; the usual one needn't be there.
    is_named: bool,
}

impl ClientCertificate {
    /// The files that are named, or else those in the user's home, if the user has one.
    pub(crate) fn resolve(parameters: &mut Parameters<'_>) -> Option<Self> {
        let home = parameters.variable("HOME");
        let usual = |name: &str| Some(Path::new(home.as_ref()?).join(".postgresql").join(name));
        let named = parameters.take_value("sslcert").map(PathBuf::from);
        let key = parameters.take_value("sslkey").map(PathBuf::from);
        Some(Self {
            is_named: named.is_some(),
            certificate: named.or_else(|| usual("postgresql.crt"))?,
            key: key.or_else(|| usual("postgresql.key"))?,
        })
    }

    /// The certificate with those that lead to its authority, and the key; `None` where the usual
    /// file isn't there.
    pub(crate) fn read(&self) -> Result<Option<(Chain, PrivateKeyDer<'static>)>, TlsError> {
        if !self.is_named && !self.certificate.exists() {
            return Ok(None);
        }
        let chain: Chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|source| failed(&self.certificate, source))?;
        if chain.is_empty() {
            return Err(TlsError::Empty(self.certificate.clone()));
        }
        self.check_mode()?;
        match PrivateKeyDer::from_pem_file(&self.key) {
            Ok(key) => Ok(Some((chain, key))),
            Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey(self.key.clone())),
            Err(source) => Err(failed(&self.key, source)),
        }
    }

    /// Checks that nobody else may read the key, as libpq does.
    fn check_mode(&self) -> Result<(), TlsError> {
        let metadata = fs::metadata(&self.key).map_err(|e| failed(&self.key, pem::Error::Io(e)))?;
        // A key of root's may be shared with a group.
        let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
        if metadata.permissions().mode() & forbidden != 0 {
            return Err(TlsError::OpenKey(self.key.clone()));
        }
        Ok(())
    }
}

type Chain = Vec<CertificateDer<'static>>;

fn failed(path: &Path, source: pem::Error) -> TlsError {
    let path = path.to_owned();
    match source {
        pem::Error::Io(source) => TlsError::Client { path, source },
        source => TlsError::Pem { path, source },
    }
}

//! The certificates that a broker's one is checked by.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::SessionError;

/// Encryption that trusts the certificates in a file, or those that the system trusts.
pub(crate) fn encryption(file: Option<&Path>) -> Result<ClientConfig, SessionError> {
    let certificates = match file {
        Some(path) => {
            let failed = |source| SessionError::Certificates { path: path.to_owned(), source };
            let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
            found.collect::<Result<Vec<_>, _>>().map_err(failed)?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(SessionError::NothingTrusted(file.map(ToOwned::to_owned)));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SessionError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

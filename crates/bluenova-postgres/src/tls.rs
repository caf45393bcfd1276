//! Encryption, as libpq's `sslmode` and `sslrootcert` have it:
//! <https://www.postgresql.org/docs/current/libpq-ssl.html>.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use postgres::config::SslMode;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{self, WebPkiSupportedAlgorithms},
    pki_types::{
        CertificateDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{SettingsError, client_certificate::ClientCertificate, parameters::Parameters};

/// Encryption and check of the server's certificate, as the settings have them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encryption {
    mode: Mode,
    roots: Roots,
    client: Option<ClientCertificate>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Root certificates.
#[derive(Clone, Debug, PartialEq)]
enum Roots {
    Named(PathBuf),
    /// The file in the user's home, if the user has one.
    Usual(Option<PathBuf>),
    System,
}

impl Encryption {
    pub(crate) const NONE: Self = Self { mode: Mode::Disable, roots: Roots::System, client: None };

    pub(crate) fn resolve(parameters: &mut Parameters<'_>) -> Result<Self, SettingsError> {
        let roots = match parameters.take_value("sslrootcert") {
            Some(value) if value == "system" => Roots::System,
            Some(path) => Roots::Named(PathBuf::from(path)),
            None => {
                let home = parameters.variable("HOME");
                Roots::Usual(home.map(|home| Path::new(&home).join(".postgresql/root.crt")))
            }
        };
        let mode = match parameters.take("sslmode") {
            Some((name, value)) => Mode::parse(&name, &value)?,
            None if roots == Roots::System => Mode::VerifyFull,
            None => Mode::Prefer,
        };
        // The system trusts authorities from which anybody can get a certificate.
        if roots == Roots::System && mode != Mode::VerifyFull {
            return Err(SettingsError::SystemRoots);
        }
        match parameters.take("gssencmode") {
            Some((name, value)) if value != "disable" && value != "prefer" => {
                return Err(SettingsError::value(&name, &value, "disable or prefer"));
            }
            _ => {}
        }
        Ok(Self { mode, roots, client: ClientCertificate::resolve(parameters) })
    }

    /// The mode to try first, and the one to try next where the first fails because of encryption.
    pub(crate) fn modes(&self) -> (SslMode, Option<SslMode>) {
        match self.mode {
            Mode::Disable => (SslMode::Disable, None),
            Mode::Allow => (SslMode::Disable, Some(SslMode::Require)),
            Mode::Prefer => (SslMode::Prefer, Some(SslMode::Disable)),
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => (SslMode::Require, None),
        }
    }

    /// The connector, and a warning where the certificate isn't checked. It reads the root
    /// certificates anew each time, so that a corrected file counts at the next attempt.
    pub(crate) fn connector(&self) -> Result<(MakeRustlsConnect, Option<String>), TlsError> {
        let (check, trusted, warning) = self.trust()?;
        let provider = crypto::ring::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { check, trusted, algorithms }));
        let client = self.client.as_ref().filter(|_| self.mode != Mode::Disable);
        let mut config = match client.map(ClientCertificate::read).transpose()?.flatten() {
            Some((chain, key)) => {
                config.with_client_auth_cert(chain, key).map_err(TlsError::UnusableClient)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok((MakeRustlsConnect::new(config), warning))
    }

    fn trust(&self) -> Result<(Check, Trusted, Option<String>), TlsError> {
        let unchecked = (Check::Nothing, Trusted::none(), None);
        let check = if self.mode == Mode::VerifyFull { Check::ChainAndName } else { Check::Chain };
        match (self.mode, &self.roots) {
            (Mode::Disable | Mode::Allow | Mode::Prefer, _) => Ok(unchecked),
            // As in libpq, `require` checks the chain where there is a root certificate.
            (Mode::Require, Roots::Usual(Some(file)) | Roots::Named(file)) if file.exists() => {
                Ok((check, Trusted::read(file)?, None))
            }
            (Mode::Require, Roots::Named(file)) => {
                let missing = format!(
                    "there is no {} to check the server's certificate by; it isn't checked",
                    file.display()
                );
                Ok((Check::Nothing, Trusted::none(), Some(missing)))
            }
            (Mode::Require, _) => Ok(unchecked),
            (_, Roots::Usual(Some(file)) | Roots::Named(file)) => {
                Ok((check, Trusted::read(file)?, None))
            }
            (_, Roots::Usual(None)) => Err(TlsError::NoFile),
            (_, Roots::System) => Ok((check, Trusted::of_the_system()?, None)),
        }
    }
}

impl Mode {
    fn parse(name: &str, value: &str) -> Result<Self, SettingsError> {
        Ok(match value {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                let allowed = "disable, allow, prefer, require, verify-ca or verify-full";
                return Err(SettingsError::value(name, value, allowed));
            }
        })
    }
}

/// Why no certificate can be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("there is no home directory with a .postgresql/root.crt; name a file by sslrootcert")]
    NoFile,
    #[error(
        "the root certificate {} can't be read; put it there, or name another by sslrootcert, or \
         say sslrootcert=system", .path.display()
    )]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("can't read {}, which the client's certificate needs", .path.display())]
    Client { path: PathBuf, source: io::Error },
    #[error(
        "there is no key in {}; an encrypted one isn't supported, decrypt it by `openssl pkey`",
        .0.display()
    )]
    NoKey(PathBuf),
    #[error("others may read the key {path}; run `chmod 600 {path}`", path = .0.display())]
    OpenKey(PathBuf),
    #[error("the client's certificate and its key can't be used")]
    UnusableClient(#[source] rustls::Error),
    #[error("{} is not a file of certificates in PEM form", .path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("there is a certificate in {} that can't be used", .path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    #[error("the system's root certificates can't be found; name a file by sslrootcert")]
    NoSystem(#[source] Option<rustls_native_certs::Error>),
    #[error("no version of TLS can be used")]
    Versions(#[source] rustls::Error),
}

/// The TLS library's objection to the server, if that is what ended the attempt.
pub(crate) fn objection<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a rustls::Error> {
    let io: &io::Error = error.downcast_ref()?;
    io.get_ref()?.downcast_ref()
}

/// Advice on what to do about an objection.
pub(crate) fn advice(objection: &rustls::Error) -> Option<String> {
    let reason = match objection {
        rustls::Error::InvalidCertificate(reason) => reason,
        rustls::Error::General(why) if why.ends_with("isn't supported") => {
            return Some(
                "give the server a certificate with a key for RSA, ECDSA P-256 or P-384, or Ed25519"
                    .to_owned(),
            );
        }
        _ => return None,
    };
    let advice = match reason {
        CertificateError::UnknownIssuer => {
            "name the certificate of the authority that signed the server's by sslrootcert"
        }
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            "connect to a name that the certificate has as a subjectAltName (its CN doesn't \
             count), or use sslmode=verify-ca"
        }
        // An authority's own certificate, or one of version 1.
        CertificateError::Other(_) => {
            "name the server's own certificate by sslrootcert, or give it one that is made for \
             servers"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "give the server a new certificate"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    /// The same certificates unparsed. One may be the server's own, signed by itself, which the
    /// check of a chain doesn't accept as an authority's.
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn none() -> Self {
        Self { roots: RootCertStore::empty(), certificates: vec![] }
    }

    fn read(path: &Path) -> Result<Self, TlsError> {
        let path_buf = || path.to_owned();
        let failed = |source| match source {
            pem::Error::Io(source) => TlsError::Unreadable { path: path_buf(), source },
            source => TlsError::Pem { path: path_buf(), source },
        };
        let mut trusted = Self::none();
        for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
            let certificate = certificate.map_err(failed)?;
            trusted.certificates.push(certificate.clone());
            let added = trusted.roots.add(certificate);
            added.map_err(|source| TlsError::Unusable { path: path_buf(), source })?;
        }
        if trusted.certificates.is_empty() { Err(TlsError::Empty(path_buf())) } else { Ok(trusted) }
    }

    fn of_the_system() -> Result<Self, TlsError> {
        let mut found = rustls_native_certs::load_native_certs();
        let mut trusted = Self::none();
        let (usable, _) = trusted.roots.add_parsable_certificates(found.certs);
        if usable == 0 { Err(TlsError::NoSystem(found.errors.pop())) } else { Ok(trusted) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    trusted: Trusted,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Checks the handshake's signature, which proves that the server has the certificate's key. It
    /// counts even where the certificate isn't checked, for channel binding relies on it.
    fn check_signature(
        &self,
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        check: impl Fn() -> Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Certificates of version 1, as `openssl x509` makes them, have no key for the library.
        if self.check == Check::Nothing && ParsedCertificate::try_from(certificate).is_err() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        match unsupported(signed.scheme) {
            Some(algorithm) => Err(rustls::Error::General(format!(
                "the server's certificate has a key for {algorithm}, which isn't supported"
            ))),
            None => check(),
        }
    }
}

/// Algorithms of keys that the TLS library can't verify. They are offered all the same, so that the
/// server shows its certificate instead of ending the handshake without a reason.
const UNSUPPORTED: [(SignatureScheme, &str); 2] =
    [(SignatureScheme::ECDSA_NISTP521_SHA512, "ECDSA P-521"), (SignatureScheme::ED448, "Ed448")];

fn unsupported(scheme: SignatureScheme) -> Option<&'static str> {
    UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == scheme).map(|(_, name)| *name)
}

/// Whether the certificate has expired, or isn't valid yet.
fn is_about_time(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trusted { roots, certificates } = &self.trusted;
        if self.check != Check::Nothing {
            let parsed = ParsedCertificate::try_from(certificate)?;
            let chain = verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            );
            // A certificate that is trusted itself needs no authority, but it must be valid now.
            let is_pinned = certificates.iter().any(|trusted| trusted == certificate);
            match chain {
                Err(error) if !is_pinned || is_about_time(&error) => return Err(error),
                _ => {}
            }
            if self.check == Check::ChainAndName {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(certificate, signed, || {
            crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(certificate, signed, || {
            crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let unsupported = UNSUPPORTED.iter().map(|(scheme, _)| *scheme);
        self.algorithms.supported_schemes().into_iter().chain(unsupported).collect()
    }
}

//! Operators' keys and the tokens that they sign: JWTs (RFC 7519), in EdDSA, ES256 or RS256.
//!
//! Input: public keys from PEM files or a JWK set, and a token as presented. Output: an [`Operator`].
//! A key is good for the one algorithm of its kind, whatever a token's header says: no symmetric algorithm, no `none`, and
//! no key that is taken for a secret. Where a token comes from and whom it is for (`iss`, `aud`), and when it is valid (`exp`, `nbf`), is
//! always judged, by this machine's clock: a token is asked for before any database is.
//! Never logs a token, not even a part of one.

use std::path::{Path, PathBuf};

use glob::Pattern;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::operator::{Operator, Scope};
use crate::config::OperatorConfig;

/// Two clocks may differ by so much.
const LEEWAY_SECONDS: u64 = 30;
const TOKEN_LIMIT: usize = 8 * 1024;
const ACTOR_LIMIT: usize = 128;
const TENANTS_LIMIT: usize = 256;
/// 2048 bits in base64url.
const SHORTEST_MODULUS: usize = 342;

/// What an operator's token says.
#[derive(Serialize, Deserialize)]
pub struct Payload {
    pub iss: String,
    pub aud: Audience,
    /// Who it is.
    pub sub: String,
    /// Seconds since 1970.
    pub iat: u64,
    pub exp: u64,
    /// Words parted by spaces.
    #[serde(default)]
    pub scope: String,
    /// Globs over tenants' ids; without any, the token is for none.
    #[serde(default)]
    pub tenants: Vec<String>,
}

/// One audience, or several (RFC 7519, section 4.1.3).
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Why the keys can't be used.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("could not read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} holds a private key: the gateway needs the public one, and must not have the other")]
    Private { path: PathBuf },
    #[error(
        "{path} holds no public key in PEM (-----BEGIN PUBLIC KEY-----): Ed25519, P-256, or RSA of 2048 bits at least"
    )]
    NoKey { path: PathBuf },
    #[error("{path} is no JWK set (RFC 7517)")]
    NoKeySet { path: PathBuf },
    #[error(
        "{path} has no key that can be used: Ed25519, P-256, or RSA of 2048 bits at least, to verify signatures"
    )]
    NoneUsable { path: PathBuf },
}

/// Why a token isn't believed.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum TokenError {
    #[error("the token isn't one that is understood here")]
    Malformed,
    #[error("no configured key and algorithm fit the token's header")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token isn't valid yet")]
    NotYetValid,
    #[error("the token's issuer isn't operator_issuer")]
    Issuer,
    #[error("the token isn't for operator_audience")]
    Audience,
    #[error("the token is valid for longer than operator_token_lifetime")]
    Lifetime,
}

/// The keys that count, and what their tokens must say. Without keys no token counts.
pub struct OperatorKeys {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    lifetime_seconds: u64,
}

struct Key {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl OperatorKeys {
    /// Reads the keys that are configured.
    ///
    /// # Errors
    /// Where a file can't be read or holds no key that can be used.
    pub fn load(config: &OperatorConfig) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for path in &config.keys {
            let key = Key::from_pem(&read(path)?).ok_or_else(|| KeyError::NoKey { path: path.clone() });
            keys.push(key?);
        }
        if let Some(path) = &config.jwks {
            let set: JwkSet =
                serde_json::from_str(&read(path)?).map_err(|_| KeyError::NoKeySet { path: path.clone() })?;
            let usable: Vec<Key> = set.keys.iter().filter_map(Key::from_jwk).collect();
            if usable.is_empty() {
                return Err(KeyError::NoneUsable { path: path.clone() });
            }
            keys.extend(usable);
        }
        Ok(Self {
            keys,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_seconds: config.token_lifetime.as_secs(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who holds this token.
    pub fn authenticate(&self, token: &str) -> Result<Operator, TokenError> {
        if token.len() > TOKEN_LIMIT {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed); // RFC 7515, section 4.1.11: we understand no extension
        }
        let fits =
            |key: &&Key| key.algorithm == header.alg && header.kid.as_ref().is_none_or(|id| *id == key.id);
        let mut refusal = TokenError::UnknownKey;
        for key in self.keys.iter().filter(fits) {
            match decode::<Payload>(token, &key.key, &self.validation(key.algorithm)) {
                Ok(verified) => return self.accept(verified.claims),
                Err(error) => refusal = TokenError::from(error.kind()),
            }
            if refusal != TokenError::Signature {
                break;
            }
        }
        Err(refusal)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation
    }

    fn accept(&self, payload: Payload) -> Result<Operator, TokenError> {
        if payload.exp.saturating_sub(payload.iat) > self.lifetime_seconds {
            return Err(TokenError::Lifetime);
        }
        let actor = payload.sub;
        if !is_actor(&actor) || payload.tenants.len() > TENANTS_LIMIT {
            return Err(TokenError::Malformed);
        }
        let globs = payload.tenants.iter().map(|glob| Pattern::new(glob));
        let tenants = globs.collect::<Result<_, _>>().map_err(|_| TokenError::Malformed)?;
        let scopes = payload.scope.split_ascii_whitespace().filter_map(Scope::parse).collect();
        Ok(Operator::granted(actor, scopes, tenants))
    }
}

impl From<&ErrorKind> for TokenError {
    fn from(kind: &ErrorKind) -> Self {
        match kind {
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidSignature => Self::Signature,
            _ => Self::Malformed,
        }
    }
}

/// Whether a token's `sub` may name an actor: it ends up in logs and in tenants' ledgers.
pub fn is_actor(subject: &str) -> bool {
    (1..=ACTOR_LIMIT).contains(&subject.len())
        && !subject.trim().is_empty()
        && !subject.contains(char::is_control)
}

/// A public key's id, as our own tokens' `kid` has it: its thumbprint (RFC 7638). None for a key that can't be used.
pub fn key_id(public_pem: &str) -> Option<String> {
    Key::from_pem(public_pem).map(|key| key.id)
}

impl Key {
    fn from_pem(pem: &str) -> Option<Self> {
        let pem = pem.trim();
        if !pem.starts_with("-----BEGIN PUBLIC KEY-----") {
            return None;
        }
        let pem = pem.as_bytes();
        let key = DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
        let key = key.or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256)));
        let key = key.or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256)));
        let (key, algorithm) = key.ok()?;
        Self::from_jwk(&Jwk::from_decoding_key(&key, Some(algorithm)).ok()?)
    }

    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::RSA(rsa) if rsa.n.len() >= SHORTEST_MODULUS => Algorithm::RS256,
            _ => return None,
        };
        let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        if !for_signatures || jwk.common.key_algorithm.is_some_and(|named| named != algorithm.into()) {
            return None;
        }
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        let id = jwk.common.key_id.clone().unwrap_or(thumbprint);
        Some(Self { id, algorithm, key: DecodingKey::from_jwk(jwk).ok()? })
    }
}

fn read(path: &Path) -> Result<String, KeyError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private { path: path.to_owned() });
    }
    Ok(text)
}

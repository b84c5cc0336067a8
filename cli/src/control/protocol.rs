//! The messages of the control protocol.

use ggen_marketplace::{
    BootstrapRequest, DoctorRequest, ErrorKind, Failure, FetchRequest, InfoRequest, PeerInfoRequest, PeerListRequest,
    PeerRuleRequest, Progress, PublishRequest, RecoveryKeyRequest, SearchRequest, YankRequest,
};
use ggen_marketplace::{GcRequest, MirrorRequest, PinRequest, TrustAddRequest, TrustRemoveRequest, VerifyRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Version of the protocol. Daemon and command must have the same; they come in one binary, but an old daemon may
/// outlive an update.
pub(crate) const VERSION: u32 = 4;
/// Longest request, in bytes.
pub(crate) const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Longest answer, in bytes: a dry run lists every file of a package.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A request on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The sender's [`VERSION`].
    pub(crate) version: u32,
    /// Chosen by the client, repeated in every answer.
    pub(crate) id: u64,
    /// What to do.
    pub(crate) method: String,
    /// With what.
    #[serde(default)]
    pub(crate) params: Value,
    /// The command's umask: what is written for it gets the permissions that it would give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) umask: Option<u32>,
    /// What the open files are that came with this line, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attached: Vec<Attached>,
}

/// What an open file is that goes with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Attached {
    /// The package to publish is read from it.
    Input,
}

/// An answer on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The id of the request; 0 if it could not be read.
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) body: Body,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    /// The request was taken and is under way, and the daemon is alive.
    Working {},
    /// The request is under way; more answers follow.
    Progress(Progress),
    /// The request is done.
    Result(Value),
    /// The request failed.
    Failure(Failure),
}

/// What a daemon can be asked to do. `method` and `params` of a [`Request`] are this enum, tagged: the one list of methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub(crate) enum Call {
    Publish(PublishRequest),
    Fetch(FetchRequest),
    Search(SearchRequest),
    Info(InfoRequest),
    Yank(YankRequest),
    Bootstrap(BootstrapRequest),
    Doctor(DoctorRequest),
    PeerList(PeerListRequest),
    PeerInfo(PeerInfoRequest),
    PeerRule(PeerRuleRequest),
    Status,
    Keys,
    RecoveryKey(RecoveryKeyRequest),
    Gc(GcRequest),
    PinAdd(PinRequest),
    PinRm(PinRequest),
    PinLs,
    Verify(VerifyRequest),
    MirrorAdd(MirrorRequest),
    MirrorRm(MirrorRequest),
    MirrorLs,
    TrustAdd(TrustAddRequest),
    TrustRemove(TrustRemoveRequest),
    TrustList,
    Listening,
    /// The request with this id of the same connection is to end, if it still runs. It is the one that is answered.
    Interrupt(u64),
    Stop,
}

impl Call {
    /// Whether it is what a user of a full disk gives to have space again.
    pub(crate) fn frees_space(&self) -> bool {
        matches!(self, Self::Gc(GcRequest { dry_run: false }) | Self::PinRm(_) | Self::MirrorRm(_))
    }

    /// Whether a home that does not exist need not be made for it: it only reads the home, or removes what is there.
    pub(crate) fn only_looks(&self) -> bool {
        match self {
            Self::Search(_) | Self::Info(_) | Self::PeerList(_) | Self::PeerInfo(_) | Self::PinLs | Self::MirrorLs => {
                true
            }
            Self::TrustList | Self::Keys | Self::RecoveryKey(_) | Self::Doctor(_) | Self::Gc(_) => true,
            Self::Verify(request) => !request.repair,
            Self::Fetch(request) => request.offline,
            _ => false,
        }
    }

    /// The method's name on the wire.
    pub(crate) fn method(&self) -> String {
        // Of a call that JSON cannot hold, its shape is named.
        self.parts().map_or_else(|_| format!("{self:?}"), |(method, _)| method)
    }

    /// Method and parameters, as they stand in a [`Request`].
    fn parts(&self) -> Result<(String, Value), serde_json::Error> {
        let mut parts = serde_json::to_value(self)?;
        let method = parts["method"].as_str().unwrap_or_default().to_owned();
        Ok((method, parts["params"].take()))
    }

    /// Makes the request that `parse` understands.
    ///
    /// # Errors
    /// Values that JSON cannot hold.
    pub(crate) fn request(&self, id: u64) -> Result<Request, Failure> {
        let (method, params) = self.parts().map_err(|cause| {
            Failure::from_error(ErrorKind::Usage, &cause).while_doing("cannot send the request to the daemon")
        })?;
        Ok(Request { version: VERSION, id, method, params, umask: None, attached: Vec::new() })
    }

    /// Understands a request.
    ///
    /// # Errors
    /// Another version, an unknown method, parameters of another shape.
    pub(crate) fn parse(request: Request) -> Result<Self, Failure> {
        if request.version != VERSION {
            return Err(other_version(request.version));
        }
        let Request { method, params, .. } = request;
        serde_json::from_value(json!({ "method": &method, "params": params })).map_err(|cause| {
            Failure::from_error(ErrorKind::Usage, &cause)
                .while_doing(format!("cannot read the request for the control method `{method}`"))
        })
    }
}

fn other_version(theirs: u32) -> Failure {
    let message = format!("the command speaks control protocol {theirs}, the daemon {VERSION}");
    Failure::new(ErrorKind::Failed, message)
        .hinted("end the daemon (its pid stands in `daemon.json` of the home) and start it again")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn search() -> Call {
        Call::Search(SearchRequest {
            query: "web".to_owned(),
            category: None,
            tags: vec!["a".to_owned()],
            limit: 20,
            min_reputation: Some(0.5),
            local: true,
        })
    }

    #[test]
    fn every_call_survives_the_wire() {
        let (package, version) = ("acme/http".parse().unwrap(), "1.2.0".parse().unwrap());
        let yank =
            YankRequest { package, version, undo: false, reason: Some("why".to_owned()), key: None, trust_clock: true };
        let timeout = Duration::from_secs(1);
        let info =
            InfoRequest { target: "acme/http".to_owned(), versions: true, providers: true, timeout, offline: false };
        let bootstrap = BootstrapRequest { nodes: vec!["/dnsaddr/x".to_owned()], timeout: Duration::from_secs(3) };
        let peer = "12D3".to_owned();
        let peers = [
            Call::PeerList(PeerListRequest { min_reputation: Some(0.7) }),
            Call::PeerInfo(PeerInfoRequest { peer: peer.clone(), full: true }),
            Call::PeerRule(PeerRuleRequest { peer, rule: ggen_marketplace::PeerRule::Deny }),
        ];
        let calls = [
            Call::Yank(yank),
            Call::Info(info),
            search(),
            Call::Bootstrap(bootstrap),
            Call::Status,
            Call::Keys,
            Call::RecoveryKey(RecoveryKeyRequest { key: None, confirm: true }),
            Call::Listening,
            Call::Interrupt(7),
            Call::Stop,
        ];
        let pin = PinRequest { target: "a/b".to_owned(), timeout: Duration::from_secs(3), offline: true };
        let verify = VerifyRequest { target: None, repair: true, timeout: Duration::from_secs(3) };
        let rule = ggen_marketplace::MirrorRule { what: "a/*".parse().unwrap(), versions: Some(3), max_bytes: None };
        let stored = [
            Call::Gc(GcRequest { dry_run: true }),
            Call::PinAdd(pin.clone()),
            Call::PinRm(pin),
            Call::PinLs,
            Call::Verify(verify),
            Call::MirrorAdd(MirrorRequest { rule: rule.clone() }),
            Call::MirrorRm(MirrorRequest { rule }),
            Call::MirrorLs,
            Call::TrustAdd(TrustAddRequest { namespace: "acme".to_owned(), publisher: "p".to_owned() }),
            Call::TrustRemove(TrustRemoveRequest { namespace: "acme".to_owned() }),
            Call::TrustList,
        ];
        for call in calls.into_iter().chain(stored).chain(peers) {
            let line = serde_json::to_string(&call.request(7).unwrap()).unwrap();
            let request: Request = serde_json::from_str(&line).unwrap();
            assert_eq!(request.id, 7);
            assert_eq!(Call::parse(request).unwrap(), call);
        }
    }

    #[test]
    fn answers_look_as_documented() {
        let line = |body| serde_json::to_string(&Answer { id: 3, body }).unwrap();
        assert_eq!(line(Body::Working {}), r#"{"id":3,"working":{}}"#);
        assert_eq!(line(Body::Result(Value::from(1))), r#"{"id":3,"result":1}"#);
        assert_eq!(line(Body::Progress(Progress::Announcing)), r#"{"id":3,"progress":{"stage":"announcing"}}"#);
        let failure = line(Body::Failure(Failure::new(ErrorKind::NotFound, "x")));
        assert_eq!(failure, r#"{"id":3,"failure":{"kind":"not_found","message":"x"}}"#);
    }

    #[test]
    fn foreign_version_method_and_shape_are_each_named() {
        let request = |version, method: &str, params| Request {
            version,
            id: 1,
            method: method.to_owned(),
            params,
            umask: None,
            attached: Vec::new(),
        };
        let message = |request| Call::parse(request).unwrap_err().message;
        let other = VERSION + 1;
        assert!(message(request(other, "status", Value::Null)).contains(&format!("control protocol {other}")));
        let unknown = Call::parse(request(VERSION, "dance", Value::Null)).unwrap_err();
        assert!(unknown.message.contains("`dance`"), "{unknown:?}");
        assert!(unknown.causes[0].contains("unknown variant `dance`"), "{unknown:?}");
        let misshapen = Call::parse(request(VERSION, "fetch", Value::from(3))).unwrap_err();
        assert!(misshapen.message.contains("`fetch`"), "{misshapen:?}");
        assert!(misshapen.causes[0].contains("invalid type"), "{misshapen:?}");
        // A command without parameters may leave them out or say null.
        assert_eq!(Call::parse(request(VERSION, "status", Value::Null)).unwrap(), Call::Status);
    }

    #[cfg(unix)]
    #[test]
    fn path_that_is_not_utf_8_survives_the_wire() {
        use std::os::unix::ffi::OsStringExt;
        let path: std::path::PathBuf = std::ffi::OsString::from_vec(vec![b'/', 0xff]).into();
        let call = Call::Fetch(FetchRequest {
            target: "x".to_owned(),
            to: ggen_marketplace::FetchTo::Path(path),
            timeout: Duration::from_secs(1),
            offline: true,
            providers: Vec::new(),
            min_reputation: None,
        });
        let line = serde_json::to_string(&call.request(1).unwrap()).unwrap();
        assert_eq!(Call::parse(serde_json::from_str(&line).unwrap()).unwrap(), call);
        assert!(line.contains(r#"{"bytes":[47,255]}"#), "{line}");
    }
}

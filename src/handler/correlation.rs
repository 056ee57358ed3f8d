//! What a request's caller calls it: its id, and the trace that it is part of. Taken where it is in a safe form.

use hyper::header::HeaderMap;
use uuid::Uuid;

use crate::traces::TraceParent;

const REQUEST_ID_LIMIT: usize = 64;
/// W3C Trace Context, section 3.3.1.5: at least so much must be passed on; more isn't.
const TRACESTATE_LIMIT: usize = 512;

/// The caller's `X-Request-Id` where it is in a safe form, or a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(|id| {
        (1..=REQUEST_ID_LIMIT).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    });
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The caller's `traceparent` with its `tracestate`. Which of two parents is meant nobody can know: then there is none.
pub fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut parents = headers.get_all("traceparent").iter();
    let (Some(traceparent), None) = (parents.next(), parents.next()) else {
        return None;
    };
    let states: Option<Vec<&str>> =
        headers.get_all("tracestate").iter().map(|value| value.to_str().ok()).collect();
    let tracestate = states.map(|states| states.join(",")).filter(|state| !state.is_empty());
    Some(TraceParent {
        traceparent: traceparent.to_str().ok()?.to_owned(),
        tracestate: tracestate.filter(|state| state.len() <= TRACESTATE_LIMIT),
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn tracestate(lines: &[(&'static str, &'static str)]) -> Option<String> {
        let parent = trace_parent(&headers(&[&[("traceparent", "00-a-b-01")], lines].concat()));
        parent.unwrap().tracestate
    }

    #[test]
    fn two_parents_are_none() {
        assert!(trace_parent(&headers(&[("traceparent", "00-a-b-01")])).is_some());
        assert_eq!(
            trace_parent(&headers(&[("traceparent", "00-a-b-01"), ("traceparent", "00-c-d-01")])),
            None
        );
        assert_eq!(trace_parent(&headers(&[("tracestate", "a=b")])), None);
    }

    #[test]
    fn a_state_in_several_lines_is_one_and_bounded() {
        let long = String::leak("a=".to_owned() + &"b".repeat(511));

        assert_eq!(tracestate(&[]), None);
        assert_eq!(tracestate(&[("tracestate", "a=b"), ("tracestate", "c=d")]).as_deref(), Some("a=b,c=d"));
        assert_eq!(tracestate(&[("tracestate", long)]), None);
    }

    #[test]
    fn an_id_in_no_safe_form_is_replaced() {
        assert_eq!(request_id(&headers(&[("x-request-id", "Run-7.a_b")])), "Run-7.a_b");
        for unsafe_form in ["", "a b", "a\"b", "a;b", "<a>"] {
            let made = request_id(&headers(&[("x-request-id", unsafe_form)]));
            assert!(made.parse::<Uuid>().is_ok(), "{unsafe_form} became {made}");
        }
    }
}

//! Where a token may be used.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// `::ffff:0:0/96`: IPv4 addresses as an IPv6 socket shows them (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A network or a single address. Host bits are dropped: PostgreSQL's `cidr` refuses them. An IPv4-mapped one becomes IPv4,
/// the form in which callers' addresses are compared.
///
/// # Errors
/// How to write it.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_not_a_network| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_neither| "write it like 192.0.2.0/24 or 2001:db8::/32".to_owned())?;
    Ok(match network {
        IpNet::V6(mapped) => unmap(mapped).unwrap_or(network),
        IpNet::V4(_) => network,
    }
    .trunc())
}

fn unmap(network: Ipv6Net) -> Option<IpNet> {
    let address: Ipv6Addr = network.addr();
    let prefix = network.prefix_len().checked_sub(MAPPED_PREFIX)?;
    Ipv4Net::new(address.to_ipv4_mapped()?, prefix).ok().map(IpNet::V4)
}

/// In PostgreSQL's notation; None: anywhere.
pub(super) fn to_cidr(networks: &[IpNet]) -> Option<Vec<String>> {
    (!networks.is_empty()).then(|| networks.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_form() {
        for (text, expected) in [
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("192.0.2.77", "192.0.2.77/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:192.0.2.77", "192.0.2.77/32"),
            ("::ffff:192.0.2.77/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "192.0.2.0/33", "192.0.2", "somewhere", "192.0.2.0/24 "] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}

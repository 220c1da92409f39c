//! What to do where the Hub does not give a checkpoint.

use sam3_package::HubFault;

/// The next step, where the reason does not say it.
pub fn hint(fault: HubFault) -> Option<&'static str> {
    Some(match fault {
        HubFault::NoRepository => "check --repo and --revision",
        HubFault::NoRevision => "check --revision",
        HubFault::Denied => {
            "check --repo, ask for access on that page, then pass --token, set HF_TOKEN or run `hf auth login`"
        }
        HubFault::DeniedElsewhere => {
            "check --repo and --revision, or set HF_ENDPOINT to the address that it redirects to and pass --token"
        }
        HubFault::Unreachable => "check the network, or pass --checkpoint-path",
        HubFault::UnreachableButCached => "check the network, or pass --offline, which takes what was fetched before",
        HubFault::NotCached => {
            "run this once with a network, without --offline and HF_HUB_OFFLINE, or pass --checkpoint-path"
        }
        HubFault::NoEncryption => "fetch the checkpoint on another machine and pass --checkpoint-path",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_the_flag_that_helps() {
        for (fault, word) in [
            (HubFault::NoRepository, "--repo"),
            (HubFault::NoRevision, "--revision"),
            (HubFault::Denied, "--token"),
            (HubFault::DeniedElsewhere, "HF_ENDPOINT"),
            (HubFault::Unreachable, "--checkpoint-path"),
            (HubFault::UnreachableButCached, "--offline"),
            (HubFault::NotCached, "without --offline"),
            (HubFault::NoEncryption, "another machine"),
        ] {
            assert!(hint(fault).is_some_and(|hint| hint.contains(word)), "{fault:?}");
        }
        assert_eq!(hint(HubFault::Other), None);
    }
}

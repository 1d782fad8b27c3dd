//! The uid of a pod in a cgroup's path, as kubelets name cgroups: version 1 and 2, by systemd or by themselves.

/// The uid of the pod that a cgroup belongs to, with dashes, as the API writes it.
///
/// `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1234_….slice/cri-containerd-ID.scope`,
/// `/kubepods/besteffort/pod1234-…/ID`, `/system.slice/containerd.service/kubepods-burstable-pod1234_….slice:cri-containerd:ID`.
#[must_use]
pub fn pod_uid(cgroup: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(cgroup).ok()?;
    // Words outside a cluster's own part of the tree mean nothing.
    if !text.contains("kubepods") {
        return None;
    }
    text.split('/').rev().find_map(|component| {
        let component = component.split(':').next().unwrap_or_default();
        let component = component.strip_suffix(".slice").unwrap_or(component);
        let uid = match component.rsplit_once("-pod") {
            Some((before, uid)) if before.contains("kubepods") => uid,
            _ => component.strip_prefix("pod")?,
        };
        let uid = uid.replace('_', "-");
        is_uid(&uid).then_some(uid)
    })
}

/// A UUID, or the hash that stands for it where a pod comes from a file of the node.
fn is_uid(uid: &str) -> bool {
    let hexadecimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match uid.len() {
        36 => uid.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && uid.split('-').all(hexadecimal),
        32 => hexadecimal(uid),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::pod_uid;
    use proptest::prelude::*;

    const UID: &str = "0305e82c-3301-4f2b-9d3a-aa17c1d0beef";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn pods_are_found_in_every_shape_of_path() {
        let under = UID.replace('-', "_");
        for path in [
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{under}.slice/crio-{ID}.scope"),
            format!("/kubepods/besteffort/pod{UID}/{ID}"),
            format!("/kubepods/pod{UID}"),
            format!(
                "/system.slice/containerd.service/kubepods-besteffort-pod{under}.slice:cri-containerd:{ID}"
            ),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{under}.slice/cri-containerd-{ID}.scope/init"
            ),
        ] {
            assert_eq!(pod_uid(path.as_bytes()).as_deref(), Some(UID), "{path}");
        }
        let fixed = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            pod_uid(format!("/kubepods/burstable/pod{fixed}/{ID}").as_bytes()).as_deref(),
            Some(fixed)
        );
    }

    #[test]
    fn other_paths_have_none() {
        for path in [
            "/".to_owned(),
            format!("/docker/{ID}"),
            format!("/user.slice/pod{UID}"),
            "/kubepods/podcast".to_owned(),
            format!("/machine.slice/libpod-{ID}.scope"),
            "/kubepods.slice/kubepods-pod1_2.slice".to_owned(),
        ] {
            assert_eq!(pod_uid(path.as_bytes()), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = pod_uid(&path);
        }
    }
}

//! The container that a cgroup path belongs to, as the runtimes name their cgroups, version 1 and 2.
//!
//! `/docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `/kubepods/…/ID`,
//! `…:cri-containerd:ID`, `/ecs/TASK/ID`, `/buildkit/ID`, `/lxc/NAME`, `/lxc.payload.NAME`. The innermost container counts; the
//! runtimes' own monitors are no containers.

/// Longest name of a container that is kept.
const NAME_MAX_BYTES: usize = 128;

/// The id, if the path is one of a container.
#[must_use]
pub fn container_id(cgroup: &[u8]) -> Option<String> {
    let components: Vec<&[u8]> = cgroup.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    components.iter().enumerate().rev().find_map(|(index, component)| {
        let parent = index.checked_sub(1).and_then(|at| components.get(at)).copied().unwrap_or_default();
        let grandparent = index.checked_sub(2).and_then(|at| components.get(at)).copied().unwrap_or_default();
        id(component, parent, grandparent)
    })
}

fn id(component: &[u8], parent: &[u8], grandparent: &[u8]) -> Option<String> {
    let bare = component
        .strip_suffix(b".scope")
        .or_else(|| component.strip_suffix(b".service"))
        .unwrap_or(component);
    if let Some(name) = bare.strip_prefix(b"lxc.payload.").or((parent == b"lxc").then_some(bare)) {
        return text(name);
    }
    if grandparent == b"ecs" || parent == b"ecs" || parent == b"buildkit" {
        return text(bare);
    }
    let id = bare.rsplit(|byte| matches!(byte, b'-' | b':')).next().unwrap_or_default();
    let runtime = bare.get(..bare.len().saturating_sub(id.len())).unwrap_or_default();
    let is_monitor = runtime.windows(6).any(|window| window == b"conmon");
    (is_id(id) && !is_monitor).then(|| text(id)).flatten()
}

fn is_id(id: &[u8]) -> bool {
    id.len() == 64 && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn text(name: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let plain = !name.is_empty() && name.len() <= NAME_MAX_BYTES && name.iter().all(is_plain);
    plain.then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::container_id;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn containers() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/system.slice/docker-{ID}.scope/init/nested"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods/besteffort/pod0305e82c-3301/{ID}"),
            format!("/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{ID}"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!("/kubepods.slice/crio-{ID}.scope"),
            format!("/docker/{}/docker/{ID}", "f".repeat(64)),
        ] {
            assert_eq!(container_id(path.as_bytes()).as_deref(), Some(ID), "{path}");
        }
        assert_eq!(container_id(b"/lxc/web").as_deref(), Some("web"));
        assert_eq!(container_id(b"/lxc.payload.web/system.slice").as_deref(), Some("web"));
        assert_eq!(container_id(b"/ecs/0a1b/0a1b-42").as_deref(), Some("0a1b-42"));
    }

    #[test]
    fn no_containers() {
        for path in [
            "/",
            "",
            "/user.slice/user-1000.slice/session-3.scope",
            "/system.slice/docker.service",
            &format!("/machine.slice/libpod-conmon-{ID}.scope"),
            &format!("/docker/{}", &ID[..63]),
            "/lxc.monitor.web",
        ] {
            assert_eq!(container_id(path.as_bytes()), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = container_id(&path);
        }

        #[test]
        fn an_id_is_found_below_any_runtime(id in "[0-9a-f]{64}", runtime in "[a-z]{1,8}", below in "(/[a-z.]{1,9}){0,3}") {
            prop_assume!(!runtime.contains("lxc") && runtime != "ecs" && runtime != "buildkit" && runtime != "conmon");
            prop_assume!(!below.contains("/lxc") && !below.contains("/ecs") && !below.contains("/buildkit"));
            for path in [format!("/{runtime}-{id}.scope{below}"), format!("/{runtime}/{id}{below}")] {
                let found = container_id(path.as_bytes());
                prop_assert_eq!(found.as_deref(), Some(id.as_str()));
            }
        }
    }
}

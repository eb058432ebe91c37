"""How etcd is started."""

from traefikee.cluster import etcd
from traefikee.cluster.roles import Role
from traefikee.node.statedir import Identity


def identity(cluster: str) -> Identity:
    return Identity(
        id="me",
        name="n",
        role=Role.CONTROL,
        cluster_id=cluster,
        advertise="10.0.0.1:4242",
        ca_pem="",
        certificate_pem="",
        certificate_serial="1",
        key_pem="",
    )


def test_what_is_acknowledged_is_on_the_disk_and_the_quota_is_told() -> None:
    command = etcd.command("etcd", identity("c"), [("me", "https://10.0.0.1:4242")], existing=False, quota=77)
    assert not any("unsafe" in word for word in command)
    assert "--quota-backend-bytes=77" in command
    assert set(command) ^ set(etcd.with_quota(command, 99)) == {"--quota-backend-bytes=77", "--quota-backend-bytes=99"}


def test_two_clusters_of_the_same_addresses_have_other_tokens() -> None:
    """Members of two clusters would else take each other for their own."""
    one, two = (
        set(etcd.command("etcd", identity(name), [("me", "https://10.0.0.1:4242")], existing=False)) for name in "ab"
    )
    assert one ^ two == {"--initial-cluster-token=a", "--initial-cluster-token=b"}

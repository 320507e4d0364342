"""Envoy with deploy/envoy/envoy.yaml, in which only the addresses are the test's own."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml
from support import ROOT, wait_until

CONFIGURATION = ROOT / "deploy" / "envoy" / "envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"
NAME = "softsplice-decoder"  # of the decoders


def with_addresses(configuration, names, port):
    """Decoders at `port` of what the DNS server at `names` knows; the ports of Envoy are free ones."""
    configuration["admin"]["address"]["socket_address"]["port_value"] = 0
    resources = configuration["static_resources"]
    (listener,) = resources["listeners"]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    host, dns_port = names.split(":")
    for cluster in resources["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = group["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address["address"] == NAME
        address["port_value"] = port
        cluster["typed_dns_resolver_config"] = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [{"socket_address": {"address": host, "port_value": int(dns_port)}}],
            },
        }
    return configuration


class Proxy:
    def __init__(self, folder, names, port):
        file = folder / "envoy.yaml"
        configuration = with_addresses(yaml.safe_load(CONFIGURATION.read_text()), names, port)
        file.write_text(yaml.safe_dump(configuration))
        self.admin = folder / "admin"
        command = [ENVOY, "-c", file, "--disable-hot-restart", "--admin-address-path", self.admin]
        with open(folder / "envoy.log", "wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        wait_until(lambda: self.admin.exists() and self.admin.read_text())
        wait_until(lambda: self.ask("listeners?format=json")["listener_statuses"])
        (listener,) = self.ask("listeners?format=json")["listener_statuses"]
        port = listener["local_address"]["socket_address"]["port_value"]
        self.address = f"127.0.0.1:{port}"

    def ask(self, page):
        """A page of the admin port, as JSON."""
        with urllib.request.urlopen(f"http://{self.admin.read_text()}/{page}") as answer:
            return json.load(answer)

    def connections(self, host):
        """How many it has to a decoder."""
        return sum(
            int(stat.get("value", 0))
            for cluster in self.ask("clusters?format=json")["cluster_statuses"]
            for status in cluster.get("host_statuses", [])
            for stat in status["stats"]
            if status["address"]["socket_address"]["address"] == host
            and stat["name"] == "cx_active"
        )

    def close(self):
        self.process.kill()
        self.process.wait()

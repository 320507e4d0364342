"""The manifests' pods under load: rolled out, scaled, drained, hung, and given the wrong model.

Who asks does so as the README of deploy/k8s tells clients to: round_robin over the headless Service,
retries of gRPC's own, names asked again as soon as they are known to be wrong."""

import datetime
import json
import signal
import sys
import time
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "tests" / "deploy" / "k8s")]
from askers import QUESTIONS, THREADS, Askers  # noqa: E402
from cluster import Cluster  # noqa: E402
from manifests import render  # noqa: E402
from support import foreign_mmproj, wait_until  # noqa: E402

PORT = 50052
ASKED_AGAIN = [("grpc.dns_min_time_between_resolutions_ms", 1000)]
STAGGER = 3  # seconds; both rollouts are under way then


@pytest.fixture(name="cluster")
def two_of_each(tmp_path):
    cluster = Cluster(render("laptop"), tmp_path, encoder=2, decoder=2)
    try:
        wait_until(cluster.complete)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(name="askers")
def load(cluster):
    """Asks until the test ends, which has to say how much may be lost."""
    target = f"dns://{cluster.names.address}/softsplice-decoder:{PORT}"
    with Askers(target, options=ASKED_AGAIN) as askers:
        wait_until(lambda: all(askers.answered[expected] for _, expected in QUESTIONS))
        yield askers


def pictures(pod):
    return pod.text().count('"EncodeImage"')


def first_picture(pod):
    """When it was done with it, by the wall clock."""
    line = next(line for line in pod.text().splitlines() if '"EncodeImage"' in line)
    return datetime.datetime.fromisoformat(json.loads(line)["time"]).timestamp()


def went_well(cluster, askers):
    """Nothing was lost, and what had to go ended by itself."""
    assert not askers.lost, f"of {askers.answered}: {askers.lost}"
    for deployment in cluster.deployments.values():
        for pod in deployment.gone:
            assert pod.exit_codes == [0], (pod.name, pod.exit_codes, pod.text()[-2000:])


def some_more(askers):
    """Until each question was answered again by what is there now."""
    before = dict(askers.answered)
    wait_until(lambda: all(askers.answered[e] > before[e] + 2 for _, e in QUESTIONS))


def test_rollouts_of_both_lose_nothing(cluster, askers):
    encoder, decoder = cluster["encoder"], cluster["decoder"]
    for first, second in ((encoder, decoder), (decoder, encoder)):
        for pause in (0, STAGGER):
            cluster.do(first.restart)
            time.sleep(pause)
            cluster.do(second.restart)
            wait_until(lambda: cluster.do(cluster.complete))
    some_more(askers)
    assert [len(d.gone) for d in (encoder, decoder)] == [8, 8]
    went_well(cluster, askers)


def test_new_encoders_get_pictures_and_a_drained_node_loses_nothing(cluster, askers):
    encoder = cluster["encoder"]
    encoder.replicas = 4
    wait_until(lambda: cluster.do(cluster.complete))
    for pod in encoder.pods[2:]:
        wait_until(lambda pod=pod: pictures(pod))
        print(f"{pod.name} is used {first_picture(pod) - pod.ready_at:.1f} s after it was ready")
    encoder.replicas = 2
    wait_until(lambda: cluster.do(cluster.complete))
    cluster.do(cluster.drain, "north")
    wait_until(lambda: cluster.do(cluster.complete))
    pods = encoder.pods + cluster["decoder"].pods
    assert all(pod.node == "south" for pod in pods)
    some_more(askers)
    went_well(cluster, askers)


def test_a_hung_decoder_is_restarted(cluster, askers):
    """What it was answering ends with a status that says so; all else goes on."""
    pod = cluster["decoder"].pods[0]
    start = time.monotonic()
    pod.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: pod.restarts == 1 and pod.ready)
    print(f"back after {time.monotonic() - start:.1f} s, {len(askers.lost)} requests lost")
    assert pod.exit_codes == [-signal.SIGKILL]
    some_more(askers)
    assert len(askers.lost) <= THREADS, askers.lost
    assert all(outcome[0] == grpc.StatusCode.UNAVAILABLE.name for _, _, outcome in askers.lost)
    assert cluster["decoder"].pods[1].restarts == 0


def test_a_wrong_model_takes_nothing_away(cluster, askers):
    decoder = cluster["decoder"]
    before = list(decoder.pods)
    right = decoder.variables["SOFTSPLICE_DECODER_MODEL"]
    decoder.variables["SOFTSPLICE_DECODER_MODEL"] = "/demo/missing.gguf"
    wait_until(lambda: len(decoder.pods) == 3 and len(decoder.pods[2].exit_codes) == 2)
    wrong = decoder.pods[2]
    assert wrong.exit_codes == [1, 1]
    assert "missing.gguf: can't be read" in wrong.text().splitlines()[-1]
    decoder.variables["SOFTSPLICE_DECODER_MODEL"] = right
    wait_until(lambda: cluster.do(cluster.complete))
    assert decoder.pods == before and all(pod.restarts == 0 for pod in before)
    some_more(askers)
    assert not askers.lost, askers.lost


def is_foreign(encoder, to):
    lines = [line for line in to.text().splitlines() if f'"{encoder.host}:' in line]
    return any("ENCODER_STATE_FOREIGN" in line for line in lines)


def test_a_foreign_encoder_gets_no_pictures(cluster, askers, tmp_path):
    """Another model's encoder behind the name, which is what a rollout of a new mmproj would bring."""
    encoder = cluster["encoder"]
    variables = {**encoder.variables, "SOFTSPLICE_ENCODER_MMPROJ": str(foreign_mmproj(tmp_path))}
    stray = cluster.do(cluster.start, encoder.name, encoder.template["spec"], variables)
    cluster.strays.append(stray)
    wait_until(lambda: stray.ready)
    wait_until(lambda: all(is_foreign(stray, to=pod) for pod in cluster["decoder"].pods))
    some_more(askers)
    assert pictures(stray) == 0
    assert not askers.lost, askers.lost

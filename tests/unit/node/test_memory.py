"""What a data node's agent leaves out: the docstrings of :mod:`traefikee.cluster.pki` and others promise it."""

import subprocess
import sys


def test_a_data_nodes_agent_does_not_load_the_cryptography_library() -> None:
    line = "import sys, traefikee.node.data; print([name for name in sys.modules if name.startswith('cryptography')])"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

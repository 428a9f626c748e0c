"""Where Optuna's storages are, and who may write: one coordinator at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from bnstudy.errors import BnstudyError
from bnstudy.storage import lease, open_storage

HOLDER = """
import sys, time
from pathlib import Path
from bnstudy.storage import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_coordinator_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        refusal = pytest.raises(BnstudyError, match=r"Another bnstudy is running on .*--results")
        with refusal, lease(tmp_path):
            pytest.fail("two coordinators")
        holder.kill()
        holder.wait()
        with lease(tmp_path):
            pass
    with lease(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refusal = pytest.raises(BnstudyError, match=r"Cannot write to .*file.*: .*--results")
    with refusal, lease(tmp_path / "file"):
        pytest.fail("no folder")
    (tmp_path / "optuna.journal").mkdir()
    with pytest.raises(BnstudyError, match=r"Cannot write to .*optuna\.journal: .*--results"):
        open_storage(tmp_path, pytest.fail)

"""Every command of the README runs, and its output is the real one."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from rooflinesim.cli.app import run
from rooflinesim.config.catalogue import profile_folder

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

CONFIG = """{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16"}"""


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def commands() -> list[str]:
    """Commands of the tool itself, also those behind an installation."""
    parts = [part.strip() for line in shell_lines() for part in line.split("&&")]
    return list(dict.fromkeys(part for part in parts if part.startswith("rooflinesim ")))


SCENARIOS = dict(
    zip(("my-scenario.yaml", "my-traffic.yaml"), re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL), strict=True)
)
SHORT = "30s"
"""What measurements of a test may take; the README's own budgets measure more of the same."""

COLUMNS = (
    "id,source,year,gpu,n_gpus,parallelism,engine,model,weight_dtype,kv_dtype,batch_or_concurrency,prompt_len,"
    "output_len,context_len_mean,metric,value,kind,notes"
)
RUNS = f"""{COLUMNS}
g-1,gpt-fast README,2023,A100-SXM4-80GB,1,none,gpt-fast,Llama-2-7B,bf16,,1,5,200,105,tok_per_s_per_user,104.9,batch1,
g-2,gpt-fast README,2023,A100-SXM4-80GB,1,none,gpt-fast,Llama-3.1-8B,bf16,,1,5,200,105,tok_per_s_per_user,93.89,batch1,
"""


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text(CONFIG, encoding="utf-8")
    for name, text in SCENARIOS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    shutil.copytree(Path(__file__).parents[2] / "scenarios", tmp_path / "scenarios")
    (tmp_path / "my-runs.csv").write_text(RUNS, encoding="utf-8")
    shutil.copy(profile_folder("hardware") / "h100-sxm.yaml", tmp_path / "my-gpu.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", commands())
def test_command_answers(command: str, users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "--budget" in command:
        pytest.importorskip("torch", reason="measuring needs torch")
        command = re.sub(r"--budget \S+", f"--budget {SHORT}", command)
    words = shlex.split(command)[1:]
    assert run(words) == 0
    shown = capsys.readouterr()
    written = [words[index + 1] for index, word in enumerate(words) if word in ("-o", "--plot")]
    assert all((users_folder / name).stat().st_size for name in written)
    assert written or shown.out.strip()
    assert "error:" not in shown.err


def test_shown_output_is_the_real_one(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"```console\n\$ rooflinesim (.*?)\n(.*?)```", README, flags=re.DOTALL)
    assert block is not None
    assert run(shlex.split(block[1])) == 0
    assert capsys.readouterr().out.strip() == block[2].strip()


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert example is not None
    exec(compile(example[1], "README.md", "exec"), {})
    assert "memory" in capsys.readouterr().out


def test_installation_lines_are_the_two_promised() -> None:
    installs = [line for line in shell_lines() if line.startswith("pip install")]
    assert len(installs) == 2
    assert installs[0].startswith("pip install . && rooflinesim decode")
    assert installs[1].endswith("python -m pytest")

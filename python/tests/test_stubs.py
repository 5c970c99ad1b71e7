"""The types that are promised are those that are there."""

import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parents[1]


def mypy(module, *arguments, cwd):
    ran = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=300, cwd=cwd)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_stubs_say_what_is_there(tmp_path):
    mypy("mypy.stubtest", "lapwing", "--ignore-disjoint-bases", cwd=tmp_path)


def test_the_package_is_typed_and_so_is_what_uses_it(tmp_path):
    use = tmp_path / "use.py"
    use.write_text(
        "import lapwing\n"
        "with lapwing.listen(topics=['arrays']) as feed:\n"
        "    for block in feed:\n"
        "        shape: tuple[int, ...] = block.array.shape\n"
        "        elapsed: float | None = block.elapsed\n"
        "        offset: int | None = block[0].offset\n"
    )
    mypy("mypy", "--strict", "-p", "lapwing", cwd=tmp_path)
    mypy("mypy", "--strict", str(use), cwd=tmp_path)

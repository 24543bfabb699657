"""Build wheel and source archive, install each in an environment of its own, and use it as somebody who has no clone.

    python3 dev.py package [--tag v0.1.0]

The environments see the packages that this one has, but not its drkd: it is the built one that runs. With a tag, what
a release needs is checked first.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "https://example.org"
COMPARE = "compare --methods cross_entropy,dr_kd --seeds 1 --epochs 2 --limit-train 100 --jobs 1 --quiet --out compared"
USE = """
import drkd, pathlib, sys
assert pathlib.Path(drkd.__file__).is_relative_to(sys.prefix), drkd.__file__
assert (pathlib.Path(drkd.__file__).parent / "py.typed").is_file()
missing = [name for name in drkd.__all__ if not hasattr(drkd, name)]
assert not missing, missing
"""


def main() -> int:
    """Do all of it; 0 when everything works."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", help="check that everything is ready for the release with this tag")
    tag = parser.parse_args().tag
    wrong = [] if tag is None else not_ready(tag)
    if wrong:
        print(f"not ready for {tag}:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", dist, ROOT)  # the wheel is built from the source archive
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    relative = links_into_a_clone(wheel)
    if relative:
        print("the README of the package has links that lead nowhere:", *relative, sep="\n  ", file=sys.stderr)
        return 1
    for archive in (wheel, source):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try_out(archive, Path(folder), whole=archive == wheel)
        print(f"{archive.name} ({archive.stat().st_size / 1e6:.2f} MB) is installed and works", flush=True)
    return 0


def not_ready(tag: str) -> list[str]:
    """What a release with this tag lacks."""
    text = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CITATION.cff")}
    found = re.search('"(.*)"', (ROOT / "src/drkd/_version.py").read_text(encoding="utf-8").partition("=")[2])
    version = found[1] if found else ""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    wrong = [f"{name} has the placeholder {PLACEHOLDER}" for name in text if PLACEHOLDER in text[name]]
    if tag != f"v{version}":
        wrong.append(f"src/drkd/_version.py says {version}, so the tag would be v{version}")
    if not re.search(rf"^version: \"?{re.escape(version)}\"?$", text["CITATION.cff"], re.MULTILINE):
        wrong.append(f"CITATION.cff needs `version: {version}`")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changes, re.MULTILINE):
        wrong.append(f"CHANGELOG.md needs a section `## {version} (DATE)`")
    return wrong


def links_into_a_clone(wheel: Path) -> list[str]:
    """The links of the package's description that are not absolute."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        described = files.read(name).decode("utf-8")
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", described) if not re.match("https?:|#", link)]


def try_out(archive: Path, folder: Path, *, whole: bool) -> None:
    """Install `archive` into a new environment and use it in an empty folder."""
    venv.create(folder / "env", symlinks=os.name != "nt")
    bin_folder = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = bin_folder / ("python.exe" if os.name == "nt" else "python")
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    beside = Path(purelib) / "beside.pth"  # a .pth file there is not followed: the editable drkd stays out of sight
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    beside.write_text("\n".join(here) + "\n", encoding="utf-8")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", archive)
    work = folder / "work"
    work.mkdir()
    run(python, "-c", USE, cwd=work)
    drkd = bin_folder / "drkd"
    said = run(drkd, "--version", cwd=work)
    if said != archive.name.removesuffix(".tar.gz").split("-")[1]:
        raise SystemExit(f"{archive.name} calls itself {said}")
    run(drkd, "list", cwd=work)
    if whole:
        run(drkd, *COMPARE.split(), cwd=work)
        if not (work / "compared" / "report.html").is_file():
            raise SystemExit(f"{archive.name} wrote no report")


def run(*command: object, cwd: Path = ROOT) -> str:
    """What a command prints; its failure ends everything."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        print(done.stdout)
        raise SystemExit(f"{' '.join(words)} failed with {done.returncode}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

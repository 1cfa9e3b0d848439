# SPDX-License-Identifier: Apache-2.0
"""docs/deploy.md: that what its ten commands name is there; and, with HVCHANNEL_DEPLOY_TEST=1 (make test-deploy), the
commands as they stand there, in order, to a document in a VM."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCUMENT = PROJECT / "docs" / "deploy.md"
CACHE = Path.home() / ".cache" / "hvchannel" / "deploy"
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "cloud-init", "netplan.io", "python3", "iproute2", "kmod"),
    *("linux-image-cloud-amd64", "initramfs-tools"),
)
PROGRAMS = ("mmdebstrap", "qemu-img", "mkfs.ext4", "genisoimage", "libvirtd", "virsh", "qemu-system-x86_64")


def commands() -> list[str]:
    """The document's first block."""
    text = DOCUMENT.read_text()
    block = text.split("<!-- the ten commands", 1)[1].split("```\n", 2)[1]
    return block.splitlines()


def test_there_are_ten_and_what_they_name_is_there() -> None:
    found = commands()
    assert len(found) == 10
    makefile = (PROJECT / "Makefile").read_text()
    for command in found:
        words = command.split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command
        if words[0] == "systemctl":
            names = [word for word in words[1:] if word.startswith("hvchannel-")]
            units = [path.stem for path in (PROJECT / "packaging").rglob("*.service")]
            assert set(names) <= set(units), command
        for word in words:
            if word.startswith("packaging/"):
                assert (PROJECT / word).exists(), command


@pytest.mark.parametrize("name", ["install", "link/hvchannel-link", "libvirt/hvchannel"])
def test_the_scripts_are_executable_and_are_shell(name: str) -> None:
    script = PROJECT / "packaging" / name
    assert os.access(script, os.X_OK)
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["install", "link/hvchannel-link"])
def test_a_wrong_command_line_is_told_how_it_would_be_right(name: str) -> None:
    done = subprocess.run([PROJECT / "packaging" / name], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"Usage: {Path(name).name}" in done.stderr
    done = subprocess.run(
        [PROJECT / "packaging" / name, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Example: " in done.stdout


def test_every_program_that_a_unit_starts_is_one_of_the_wheels_or_installed_beside_it() -> None:
    scripts = (PROJECT / "pyproject.toml").read_text().split("[project.scripts]")[1].split("[", 1)[0]
    known = {line.split(" =")[0] for line in scripts.splitlines() if " = " in line} | {"hvchannel-link"}
    for unit in (PROJECT / "packaging").rglob("*.service"):
        for program in re.findall(r"^ExecStart=/opt/hvchannel/bin/(\S+)", unit.read_text(), re.MULTILINE):
            assert program in known, unit.name


@pytest.mark.parametrize("side", ["", "guest-"])
def test_the_vswitch_may_pin_under_its_unit(side: str) -> None:
    """systemd makes /sys/fs/bpf read-only (ProtectKernelTunables), whatever ReadWritePaths says of that very path."""
    unit = (PROJECT / "packaging" / "systemd" / f"hvchannel-{side}softswitch.service").read_text()
    assert "\nProtectKernelTunables=yes\n" in unit
    assert "\nReadWritePaths=-/sys/fs/bpf/softswitch\n" in unit


def test_cloud_inits_own_schema_takes_the_user_data() -> None:
    if shutil.which("cloud-init") is None:
        pytest.skip("no cloud-init on PATH (apt-get install cloud-init)")
    file = PROJECT / "packaging" / "cloud-init" / "user-data"
    command = ["cloud-init", "schema", "--config-file", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def image() -> Path:
    """A folder with debian.qcow2, a VM's disk like a cloud's image, and its vmlinuz and initrd, made once."""
    if not os.environ.get("HVCHANNEL_DEPLOY_TEST"):
        pytest.skip("takes ten minutes: make test-deploy")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"no {', '.join(missing)} on PATH")
    if (CACHE / "debian.qcow2").exists():
        return CACHE
    partial = CACHE.with_name("deploy.partial")
    shutil.rmtree(partial, ignore_errors=True)
    root = partial / "root"
    root.mkdir(parents=True)
    tarball = partial / "root.tar"
    run("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", tarball)
    run("tar", "-xf", tarball, "-C", root, "--exclude=./dev/*")
    tarball.unlink()
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (root / "etc/machine-id").write_text("")
    for name, pattern in {"vmlinuz": "vmlinuz-*", "initrd": "initrd.img-*"}.items():
        (kernel,) = (root / "boot").glob(pattern)
        shutil.copy(kernel, partial / name)
    run("mkfs.ext4", "-q", "-F", "-d", root, partial / "disk.img", "3G")
    run("qemu-img", "convert", "-O", "qcow2", partial / "disk.img", partial / "debian.qcow2")
    (partial / "disk.img").unlink()
    shutil.rmtree(root)
    partial.rename(CACHE)
    return CACHE


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"


# In namespaces of its own: what the commands install, start and write is seen by nobody else, and gone afterwards.
SETTING = """
set -eu
mount --make-rprivate /
mount -t tmpfs none {scratch}
for folder in etc opt usr var; do
  mkdir -p {scratch}/up/$folder {scratch}/work/$folder
  mount -t overlay overlay -o lowerdir=/$folder,upperdir={scratch}/up/$folder,workdir={scratch}/work/$folder /$folder
done
mount -t tmpfs none /run
touch /run/net
unshare --net=/run/net true
inside() {{ nsenter --net=/run/net "$@"; }}
umount -R -l /sys
inside mount -t sysfs none /sys
inside ip link set lo up
mkdir -p /var/lib/libvirt/images
printf '%s\\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' 'cgroup_controllers = []' \\
  'namespaces = []' 'stdio_handler = "file"' >>/etc/libvirt/qemu.conf
printf '#!/bin/sh\\nexec python3 {tree}/tests/deploy/systemctl.py "$@"\\n' >/usr/local/bin/systemctl
chmod +x /usr/local/bin/systemctl
cd {tree}
"""


@pytest.mark.timeout(3600)
@pytest.mark.root
def test_the_ten_commands_bring_a_document_into_a_vm(image: Path, tmp_path: Path) -> None:
    tree = tmp_path / "hvchannel"
    listed = subprocess.run(
        ["git", "-C", PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, tree / name)
    (tree / ".venv").symlink_to(PROJECT / ".venv")
    run(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        image / "debian.qcow2",
        tree / "vm1.qcow2",
    )
    console = tmp_path / "console"
    boot_directly(tree / "packaging" / "libvirt" / "domain.xml", image, console)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # apt-get has its own tests; the rest as it stands
    script = SETTING.format(scratch=scratch, tree=tree)
    for command in commands()[1:]:
        script += f"\necho '$ {command.replace(chr(39), '')}'\n{in_its_place(command)}\n"
    log = tmp_path / "log"
    with log.open("w") as file:
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "bash",
                "-c",
                script,
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    told = log.read_text()
    assert done.returncode == 0, told[-4000:] + (console.read_text()[-4000:] if console.exists() else "")
    assert told.splitlines()[-1] == "1"
    print(told)


def boot_directly(domain: Path, image: Path, console: Path) -> None:
    """As the image has no boot loader; what it prints goes to a file."""
    text = domain.read_text()
    kernel = (
        f"<kernel>{image}/vmlinuz</kernel><initrd>{image}/initrd</initrd>"
        "<cmdline>root=/dev/vda rw console=ttyS0</cmdline>"
    )
    assert "</os>" in text
    serial = f"<serial type='file'><source path='{console}'/></serial>"
    domain.write_text(text.replace("</os>", f"{kernel}</os>").replace("<serial type='pty'/>", serial))


def in_its_place(command: str) -> str:
    """In the network namespace of this hypervisor, but for what asks PyPI. virsh again for a minute, as libvirtd is not
    yet there when this systemctl returns."""
    if command.startswith("virsh"):
        return f"for _ in $(seq 60); do inside {command} && break || sleep 1; done"
    if command.startswith("make"):
        return command
    return f"inside {command}"
